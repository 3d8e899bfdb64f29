"""Recent popularity: items by training events of the last days, the rest by all events (Ludewig et al. 2021).

It is one list for everyone, so the model is ``Popularity`` over this table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import Card, Fitted, FittedTable, Look, Span
from sessrec_pipeline.models.counts.popularity import POPULARITY, items_of, load
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_

MICROSECONDS_PER_DAY = 86_400_000_000


class RecentPopularitySettings(Section):
    """Items by their events in the last days of training."""

    days: Annotated[float, Field(gt=0)] = 1
    """Length of the window that ends with the last training event."""


def fit_recent_popularity(engine: Engine, train: Path, read: Mapping[str, Any]) -> Table:
    """The fitted table (item, recent_events, events, first_seen, recent_rank), the first one first."""
    engine.register("train", train)
    window = int(read["recent_popularity.days"] * MICROSECONDS_PER_DAY)
    engine.write("recent_popularity", sql_text("models/counts", "recent_popularity"), window=window)
    return engine.table("recent_popularity")


RECENT_POPULARITY = FittedTable(
    "recent_popularity",
    "Items by number of training events in the last days before the end of training, the rest by all their events.",
    {
        "item": ("string", "Item id"),
        "recent_events": ("int64", "Training events on the item in the last days of training"),
        "events": ("int64", "All its training events"),
        "first_seen": ("int64", "Order of its first event: session_number * 1,000,000 + position"),
        "recent_rank": ("int64", "1 for the item with most recent events, then most events, then first seen"),
    },
    fit_recent_popularity,
    reads=("recent_popularity.days",),
)


def fit(tables: Mapping[str, pa.Table], settings: RecentPopularitySettings) -> Fitted:
    """Its catalogue has an order of its own."""
    return Fitted({}, items_of(tables["recent_popularity"]))


CARD = Card(
    name="recent_popularity",
    title=N_("Recent popularity"),
    summary=N_("items by training events of the last days, the rest by all events"),
    source="Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI 31, "
    "2021, arXiv 1910.12781",
    settings=RecentPopularitySettings,
    tables=(POPULARITY, RECENT_POPULARITY),
    fit=fit,
    load=load,
    space={"days": Span(0.1, 30.0, log=True)},
    look=Look("#2A9BC8", "X", ":"),
)
