"""What models of counts do for each prediction, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sessrec_pipeline.caches import numba_cache

CACHE = numba_cache()

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def sparse_rows(
    items: NDArray[np.int32],
    offsets: Ints,
    columns: NDArray[np.int32],
    values: Floats,
    rest: Floats,
    without: Floats,
    block: Floats,
) -> None:
    """Fill row i of ``block`` (b, n) with ``values`` in the columns of ``items[i]``, elsewhere with ``rest`` (n,).

    Those of item j are ``offsets[j]:offsets[j + 1]``; an item that has none gets the row ``without`` (n,).
    """
    for i in range(len(items)):
        row = block[i]
        begin, end = offsets[items[i]], offsets[items[i] + 1]
        row[:] = rest if end > begin else without
        for j in range(begin, end):
            row[columns[j]] = values[j]


@njit(cache=True, nogil=True)
def session_counts(items: NDArray[np.int32], starts: Ints, first: int, rest: Floats, block: Floats) -> None:
    """Fill row i of ``block`` (b, n) for event first + i with ``rest`` (n,), and with counts for its session's items.

    starts (b,): first event of each one's session. What an item has is the highest of ``rest``, 1 for each of its
    events, and how far into the session the last one is, from 0 to less than 1.
    """
    for i in range(len(block)):
        row, length = block[i], first + i + 1 - starts[i]
        row[:] = rest
        for j in range(starts[i], first + i + 1):
            row[items[j]] = rest[0]
        for j in range(starts[i], first + i + 1):
            row[items[j]] = np.floor(row[items[j]]) + 1 + (j - starts[i]) / length
