"""What GRU4Rec's optimiser does to the rows that a step used, compiled."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sessrec_pipeline.caches import numba_cache

CACHE = numba_cache()

Floats = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")  # else a check of each division keeps it from vectors
def adagrad_rows(
    weight: Floats,
    squares: Floats,
    velocity: Floats,
    gradient: Floats,
    rows: NDArray[np.int64],
    learning_rate: np.float32,
    momentum: np.float32,
) -> None:
    """Change ``rows`` of weight, squares and velocity (n, h) by their gradient (rows, h).

    Without momentum velocity is neither read nor written, and may have no rows.
    """
    for i in range(len(rows)):
        change, w, s = gradient[i], weight[rows[i]], squares[rows[i]]
        if momentum > 0:
            v = velocity[rows[i]]
            for j in range(len(change)):
                s[j] += change[j] * change[j]
                v[j] = momentum * v[j] - learning_rate * change[j] / np.sqrt(s[j])
                w[j] += v[j]
        else:
            for j in range(len(change)):
                s[j] += change[j] * change[j]
                w[j] -= learning_rate * change[j] / np.sqrt(s[j])
