"""Short and long test sessions apart, from the stored rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, changes, order, variations

if TYPE_CHECKING:
    import pandas as pd

GROUPS = 4
"""Groups of lengths, with about as many predictions each."""


def inputs(settings: Settings) -> Sequence[str]:
    """The stored rankings; the split says how long each session is."""
    return ["test_split", *[card.rankings for card in cards_of(settings)]]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each group of lengths, model and metric."""
    lengths = stored["test_split"].arrow(["session"]).to_pandas().groupby("session").size()
    group = groups(lengths)
    rankings = {card.name: stored[card.rankings].arrow() for card in cards_of(lab.feed)}
    rows: list[Row] = []
    for i in sorted(group.unique()):
        inside = lengths[group == i]
        own = {m: table.filter(pc.is_in(table["session"], pa.array(inside.index))) for m, table in rankings.items()}
        rows += lab.measure(own, variation=_name(inside), x=float(inside.mean()))
    return lab.results.compared(rows)


def groups(lengths: pd.Series[int]) -> pd.Series[int]:
    """The group of each session: sessions of one length are in one group, long ones in a higher one."""
    predictions = (lengths - 1).groupby(lengths).sum()
    middle = (predictions.cumsum() - predictions / 2) / predictions.sum()
    group = dict(zip(middle.index, (GROUPS * middle).astype(int), strict=True))
    return lengths.map(group)


def _name(lengths: pd.Series[int]) -> str:
    low, high = int(lengths.min()), int(lengths.max())
    return f"{low} events" if low == high else f"{low} to {high} events"


def finding(frame: pd.DataFrame) -> str:
    """The longest sessions beside the shortest."""
    first, last = variations(frame)[0], variations(frame)[-1]
    if first == last:
        return f"All test sessions are of one group: {first}."
    return f"From test sessions of {first} to those of {last}, {changes(frame, last)}.{order(frame, last)}"


def figure(frame: pd.DataFrame) -> str:
    """Recall over the mean length of each group."""
    return lines(frame, "Recall by length of the test session", "mean events in the session")


STUDY = Study(
    "session_length",
    "Length of the test session",
    "Who is better on short sessions, and who makes use of long ones?",
    inputs,
    measure,
    finding,
    figure,
)
