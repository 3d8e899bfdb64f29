"""Fewer training sessions, the most recent ones; the test events stay the same.

A test item that the shorter training never saw counts as a miss: the predictions must be the same ones throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory, renumbered
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, changes, order, variations

if TYPE_CHECKING:
    import pandas as pd

PARTS = (16, 8, 4, 2, 1)
"""The most recent 1/16, 1/8, ... of the training sessions."""


def inputs(settings: Settings) -> Sequence[str]:
    """The split of the feed."""
    return ["train_split", "test_split"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each part, model and metric."""
    train, test = stored["train_split"].arrow(), stored["test_split"].arrow()
    sessions = pc.max(train["session_number"]).as_py() + 1
    rows: list[Row] = []
    for count in sorted({max(1, sessions // part) for part in PARTS}):
        recent = lab.put(
            "train_split", renumbered(train.filter(pc.greater_equal(train["session_number"], sessions - count)))
        )
        items = pc.count_distinct(recent.arrow(["item"])["item"]).as_py()
        rows += lab.run(recent, test, variation=f"{count:,} sessions", x=float(count), items=items)
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """What all sessions give beside the fewest."""
    first, last = variations(frame)[0], variations(frame)[-1]
    return f"From the most recent {first} to all {last}, {changes(frame, last)}.{order(frame, last)}"


def figure(frame: pd.DataFrame) -> str:
    """Recall over the number of sessions."""
    return lines(frame, "Recall by number of training sessions", "training sessions, the most recent", log=True)


STUDY = Study(
    "training_sessions",
    "Number of training sessions",
    "How much of a model's score comes from the amount of training data?",
    inputs,
    measure,
    finding,
    figure,
)
