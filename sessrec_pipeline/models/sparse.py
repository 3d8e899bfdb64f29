"""Models that look at the current item alone: a few items have scores after it, the rest has those of popularity."""

from collections.abc import Iterator
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.models.padding import listed, rest_of


class SparseRows:
    """A Recommender of a sparse matrix.

    offsets int64 (n_items + 1,): item i scores ``columns[offsets[i]:offsets[i + 1]]``, int32, with the float64
    ``values`` beside them; all others get ``rest`` (n_items,). After an item that scores none stands the row
    ``without`` (n_items,).
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        columns: NDArray[np.int32],
        values: NDArray[np.float64],
        rest: NDArray[np.float64],
        without: NDArray[np.float64],
    ) -> None:
        self.offsets, self.columns, self.values, self.rest, self.without = offsets, columns, values, rest, without

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.rest)

    def after(self, item: int) -> NDArray[np.float64]:
        """Scores float64 (n_items,) of every item as the one after ``item``."""
        ((_, scores),) = self.score(Sessions.from_lists([[item]]), 1)
        row: NDArray[np.float64] = scores[0]
        return row

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        from sessrec_pipeline.models import kernels  # noqa: PLC0415 - imports numba

        block = np.empty((min(batch_size, len(sessions.items)), self.n_items))
        for start in range(0, len(sessions.items), batch_size):
            items = sessions.items[start : start + batch_size]
            scores = block[: len(items)]
            kernels.sparse_rows(items, self.offsets, self.columns, self.values, self.rest, self.without, scores)
            yield np.arange(start, start + len(items), dtype=np.int64), scores


class Rules(SparseRows):
    """Rules from item to item, as fitted: ranked as their table ranks them, or by their raw weights."""

    @classmethod
    def from_tables(cls, popularity: pa.Table, rules: pa.Table, *, padding: bool) -> tuple[Self, list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1.

        rules: columns item, the other item, weight and rank, in this order of meaning, under names of their own.
        """
        n_items = popularity.num_rows
        offsets, columns, weights = sparse_matrix(popularity, rules)
        places = np.arange(len(columns)) - np.repeat(offsets[:-1], np.diff(offsets))
        rest = rest_of(n_items, padding)
        values = listed(places, n_items) if padding else weights
        return cls(offsets, columns, values, rest, rest), popularity["item"].to_pylist()


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
