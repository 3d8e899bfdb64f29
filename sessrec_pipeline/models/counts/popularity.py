"""Popularity: the same list for everyone, items by their number of training events.

It is the floor that any model has to beat, and on independent draws the ceiling as well. Its table is also the
catalogue that every model ranks: item index = popularity rank - 1.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import Arrays, Block, Card, Fitted, FittedTable, Look, Recommender, Sessions
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_


class PopularitySettings(Section):
    """Popularity has no settings."""


def fit_popularity(engine: Engine, train: Path, read: Mapping[str, Any] | None = None) -> Table:
    """The fitted table (item, events, first_seen, popularity_rank), most popular first."""
    engine.register("train", train)
    engine.write("popularity", sql_text("models/counts", "popularity"))
    return engine.table("popularity")


POPULARITY = FittedTable(
    "popularity",
    "Items by number of training events, first seen first among equals. Also the catalogue that every model ranks.",
    {
        "item": ("string", "Item id"),
        "events": ("int64", "Training events on the item"),
        "first_seen": ("int64", "Order of its first event: session_number * 1,000,000 + position"),
        "popularity_rank": ("int64", "1 for the most popular item; item index + 1 of every model"),
    },
    fit_popularity,
)


def items_of(popularity: pa.Table) -> list[str]:
    """The catalogue: the id of each item index."""
    items: list[str] = popularity["item"].to_pylist()
    return items


class Popularity(Recommender):
    """Scores by popularity rank alone, so that equal counts keep their first-seen order and nothing ties."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        row = self._row()
        for start in range(0, len(sessions.items), batch_size):
            events = np.arange(start, min(start + batch_size, len(sessions.items)), dtype=np.int64)
            yield events, np.broadcast_to(row, (len(events), self.n_items))

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        return np.broadcast_to(self._row(), (len(sessions), self.n_items))

    def _row(self) -> NDArray[np.float32]:
        return np.arange(self.n_items, 0, -1, dtype=np.float32)


def fit(tables: Mapping[str, pa.Table], settings: Section) -> Fitted:
    """The order of the catalogue is all there is to it."""
    return Fitted({}, items_of(tables["popularity"]))


def load(arrays: Arrays, settings: Section, items: Sequence[str], device: str) -> Popularity:
    """The model over a catalogue in the order of its list."""
    return Popularity(len(items))


CARD = Card(
    name="popularity",
    title=N_("Popularity"),
    summary=N_("items by their number of training events"),
    source="",
    settings=PopularitySettings,
    tables=(POPULARITY,),
    fit=fit,
    load=load,
    look=Look("#009E73", "^", ":"),
)
