"""Fitted tables of training sessions that are given as lists, and the models that cards make of them."""

import random
import tempfile
from collections.abc import Mapping, Sequence
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
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.base import Card, Fitted, FittedTable, Recommender
from sessrec_pipeline.settings import Section
from sessrec_pipeline.training.fit import fit_from_tables, fit_of, fit_table, recommender_of

Sessions = list[list[str]]

train_sets = st.lists(
    st.lists(st.sampled_from(["10", "9", "a", "b", "ü"]), min_size=1, max_size=8), min_size=1, max_size=8
)
quick = settings(max_examples=20, deadline=None)


def fit(
    *tables: FittedTable, sessions: Sessions, times: Sequence[Sequence[int]] | None = None, **sections: Any
) -> list[pa.Table]:
    """Fitted tables, from a training table whose rows lie about in any order.

    times: microseconds of each event; by default event p of session s happens at second s + p.
    sections: settings, as ``item_knn={"neighbours": 5}``.
    """
    rows = [
        (s, p, item, times[s][p] if times else (s + p) * 1_000_000)
        for s, session in enumerate(sessions)
        for p, item in enumerate(session)
    ]
    random.Random(len(rows)).shuffle(rows)
    columns = dict(zip(("session_number", "position", "item", "time"), zip(*rows, strict=True), strict=True))
    with tempfile.TemporaryDirectory() as home:
        chosen = FeedSettings(home=Path(home), **sections)
        train = Path(home, "train.parquet").resolve()
        pq.write_table(pa.table(columns), train)
        with DuckDBEngine(chosen) as engine:
            return [fit_table(table, engine, train, chosen).arrow() for table in tables]


def model_of(
    card: Card[Any], tables: Mapping[str, pa.Table] | Sequence[pa.Table], **section: Any
) -> tuple[Recommender, list[str]]:
    """The recommender of a card and its vocabulary, from the fitted tables: by name, or in the order of the card.

    section: the model's settings.
    """
    if not isinstance(tables, Mapping):
        tables = dict(zip((table.name for table in card.tables), tables, strict=True))
    chosen = card.settings.model_validate(section)
    fitted = fit_from_tables(card, chosen, tables)
    return recommender_of(card, chosen, fitted), fitted.items


def fitted_by(card: Card[Any], section: Section, sessions: Sessions) -> Fitted:
    """Any model, fitted as the assets fit it, from tables or by training."""
    tables = fit(*card.tables, sessions=sessions, **{card.section: section})
    rows = [(s, item, (s + p) * 1_000_000) for s, session in enumerate(sessions) for p, item in enumerate(session)]
    events = pa.table(dict(zip(("session_number", "item", "time"), zip(*rows, strict=True), strict=True)))
    named = dict(zip((table.name for table in card.tables), tables, strict=True))
    return fit_of(card)(card, section, named, lambda: events)


def ranked(row: NDArray[np.floating], vocabulary: list[str]) -> list[str]:
    """The whole catalogue, best first; no two items may tie."""
    assert len(set(row.tolist())) == len(vocabulary), "nothing ties"
    return [vocabulary[i] for i in observe(row[None, :], np.zeros(1, np.int64), len(vocabulary)).best[0]]
