"""Sessions shuffled: what a score owes to the order of events, and what to their mere company.

Once the events inside each training session are shuffled, and once the history of each prediction; its target stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import points
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.study import Study, cells, changes, few, measured, shown

if TYPE_CHECKING:
    import pandas as pd

IN_ORDER, TRAIN, HISTORY = "in order", "training shuffled", "histories shuffled"


def inputs(settings: Settings) -> Sequence[str]:
    """The split of the feed."""
    return ["train_split", "test_split"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """Three ways for each model and metric, on the same predictions."""
    train, test = stored["train_split"].arrow(), stored["test_split"].arrow()
    fitted = lab.fit(lab.put("train_split", train))
    histories = shuffled_histories(test, lab.rng("histories"))
    own = {name: lab.rank(model, test) for name, model in fitted.items()}
    mixed = {name: _targets(lab.rank(model, histories)) for name, model in fitted.items()}
    rows = lab.measure(own, variation=IN_ORDER, x=0.0)
    rows += lab.run(
        lab.put("train_split", shuffled(train, lab.rng("train"))), test, variation=TRAIN, x=1.0, train_sessions=None
    )
    rows += lab.measure(mixed, variation=HISTORY, x=2.0)
    return lab.results.compared(rows)


def shuffled(events: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Each session's items in another order; its times and its place among the sessions stay."""
    order = _shuffle(events["session_number"].to_numpy(), rng)
    return events.set_column(events.schema.get_field_index("item"), "item", events["item"].take(order))


def shuffled_histories(test: pa.Table, rng: np.random.Generator) -> pa.Table:
    """For each prediction a session of its own: its history shuffled, then the target, alone with a position >= 0."""
    numbers = test["session_number"].to_numpy()
    starts = np.flatnonzero(np.diff(numbers, prepend=-1) != 0)
    first = starts[np.cumsum(np.diff(numbers, prepend=-1) != 0) - 1]
    targets = np.flatnonzero(first < np.arange(len(numbers)))
    lengths = targets - first[targets] + 1
    number = np.repeat(np.arange(len(targets)), lengths)
    ends = np.cumsum(lengths)
    event = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths) + np.repeat(first[targets], lengths)
    is_target = np.zeros(len(event), dtype=bool)
    is_target[ends - 1] = True
    order = _shuffle(number, rng, last=is_target)
    rows = test.take(event[order])
    position = np.where(is_target, rows["position"].to_numpy(), -1)
    for name, values in (("session_number", number), ("position", position)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))
    return rows


def _shuffle(
    group: NDArray[np.int64], rng: np.random.Generator, last: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Indices that shuffle the members of each group; those that are ``last`` stay at its end."""
    keys = rng.random(len(group))
    return np.lexsort((keys if last is None else np.where(last, 1.0, keys), group))


def _targets(rankings: pa.Table) -> pa.Table:
    return rankings.filter(pc.greater_equal(rankings["position"], 0))


def finding(frame: pd.DataFrame) -> str:
    """What each shuffling does to Recall, and to the MRR of those whose Recall it leaves alone."""
    return (
        f"With training sessions shuffled inside, {_moved(frame, TRAIN)}. "
        f"With the history of each prediction shuffled, {_moved(frame, HISTORY)}."
    )


def _moved(frame: pd.DataFrame, to: str) -> str:
    recall, before, after = cells(frame, to), cells(frame, IN_ORDER, "mrr"), cells(frame, to, "mrr")
    finer = [
        f"{shown(m)} ({before[m].value:.4f} to {after[m].value:.4f})"
        for m in after
        if after[m].moved and not recall[m].moved
    ]
    return changes(frame, to) + (f", but {measured(frame, 'mrr')} moves for {few(finer)}" if finer else "")


def figure(frame: pd.DataFrame) -> str:
    """The three ways side by side."""
    return points(frame, "Recall with sessions in order and shuffled")


STUDY = Study(
    "shuffled_sessions",
    "Shuffled sessions",
    "How much of a model's score is really sequence?",
    inputs,
    measure,
    finding,
    figure,
)
