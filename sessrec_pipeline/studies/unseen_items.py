"""Test events on items that training never saw: dropped before any model sees them, or kept as misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import points
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, changes, order

if TYPE_CHECKING:
    import pandas as pd

DROPPED, KEPT = "unseen items dropped", "unseen items kept"


def inputs(settings: Settings) -> Sequence[str]:
    """All sessions, to be split by the feed's own rule."""
    return ["sessions"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """Both ways for each model and metric; ``left_out`` counts the test events that filtering drops."""
    sessions = lab.put("sessions", stored["sessions"].path)
    rows: list[Row] = []
    for name, keep in ((DROPPED, False), (KEPT, True)):
        train, test = lab.split(sessions, lab.feed.split.model_copy(update={"keep_unseen_items": keep}))
        left_out = int(test.stats["dropped: unseen items"])
        rows += lab.run(train, test.arrow(), variation=name, x=float(keep), left_out=left_out)
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """How many events filtering drops, and what they would have cost."""
    count = int(frame.loc[frame["variation"] == DROPPED, "left_out"].iloc[0])
    if not count:
        return "Every test item occurs in training: filtering changes nothing on this feed."
    events = "1 test event is on an item" if count == 1 else f"{count:,} test events are on items"
    return (
        f"{events} that training never saw. Where they are kept and count as misses, {changes(frame, KEPT)}."
        f"{order(frame, KEPT)}"
    )


def figure(frame: pd.DataFrame) -> str:
    """Both ways side by side."""
    return points(frame, "Recall with unseen test items dropped and kept")


STUDY = Study(
    "unseen_items",
    "Unseen test items",
    "How much better do all models look because test events that no model could have predicted are dropped?",
    inputs,
    measure,
    finding,
    figure,
    reads=("split",),
)
