"""How models that score few items rank all of them: what is scored comes first, the rest follows by popularity.

With it no two items tie, and a figure does not depend on the tie rule. Items are numbered by popularity, the most
popular first, so the rest is a falling row that every model can share.
"""

import numpy as np
from numpy.typing import NDArray

EXACT = 2.0**52
"""Whole numbers up to twice this are exact in float64."""


def rest_of(n_items: int, padding: bool) -> NDArray[np.float64]:
    """Scores (n_items,) of what a method does not score: n_items down to 1, or without padding zeros."""
    return np.arange(n_items, 0, -1).astype(np.float64) if padding else np.zeros(n_items)


def listed(places: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """Scores of items at ``places`` (0 for the first) of a list, above all of ``rest_of``."""
    return (2 * n_items - places).astype(np.float64)


def steps_of(n_items: int, padding: bool) -> float:
    """Steps from zero to the best score in which scores are told apart, so that popularity can settle who is level.

    Sums that differ by rounding alone are level then, whatever order they were added up in. 0 without padding.
    """
    return min(2.0**31, EXACT // (n_items + 1)) if padding else 0.0
