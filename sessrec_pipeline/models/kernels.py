"""What the models of counts and neighbours do for each prediction, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    sums: Floats,
    ages: NDArray[np.int32],
    totals: Floats,
    block: Floats,
) -> None:
    """Fill row i of ``block`` (b, n) for event first + i with the scores that its neighbour sessions give.

    starts (b,): first event of each one's session. Sessions are numbered from the most recent one on: those with item
    j are ``item_sessions[item_offsets[j]:item_offsets[j + 1]]``, rising; the items of session s and their positions
    stand at ``session_offsets[s]:session_offsets[s + 1]``. What the weights mean says ``session_knn.Weights``.
    repeat_current: whether the event's own item is scored. rest (n,): of the items that are not. steps: see ``_write``. sums, ages (sessions,) and totals
    (n,): memory that holds 0, -1 and 0, and does again afterwards.
    """
    n = block.shape[1]
    met = np.empty(len(ages), np.int32)
    scored = np.empty(n, np.int32)
    for i in range(len(block)):
        event, length = first + i, first + i + 1 - starts[i]
        found = 0
        for age in range(length):  # from the most recent event back
            item = items[event - age]
            if not _is_last(items, event - age, event):
                continue
            weight = by_age[age] * ((length - age) / length) ** power
            for j in range(item_offsets[item], item_offsets[item + 1]):
                session = item_sessions[j]
                if ages[session] < 0:
                    ages[session] = age
                    met[found] = session
                    found += 1
                sums[session] += weight
        sample = _smallest(met[:found], sample_size)
        neighbours, similarities = _most_similar(sample, sums, session_weights, k)
        n_scored = 0
        for j in range(len(neighbours)):
            session, age = neighbours[j], ages[neighbours[j]]
            begin, end = session_offsets[session], session_offsets[session + 1]
            shared = 0
            for place in range(begin, end):
                if session_items[place] == items[event - age]:
                    shared = positions[place]
            weight = similarities[j] * by_step[age]
            for place in range(begin, end):
                item = session_items[place]
                add = weight * by_distance[abs(positions[place] - shared)] * item_weights[item]
                if add > 0 and (repeat_current or item != items[event]):
                    if totals[item] == 0:
                        scored[n_scored] = item
                        n_scored += 1
                    totals[item] += add
        for j in range(found):
            sums[met[j]] = 0
            ages[met[j]] = -1
        _write(block[i], totals, scored[:n_scored], rest, steps)


@njit(cache=True, nogil=True)
def _is_last(items: NDArray[np.int32], at: int, event: int) -> bool:
    """Whether the item at ``at`` does not come again up to ``event``."""
    later = at + 1
    while later <= event and items[later] != items[at]:
        later += 1
    return later > event


@njit(cache=True, nogil=True)
def _smallest(numbers: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """The ``count`` smallest of different numbers, in any order."""
    if len(numbers) <= count:
        return numbers
    return np.partition(numbers, count - 1)[:count]


@njit(cache=True, nogil=True)
def _most_similar(
    sample: NDArray[np.int32], sums: Floats, session_weights: Floats, k: int
) -> tuple[NDArray[np.int32], Floats]:
    """The k most similar sessions, the most recent of equals, rising; none of similarity 0. And their similarities."""
    similarities = np.empty(len(sample))
    for i in range(len(sample)):
        similarities[i] = sums[sample[i]] * session_weights[sample[i]]
    bound = 0.0
    if len(sample) > k:
        bound = max(0.0, np.partition(similarities, len(sample) - k)[len(sample) - k])
    chosen = np.empty(min(k, len(sample)), np.int32)
    level = np.empty(len(sample), np.int32)
    n_chosen, n_level = 0, 0
    for i in range(len(sample)):
        if similarities[i] > bound:
            chosen[n_chosen] = sample[i]
            n_chosen += 1
        elif similarities[i] == bound and bound > 0:
            level[n_level] = sample[i]
            n_level += 1
    rest = _smallest(level[:n_level], len(chosen) - n_chosen) if n_chosen < len(chosen) else level[:0]
    chosen[n_chosen : n_chosen + len(rest)] = rest
    neighbours = np.sort(chosen[: n_chosen + len(rest)])
    out = np.empty(len(neighbours))
    for i in range(len(neighbours)):
        out[i] = sums[neighbours[i]] * session_weights[neighbours[i]]
    return neighbours, out


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
