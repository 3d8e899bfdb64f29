"""Only the n most popular items, in train and test alike: a smaller catalogue is an easier task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import lines
from sessrec_pipeline.studies.laboratory import Laboratory, of_two_or_more
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, changes, order, variations

if TYPE_CHECKING:
    import pandas as pd

PARTS = (16, 8, 4, 2, 1)
"""The most popular 1/16, 1/8, ... of the items."""


def inputs(settings: Settings) -> Sequence[str]:
    """The split of the feed and its items by popularity in training."""
    return ["train_split", "test_split", "popularity"]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each size, model and metric; ``left_out`` counts the test events that the size leaves out."""
    by_popularity = stored["popularity"].arrow(["item"])["item"]
    train, test = stored["train_split"].arrow(), stored["test_split"].arrow()
    rows: list[Row] = []
    for part in PARTS:
        n = len(by_popularity) // part
        if n <= lab.k and part > 1:
            continue  # the first K of so few items are all of them
        items = by_popularity.slice(0, n)
        smaller, tested = (of_two_or_more(events.filter(pc.is_in(events["item"], items))) for events in (train, test))
        if not smaller.num_rows or not tested.num_rows:
            continue
        about = {"variation": f"{n:,} items", "x": float(n), "items": n, "left_out": test.num_rows - tested.num_rows}
        rows += lab.run(lab.put("train_split", smaller), tested, **about)
    return lab.results.compared(rows)


def finding(frame: pd.DataFrame) -> str:
    """What the whole catalogue costs beside the smallest part of it."""
    first, last = variations(frame)[0], variations(frame)[-1]
    if first == last:
        return f"The catalogue is too small for a smaller one to be ranked: {last}."
    left_out = int(np.max(frame["left_out"]))
    return (
        f"From the most popular {first} to all {last}, {changes(frame, last)}; the smallest catalogue "
        f"leaves out {left_out:,} test events.{order(frame, last)}"
    )


def figure(frame: pd.DataFrame) -> str:
    """Recall over the number of items."""
    return lines(frame, "Recall by size of the catalogue", "items, the most popular", log=True)


STUDY = Study(
    "catalogue_size",
    "Size of the catalogue",
    "How much easier does the task become when rare items are left out?",
    inputs,
    measure,
    finding,
    figure,
)
