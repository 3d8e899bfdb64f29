"""Models that look at the current item alone: a few items have scores after it, the rest has those of popularity."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Arrays, Block, Fitted, Recommender, Sessions, best_of
from sessrec_pipeline.models.padding import listed, rest_of


class SparseRows(Recommender):
    """A sparse matrix of scores.

    offsets int64 (n_items + 1,): item i scores ``columns[offsets[i]:offsets[i + 1]]``, int32, with the float64
    ``values`` beside them; all others get ``rest`` (n_items,). After an item that scores none stands the row
    ``without`` (n_items,). ``weights`` (as ``values``) are what the scores were made from: counts,
    similarities; by default the scores themselves.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        columns: NDArray[np.int32],
        values: NDArray[np.float64],
        rest: NDArray[np.float64],
        without: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        self.n_items, self.weights = len(rest), values if weights is None else weights
        self.offsets, self.columns, self.values, self.rest, self.without = offsets, columns, values, rest, without

    def after(self, item: int) -> NDArray[np.float64]:
        """Scores float64 (n_items,) of every item as the one after ``item``."""
        scored = slice(self.offsets[item], self.offsets[item + 1])
        row = (self.rest if scored.stop > scored.start else self.without).copy()
        row[self.columns[scored]] = self.values[scored]
        return row

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        from sessrec_pipeline.models.counts import kernels  # noqa: PLC0415 - imports numba

        block = np.empty((min(batch_size, len(sessions.items)), self.n_items))
        for start in range(0, len(sessions.items), batch_size):
            items = sessions.items[start : start + batch_size]
            scores = block[: len(items)]
            kernels.sparse_rows(items, self.offsets, self.columns, self.values, self.rest, self.without, scores)
            yield np.arange(start, start + len(items), dtype=np.int64), scores

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        scores = np.empty((len(sessions), self.n_items))
        for row, item in zip(scores, sessions.items[sessions.last].tolist(), strict=True):
            row[:] = self.after(item)
        return scores

    def similar(self, item: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        """The items that ``item`` scores, itself left out, best first, and their weights."""
        scored = slice(self.offsets[item], self.offsets[item + 1])
        others = self.columns[scored] != item
        columns, values = self.columns[scored][others], self.values[scored][others]
        order = np.argsort(columns, kind="stable")  # the lower index among equals
        best = order[best_of(values[order], k)]
        return columns[best].astype(np.int64), self.weights[scored][others][best]


def row_of_weights(model: SparseRows, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """The weights that the current item gives to others, (n_items,)."""
    scored = slice(model.offsets[session[-1]], model.offsets[session[-1] + 1])
    row = np.zeros(model.n_items)
    row[model.columns[scored]] = model.weights[scored]
    return row


class Padded(Protocol):
    """Settings with ``padding``."""

    @property
    def padding(self) -> bool:
        """Whether items without a score are ranked by popularity."""
        ...


def fit_rules(table: str) -> Callable[[Mapping[str, pa.Table], object], Fitted]:
    """How a model comes from the rules of a fitted table: its columns are item, other item, weight, rank."""

    def fit(tables: Mapping[str, pa.Table], settings: object) -> Fitted:
        offsets, columns, weights = sparse_matrix(tables["popularity"], tables[table])
        arrays: Arrays = {"offsets": offsets, "columns": columns, "weights": weights}
        return Fitted(arrays, tables["popularity"]["item"].to_pylist())

    return fit


def load_rules(arrays: Arrays, settings: Padded, items: Sequence[str], device: str) -> SparseRows:
    """Rules from item to item: ranked as their table ranks them, or without padding by their raw weights."""
    n_items, offsets, columns = len(items), arrays["offsets"], arrays["columns"]
    places = np.arange(len(columns)) - np.repeat(offsets[:-1], np.diff(offsets))
    rest = rest_of(n_items, settings.padding)
    values = listed(places, n_items) if settings.padding else arrays["weights"]
    return SparseRows(offsets, columns, values, rest, rest, arrays["weights"])


def sparse_matrix(
    popularity: pa.Table, rules: pa.Table
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Offsets, columns and values of a fitted table (item, other item, weight, rank), by item and then by rank.

    Raises ValueError where it has items that popularity lacks.
    """
    item, other, weight, rank = rules.column_names
    index = popularity["item"].combine_chunks()
    current, following = (pc.index_in(rules[column], index) for column in (item, other))
    if current.null_count or following.null_count:
        raise ValueError("this table has items that popularity lacks: fit both on the same training events")
    order = np.lexsort((rules[rank].to_numpy(), current.to_numpy()))
    offsets = np.searchsorted(current.to_numpy()[order], np.arange(len(index) + 1)).astype(np.int64)
    columns = following.to_numpy()[order].astype(np.int32)
    return offsets, columns, rules[weight].to_numpy()[order].astype(np.float64)
