"""What the evaluator does to every score, compiled: count those above and at the target's, and find the best items.

A row of scores is read as a whole once, then in a few places, and nothing of its size is written. The loops over
all items have no branches, so that the compiler turns them into vector instructions; that is why they look as they do.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sessrec_pipeline.caches import numba_cache

CACHE = numba_cache()

LANES, ITEMS_PER_LANE = 256, 64
"""Groups that the items of a row are dealt to, one after the other, to learn from their maxima where to look: so many,
or in a large catalogue as many as give each so many items."""
HALVINGS = 8
"""How often the search for the lowest score worth looking at halves its range. Fewer let more items through, no more
change what is found."""

Floats = NDArray[np.floating]


@njit(cache=True, nogil=True)
def observe(
    scores: Floats,
    n_items: int,
    apart: int,
    targets: NDArray[np.int64],
    greater: NDArray[np.int64],
    equal: NDArray[np.int64],
    best: NDArray[np.int32],
) -> bool:
    """Of each row of scores: how many are above and equal to that of its target, and the best items.

    scores: one row after the other, of ``n_items`` each, which begin ``apart`` from each other. targets (b,): item
    whose score the others are compared with; greater, equal (b,) and best (b, top), best first and the lower index
    among equals, are filled. top must be n_items at most. Returns False where a score is NaN.
    """
    top = best.shape[1]
    maxima = np.empty(min(max(LANES, top, n_items // ITEMS_PER_LANE), n_items), scores.dtype)
    lanes = np.empty(len(maxima), np.int32)
    candidates = np.empty(n_items, np.int32)
    values = np.empty(top, scores.dtype)
    for i in range(len(targets)):
        row = scores[i * apart : i * apart + n_items]
        score = row[targets[i]]
        greater[i], less = _pass(row, score, maxima)
        equal[i] = n_items - greater[i] - less  # and NaN, which is neither
        if (equal[i] > 1 or np.isnan(score)) and _unordered(row):
            return False
        _collect(row, maxima, _bound(maxima, top), lanes, candidates, values, best[i])
    return True


@njit(cache=True, nogil=True)
def _pass(row: Floats, score: float, maxima: Floats) -> tuple[np.int32, np.int32]:
    """How many of a row are greater and less than ``score``; 32 bits fit more of them into a vector.

    maxima is filled with the maximum of each lane: of the items lane, lane + lanes, lane + 2 * lanes, ...
    """
    greater, less = np.int32(0), np.int32(0)
    lanes = len(maxima)
    maxima[:] = row[:lanes]
    for start in range(0, len(row), lanes):
        part = row[start : min(start + lanes, len(row))]
        for lane in range(len(part)):
            value, highest = part[lane], maxima[lane]
            greater += np.int32(value > score)
            less += np.int32(value < score)
            maxima[lane] = value if value > highest else highest  # max() would heed NaN, which takes longer
    return greater, less


@njit(cache=True, nogil=True)
def _unordered(row: Floats) -> bool:
    """Whether any of a row is NaN."""
    found = np.int32(0)
    for i in range(len(row)):
        found += np.int32(row[i] != row[i])
    return bool(found > 0)


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _range(maxima: Floats) -> tuple[Any, Any]:
    """The lowest and the highest of them."""
    low = high = maxima[0]
    for lane in range(len(maxima)):
        low, high = min(low, maxima[lane]), max(high, maxima[lane])
    return low, high


@njit(cache=True, nogil=True)
def _bound(maxima: Floats, top: int) -> Any:
    """A score that ``top`` lanes reach, so that many items do: what is below it is not among the best."""
    low, high = _range(maxima)
    half = maxima.dtype.type(0.5)  # of the scores' type, or all lanes would be compared as float64
    for _ in range(HALVINGS):
        middle = low + (high - low) * half  # infinite: NaN, which no lane reaches, and low stays
        reached = np.int32(0)
        for lane in range(len(maxima)):
            reached += np.int32(maxima[lane] >= middle)
        if reached >= top:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _collect(
    row: Floats,
    maxima: Floats,
    bound: float,
    lanes: NDArray[np.int32],
    candidates: NDArray[np.int32],
    values: Floats,
    best: NDArray[np.int32],
) -> None:
    """Fill ``best`` with the items of the highest scores, all of which reach ``bound``; lanes to values are memory.

    What reaches the bound is written down without a branch, which no processor could foretell.
    """
    looked_at = 0
    for lane in range(len(maxima)):
        lanes[looked_at] = lane
        looked_at += maxima[lane] >= bound
    reached = 0
    for start in range(0, len(row), len(maxima)):
        for i in range(looked_at):
            item = start + lanes[i]
            if item < len(row):
                candidates[reached] = item
                reached += row[item] >= bound
    found = 0
    for item in candidates[:reached]:
        found = _insert(values, best, found, row[item], item)


@njit(cache=True, nogil=True)
def _insert(values: Floats, items: NDArray[np.int32], found: int, value: float, item: int) -> int:
    """Put an item where it belongs among the best ones ``found`` so far, behind its equals; how many there are now."""
    if found == len(values):
        if value <= values[found - 1]:
            return found
        found -= 1
    place = found
    while place > 0 and values[place - 1] < value:
        values[place], items[place] = values[place - 1], items[place - 1]
        place -= 1
    values[place], items[place] = value, item
    return found + 1
