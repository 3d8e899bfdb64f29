"""First-order Markov chain: what followed the current item in training, most often first.

As in the reproduction study: ``alpha`` blends the successor counts with popularity,
``(1 - alpha) * count / max count + alpha * popularity / max popularity``; at 0 the successors come first and the rest
of the catalogue follows by popularity; an item without successors falls back to popularity.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import Arrays, Card, Fitted, FittedTable, Look, Share, Span
from sessrec_pipeline.models.counts.popularity import POPULARITY, items_of
from sessrec_pipeline.models.padding import listed, rest_of
from sessrec_pipeline.models.sparse import SparseRows, row_of_weights, sparse_matrix
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_


class MarkovSettings(Section):
    """First-order Markov chain over items, as in the reproduction study."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of popularity in the blend: 0 is pure Markov, 1 pure popularity."""
    padding: bool = True
    """Rank the items that never followed the current one by popularity; without it they all tie at zero."""


def fit_markov(engine: Engine, train: Path, read: Mapping[str, Any] | None = None) -> Table:
    """The fitted table (item, next_item, transitions, first_seen, successor_rank)."""
    engine.register("train", train)
    engine.write("markov", sql_text("models/counts", "markov"))
    return engine.table("markov")


MARKOV = FittedTable(
    "markov",
    "How often each item followed each other one: a first-order Markov chain as a table of counts.",
    {
        "item": ("string", "Item id"),
        "next_item": ("string", "Item that came right after it in a training session"),
        "transitions": ("int64", "How often"),
        "first_seen": ("int64", "Order of the first time: session_number * 1,000,000 + position"),
        "successor_rank": ("int64", "1 for the most frequent successor, first seen first among equals"),
    },
    fit_markov,
)


class Markov(SparseRows):
    """Successor counts as a sparse matrix, over items in popularity order.

    offsets int64 (n_items + 1,): successors of item i are ``next_items[offsets[i]:offsets[i + 1]]``, best first,
    with ``counts`` beside them; events float64 (n_items,): training events of each item.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        next_items: NDArray[np.int32],
        counts: NDArray[np.float64],
        events: NDArray[np.float64],
        settings: MarkovSettings,
    ) -> None:
        n = len(events)
        by_popularity = rest_of(n, settings.padding)
        lengths = np.diff(offsets)
        if not settings.padding:
            super().__init__(offsets, next_items, counts, by_popularity, by_popularity, counts)
        elif settings.alpha == 0:  # above all others, in their own order
            places = np.arange(len(counts)) - np.repeat(offsets[:-1], lengths)
            super().__init__(offsets, next_items, listed(places, n), by_popularity, by_popularity, counts)
        else:  # the last term keeps first-seen order among equal counts: less than a count, more than a rounding
            rest = settings.alpha * events / events.max() + by_popularity / n * 1e-10
            most = np.repeat(counts[offsets[:-1][lengths > 0]], lengths[lengths > 0])
            blended = rest[next_items] + (1 - settings.alpha) * counts / most
            super().__init__(offsets, next_items, blended, rest, by_popularity, counts)


def fit(tables: Mapping[str, pa.Table], settings: MarkovSettings) -> Fitted:
    """The counts of the table, and each item's training events for the blend."""
    popularity, markov = tables["popularity"], tables["markov"]
    counted = markov.select(["item", "next_item", "transitions", "successor_rank"])
    offsets, next_items, counts = sparse_matrix(popularity, counted)
    events = popularity["events"].to_numpy().astype(np.float64)
    arrays: Arrays = {"offsets": offsets, "next_items": next_items, "counts": counts, "events": events}
    return Fitted(arrays, items_of(popularity))


def load(arrays: Arrays, settings: MarkovSettings, items: Sequence[str], device: str) -> Markov:
    """The chain with the blend that its settings ask for."""
    return Markov(arrays["offsets"], arrays["next_items"], arrays["counts"], arrays["events"], settings)


def blended_weights(model: Markov, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """The transitions from the current item, (n_items,); in a blend, where it has successors, the scores themselves."""
    counts = row_of_weights(model, session, scores)
    blend = model.rest is not model.without
    return scores if blend and counts.any() else counts


CARD = Card(
    name="markov",
    title="Markov",
    summary=N_("what followed the current item in training, most often first"),
    source=N_("the reproduction study that this project follows"),
    settings=MarkovSettings,
    tables=(POPULARITY, MARKOV),
    fit=fit,
    load=load,
    space={"alpha": Span(0.0, 1.0)},
    look=Look("#D55E00", "s", "--"),
    share=Share(N_("how often it followed the current item in training, of all that did"), blended_weights),
)
