import numpy as np
import pytest

from sessrec_pipeline.models.padding import listed, rest_of, steps_of


def test_the_rest_falls_with_popularity() -> None:
    assert rest_of(3, True).tolist() == [3, 2, 1]
    assert rest_of(3, False).tolist() == [0, 0, 0]


def test_a_list_as_long_as_the_catalogue_stands_above_the_rest() -> None:
    scores = listed(np.arange(4), 4)
    assert scores.tolist() == [8, 7, 6, 5]
    assert scores.min() > rest_of(4, True).max()


@pytest.mark.parametrize("n_items", [1, 10, 50_000, 5_000_000, 1_000_000_000])
def test_ranks_by_steps_stay_exact(n_items: int) -> None:
    """The best item and its runner-up by popularity alone are told apart in float64."""
    best = steps_of(n_items, True) * n_items + n_items
    assert best <= 2**53
    assert best - 1 != best
    assert steps_of(n_items, True) >= 2**20 or n_items > 10**9


def test_without_padding_there_are_no_steps() -> None:
    assert steps_of(10, False) == 0
