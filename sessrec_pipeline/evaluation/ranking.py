"""The full-ranking evaluator: every catalogue item is scored after every test event, and the counts are kept.

Models never compute metrics. A prediction's rank among the whole catalogue follows from two counts, the items scored
*greater* than the target and those scored *equal* (the target itself included), under any tie rule:
standard = greater + 1, conservative = greater + equal, median = the middle of both.

Scores come in blocks that fit a core's cache, or of as many predictions as the model needs to be fast, within
``MEMORY_BYTES``: the full matrix of scores exists at no time, and what a prediction costs follows the catalogue.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Recommender, Sessions

SCHEMA = pa.schema(
    [
        ("session", pa.string()),
        ("position", pa.int64()),
        ("target", pa.string()),
        ("greater", pa.int64()),
        ("equal", pa.int64()),
        ("top_items", pa.list_(pa.string())),
    ]
)


MISS = 2**31 - 1
"""``greater`` of a target that has no rank, beyond every cutoff, however small the catalogue."""

CACHE_BYTES = 1_300_000
"""Scores that a model is asked for at once: they are read several times, so they should stay in a core's cache."""

MEMORY_BYTES = 2**27
"""Scores in float32 that a model is asked for at once where it is faster with more of them than fit a cache."""

LEAST_ROWS = 32
"""Predictions that a model is asked for at once, however large the catalogue; few cost several times as much each."""


@dataclass(frozen=True)
class TestSet:
    """Test events in session and position order, under a model's vocabulary.

    sessions, items: text (events,); numbers int64 (events,): 0 for the events of the first session, 1 for the next;
    codes int64 (events,): item index, -1 where the vocabulary lacks the item.
    """

    sessions: pa.ChunkedArray
    items: pa.ChunkedArray
    numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, test: pa.Table, vocabulary: pa.Array) -> "TestSet":
        """From the columns session, session_number, position, item of a split, in its order."""
        numbers = test["session_number"].to_numpy().astype(np.int64)
        numbers = np.cumsum(np.diff(numbers, prepend=numbers[:1]) > 0)
        codes = pc.index_in(test["item"], vocabulary).fill_null(-1).to_numpy().astype(np.int64)
        return cls(test["session"], test["item"], numbers, test["position"].to_numpy().astype(np.int64), codes)


def rank(
    model: Recommender,
    vocabulary: list[str],
    test: pa.Table,
    *,
    batch_size: int,
    top: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pa.Table:
    """Rank the catalogue for every test event from the second of its session on; one row per prediction.

    The history of a prediction is the events before it that the vocabulary knows. A target that it does not know, or
    a history without any known item, is a miss under every tie rule (greater = MISS). ``batch_size`` is the most
    predictions to score at once; of a large catalogue they are fewer, see ``rows_at_once``. ``progress`` is called
    after each block with the predictions scored so far and all of them.

    Raises ValueError where a model scores NaN: such a model has no ranking.
    """
    names = pa.array(vocabulary, pa.string())
    events = TestSet.of(test, names)
    index = np.arange(len(events.codes))
    is_first = np.diff(events.numbers, prepend=-1) != 0
    is_last = np.append(is_first[1:], True)[: len(index)]
    targets = index[~is_first]

    # What the model reads: known events, but for each session's last one, after which nothing is predicted.
    shown = index[(events.codes >= 0) & ~is_last]
    lengths = np.bincount(events.numbers[shown])
    sessions = Sessions(
        events.codes[shown].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    )
    # The last shown event before each target, where that is of the same session. Several targets can share one, but
    # only one of them is known: after that one the history is longer.
    context = np.searchsorted(shown, targets) - 1
    begun = context >= 0
    begun[begun] = events.numbers[shown[context[begun]]] == events.numbers[targets[begun]]
    ranked = begun & (events.codes[targets] >= 0)
    wanted = np.zeros(len(shown), dtype=np.int64)
    wanted[context[ranked]] = events.codes[targets[ranked]]

    above = np.full(len(shown), MISS, dtype=np.int64)
    level = np.ones(len(shown), dtype=np.int64)
    best = np.zeros((len(shown), min(top, len(vocabulary))), dtype=np.int32)
    done = 0
    for block, scores in model.score(sessions, rows_at_once(len(vocabulary), batch_size, model.fast_rows)):
        above[block], level[block], best[block] = observe(scores, wanted[block], best.shape[1])
        done += len(block)
        progress(done, len(shown))

    greater = np.full(len(targets), MISS, dtype=np.int64)
    equal = np.ones(len(targets), dtype=np.int64)
    greater[ranked], equal[ranked] = above[context[ranked]], level[context[ranked]]
    listed = np.where(begun, best.shape[1], 0)
    return pa.table(
        {
            "session": events.sessions.take(targets),
            "position": events.positions[targets],
            "target": events.items.take(targets),
            "greater": greater,
            "equal": equal,
            "top_items": pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], np.cumsum(listed)]), pa.int32()),
                names.take(pa.array(best[context[begun]].ravel())),
            ),
        },
        schema=SCHEMA,
    )


def rows_at_once(n_items: int, batch_size: int, fast_rows: int = LEAST_ROWS) -> int:
    """Predictions to score at once, at most ``batch_size``: a power of two whose float32 fit ``CACHE_BYTES``.

    Or more, up to ``fast_rows`` as far as they fit ``MEMORY_BYTES``, and up to ``LEAST_ROWS`` in any case.
    """
    row_bytes = 4 * max(1, n_items)
    room = max(LEAST_ROWS, CACHE_BYTES // row_bytes, min(fast_rows, MEMORY_BYTES // row_bytes))
    return min(batch_size, 1 << (room.bit_length() - 1))


class Observed(NamedTuple):
    """What the evaluator keeps of rows of scores: greater and equal, int64 (b,), and the best items, int32 (b, top)."""

    greater: NDArray[np.int64]
    equal: NDArray[np.int64]
    best: NDArray[np.int32]


def observe(scores: NDArray[np.floating], targets: NDArray[np.int64], top: int) -> Observed:
    """Look at scores float (b, n_items) once: the counts for the targets (b,) and the ``top`` best, at most n_items.

    The best items come best first, the lower index among equals. Raises ValueError where a score is NaN.
    """
    from sessrec_pipeline.evaluation import kernels  # noqa: PLC0415 - imports numba

    b, n_items = scores.shape
    scores = np.ascontiguousarray(scores) if scores.strides[1] != scores.itemsize else scores
    apart = scores.strides[0] // scores.itemsize  # more than n_items in padded memory, 0 in a row shown many times
    flat = as_strided(scores, [(b - 1) * apart + n_items], [scores.itemsize], writeable=False)
    found = Observed(np.empty(b, np.int64), np.empty(b, np.int64), np.empty((b, top), np.int32))
    if not kernels.observe(flat, n_items, apart, targets, *found):
        raise ValueError("the model scored NaN for some item: it has no ranking; train it again")
    return found
