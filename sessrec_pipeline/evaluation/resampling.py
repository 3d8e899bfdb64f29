"""Bootstrap over test sessions: drawn once, used for every model, metric and slice."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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


def resampled(groups: Sequence[Sums], sessions: int, samples: int, seed: int) -> list[NDArray[np.float64]]:
    """For each group the micro-averages under each resample, (samples, metrics); NaN where a resample has no session.

    Sessions are drawn whole and with replacement, for the predictions of a session hang together. All groups see the
    same draws, so their differences are paired.
    """
    rng = np.random.default_rng(seed)
    means = [np.empty((samples, group.values.shape[1])) for group in groups]
    for start in range(0, samples, CHUNK):
        draws = [rng.integers(sessions, size=sessions) for _ in range(min(CHUNK, samples - start))]
        weights = np.array([np.bincount(draw, minlength=sessions) for draw in draws], dtype=np.float64)
        for group, mean in zip(groups, means, strict=True):
            own = weights if group.among is None else weights[:, group.among]
            counts = own @ group.counts
            with np.errstate(invalid="ignore"):
                mean[start : start + CHUNK] = own @ group.values / counts[:, None]
    return means


def interval(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval (2.5 %, 97.5 %) of resampled values (samples, metrics): low and high, (metrics,)."""
    quantile = np.nanquantile if np.isnan(means).any() else np.quantile
    low, high = quantile(means, [0.025, 0.975], axis=0)
    return low, high
