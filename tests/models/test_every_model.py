"""What any Recommender must do. A new model needs one line in MODELS to be held to all of it."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from training_tables import Fit
from training_tables import fit as fit_tables

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.logs.synthetic import law
from sessrec_pipeline.models.base import Recommender, Sessions
from sessrec_pipeline.models.counts.association_rules import fit_association_rules
from sessrec_pipeline.models.counts.markov import Markov
from sessrec_pipeline.models.counts.popularity import Popularity, fit_popularity
from sessrec_pipeline.models.counts.sequential_rules import fit_sequential_rules
from sessrec_pipeline.models.counts.session_popularity import SessionPopularity
from sessrec_pipeline.models.counts.sparse import Rules
from sessrec_pipeline.models.gru4rec.network import GRU4Rec
from sessrec_pipeline.models.gru4rec.trainer import fit
from sessrec_pipeline.models.neighbours.item_knn import fit_item_knn
from sessrec_pipeline.models.neighbours.session_knn import SessionKNN, fit_recent_sessions
from sessrec_pipeline.models.oracle import Oracle
from sessrec_pipeline.settings import (
    AssociationRulesSettings,
    GRU4RecConfig,
    ItemKNNSettings,
    MarkovSettings,
    SequentialRulesSettings,
    SessionKNNSettings,
    SessionPopularitySettings,
    SKNNSettings,
    STANSettings,
    SyntheticSettings,
    VSKNNSettings,
    VSTANSettings,
)

N_ITEMS = 12


def sessions_of(n: int = 25, seed: int = 0) -> list[list[int]]:
    """Random sessions of 1 to 8 events over all items but the last two."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS - 2, size=rng.integers(1, 9)).tolist() for _ in range(n)]


def markov(**changes: object) -> Markov:
    """Items 10 and 11 have no successors."""
    rng = np.random.default_rng(1)
    pairs = sorted({(int(a), int(b)) for a, b in rng.integers(0, N_ITEMS - 2, size=(40, 2))})
    ranks = [sum(item == a for item, _ in pairs[: i + 1]) for i, (a, _) in enumerate(pairs)]
    popularity = pa.table({"item": [str(i) for i in range(N_ITEMS)], "events": range(30, 30 - N_ITEMS, -1)})
    successors = pa.table(
        {
            "item": [str(a) for a, _ in pairs],
            "next_item": [str(b) for _, b in pairs],
            "transitions": [9 - rank // 2 for rank in ranks],
            "successor_rank": ranks,
        }
    )
    return Markov.from_tables(popularity, successors, MarkovSettings.model_validate(changes))[0]


def trained() -> list[list[str]]:
    """Sessions to fit on: those of ``sessions_of``, and one with the two items that they lack."""
    return [[str(item) for item in session] for session in [*sessions_of(40, seed=3), [10, 11]]]


def rules(function: Fit, config: object, padding: bool) -> Rules:
    popularity, table = fit_tables((fit_popularity,), (function, config), sessions=trained())
    return Rules.from_tables(popularity, table, padding=padding)[0]


def session_knn(config: SessionKNNSettings) -> SessionKNN:
    popularity, recent = fit_tables((fit_popularity,), (fit_recent_sessions, 15), sessions=trained())
    return SessionKNN.from_tables(popularity, recent, config)[0]


def gru4rec(loss: str, embedding: str) -> GRU4Rec:
    """Trained for a moment with everything on that must be off when it scores."""
    config = {"layers": [8, 6], "loss": loss, "embedding": embedding, "n_sample": 4, "n_epochs": 2, "batch_size": 5}
    config |= {"dropout_embedding": 0.2, "dropout_hidden": 0.2, "momentum": 0.1, "learning_rate": 0.3, "logq": 1}
    return fit(Sessions.from_lists(sessions_of(40, seed=9)), N_ITEMS, GRU4RecConfig.model_validate(config))


def oracle() -> Oracle:
    source = law(SyntheticSettings(items=50))
    return Oracle(source, source.items[5 : 5 + N_ITEMS])


MODELS: dict[str, Callable[[], Recommender]] = {
    "popularity": lambda: Popularity(N_ITEMS),
    "markov": markov,
    "markov blended": lambda: markov(alpha=0.5),
    "markov without padding": lambda: markov(padding=False),
    "session popularity": lambda: SessionPopularity(N_ITEMS, SessionPopularitySettings()),
    "session popularity without padding": lambda: SessionPopularity(N_ITEMS, SessionPopularitySettings(padding=False)),
    "ar": lambda: rules(fit_association_rules, AssociationRulesSettings(), True),
    "sr": lambda: rules(fit_sequential_rules, SequentialRulesSettings(), True),
    "item-knn": lambda: rules(fit_item_knn, ItemKNNSettings(), True),
    "item-knn without padding": lambda: rules(fit_item_knn, ItemKNNSettings(), False),
    "sknn": lambda: session_knn(SKNNSettings(k=5, sample_size=15)),
    "vs-knn": lambda: session_knn(VSKNNSettings(k=5, sample_size=15)),
    "vs-knn linear and log": lambda: session_knn(
        VSKNNSettings(k=5, sample_size=15, weighting="linear", weighting_score="log")
    ),
    "stan": lambda: session_knn(STANSettings(k=5, sample_size=15)),
    "vstan": lambda: session_knn(VSTANSettings(k=5, sample_size=15)),
    "vstan without padding": lambda: session_knn(VSTANSettings(k=5, sample_size=15, padding=False)),
    "gru4rec shared": lambda: gru4rec("cross-entropy", "shared"),
    "gru4rec separate": lambda: gru4rec("cross-entropy", "separate"),
    "gru4rec none": lambda: gru4rec("cross-entropy", "none"),
    "gru4rec bpr-max shared": lambda: gru4rec("bpr-max", "shared"),
    "gru4rec bpr-max separate": lambda: gru4rec("bpr-max", "separate"),
    "gru4rec bpr-max none": lambda: gru4rec("bpr-max", "none"),
    "oracle": oracle,
}


@cache
def made(name: str) -> Recommender:
    return MODELS[name]()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Recommender:
    return made(request.param)


def scores_of(model: Recommender, sessions: list[list[int]], batch_size: int = 7) -> list[NDArray[np.floating]]:
    """Scores (events, n_items) of each session."""
    arrays = Sessions.from_lists(sessions)
    table = np.full((len(arrays.items), model.n_items), np.nan)
    for events, scores in model.score(arrays, batch_size):
        table[events] = scores
    return np.split(table, arrays.offsets[1:-1])


def assert_same(one: list[NDArray[np.floating]], other: list[NDArray[np.floating]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class TestEveryModel:
    @pytest.mark.parametrize("batch_size", [1, 7, 512])
    def test_every_event_is_scored_exactly_once(self, model: Recommender, batch_size: int) -> None:
        sessions = Sessions.from_lists(sessions_of())
        times = np.zeros(len(sessions.items), dtype=int)
        for events, scores in model.score(sessions, batch_size):
            assert events.ndim == 1
            assert np.issubdtype(events.dtype, np.integer)
            assert 1 <= len(events) <= batch_size
            assert scores.shape == (len(events), model.n_items) == (len(events), N_ITEMS)
            assert np.issubdtype(scores.dtype, np.floating)
            assert np.isfinite(scores).all()
            np.add.at(times, events, 1)
        assert (times == 1).all()

    @pytest.mark.parametrize("batch_size", [1, 2, 50, 512])
    def test_scores_do_not_depend_on_the_batch_size(self, model: Recommender, batch_size: int) -> None:
        assert_same(scores_of(model, sessions_of(), batch_size), scores_of(model, sessions_of()))

    def test_eval_invariant_to_batch_size(self, model: Recommender) -> None:
        sessions = sessions_of()
        test = pa.table(
            {
                "session": [f"s{i}" for i, session in enumerate(sessions) for _ in session],
                "session_number": [i for i, session in enumerate(sessions) for _ in session],
                "position": [p for session in sessions for p, _ in enumerate(session)],
                "item": [str(item) for session in sessions for item in session],
            }
        )
        vocabulary = [str(i) for i in range(N_ITEMS)]
        tables = [rank(model, vocabulary, test, batch_size=b, top=5) for b in (1, 7, 50, 512)]
        assert all(table.equals(tables[0]) for table in tables)

    def test_no_session_influences_another(self, model: Recommender) -> None:
        sessions = sessions_of()
        alone = [scores_of(model, [session])[0] for session in sessions]
        assert_same(scores_of(model, sessions), alone)
        assert_same(scores_of(model, sessions[::-1]), alone[::-1])

    def test_scores_know_nothing_of_later_events(self, model: Recommender) -> None:
        sessions = [session for session in sessions_of() if len(session) > 1]
        whole = scores_of(model, sessions)
        for keep in (1, 3):
            begun = scores_of(model, [session[:keep] for session in sessions])
            assert_same(begun, [scores[:keep] for scores in whole])
        other_end = scores_of(model, [[*session[:-1], N_ITEMS - 1] for session in sessions])
        assert_same([scores[:-1] for scores in other_end], [scores[:-1] for scores in whole])

    def test_the_callers_arrays_stay_as_they_are(self, model: Recommender) -> None:
        sessions = Sessions.from_lists(sessions_of())
        items, offsets = sessions.items.copy(), sessions.offsets.copy()
        sessions.items.setflags(write=False)
        sessions.offsets.setflags(write=False)
        list(model.score(sessions, 7))
        np.testing.assert_array_equal(sessions.items, items)
        np.testing.assert_array_equal(sessions.offsets, offsets)

    def test_asking_again_gives_the_same_answer(self, model: Recommender) -> None:
        first = [scores.copy() for scores in scores_of(model, sessions_of())]
        scores_of(model, sessions_of(seed=5))
        for before, after in zip(first, scores_of(model, sessions_of()), strict=True):
            np.testing.assert_array_equal(before, after)

    @pytest.mark.parametrize(
        "sessions", [[[3]], [[3, 1, 4, 1, 5]], [[0], [1], [2]], [[N_ITEMS - 1]], [[2, 2, 2, 2]], [[0], [1, 2, 3], [4]]]
    )
    def test_small_inputs(self, model: Recommender, sessions: list[list[int]]) -> None:
        scores = scores_of(model, sessions)
        assert [part.shape for part in scores] == [(len(session), N_ITEMS) for session in sessions]
        assert all(np.isfinite(part).all() for part in scores)

    def test_no_sessions_at_all(self, model: Recommender) -> None:
        assert list(model.score(Sessions.from_lists([]), 7)) == []


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("popularity", "oracle")])
def test_these_models_do_look_at_the_session(name: str) -> None:
    """Else the tests above would say little."""
    one, other = scores_of(made(name), [[0, 1], [0, 5]])
    assert np.abs(one[1] - other[1]).max() > 1e-3
