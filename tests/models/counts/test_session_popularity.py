from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from training_tables import quick, ranked

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.counts.session_popularity import SessionPopularity, SessionPopularitySettings

VOCABULARY = list("abcdef")


def after(session: list[int], **config: object) -> np.ndarray:
    model = SessionPopularity(len(VOCABULARY), SessionPopularitySettings.model_validate(config))
    *_, (events, scores) = model.score(Sessions.from_lists([session]), 512)
    row: np.ndarray = scores[events.argmax()]
    return row


def test_count_then_recency_then_popularity() -> None:
    """c came twice; d and then b once."""
    assert ranked(after([2, 3, 2, 1]), VOCABULARY) == ["c", "b", "d", "a", "e", "f"]


def test_without_padding_the_rest_ties_at_zero() -> None:
    assert after([2, 3, 2, 1], padding=False).tolist() == [0, 1.75, 2.5, 1.25, 0, 0]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
@quick
def test_as_one_would_sort_it(session: list[int]) -> None:
    count, last = Counter(session), {item: p for p, item in enumerate(session)}
    order = sorted(range(6), key=lambda item: (-count[item], -last.get(item, -1), item))
    assert ranked(after(session), VOCABULARY) == [VOCABULARY[item] for item in order]
