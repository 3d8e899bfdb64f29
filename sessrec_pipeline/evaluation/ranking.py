"""The full-ranking evaluator: every catalogue item is scored after every test event, and what was seen is kept.

Models never compute metrics. A prediction's rank among the whole catalogue follows from two counts, the items scored
*greater* than the target and those scored *equal* (the target itself included), under any tie rule:
standard = greater + 1, conservative = greater + equal, median = the middle of both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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


@dataclass(frozen=True)
class TestSet:
    """Test events in session and position order, under a model's vocabulary.

    session_ids text (sessions,); items text (events,); numbers int64 (events,): row of each event's session;
    codes int64 (events,): item index, -1 where the vocabulary lacks the item.
    """

    session_ids: list[str]
    items: list[str]
    numbers: NDArray[np.int64]
    positions: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, test: pa.Table, vocabulary: list[str]) -> "TestSet":
        """From the columns session, session_number, position, item of a split, in its order."""
        numbers = test["session_number"].to_numpy().astype(np.int64)
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        session_ids = test["session"].take(pa.array(starts)).to_pylist()
        items = test["item"].to_pylist()
        codes = pc.index_in(test["item"], pa.array(vocabulary, pa.string())).fill_null(-1).to_numpy().astype(np.int64)
        rows = np.cumsum(np.diff(numbers, prepend=numbers[0] if len(numbers) else 0) > 0)
        return cls(session_ids, items, rows, test["position"].to_numpy().astype(np.int64), codes)


def rank(
    model: Recommender,
    vocabulary: list[str],
    test: pa.Table,
    *,
    batch_size: int,
    top: int,
    say: Callable[[int, int], None] = lambda done, total: None,
) -> pa.Table:
    """Rank the catalogue for every test event from the second of its session on; one row per prediction.

    The history of a prediction is the events before it that the vocabulary knows. A target that it does not know, or
    a history without any known item, is a miss under every tie rule (greater = MISS).

    Raises ValueError where a model scores NaN: such a model has no ranking.
    """
    events = TestSet.of(test, vocabulary)
    n_items = len(vocabulary)
    index = np.arange(len(events.codes))
    is_first = np.diff(events.numbers, prepend=-1) != 0
    is_last = np.diff(events.numbers, append=len(events.session_ids)) != 0
    targets = index[~is_first]

    # What the model reads: known events, but for each session's last one, after which nothing is predicted.
    shown = index[(events.codes >= 0) & ~is_last]
    lengths = np.bincount(events.numbers[shown], minlength=len(events.session_ids))
    sessions = Sessions(
        events.codes[shown].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    )
    # The last shown event before each target, if it is of the same session; several targets can share one.
    context = np.searchsorted(shown, targets) - 1
    has_context = context >= 0
    has_context[has_context] = events.numbers[shown[context[has_context]]] == events.numbers[targets[has_context]]
    predictable = np.flatnonzero(has_context)
    first_of = np.searchsorted(context[predictable], np.arange(len(shown)))
    count_of = np.bincount(context[predictable], minlength=len(shown))

    greater = np.full(len(targets), MISS, dtype=np.int64)
    equal = np.ones(len(targets), dtype=np.int64)
    top = min(top, n_items)
    best = np.full((len(targets), top), -1, dtype=np.int64)
    done = 0
    for block_events, scores in model.score(sessions, batch_size):
        counts = count_of[block_events]
        rows = np.repeat(np.arange(len(block_events)), counts)
        offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        predictions = predictable[np.repeat(first_of[block_events], counts) + offsets]
        if np.isnan(scores).any():
            raise ValueError("the model scored NaN for some item: it has no ranking; train it again")
        best[predictions] = best_items(scores, top)[rows]
        wanted = events.codes[targets[predictions]]
        known = wanted >= 0
        rows, predictions, wanted = rows[known], predictions[known], wanted[known]
        block = scores[rows]
        target_scores = block[np.arange(len(rows)), wanted][:, None]
        greater[predictions] = (block > target_scores).sum(axis=1)
        equal[predictions] = (block == target_scores).sum(axis=1)
        done += len(counts)
        say(done, len(shown))
    names = np.array([*vocabulary, ""], dtype=object)
    flat = names[best[best >= 0]]
    sizes = (best >= 0).sum(axis=1)
    return pa.table(
        {
            "session": [events.session_ids[row] for row in events.numbers[targets]],
            "position": events.positions[targets],
            "target": [events.items[i] for i in targets],
            "greater": greater,
            "equal": equal,
            "top_items": pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32()), pa.array(flat, pa.string())
            ),
        },
        schema=SCHEMA,
    )


def best_items(scores: NDArray[np.floating], top: int) -> NDArray[np.int64]:
    """Indices int64 (b, top) of the highest scores float (b, n_items), best first, the lower index among equals."""
    n_items = scores.shape[1]
    if top < n_items:
        candidates = np.argpartition(scores, n_items - top, axis=1)[:, n_items - top :]
        last = np.take_along_axis(scores, candidates, axis=1).min(axis=1, keepdims=True)
        # Of the items that share the last place argpartition took any; they too are told apart by index.
        for row in np.flatnonzero((scores >= last).sum(axis=1) > top):
            above, level = np.flatnonzero(scores[row] > last[row]), np.flatnonzero(scores[row] == last[row])
            candidates[row] = np.concatenate([above, level[: top - len(above)]])
    else:
        candidates = np.broadcast_to(np.arange(n_items), scores.shape)
    candidates = np.sort(candidates, axis=1)
    order = np.argsort(-np.take_along_axis(scores, candidates, axis=1), axis=1, kind="stable")
    return np.take_along_axis(candidates, order, axis=1)
