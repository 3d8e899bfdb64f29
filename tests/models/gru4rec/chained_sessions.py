"""Sessions that a model can learn: for tests of training."""

import numpy as np

from sessrec_pipeline.models.base import Sessions

N_ITEMS = 30


def some_sessions(n: int = 25, n_items: int = N_ITEMS) -> Sessions:
    """Item i is mostly followed by i + 1; lengths differ, so mini-batches shrink at the end."""
    rng = np.random.default_rng(n)
    lists = []
    for _ in range(n):
        first, length = rng.integers(0, n_items), rng.integers(1, 8)
        lists.append([int(first + k + (rng.random() < 0.2)) % n_items for k in range(length)])
    return Sessions.from_lists(lists)
