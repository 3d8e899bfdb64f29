import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_tables import fit, model_of, quick, ranked

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.neighbours.session_knn import (
    MICROSECONDS_PER_DAY,
    SKNN,
    STAN,
    TABLES,
    VSKNN,
    VSTAN,
    Index,
    SessionKNNSettings,
    SKNNSettings,
    STANSettings,
    VSKNNSettings,
    VSTANSettings,
)

CARDS = {card.name: card for card in (SKNN, VSKNN, STAN, VSTAN)}
Training = list[tuple[list[str], int]]
"""Sessions and when they ended, in microseconds."""


def tables(training: Training, sample_size: int) -> tuple[pa.Table, pa.Table]:
    """Popularity and recent sessions; all events of a session are at its end."""
    popularity, recent = fit(
        *TABLES,
        sessions=[session for session, _ in training],
        times=[[end] * len(session) for session, end in training],
        **{name: {"sample_size": sample_size} for name in CARDS},
    )
    return popularity, recent


def scores_after(training: Training, session: list[str], config: SessionKNNSettings) -> dict[str, float]:
    return scores_of(tables(training, config.sample_size), session, config)


def scores_of(fitted: tuple[pa.Table, pa.Table], session: list[str], config: SessionKNNSettings) -> dict[str, float]:
    (card,) = [card for card in CARDS.values() if card.settings is type(config)]
    model, vocabulary = model_of(card, fitted, **config.model_dump())
    *_, (events, scores) = model.score(Sessions.from_lists([[vocabulary.index(item) for item in session]]), 512)
    return dict(zip(vocabulary, scores[events.argmax()].tolist(), strict=True))


# --- the papers' formulas, written down plainly -----------------------------------------------------------------------


def position_weight(config: SessionKNNSettings, p: int, length: int) -> float:
    """Weight of event p (from 1) of the current session."""
    if isinstance(config, VSKNNSettings):
        return {
            "same": lambda: 1.0,
            "div": lambda: p / length,
            "quadratic": lambda: (p / length) ** 2,
            "linear": lambda: max(0, 1 - (length - p) / 10),
            "log": lambda: 1 / math.log10(length - p + 1.7),
        }[config.weighting]()
    return math.exp((p - length) / config.lambda_spw) if isinstance(config, STANSettings) else 1.0


def step_weight(config: SessionKNNSettings, step: int) -> float:
    """Weight of a neighbour whose most recent shared item is ``step``-th from the end (from 1)."""
    if isinstance(config, VSKNNSettings):
        return {
            "same": lambda: 1.0,
            "div": lambda: 1 / step,
            "quadratic": lambda: 1 / step**2,
            "linear": lambda: max(0, 1 - step / 10),
            "log": lambda: 1 / math.log10(step + 1.7),
        }[config.weighting_score]()
    return math.exp(-(step - 1) / config.lambda_ipw) if isinstance(config, VSTANSettings) else 1.0


def plain(training: Training, session: list[str], config: SessionKNNSettings, now: int) -> dict[str, float]:
    """Scores of the items that neighbours have; ``now`` is the time of the current event."""
    recency = sorted(range(len(training)), key=lambda n: (-training[n][1], -n))
    sample = [n for n in recency if set(training[n][0]) & set(session)][: config.sample_size]
    last = {item: p for p, item in enumerate(session, 1)}
    backwards = sorted(last, key=lambda item: -last[item])
    similarity = {}
    for n in sample:
        items, end = training[n]
        shared = [item for item in backwards if item in items]
        similarity[n] = sum(position_weight(config, last[item], len(session)) for item in shared)
        if not isinstance(config, VSKNNSettings):
            similarity[n] *= 1 / math.sqrt(len(set(items)))
        if isinstance(config, STANSettings):
            similarity[n] *= math.exp(-(now - end) / MICROSECONDS_PER_DAY / config.lambda_snh)
    scores: dict[str, float] = {}
    events = [item for items, _ in training for item in items]
    for n in sorted(sample, key=lambda n: -similarity[n])[: config.k]:
        items = training[n][0]
        position = {item: p for p, item in enumerate(items)}
        star = next(item for item in backwards if item in position)
        for item, p in position.items():
            score = similarity[n] * step_weight(config, len(session) - last[star] + 1)
            if isinstance(config, STANSettings):
                score *= math.exp(-abs(p - position[star]) / config.lambda_inh)
            idf = max(0, math.log(len(training) / events.count(item)))
            weight = getattr(config, "idf_weighting", getattr(config, "lambda_idf", 0))
            scores[item] = scores.get(item, 0) + score * (1 + weight * idf)
    if not config.repeat_current:
        scores.pop(session[-1], None)
    return {item: score for item, score in scores.items() if score > 0}


items = st.sampled_from(["10", "9", "a", "b", "ü", "z"])
trainings = st.lists(
    st.tuples(st.lists(items, min_size=1, max_size=7), st.integers(0, 20 * MICROSECONDS_PER_DAY)),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    "config",
    [
        SKNNSettings(k=3, sample_size=5),
        VSKNNSettings(k=3, sample_size=5),
        VSKNNSettings(k=4, sample_size=6, weighting="div", weighting_score="quadratic", idf_weighting=0),
        VSKNNSettings(k=4, sample_size=6, weighting="linear", weighting_score="log"),
        VSKNNSettings(k=4, sample_size=6, weighting="log", weighting_score="linear"),
        VSKNNSettings(k=4, sample_size=6, weighting="same", weighting_score="same"),
        VSKNNSettings(k=3, sample_size=5, repeat_current=False),
        STANSettings(k=3, sample_size=5),
        VSTANSettings(k=3, sample_size=5),
        STANSettings(),
        VSTANSettings(lambda_spw=0.3, lambda_snh=100, lambda_inh=9, lambda_ipw=5, lambda_idf=1),
    ],
    ids=str,
)
def test_scores_are_those_of_the_papers(config: SessionKNNSettings) -> None:
    """Up to the factor that all items of a prediction share; and it does not matter when the current event is."""
    raw = config.model_copy(update={"padding": False})

    @given(trainings, st.lists(items, min_size=1, max_size=12), st.integers(20, 400))
    @quick
    def check(training: Training, session: list[str], day: int) -> None:
        known = {item for session, _ in training for item in session}
        session = [item for item in session if item in known]
        if not session:
            return
        expected = plain(training, session, config, day * MICROSECONDS_PER_DAY)
        fitted = tables(training, config.sample_size)
        found = {item: score for item, score in scores_of(fitted, session, raw).items() if score > 0}
        assert found.keys() == expected.keys()
        for item, score in found.items():
            assert score / max(found.values()) == pytest.approx(expected[item] / max(expected.values()), rel=1e-9)
        padded = scores_of(fitted, session, config)
        order = sorted(padded, key=lambda item: -padded[item])
        assert set(order[: len(found)]) == set(found), "what is scored comes first"
        for better, worse in pairwise(order):
            assert found.get(better, 0) >= found.get(worse, 0) * (1 - 1e-8)

    check()


# --- small cases ------------------------------------------------------------------------------------------------------

DAY = MICROSECONDS_PER_DAY


def test_sknn_by_hand() -> None:
    """a with c: 1/sqrt(2); a, b and d: 2/sqrt(3)."""
    training: Training = [(["a", "c"], 1 * DAY), (["a", "b", "d"], 2 * DAY), (["c", "d"], 3 * DAY)]
    scores = scores_after(training, ["a", "b"], SKNNSettings(padding=False))
    one, other = 1 / math.sqrt(2), 2 / math.sqrt(3)
    assert scores == pytest.approx({"a": one + other, "b": other, "c": one, "d": other})


def test_vsknn_by_hand() -> None:
    """The current session is a, b. Of the first neighbour a counts (1/2)**2 and is second from its end."""
    training: Training = [(["a", "c"], 1 * DAY), (["b", "d"], 2 * DAY), (["e"], 3 * DAY)]
    scores = scores_after(training, ["a", "b"], VSKNNSettings(padding=False, idf_weighting=5))
    idf = 1 + 5 * math.log(3)
    assert scores == pytest.approx({"a": idf / 8, "c": idf / 8, "b": idf, "d": idf, "e": 0})


def test_stan_by_hand() -> None:
    """The older of two sessions weighs less by its age, and its c less by the distance to a."""
    training: Training = [(["a", "b", "c"], 1 * DAY), (["a", "d"], 6 * DAY)]
    scores = scores_after(training, ["a"], STANSettings(padding=False, lambda_snh=5, lambda_inh=2))
    old, new = math.exp(-1) / math.sqrt(3), 1 / math.sqrt(2)
    near, far = math.exp(-0.5), math.exp(-1)
    assert scores == pytest.approx({"a": old + new, "b": old * near, "c": old * far, "d": new * near})


def test_vstan_by_hand() -> None:
    """As STAN, and less for a neighbour whose shared item a is one step back."""
    training: Training = [(["a", "b"], 1 * DAY), (["c"], 1 * DAY)]
    config = VSTANSettings(padding=False, lambda_spw=1, lambda_inh=2, lambda_ipw=4, lambda_idf=3)
    scores = scores_after(training, ["a", "c"], config)
    idf = 1 + 3 * math.log(2)
    shared = math.exp(-1) / math.sqrt(2) * math.exp(-1 / 4) * idf
    assert scores == pytest.approx({"a": shared, "b": shared * math.exp(-0.5), "c": idf})


def test_what_is_scored_comes_first_then_popularity_and_equals_by_popularity() -> None:
    training: Training = [(["c", "b", "a"], 1 * DAY), (["b"], 2 * DAY), (["e", "e", "e", "d"], 3 * DAY)]
    scores = scores_after(training, ["a"], SKNNSettings())
    vocabulary = ["e", "b", "c", "a", "d"]
    assert ranked(np.array([scores[item] for item in vocabulary]), vocabulary) == ["b", "c", "a", "e", "d"]


def test_an_old_session_keeps_some_weight() -> None:
    """A century before the end of training its decay is far below what a float holds."""
    training: Training = [(["a", "b"], 0), (["c"], 36_500 * DAY)]
    scores = scores_after(training, ["a"], STANSettings(padding=False))
    assert scores["a"] > scores["b"] > 0
    assert scores["c"] == 0


def test_the_sample_is_the_most_recent_sessions() -> None:
    training: Training = [(["a", "x"], 3 * DAY), (["a", "y"], 5 * DAY), (["a", "z"], 4 * DAY), (["w"], 9 * DAY)]
    scores = scores_after(training, ["a"], SKNNSettings(k=10, sample_size=2, padding=False))
    assert {item for item, score in scores.items() if score > 0} == {"a", "y", "z"}


def test_of_equally_similar_sessions_the_most_recent_are_neighbours() -> None:
    training: Training = [(["a", "x"], 3 * DAY), (["a", "y"], 5 * DAY), (["a", "z"], 5 * DAY)]
    scores = scores_after(training, ["a"], SKNNSettings(k=1, sample_size=9, padding=False))
    assert {item for item, score in scores.items() if score > 0} == {"a", "z"}, "of two that ended together the later"


# --- the index --------------------------------------------------------------------------------------------------------


def test_lists_are_capped_so_that_a_prediction_costs_the_same_in_any_training_set() -> None:
    training: Training = [([f"{n % 3}", "all"], n * DAY) for n in range(60)]
    popularity, recent = tables(training, 5)
    index = Index.from_tables(popularity, recent, 5)
    assert np.diff(index.item_offsets).tolist() == [5] * 4
    assert recent.num_rows == 2 * 15, "a session of which no list speaks is not kept"
    assert set(recent["all_sessions"].to_pylist()) == {60}
    assert np.diff(Index.from_tables(popularity, recent, 3).item_offsets).tolist() == [3] * 4


def test_an_item_of_all_events_has_no_idf_below_zero() -> None:
    popularity, recent = tables([(["a", "a", "a", "b"], DAY)], 5)
    assert Index.from_tables(popularity, recent, 5).idf.tolist() == [0, 0]


def test_the_order_of_the_tables_rows_means_nothing() -> None:
    training: Training = [(["a", "b"], DAY), (["b", "c", "a"], 2 * DAY), (["c", "c"], 2 * DAY)]
    popularity, recent = tables(training, 5)
    shuffled = recent.take(np.random.default_rng(0).permutation(recent.num_rows))
    one, other = (Index.from_tables(popularity, table, 5) for table in (recent, shuffled))
    for field in vars(one):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_tables_of_different_training_sets_are_refused() -> None:
    popularity, recent = tables([(["a", "b"], DAY)], 5)
    fewer, _ = tables([(["a"], DAY)], 5)
    more, _ = tables([(["a", "b", "c"], DAY)], 5)
    for strange in (fewer, more):
        with pytest.raises(ValueError, match="fit both on the same"):
            Index.from_tables(strange, recent, 5)
    assert len(Index.from_tables(popularity, recent, 5).idf) == 2


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CARDS)
def test_no_time_of_a_test_session_means_anything(name: str) -> None:
    """Neither that of the target nor that of later events can leak, for none is read; those of training count."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> list[str]:
        return [str(item) for item in rng.choice(list("abcdefgh"), n)]

    training: Training = [(draw(4), n * DAY) for n in range(40)]
    model, vocabulary = model_of(CARDS[name], tables(training, 30), k=10, sample_size=30)
    known = set(vocabulary)
    sessions = [[item for item in draw(6) if item in known] for _ in range(10)]
    test = pa.table(
        {
            "session": [f"s{i}" for i, session in enumerate(sessions) for _ in session],
            "session_number": [i for i, session in enumerate(sessions) for _ in session],
            "position": [p for session in sessions for p, _ in enumerate(session)],
            "item": [item for session in sessions for item in session],
        }
    )
    results = []
    for seconds in (0, 1, 10**6):
        times = rng.integers(0, 1 + seconds * 10**6, test.num_rows)
        results.append(rank(model, vocabulary, test.append_column("time", [times]), batch_size=8, top=5))
    assert results[0].equals(results[1]) and results[0].equals(results[2])
    older = [(session, end if n % 2 else end - 90 * DAY) for n, (session, end) in enumerate(training)]
    moved, _ = model_of(CARDS[name], tables(older, 30), k=10, sample_size=30)
    assert not rank(moved, vocabulary, test, batch_size=8, top=5).equals(results[0])
