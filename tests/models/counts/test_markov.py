from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from training_tables import fit, model_of, quick, train_sets

from sessrec_pipeline.evaluation.ranking import observe
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.counts.markov import CARD, Markov, MarkovSettings


@dataclass
class Fitted:
    """The tables in SQL, and the same counts in Python."""

    popularity: pa.Table
    markov: pa.Table
    events: Counter[str]
    following: dict[str, Counter[str]]

    def model(self, **config: object) -> tuple[Markov, list[str]]:
        model, vocabulary = model_of(CARD, (self.popularity, self.markov), **config)
        assert isinstance(model, Markov)
        return model, vocabulary

    def order(self, item: str) -> list[str]:
        """Successors by count, then the rest by popularity: the list of the study."""
        successors = [follower for follower, _ in self.following[item].most_common()]
        return successors + [other for other, _ in self.events.most_common() if other not in successors]


def fitted(sessions: list[list[str]]) -> Fitted:
    popularity, markov = fit(*CARD.tables, sessions=sessions)
    following = {item: Counter[str]() for session in sessions for item in session}
    for session in sessions:
        for one, other in pairwise(session):
            following[one][other] += 1
    return Fitted(popularity, markov, Counter(item for session in sessions for item in session), following)


def ranked(row: NDArray[np.floating], vocabulary: list[str]) -> list[str]:
    return [vocabulary[i] for i in observe(row[None, :], np.zeros(1, np.int64), len(vocabulary)).best[0]]


@given(train_sets)
@quick
def test_the_table_equals_most_common(sessions: list[list[str]]) -> None:
    """Among equal counts the pair that was seen first comes first; no pair crosses from session to session."""
    truth = fitted(sessions)
    rows = truth.markov.to_pylist()
    expected = [
        (item, follower, count, place)
        for item in sorted(truth.following)
        for place, (follower, count) in enumerate(truth.following[item].most_common(), 1)
    ]
    assert [(r["item"], r["next_item"], r["transitions"], r["successor_rank"]) for r in rows] == expected


@given(train_sets)
@quick
def test_successors_come_first_and_popularity_fills_up(sessions: list[list[str]]) -> None:
    truth = fitted(sessions)
    model, vocabulary = truth.model()
    for i, item in enumerate(vocabulary):
        assert ranked(model.after(i), vocabulary) == truth.order(item)
        assert len(set(model.after(i).tolist())) == len(vocabulary), "nothing ties"


@given(train_sets)
@quick
def test_alpha_1_is_popularity(sessions: list[list[str]]) -> None:
    truth = fitted(sessions)
    model, vocabulary = truth.model(alpha=1)
    assert vocabulary == [item for item, _ in truth.events.most_common()]
    for i in range(len(vocabulary)):
        assert ranked(model.after(i), vocabulary) == vocabulary


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_equal_counts_do_not_tie_in_a_large_catalogue(alpha: float) -> None:
    n = 50_000
    none, counts = np.zeros(0, dtype=np.int64), np.zeros(0)
    model = Markov(np.zeros(n + 1, dtype=np.int64), none, counts, np.ones(n), MarkovSettings(alpha=alpha))
    assert (np.diff(model.rest) < 0).all()


@given(train_sets, st.floats(0.01, 1))
@quick
def test_the_blend_formula(sessions: list[list[str]], alpha: float) -> None:
    truth = fitted(sessions)
    model, vocabulary = truth.model(alpha=alpha)
    for i, item in enumerate(vocabulary):
        counts, events = truth.following[item], truth.events
        if not counts:
            assert ranked(model.after(i), vocabulary) == vocabulary
            continue
        expected = [
            (1 - alpha) * counts[other] / max(counts.values()) + alpha * events[other] / max(events.values())
            for other in vocabulary
        ]
        np.testing.assert_allclose(model.after(i), expected, rtol=0, atol=1e-9)


@given(train_sets)
@quick
def test_without_padding_scores_are_the_counts(sessions: list[list[str]]) -> None:
    truth = fitted(sessions)
    model, vocabulary = truth.model(padding=False)
    for i, item in enumerate(vocabulary):
        assert model.after(i).tolist() == [truth.following[item][other] for other in vocabulary]


def test_the_history_but_for_its_last_event_means_nothing() -> None:
    model, _ = fitted([["a", "b", "c"], ["c", "a", "b"], ["b", "b"]]).model()
    (_, scores), *_ = model.score(Sessions.from_lists([[0, 1, 2], [2], [1, 2]]), 512)
    np.testing.assert_array_equal(scores[2], scores[3])
    np.testing.assert_array_equal(scores[2], scores[5])


def test_sessions_of_one_event_give_popularity() -> None:
    truth = fitted([["b"], ["a"], ["a"]])
    assert truth.markov.num_rows == 0
    for config in ({}, {"alpha": 0.5}):
        model, vocabulary = truth.model(**config)
        assert ranked(model.after(1), vocabulary) == ["a", "b"]


@pytest.mark.parametrize(("of_markov", "of_popularity"), [(["a", "x"], ["a", "b"]), (["x", "a"], ["a", "b"])])
def test_tables_of_different_training_sets_are_refused(of_markov: list[str], of_popularity: list[str]) -> None:
    popularity, markov = fitted([of_popularity]).popularity, fitted([of_markov]).markov
    with pytest.raises(ValueError, match="fit both on the same"):
        model_of(CARD, (popularity, markov))


def test_the_order_of_the_tables_rows_means_nothing() -> None:
    truth = fitted([["a", "b", "a", "c", "b", "a"], ["c", "c", "a", "b"]])
    shuffled = truth.markov.take(np.random.default_rng(0).permutation(truth.markov.num_rows))
    model, vocabulary = truth.model()
    other, _ = model_of(CARD, (truth.popularity, shuffled))
    for i in range(len(vocabulary)):
        np.testing.assert_array_equal(model.after(i), other.after(i))
