"""What session neighbours do for each prediction, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sessrec_pipeline.caches import numba_cache

CACHE = numba_cache()

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def neighbour_rows(
    items: NDArray[np.int32],
    starts: Ints,
    first: int,
    item_offsets: Ints,
    item_sessions: NDArray[np.int32],
    session_offsets: Ints,
    session_items: NDArray[np.int32],
    positions: NDArray[np.int32],
    session_weights: Floats,
    item_weights: Floats,
    by_age: Floats,
    power: int,
    by_step: Floats,
    by_distance: Floats,
    k: int,
    sample_size: int,
    repeat_current: bool,
    rest: Floats,
    steps: float,
    slots: NDArray[np.int32],
    block: Floats,
) -> None:
    """Fill row i of ``block`` (b, n) for event first + i with the scores that its neighbour sessions give.

    starts (b,): first event of each one's session. Sessions are numbered from the most recent one on: those with item
    j are ``item_sessions[item_offsets[j]:item_offsets[j + 1]]``, rising; the items of session s and their positions
    stand at ``session_offsets[s]:session_offsets[s + 1]``. What the weights mean says ``session_knn.Weights``.
    repeat_current: whether the event's own item is scored. rest (n,): scores of the items that have none. steps: see
    ``_write``. slots (sessions,): memory that holds -1, and does again afterwards.
    """
    totals, scored = np.zeros(block.shape[1]), np.empty(block.shape[1], np.int32)
    room = min(sample_size, len(slots))
    sample, ages, sums = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room)
    lists, weights = np.empty((len(by_age), 3), np.int64), np.empty(len(by_age))
    for i in range(len(block)):
        event, length = first + i, first + i + 1 - starts[i]
        n_lists = 0
        for age in range(length):  # from the most recent event back
            if _is_last(items, event - age, event):
                item = items[event - age]
                lists[n_lists] = (item_offsets[item], item_offsets[item + 1], age)
                weights[n_lists] = by_age[age] * ((length - age) / length) ** power
                n_lists += 1
        found = _sample(item_sessions, lists[:n_lists], weights, slots, sample, ages, sums)
        for j in range(found):
            slots[sample[j]] = -1
            sums[j] *= session_weights[sample[j]]
        n_scored = 0
        for j in _most_similar(sample[:found], sums[:found], k):
            places = range(session_offsets[sample[j]], session_offsets[sample[j] + 1])
            shared = 0
            for place in places:
                if session_items[place] == items[event - ages[j]]:
                    shared = positions[place]
            weight = sums[j] * by_step[ages[j]]
            for place in places:
                item = session_items[place]
                add = weight * by_distance[abs(positions[place] - shared)] * item_weights[item]
                if add > 0 and (repeat_current or item != items[event]):
                    if totals[item] == 0:
                        scored[n_scored] = item
                        n_scored += 1
                    totals[item] += add
        _write(block[i], totals, scored[:n_scored], rest, steps)


@njit(cache=True, nogil=True)
def _is_last(items: NDArray[np.int32], at: int, event: int) -> bool:
    """Whether the item at ``at`` does not come again up to ``event``."""
    later = at + 1
    while later <= event and items[later] != items[at]:
        later += 1
    return later > event


@njit(cache=True, nogil=True)
def _sample(
    item_sessions: NDArray[np.int32],
    lists: Ints,
    weights: Floats,
    slots: NDArray[np.int32],
    sample: NDArray[np.int32],
    ages: NDArray[np.int32],
    sums: Floats,
) -> int:
    """Fill ``sample`` with the most recent sessions of the lists, as many as there are; how many there are.

    lists (items, 3): where the list of each item begins in ``item_sessions``, where it ends, and the item's age; the
    lowest age of a session's items goes to ``ages``, the sum of their weights (items,) to ``sums``. The lists are
    walked side by side, so that the work follows the sample and not the length of the lists. slots (sessions,): the
    place of each session of the sample.
    """
    found, before = 0, -1
    while before < found < len(sample):
        before = found
        bound = _reach(item_sessions, lists, len(sample) - found, len(slots))
        for j in range(len(lists)):
            at, end = lists[j, 0], lists[j, 1]
            while at < end and item_sessions[at] <= bound:
                session = item_sessions[at]
                slot = slots[session]
                if slot < 0:
                    slots[session] = found
                    sample[found], ages[found], sums[found] = session, lists[j, 2], weights[j]
                    found += 1
                else:
                    sums[slot] += weights[j]
                at += 1
            lists[j, 0] = at
    return found


@njit(cache=True, nogil=True)
def _reach(item_sessions: NDArray[np.int32], lists: Ints, wanted: int, n_sessions: int) -> int:
    """The session up to which the lists hold ``wanted`` more entries, or fewer if that is all there are.

    Lists are rising, and a session may be in several. So its entries are of ``wanted`` different sessions at most, and
    walking on from there until there are enough costs a few rounds, however many sessions the lists speak of.
    """
    low, high = -1, n_sessions - 1  # up to low there are too few
    while high - low > 1:
        middle = (low + high) // 2
        held = 0
        for j in range(len(lists)):
            begin, end = lists[j, 0], lists[j, 1]
            held += int(np.searchsorted(item_sessions[begin:end], middle, side="right"))
        if held < wanted:
            low = middle
        else:
            high = middle
    return high


@njit(cache=True, nogil=True)
def _most_similar(sample: NDArray[np.int32], similarities: Floats, k: int) -> Ints:
    """Places of the k highest similarities above zero, of equals those of the most recent sessions, in any order."""
    bound = 0.0
    if len(sample) > k:
        bound = np.partition(similarities, len(sample) - k)[len(sample) - k]
    above = np.flatnonzero(similarities > bound)
    if bound == 0 or len(above) == k:
        return above
    level = np.flatnonzero(similarities == bound)
    if len(level) > k - len(above):
        last = np.partition(sample[level], k - len(above) - 1)[k - len(above) - 1]
        level = level[sample[level] <= last]
    return np.concatenate((above, level))


@njit(cache=True, nogil=True)
def _write(row: Floats, totals: Floats, scored: NDArray[np.int32], rest: Floats, steps: float) -> None:
    """Write ``rest`` and the ``totals`` of the items ``scored`` into a row, and set the totals back to zero.

    With ``steps`` above 0, totals are rounded to so many steps of the best one's, and what rounds alike is ranked as in
    ``rest``, which counts down to 1: all of it whole numbers, none of them equal, and above those of the rest.
    """
    best = 0.0
    for i in range(len(scored)):
        best = max(best, totals[scored[i]])
    row[:] = rest
    for i in range(len(scored)):
        item = scored[i]
        if steps > 0:
            row[item] = max(1.0, np.floor(totals[item] / best * steps + 0.5)) * len(row) + rest[item]
        else:
            row[item] = totals[item]
        totals[item] = 0
