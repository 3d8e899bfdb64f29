"""Bootstrap over test sessions: drawn once, used for every model, metric and slice."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.quality.splits import LEAST_SESSIONS

CHUNK = 64
"""Resamples held at once: with 16,000 sessions 8 MB."""


class Sums(NamedTuple):
    """Sums over the predictions of some sessions, all micro-averaged by the same counts."""

    values: NDArray[np.float64]
    """(sessions, metrics)"""
    counts: NDArray[np.float64]
    """Predictions, (sessions,)."""
    among: NDArray[np.int64] | None = None
    """Which of all sessions these are, (sessions,); None: all of them."""

    @property
    def means(self) -> NDArray[np.float64]:
        """The micro-averages, (metrics,)."""
        means: NDArray[np.float64] = self.values.sum(axis=0) / self.counts.sum()
        return means


def resampled(
    groups: Sequence[Sums], sessions: int, samples: int, seed: int, *, at_once: int = CHUNK
) -> list[NDArray[np.float64]]:
    """For each group the micro-averages under each resample, (samples, metrics); NaN where a resample has no session.

    Sessions are drawn whole and with replacement, for the predictions of a session hang together. All groups see the
    same draws, so their differences are paired. Groups of different sessions are paired, too, where all of them are
    among the same ``sessions``: by ``Sums.among``, or with zeros for the sessions that a group lacks.

    ``at_once`` resamples are summed by one matrix product. The draws do not depend on it, but the last digits of the
    means do, for a product with a single row adds in another order: a published table keeps the value that it was
    first made with.
    """
    rng = np.random.default_rng(seed)
    means = [np.empty((samples, group.values.shape[1])) for group in groups]
    for start in range(0, samples, at_once):
        draws = [rng.integers(sessions, size=sessions) for _ in range(min(at_once, samples - start))]
        weights = np.array([np.bincount(draw, minlength=sessions) for draw in draws], dtype=np.float64)
        for group, mean in zip(groups, means, strict=True):
            own = weights if group.among is None else weights[:, group.among]
            counts = own @ group.counts
            with np.errstate(invalid="ignore"):
                mean[start : start + at_once] = own @ group.values / counts[:, None]
    return means


def interval(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval (2.5 %, 97.5 %) of resampled values (samples, metrics): low and high, (metrics,).

    Resamples without a session of the group (NaN) do not count.
    """
    quantile = np.nanquantile if np.isnan(means).any() else np.quantile
    low, high = quantile(means, [0.025, 0.975], axis=0)
    return low, high


def interval_of_shares(means: NDArray[np.float64], sessions: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``interval`` of values between 0 and 1, which is not a point where all ``sessions`` have a value of 0, or of 1.

    No resample of such sessions has another value, and yet another session may: there the bound is the exact one of
    Clopper and Pearson (1934), 0.025^(1/n) from the other end.
    """
    low, high = interval(means)
    reach = 0.025 ** (1 / sessions)
    return np.where(low == 1, reach, low), np.where(high == 0, 1 - reach, high)


def estimates(
    values: NDArray[np.float64],
    means: NDArray[np.float64],
    sessions: int,
    interval: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]] = interval,
) -> list[Estimate]:
    """Values (metrics,) with the intervals of their resampled ones (samples, metrics).

    Without intervals where the values rest on fewer than LEAST_SESSIONS ``sessions``.
    """
    low, high = interval(means) if sessions >= LEAST_SESSIONS else (np.full_like(values, np.nan),) * 2
    return [Estimate(*own) for own in np.stack([values, low, high], axis=1).tolist()]


def shares(values: NDArray[np.float64], means: NDArray[np.float64], sessions: int) -> list[Estimate]:
    """``estimates`` of values between 0 and 1, as all metrics of rankings are."""
    return estimates(values, means, sessions, lambda drawn: interval_of_shares(drawn, sessions))
