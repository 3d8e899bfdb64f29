"""Fitted tables of training sessions that are given as lists, for the tests of count and neighbour models."""

import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.ranking import observe
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table

Sessions = list[list[str]]
Fit = Callable[..., Table]

train_sets = st.lists(
    st.lists(st.sampled_from(["10", "9", "a", "b", "ü"]), min_size=1, max_size=8), min_size=1, max_size=8
)
quick = settings(max_examples=20, deadline=None)


def fit(*fits: tuple[Any, ...], sessions: Sessions, times: Sequence[Sequence[int]] | None = None) -> list[pa.Table]:
    """The table of each (function, further arguments), from a training table whose rows lie about in any order.

    times: microseconds of each event; by default event p of session s happens at second s + p.
    """
    rows = [
        (s, p, item, times[s][p] if times else (s + p) * 1_000_000)
        for s, session in enumerate(sessions)
        for p, item in enumerate(session)
    ]
    random.Random(len(rows)).shuffle(rows)
    columns = dict(zip(("session_number", "position", "item", "time"), zip(*rows, strict=True), strict=True))
    with tempfile.TemporaryDirectory() as home, DuckDBEngine(Settings(home=Path(home))) as engine:
        train = Path(home, "train.parquet").resolve()
        pq.write_table(pa.table(columns), train)
        return [function(engine, train, *arguments).arrow() for function, *arguments in fits]


def ranked(row: NDArray[np.floating], vocabulary: list[str]) -> list[str]:
    """The whole catalogue, best first; no two items may tie."""
    assert len(set(row.tolist())) == len(vocabulary), "nothing ties"
    return [vocabulary[i] for i in observe(row[None, :], np.zeros(1, np.int64), len(vocabulary)).best[0]]
