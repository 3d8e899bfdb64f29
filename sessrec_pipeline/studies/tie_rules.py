"""The three tie rules on the stored rankings, and on Markov with and without padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sessrec_pipeline.evaluation.ranks import TIE_RULES
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import points
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, cells, few, measured, shown

if TYPE_CHECKING:
    import pandas as pd

OTHER = {True: "markov_unpadded", False: "markov_padded"}
"""Name of the Markov that the feed does not have, by the padding of the one that it has."""


def inputs(settings: Settings) -> Sequence[str]:
    """The stored rankings, and where the feed has Markov its counts for the other one."""
    cards = {card.name: card for card in cards_of(settings)}
    other = ["test_split", cards["markov"].checkpoint] if "markov" in cards else []
    return [*other, *[card.rankings for card in cards.values()]]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each rule, model and metric."""
    rankings = {card.name: stored[card.rankings].arrow() for card in cards_of(lab.feed)}
    if "markov" in rankings:
        padding = bool(stored["markov_checkpoint"].checkpoint().config["padding"])
        other = lab.load("markov", stored, padding=not padding)
        rankings[OTHER[padding]] = lab.rank(other, stored["test_split"].arrow())
    rows: list[Row] = []
    for x, rule in enumerate(TIE_RULES):
        rows += lab.measure(rankings, rule, variation=rule, x=float(x))
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """For whom the rule decides nothing, and for whom how much."""
    standard, conservative = cells(frame, TIE_RULES[0]), cells(frame, TIE_RULES[-1])
    models = sorted(standard)
    same = [shown(m) for m in models if standard[m].value == conservative[m].value]
    differ = [m for m in models if standard[m].value != conservative[m].value]
    sentences = [f"The tie rule decides nothing for {few(same)}."] if same else []
    for sure in (True, False):
        named = [
            f"{shown(m)} ({standard[m].value:.4f} under the standard rule, {conservative[m].value:.4f} under the "
            "conservative one)"
            for m in differ
            if bool(conservative[m].moved) == sure
        ]
        how = "moves" if sure else "shows no difference beyond the intervals"
        sentences += [f"{measured(frame)} {how} for {few(named)}."] if named else []
    return " ".join(sentences)


def figure(frame: pd.DataFrame) -> str:
    """The three rules side by side."""
    return points(frame, "Recall under the three tie rules")


STUDY = Study(
    "tie_rules",
    "Tie rules",
    "How much of a figure is the rule by which equal scores are ranked?",
    inputs,
    measure,
    finding,
    figure,
)
