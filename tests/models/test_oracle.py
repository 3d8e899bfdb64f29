import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sessrec_pipeline.logs.synthetic import DemoLaw, Ints, Law, law
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.oracle import Oracle
from sessrec_pipeline.settings import SyntheticSettings

Kind = Literal["demo", "null"]
KINDS: list[Kind] = ["demo", "null"]


def scores_of(oracle: Oracle, sessions: Sessions, batch_size: int = 64) -> NDArray[np.float32]:
    scores = np.full((len(sessions.items), oracle.n_items), np.nan, np.float32)
    for events, block in oracle.score(sessions, batch_size):
        assert len(events) <= batch_size
        assert np.isnan(scores[events]).all(), "each event is in one block"
        scores[events] = block
    assert not np.isnan(scores).any()
    return scores


def drawn(source: Law) -> Sessions:
    draw = source.draw()
    return Sessions(draw.items.astype(np.int32), draw.offsets)


def sessions_of(source: Law) -> list[Ints]:
    draw = source.draw()
    return np.split(draw.items, draw.offsets[1:-1])


def paths_of(source: DemoLaw, events: tuple[int, ...]) -> Iterator[float]:
    """Joint probability of the events and each way in which they may have come about, straight from the definition.

    A way is a topic and, for each event, whether it was a hub item, a successor or an item of the topic.
    """
    n_topics = len(source.topic_start) - 1
    for topic, kinds in itertools.product(
        range(n_topics), itertools.product(["hub", "follow", "own"], repeat=len(events))
    ):
        in_topic = [source.popularity[i] if source.topic[i] == topic else 0.0 for i in range(source.n_items)]
        probability, last = float(sum(in_topic)), None  # of the topic
        for item, kind in zip(events, kinds, strict=True):
            if kind == "hub":
                probability *= source.p_hub * source.popularity[item]
                continue
            probability *= 1 - source.p_hub
            own = in_topic[item] / sum(in_topic)
            if kind == "own":
                probability *= own * (1 if last is None else 1 - source.p_sequence)
            elif last is None:
                probability = 0.0  # nothing to follow yet
            else:
                followers = dict(zip(source.successors[last].tolist(), source.successor_weights, strict=True))
                probability *= source.p_sequence * followers.get(item, 0.0)
            last = item
        yield probability


@given(
    events=st.lists(st.integers(0, 49), min_size=1, max_size=3),
    steps=st.lists(st.integers(0, 2), max_size=2),
    seed=st.integers(0, 5),
    target=st.integers(0, 49),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_forecasts_equal_the_sum_over_all_latent_paths(
    events: list[int], steps: list[int], seed: int, target: int
) -> None:
    source = DemoLaw(SyntheticSettings(items=50, seed=seed))
    for step in steps:  # independent random events seldom follow each other
        events.append(int(source.successors[events[-1], step]))
    targets = [target, *source.successors[events[-1]].tolist(), *source.successors[events[0]].tolist(), events[-1]]

    *_, forecast = source.forecasts(np.array(events))

    history = sum(paths_of(source, tuple(events)))
    for item in targets:
        expected = sum(paths_of(source, (*events, item))) / history
        assert forecast[item] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("items", [50, 97, 500])
def test_every_forecast_is_a_distribution_over_the_whole_catalogue(kind: Kind, items: int) -> None:
    source = law(SyntheticSettings(kind=kind, sessions=30, items=items))
    for session in sessions_of(source):
        forecasts = list(source.forecasts(session))
        assert len(forecasts) == len(session)
        for forecast in forecasts:
            assert forecast.shape == (items,)
            assert forecast.min() > 0
            assert forecast.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_forecast_knows_nothing_of_the_future(kind: Kind) -> None:
    source = law(SyntheticSettings(kind=kind, sessions=10))
    for session in sessions_of(source):
        whole = list(source.forecasts(session))
        *_, half = source.forecasts(session[: len(session) // 2])
        np.testing.assert_array_equal(whole[len(session) // 2 - 1], half)


def test_forecasts_are_calibrated() -> None:
    """What the oracle calls a 20 % chance happens one time in five: the draws do follow the law that it knows."""
    source = law(SyntheticSettings(sessions=2000))
    promised, happened = np.zeros(10), np.zeros(10)
    expected_hits = hits = predictions = 0.0
    for session in sessions_of(source):
        for forecast, target in zip(source.forecasts(session), session[1:], strict=False):
            level = np.minimum((forecast * 20).astype(int), 9)
            promised += np.bincount(level, forecast, 10)
            happened[level[target]] += 1
            top = np.argpartition(-forecast, 20)[:20]
            expected_hits += forecast[top].sum()
            hits += target in top
            predictions += 1
    assert (abs(promised - happened) < 5 * np.sqrt(promised)).all()
    assert abs(hits - expected_hits) < 4 * np.sqrt(predictions / 4)


def log_likelihood(source: Law, histories: list[Ints], targets: list[int]) -> float:
    """Mean over predictions, each from the last event of a history."""
    return float(np.mean([np.log(list(source.forecasts(h))[-1][t]) for h, t in zip(histories, targets, strict=True)]))


def test_the_whole_session_in_its_order_is_worth_knowing() -> None:
    source = law(SyntheticSettings(sessions=300))
    halves = [(s[: len(s) // 2], int(s[len(s) // 2])) for s in sessions_of(source)]
    histories, targets = [h for h, _ in halves], [t for _, t in halves]
    rng = np.random.default_rng(0)

    oracle = log_likelihood(source, histories, targets)
    shuffled = log_likelihood(source, [rng.permutation(h) for h in histories], targets)
    last_event = log_likelihood(source, [h[-1:] for h in histories], targets)
    support = np.bincount(source.draw().items, minlength=500) + 1  # flattered: it has seen the targets
    popularity = float(np.log(support / support.sum())[targets].mean())

    assert oracle > shuffled + 0.05
    assert oracle > last_event + 0.2
    assert shuffled > popularity + 0.5
    assert last_event > popularity + 0.5


def test_the_null_oracle_is_the_popularity_law_whatever_has_happened() -> None:
    source = law(SyntheticSettings(kind="null"))
    scores = scores_of(Oracle(source, source.items), drawn(source))
    assert (scores == scores[0]).all()
    np.testing.assert_allclose(scores[0], np.arange(1, 501) ** -0.8 / sum(np.arange(1, 501) ** -0.8), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_picks_and_orders_the_columns(kind: Kind) -> None:
    source = law(SyntheticSettings(kind=kind, sessions=20))
    rng = np.random.default_rng(0)
    sessions = drawn(source)
    seen = np.unique(sessions.items)
    vocabulary = rng.permutation(seen)  # law index of each vocabulary index
    index_of = np.full(source.n_items, -1, np.int32)
    index_of[vocabulary] = np.arange(len(vocabulary))

    oracle = Oracle(source, [source.items[i] for i in vocabulary])
    scores = scores_of(oracle, Sessions(index_of[sessions.items], sessions.offsets))

    assert oracle.n_items == len(seen) < source.n_items
    np.testing.assert_array_equal(scores, scores_of(Oracle(source, source.items), sessions)[:, vocabulary])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 7, 10_000])
def test_scores_do_not_depend_on_the_batch_size(kind: Kind, batch_size: int) -> None:
    source = law(SyntheticSettings(kind=kind, sessions=20))
    oracle, sessions = Oracle(source, source.items), drawn(source)
    np.testing.assert_array_equal(scores_of(oracle, sessions, batch_size), scores_of(oracle, sessions))


def test_float32_makes_no_ties() -> None:
    source = law(SyntheticSettings(items=5000, sessions=20))
    for row in scores_of(Oracle(source, source.items), drawn(source)):
        assert len(np.unique(row)) == source.n_items


def test_sessions_without_events_and_no_sessions_at_all() -> None:
    source = law(SyntheticSettings())
    oracle = Oracle(source, source.items)
    assert scores_of(oracle, Sessions.from_lists([])).shape == (0, 500)
    np.testing.assert_array_equal(
        scores_of(oracle, Sessions.from_lists([[], [1, 2], []])), scores_of(oracle, Sessions.from_lists([[1, 2]]))
    )


def test_an_item_that_the_law_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="501"):
        Oracle(law(SyntheticSettings()), ["1", "501"])
