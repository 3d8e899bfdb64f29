"""Single flipped bits in every kind of file: none is accepted, and none ends in a traceback."""

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from flips import KINDS, Campaign, Outcome, run, say, table

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Store

SMALL = 'models = ["markov"]\n[synthetic]\nsessions = 60\nitems = 50\ndays = 2\n'


def broken(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.verdict in ("accepted", "traceback")]


def made(home: Path) -> Path:
    """A home with most kinds of files, whose evaluation is made up: a whole one takes long."""
    home.mkdir()
    (home / "sessrec.toml").write_text(SMALL)
    settings = load_settings(home)
    write_logs(settings.synthetic or SyntheticSettings(), settings.landing)
    assert say(home, ["materialize", "markov_checkpoint"]).code == 0
    store = Store(settings)
    ranked = {"session": ["s"], "position": [1], "target": ["i"], "greater": [0], "equal": [1]}
    rankings = store.publish("markov_rankings", Table(pa.table({**ranked, "top_items": [["i", "j"]]})))
    row = {"model": ["markov"], "metric": ["recall"], "k": [5], "tie_rule": ["median"], "value": [1.0]}
    rest = {"low": [0.0], "high": [1.0], "predictions": [1], "sessions": [1], "rankings": [rankings.node.id]}
    metrics = store.publish("metrics", Table(pa.table(row | rest)), parents=[rankings.lineage])
    store.remember(metrics)
    store.publish("leaderboard", Table(pa.table(row)), parents=[metrics.lineage])
    store.publish("report", Page("<p>Recall 1.0</p>"), parents=[metrics.lineage])
    return home


def test_a_few_flips_in_every_kind_of_file_are_noticed_or_harmless(tmp_path: Path) -> None:
    made(tmp_path / "base")
    campaign = Campaign(tmp_path / "base", tmp_path, random.Random(0))
    outcomes = [campaign.one(kind) for kind in KINDS if campaign.files[kind] for _ in range(3)]
    assert broken(outcomes) == [], table(outcomes)
    noticed = {outcome.kind for outcome in outcomes if outcome.verdict == "noticed"}
    assert {"table of the lake", "pointer `current`", "checkpoint", "history: ranks", "manifest.json"} <= noticed


@pytest.mark.soak
def test_two_thousand_flips(tmp_path: Path) -> None:
    outcomes = list(run(2000, 0, list(KINDS), tmp_path / "base"))
    assert broken(outcomes) == [], table(outcomes)
