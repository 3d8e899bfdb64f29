"""Last item: what the session is at comes first, then how often it was the last item of a training session."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from sessrec_pipeline.engine import Engine, Table
from sessrec_pipeline.models.base import Arrays, Block, Card, Fitted, FittedTable, Recommender, Sessions, Span
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.settings import Section


class LastItemSettings(Section):
    """The item that the session is at, then items by how many training sessions ended with them."""

    boost: Annotated[float, Field(ge=0)] = 1.0
    """What the current item gets on top, as a share of all training sessions."""


def fit_last_events(engine: Engine, train: Path, read: Mapping[str, Any] | None = None) -> Table:
    """The fitted table (item, sessions), the item that ended most sessions first."""
    engine.register("train", train)
    engine.write(
        "last_events",
        "SELECT t.item, CAST(COUNT(*) AS BIGINT) AS sessions, MIN(t.session_number) AS first_seen FROM train AS t "
        "JOIN (SELECT session_number, MAX(position) AS position FROM train GROUP BY session_number) AS last "
        "ON t.session_number = last.session_number AND t.position = last.position "
        "GROUP BY t.item ORDER BY sessions DESC, first_seen",
    )
    return engine.table("last_events")


LAST_EVENTS = FittedTable(
    "last_events",
    "How many training sessions ended with each item.",
    {
        "item": ("string", "Item id"),
        "sessions": ("int64", "Training sessions that ended with it"),
        "first_seen": ("int64", "The first of them"),
    },
    fit_last_events,
)


class LastItem(Recommender):
    """ended (n_items,): share of the training sessions that ended with each item."""

    def __init__(self, ended: NDArray[np.float64], boost: float) -> None:
        self.n_items, self.ended, self.boost = len(ended), ended, boost

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        for start in range(0, len(sessions.items), batch_size):
            items = sessions.items[start : start + batch_size]
            yield np.arange(start, start + len(items), dtype=np.int64), self._after(items)

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        return self._after(sessions.items[sessions.last])

    def _after(self, items: NDArray[np.int32]) -> NDArray[np.float64]:
        scores = np.tile(self.ended, (len(items), 1))
        scores[np.arange(len(items)), items] += self.boost
        return scores


def fit(tables: Mapping[str, pa.Table], settings: LastItemSettings) -> Fitted:
    """The shares in the order of the catalogue."""
    items: list[str] = tables["popularity"]["item"].to_pylist()
    counts = dict(zip(*(tables["last_events"][name].to_pylist() for name in ("item", "sessions")), strict=True))
    ended = np.array([counts.get(item, 0) for item in items], dtype=np.float64)
    return Fitted({"ended": ended / ended.sum()}, items)


def load(arrays: Arrays, settings: LastItemSettings, items: Sequence[str], device: str) -> LastItem:
    """The model with the boost that it was fitted with."""
    return LastItem(arrays["ended"], settings.boost)


CARD = Card(
    name="last_item",
    title="Last item",
    summary="the current item, then items by how many training sessions ended with them",
    source="",
    settings=LastItemSettings,
    tables=(POPULARITY, LAST_EVENTS),
    fit=fit,
    load=load,
    space={"boost": Span(0.0, 2.0)},
)
