"""Another share of the sessions trains, the rest tests: the figures of one log under several splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from sessrec_pipeline.settings import Settings, SplitSettings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, changes, order, variations

if TYPE_CHECKING:
    import pandas as pd

RATIOS = (0.5, 0.6, 0.7, 0.8, 0.9)


def inputs(settings: Settings) -> Sequence[str]:
    """All sessions, to be split anew."""
    return ["sessions"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each ratio, model and metric."""
    sessions = lab.put("sessions", stored["sessions"].path)
    rows: list[Row] = []
    for ratio in RATIOS:
        keep = lab.feed.split.keep_unseen_items
        train, test = lab.split(sessions, SplitSettings(rule="ratio", ratio=ratio, keep_unseen_items=keep))
        left_out = int(test.stats["dropped: unseen items"])
        rows += lab.run(train, test.arrow(), variation=f"{ratio:.0%} train", x=ratio, left_out=left_out)
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """What the largest training share gives beside the smallest."""
    first, last = variations(frame)[0], variations(frame)[-1]
    tested = [f"{int(frame.loc[frame['variation'] == name, 'predictions'].iloc[0]):,}" for name in (first, last)]
    return (
        f"From {first} ({tested[0]} predictions) to {last} ({tested[1]} predictions), {changes(frame, last)}."
        f"{order(frame, last)}"
    )


def figure(frame: pd.DataFrame) -> str:
    """Recall over the ratio."""
    return lines(frame, "Recall by share of the sessions that train", "share of the sessions that train")


STUDY = Study(
    "train_ratio",
    "Train ratio",
    "Does it matter where in time the log is cut into train and test?",
    inputs,
    measure,
    finding,
    figure,
    reads=("split.keep_unseen_items",),
)
