from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.ranking import MISS, SCHEMA, observe, rank, rows_at_once
from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.models.counts.popularity import Popularity

UNKNOWN = "?"


def drawn(n_items: int, history: list[int], levels: int = 4) -> NDArray[np.float64]:
    """Scores of few different values that depend on the whole history."""
    return np.random.default_rng([7, *history]).integers(levels, size=n_items).astype(np.float64)


@dataclass
class Drawn:
    """A model with many ties, which answers in blocks of any size and in any order."""

    n_items: int
    fast_rows: int = 32
    blocks: list[int] = field(default_factory=list)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        events = np.random.default_rng(len(sessions.items)).permutation(len(sessions.items))
        for start in range(0, len(events), batch_size):
            block = events[start : start + batch_size]
            self.blocks.append(len(block))
            yield block, np.array([drawn(self.n_items, self.history(sessions, event)) for event in block])

    @staticmethod
    def history(sessions: Sessions, event: int) -> list[int]:
        start = sessions.offsets[np.searchsorted(sessions.offsets, event, side="right") - 1]
        return sessions.items[start : event + 1].tolist()


class Fixed:
    """The same scores after every event."""

    fast_rows = 32

    def __init__(self, *scores: float) -> None:
        self.row = np.array(scores)
        self.n_items = len(scores)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        for event in range(len(sessions.items)):
            yield np.array([event]), self.row[None, :]


def split_of(sessions: list[list[str]]) -> pa.Table:
    """A test split; session ids are in no order."""
    lengths = [len(session) for session in sessions]
    return pa.table(
        {
            "session": pa.array([f"s{-i}" for i, n in enumerate(lengths) for _ in range(n)], pa.string()),
            "session_number": pa.array([i for i, n in enumerate(lengths) for _ in range(n)], pa.int64()),
            "position": pa.array([p for n in lengths for p in range(n)], pa.int64()),
            "item": pa.array([item for session in sessions for item in session], pa.string()),
        }
    )


def names(n_items: int) -> list[str]:
    return [f"i{i}" for i in range(n_items)]


def by_sorting(sessions: list[list[str]], n_items: int, top: int) -> list[dict[str, Any]]:
    """The rankings, one prediction after the other, by sorting the catalogue in Python."""
    rows = []
    vocabulary = names(n_items)
    for number, session in enumerate(sessions):
        for position in range(1, len(session)):
            history = [vocabulary.index(item) for item in session[:position] if item in vocabulary]
            row = {"session": f"s{-number}", "position": position, "target": session[position]}
            row |= {"greater": MISS, "equal": 1, "top_items": []}
            if history:
                scores = drawn(n_items, history)
                order = sorted(range(n_items), key=lambda i, scores=scores: (-scores[i], i))
                row["top_items"] = [vocabulary[i] for i in order[:top]]
                if session[position] in vocabulary:
                    target = scores[vocabulary.index(session[position])]
                    row["greater"] = sum(score > target for score in scores)
                    row["equal"] = sum(score == target for score in scores)
            rows.append(row)
    return rows


@st.composite
def splits(draw: st.DrawFn) -> tuple[list[list[str]], int]:
    n_items = draw(st.integers(1, 8))
    item = st.sampled_from([*names(n_items), UNKNOWN, "other unknown"])
    return draw(st.lists(st.lists(item, min_size=1, max_size=7), max_size=8)), n_items


@given(splits(), st.integers(1, 10), st.sampled_from([1, 7, 512]))
@settings(max_examples=150, deadline=None)
def test_rankings_equal_sorting_in_python(split: tuple[list[list[str]], int], top: int, batch_size: int) -> None:
    sessions, n_items = split
    ranked = rank(Drawn(n_items), names(n_items), split_of(sessions), batch_size=batch_size, top=top)
    assert ranked.schema == SCHEMA
    assert ranked.to_pylist() == by_sorting(sessions, n_items, top)


@pytest.mark.parametrize(
    "session",
    [
        [UNKNOWN, "i0", "i1", "i2"],
        ["i0", UNKNOWN, "i1", UNKNOWN, UNKNOWN, "i2"],
        ["i0", "i1", "i2", UNKNOWN],
    ],
)
def test_unknown_items_filtered_before_eval(session: list[str]) -> None:
    """Known targets are ranked as if the unknown events had never been; unknown ones are misses."""
    model, vocabulary = Drawn(3), names(3)
    with_unknown = rank(model, vocabulary, split_of([session]), batch_size=4, top=3).to_pylist()
    without = rank(model, vocabulary, split_of([["i0", "i1", "i2"]]), batch_size=4, top=3).to_pylist()

    seen = {row["target"]: (row["greater"], row["equal"], row["top_items"]) for row in with_unknown}
    for row in without:
        assert seen[row["target"]] == (row["greater"], row["equal"], row["top_items"])
    assert len(with_unknown) == len(session) - 1
    assert all(row["greater"] == MISS for row in with_unknown if row["target"] == UNKNOWN)


def test_a_session_of_unknown_items_alone_and_one_of_a_single_event() -> None:
    ranked = rank(Drawn(2), names(2), split_of([[UNKNOWN, UNKNOWN], ["i0"], ["i0", "i1"]]), batch_size=4, top=2)
    assert [(row["session"], row["greater"] == MISS) for row in ranked.to_pylist()] == [("s0", True), ("s-2", False)]


def test_no_test_events() -> None:
    ranked = rank(Drawn(2), names(2), split_of([]), batch_size=4, top=2)
    assert ranked.num_rows == 0
    assert ranked.schema == SCHEMA


def test_eval_invariant_to_batch_size() -> None:
    rng = np.random.default_rng(0)
    sessions = [[f"i{i}" for i in rng.integers(0, 11, size=rng.integers(1, 9))] for _ in range(40)]  # i10 is unknown
    tables = [rank(Drawn(10), names(10), split_of(sessions), batch_size=b, top=5) for b in (1, 7, 50, 512)]
    assert all(table.equals(tables[0]) for table in tables)


def test_a_model_that_scores_nan_has_no_ranking() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank(Fixed(1.0, float("nan"), 0.0), names(3), split_of([["i0", "i1"]]), batch_size=4, top=2)


def test_infinite_scores_are_scores() -> None:
    inf = float("inf")
    (row,) = rank(Fixed(-inf, 0.0, inf, inf), names(4), split_of([["i0", "i1"]]), batch_size=4, top=4).to_pylist()
    assert (row["greater"], row["equal"], row["top_items"]) == (2, 1, ["i2", "i3", "i1", "i0"])


class Narrow:
    """A model over a huge catalogue, whose full score matrix would take 80 GB."""

    n_items = 1_000_000
    fast_rows = 512

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        self.asked.append(batch_size)
        row = np.arange(self.n_items, 0, -1, dtype=np.float32)
        for start in range(0, len(sessions.items), batch_size):
            events = np.arange(start, min(start + batch_size, len(sessions.items)))
            yield events, np.broadcast_to(row, (len(events), self.n_items))


def test_memory_is_bounded() -> None:
    """Few rows of a huge catalogue are asked for at once."""
    model = Narrow()
    vocabulary = [f"i{i}" for i in range(Narrow.n_items)]
    ranked = rank(model, vocabulary, split_of([["i0", "i1", "i2"]] * 3), batch_size=512, top=3)
    assert ranked["greater"].to_pylist() == [1, 2] * 3
    assert ranked["top_items"].to_pylist() == [["i0", "i1", "i2"]] * 6
    assert model.asked == [32]


@pytest.mark.parametrize(
    ("n_items", "batch_size", "rows"),
    [(1, 256, 256), (1200, 512, 256), (5000, 256, 64), (5000, 50, 50), (10**6, 256, 32), (10**6, 7, 7), (0, 1, 1)],
)
def test_rows_at_once(n_items: int, batch_size: int, rows: int) -> None:
    assert rows_at_once(n_items, batch_size) == rows


@pytest.mark.parametrize(
    ("n_items", "batch_size", "rows"),
    [(3000, 512, 256), (50_000, 512, 256), (50_000, 7, 7), (500_000, 256, 64), (10**6, 256, 32), (10**8, 256, 32)],
)
def test_a_model_that_is_faster_with_more_rows_gets_them_within_bounds(
    n_items: int, batch_size: int, rows: int
) -> None:
    assert rows_at_once(n_items, batch_size, 256) == rows


@given(splits(), st.integers(1, 10), st.sampled_from([1, 100, 300]))
@settings(max_examples=50, deadline=None)
def test_how_much_is_asked_for_at_once_changes_nothing(
    split: tuple[list[list[str]], int], top: int, cache: int
) -> None:
    sessions, n_items = split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sessrec_pipeline.evaluation.ranking.CACHE_BYTES", cache)
        ranked = rank(Drawn(n_items), names(n_items), split_of(sessions), batch_size=7, top=top)
    assert ranked.to_pylist() == by_sorting(sessions, n_items, top)


def test_a_block_of_shared_rows_is_only_read() -> None:
    """Popularity answers with one row, shown many times: it can neither be written to nor be stacked up."""
    ranked = rank(Popularity(5), names(5), split_of([["i4", "i3", "i0"]]), batch_size=512, top=2)
    assert ranked["greater"].to_pylist() == [3, 0]
    assert ranked["top_items"].to_pylist() == [["i0", "i1"]] * 2


def test_progress_reaches_the_end() -> None:
    told: list[tuple[int, int]] = []
    rank(
        Drawn(3),
        names(3),
        split_of([["i0", "i1", "i2"], ["i1", "i1"]]),
        batch_size=1,
        top=1,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_test_split_is_not_changed() -> None:
    test = split_of([["i0", "i1", UNKNOWN]])
    before = test.to_pylist()
    rank(Drawn(2), names(2), test, batch_size=4, top=2)
    assert test.to_pylist() == before


# --- what is kept of scores ------------------------------------------------------------------------------------------


def best_items(scores: NDArray[np.floating], top: int) -> list[list[int]]:
    return observe(scores, np.zeros(len(scores), np.int64), top).best.tolist()


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(1, 6),
    st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=150, deadline=None)
def test_best_items_equals_sorting(rows: list[list[int]], top: int, kind: type[np.floating]) -> None:
    expected = [sorted(range(6), key=lambda i, row=row: (-row[i], i))[:top] for row in rows]
    assert best_items(np.array(rows, kind), top) == expected


@pytest.mark.parametrize("n_items", [3, 50, 5000])
def test_among_equals_the_lower_index_is_best(n_items: int) -> None:
    top = min(n_items, 20)
    assert best_items(np.zeros((2, n_items)), top) == [list(range(top))] * 2


@given(
    st.integers(1, 2000) | st.integers(8000, 20_000),  # some with more lanes than a small catalogue has
    st.integers(1, 30) | st.integers(100, 300),
    st.sampled_from([1, 2, 5, 300, 100_000]),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32),
)
@settings(max_examples=200, deadline=None)
def test_observe_equals_sorting_and_counting(
    n_items: int, top: int, levels: int, kind: type[np.floating], seed: int
) -> None:
    """From all tied to none, with both infinities among the scores."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=(4, n_items)).astype(kind)
    scores[rng.random(scores.shape) < 0.01] = np.inf
    scores[rng.random(scores.shape) < rng.choice([0, 0.01, 0.999])] = -np.inf
    top = min(top, n_items)
    targets = rng.integers(n_items, size=4)
    seen = observe(scores, targets, top)
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    assert seen.best.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :top].tolist()
    assert seen.greater.tolist() == (scores > own).sum(axis=1).tolist()
    assert seen.equal.tolist() == (scores == own).sum(axis=1).tolist()


@pytest.mark.parametrize("place", [0, 239, 240, 4999, 5000])
def test_nan_is_found_wherever_it_is(place: int) -> None:
    scores = np.zeros((3, 5001), np.float32)
    scores[1, place] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        best_items(scores, 20)


def test_zeros_of_both_signs_are_equal() -> None:
    scores = np.array([[-0.0, 0.0, -1.0, 0.0, -0.0]])
    assert best_items(scores, 3) == [[0, 1, 3]]


def test_one_score_far_above_the_others_hides_none_of_them() -> None:
    """The search for what is worth looking at then learns nothing, and everything is looked at."""
    scores = np.random.default_rng(0).normal(size=(2, 5000))
    scores[:, 17] = 1e30
    assert best_items(scores, 20) == np.argsort(-scores, axis=1, kind="stable")[:, :20].tolist()
