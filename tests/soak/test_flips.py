"""Single flipped bits in every kind of file: none is accepted, and none ends in a traceback."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from flips import KINDS, TOML, Campaign, Outcome, make_home, run, table

SMALL = TOML.replace(', "sknn", "gru4rec"', "").partition("[gru4rec]")[0]


def broken(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.verdict in ("accepted", "traceback")]


@pytest.mark.usefixtures("no_drawings")
def test_a_few_flips_in_every_kind_of_file_are_noticed_or_harmless(tmp_path: Path) -> None:
    make_home(tmp_path / "base", [(SMALL, "demo")])
    campaign = Campaign(tmp_path / "base", tmp_path, random.Random(0))
    outcomes = [campaign.one(kind) for kind in KINDS if campaign.files[kind] for _ in range(3)]
    assert broken(outcomes) == [], table(outcomes)
    noticed = {outcome.kind for outcome in outcomes if outcome.verdict == "noticed"}
    assert {"table of the lake", "pointer `current`", "checkpoint", "history: ranks", "manifest.json"} <= noticed


@pytest.mark.soak
def test_two_thousand_flips(tmp_path: Path) -> None:
    outcomes = list(run(2000, 0, list(KINDS), tmp_path / "base"))
    assert broken(outcomes) == [], table(outcomes)
