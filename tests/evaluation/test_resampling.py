import math

import numpy as np
import pytest
import scipy.stats

from sessrec_pipeline.evaluation.resampling import CHUNK, Sums, estimates, interval, resampled, shares
from sessrec_pipeline.quality.splits import LEAST_SESSIONS


def test_the_interval_is_that_of_the_binomial_law() -> None:
    rng = np.random.default_rng(0)
    hits = (rng.random((400, 1)) < 0.3).astype(np.float64)
    (means,) = resampled([Sums(hits, np.ones(400))], 400, 2000, seed=0)
    low, high = interval(means)
    error = 1.96 * math.sqrt(hits.mean() * (1 - hits.mean()) / 400)
    assert low[0] == pytest.approx(hits.mean() - error, abs=0.005)
    assert high[0] == pytest.approx(hits.mean() + error, abs=0.005)


def test_groups_see_the_same_draws_one_after_the_other() -> None:
    """However many groups there are, and wherever a chunk ends."""
    rng = np.random.default_rng(1)
    values, counts = rng.random((30, 2)), rng.integers(1, 5, 30).astype(np.float64)
    samples = 2 * CHUNK + 3
    alone = resampled([Sums(values, counts)], 30, samples, seed=7)[0]
    again, shifted = resampled([Sums(values, counts), Sums(values + counts[:, None], counts)], 30, samples, seed=7)
    assert alone.shape == (samples, 2) and np.array_equal(alone, again)
    np.testing.assert_allclose(shifted - again, 1, atol=1e-12)
    by_hand = np.random.default_rng(7).integers(30, size=30)
    np.testing.assert_allclose(alone[0], values[by_hand].sum(axis=0) / counts[by_hand].sum())


def test_some_of_the_sessions_are_drawn_as_often_as_among_all() -> None:
    values, counts = np.arange(40.0).reshape(20, 2), np.ones(20)
    some = np.array([1, 5, 17])
    masked = np.zeros(20)
    masked[some] = 1
    (own,) = resampled([Sums(values[some], counts[some], some)], 20, 50, seed=0)
    (whole,) = resampled([Sums(values * masked[:, None], masked)], 20, 50, seed=0)
    np.testing.assert_allclose(own, whole)


def test_resamples_without_any_of_a_groups_sessions_do_not_count() -> None:
    (means,) = resampled([Sums(np.array([[3.0]]), np.array([4.0]), np.array([2]))], 8, 200, seed=0)
    assert 0 < np.isnan(means).sum() < 200
    low, high = interval(means)
    assert low[0] == high[0] == 0.75


def test_draws_do_not_depend_on_how_many_are_summed_at_once() -> None:
    rng = np.random.default_rng(3)
    group = Sums(rng.random((200, 3)), rng.integers(1, 9, 200).astype(np.float64))
    single, chunked = (resampled([group], 200, 150, seed=5, at_once=n)[0] for n in (1, CHUNK))
    np.testing.assert_allclose(single, chunked, rtol=1e-13)


def test_estimates_are_values_with_the_intervals_of_their_draws() -> None:
    group = Sums(np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 3.0]]), np.array([2.0, 3.0, 1.0]))
    assert group.means.tolist() == [0.5, 1.0]
    (drawn,) = resampled([group], 3, 500, seed=0)
    low, high = interval(drawn)
    found = estimates(group.means, drawn, LEAST_SESSIONS)
    assert [(own.value, own.low, own.high) for own in found] == [(0.5, low[0], high[0]), (1.0, low[1], high[1])]
    few = estimates(group.means, drawn, LEAST_SESSIONS - 1)
    assert [own.as_row() for own in few] == [{"value": v, "low": None, "high": None} for v in (0.5, 1.0)]
    assert few[0].with_interval == few[0].in_brackets() == "0.5000" and few[0].interval == "\u2013"


def test_what_always_hit_or_never_did_may_not_do_so_next_time() -> None:
    n = 40
    group = Sums(np.repeat([[2.0, 0.0, 1.0]], n, axis=0), np.full(n, 2.0))
    (drawn,) = resampled([group], n, 100, seed=0)
    always, never, between = shares(group.means, drawn, n)
    exact = scipy.stats.binomtest(n, n).proportion_ci(0.95, method="exact")
    assert (always.low, always.high) == (pytest.approx(exact.low), 1)
    assert (never.low, never.high) == (0, pytest.approx(1 - exact.low))
    assert (between.low, between.high) == (0.5, 0.5)
