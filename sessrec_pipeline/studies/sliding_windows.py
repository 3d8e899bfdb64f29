"""The same protocol again and again along the log: train on some days, test on those that follow, move on.

A single split asks about one stretch of time. Windows of equal length show how much of a figure, and of the order of
the models, belongs to it (Ludewig & Jannach 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.report.looks import ORACLE
from sessrec_pipeline.report.translation import join_names
from sessrec_pipeline.settings import Settings, SplitSettings, StudySettings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory, renumbered
from sessrec_pipeline.studies.results import RULE, SCHEMA, Row
from sessrec_pipeline.studies.study import Study, cells, few, measured, shown, variations

if TYPE_CHECKING:
    import pandas as pd

MEAN = "mean of the windows"
"""In place of a window: low and high are one standard deviation over the windows below and above."""
TRAIN_TO_TEST = 4
"""Training is so many times as long as test where settings do not name both."""


def inputs(settings: Settings) -> Sequence[str]:
    """All sessions, to be cut into windows."""
    return ["sessions"]


def lengths(settings: StudySettings, span: int) -> tuple[int, int]:
    """Microseconds of training and of test in each window of a log that spans so many.

    ValueError where the log is too short for them.
    """
    test_share = span / DAY / (TRAIN_TO_TEST + settings.windows)
    days = settings.window_test_days or (settings.window_train_days or TRAIN_TO_TEST * test_share) / TRAIN_TO_TEST
    train_days = settings.window_train_days or TRAIN_TO_TEST * days
    train, test = int(train_days * DAY), int(days * DAY)
    if test < 1 or train + settings.windows * test > span:
        raise ValueError(
            f"{settings.windows} windows of {days:.3g} days of test, one upon the other, and {train_days:.3g} days of "
            f"training before the first need more than the {span / DAY:.3g} days of this log: lower "
            "[studies] windows, window_train_days or window_test_days"
        )
    return train, test


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each window, model and metric, and one for their mean.

    The test periods follow one upon the other up to the end of the log.
    """
    sessions = stored["sessions"].arrow()
    first, end = pc.min(sessions["time"]).as_py(), pc.max(sessions["time"]).as_py() + 1
    train_length, test_length = lengths(lab.feed.studies, end - first)
    rows: list[Row] = []
    for i in range(lab.feed.studies.windows):
        stop = end - (lab.feed.studies.windows - 1 - i) * test_length
        name = f"window {i + 1}"
        try:
            train, test = window(lab, sessions, stop - test_length - train_length, stop - test_length, stop)
        except ValueError as error:
            raise ValueError(f"{name} of {lab.feed.studies.windows} ([studies] windows): {error}") from error
        left_out = int(test.stats["dropped: unseen items"])
        rows += lab.run(train, test.arrow(), variation=name, x=float(i + 1), left_out=left_out)
    return pa.concat_tables([lab.results.compared(rows), pa.Table.from_pylist(means(rows), SCHEMA)])


def window(lab: Laboratory, sessions: pa.Table, start: int, cutoff: int, stop: int) -> tuple[Stored, Stored]:
    """Train and test of the events in [start, stop) of sessions that start there, cut at ``cutoff``.

    All in microseconds. ValueError where there is nothing to train or to test on.
    """
    inside = pc.and_(pc.greater_equal(sessions["session_start"], start), pc.less(sessions["time"], stop))
    events = renumbered(sessions.filter(inside))
    if not events.num_rows:
        raise ValueError("no session starts in it")
    # The days rule counts back from the last event, which need not lie at the end of the window; half a microsecond
    # more, or rounding could move the cutoff by one.
    days = (pc.max(events["time"]).as_py() - cutoff + 0.5) / DAY
    if days < 0:
        raise ValueError("no event lies in its test period")
    split = SplitSettings(rule="days", days=days, keep_unseen_items=lab.feed.split.keep_unseen_items)
    return lab.split(lab.put("sessions", events), split)


def means(rows: Iterable[Row]) -> list[Row]:
    """The mean of each model and metric over the windows, all of which count the same, and the spread around it."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    found: list[Row] = []
    for (model, metric), own in frame.groupby(["model", "metric"], sort=True):
        mean, spread = own["value"].mean(), own["value"].std(ddof=1)
        found.append(
            {
                "variation": MEAN,
                "x": 0.0,
                "model": model,
                "metric": metric,
                "k": int(own["k"].iloc[0]),
                "tie_rule": RULE,
                "value": mean,
                "low": mean - spread,
                "high": mean + spread,
                "predictions": int(own["predictions"].sum()),
                "sessions": int(own["sessions"].sum()),
            }
        )
    return found


def orders(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """The models in each window, the best first; the oracle does not compete."""
    windows = [name for name in variations(frame) if name != MEAN]
    return [tuple(model for model in cells(frame, name) if model != ORACLE) for name in windows]


def finding(frame: pd.DataFrame) -> str:
    """Who is best on the mean, how far that one's values go, and whether the models' order is the same everywhere."""
    found = orders(frame)
    overall = [model for model in cells(frame, MEAN) if model != ORACLE]
    best = cells(frame, MEAN)[overall[0]]
    values = [cells(frame, f"window {i + 1}")[overall[0]].value for i in range(len(found))]
    texts = [
        f"Over {len(found)} windows {shown(overall[0])} has the highest mean {measured(frame)}, {best.value:.4f} "
        f"(standard deviation {best.high - best.value:.4f}, from {min(values):.4f} to {max(values):.4f})."
    ]
    if len(overall) < 2:
        return texts[0]
    firsts = Counter(order[0] for order in found)
    if len(firsts) == 1:
        texts.append(f"{shown(found[0][0])} is first in every window.")
    else:
        texts.append(f"First is {join_names([f'{shown(model)} in {n}' for model, n in firsts.most_common()])}.")
    several = Counter(found)
    if len(several) == 1:
        names = few([shown(model) for model in found[0]])
        texts.append(f"The order of the models is the same in every window: {names}.")
    else:
        texts.append(
            f"The order of the models is not the same in every window: {len(several)} different orders, the most "
            f"frequent one in {several.most_common(1)[0][1]} of {len(found)} windows."
        )
    return " ".join(texts)


def figure(frame: pd.DataFrame) -> str:
    """Recall in each window."""
    return lines(
        frame[frame["variation"] != MEAN], "Recall in windows along the log", "window, the last one ends the log"
    )


STUDY = Study(
    "sliding_windows",
    "Sliding windows",
    "Are the figures and the order of the models the same when the protocol is repeated in windows along the log?",
    inputs,
    measure,
    finding,
    figure,
    reads=("split.keep_unseen_items",),
)
