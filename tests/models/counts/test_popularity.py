from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from training_tables import fit, model_of

from sessrec_pipeline.evaluation.ranking import observe
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.counts.popularity import CARD, POPULARITY, Popularity

train_sets = st.lists(st.lists(st.sampled_from(["10", "9", "a", "ü"]), min_size=1, max_size=6), min_size=1, max_size=8)


@given(train_sets)
@settings(max_examples=25, deadline=None)
def test_the_table_equals_most_common(sessions: list[list[str]]) -> None:
    """``Counter.most_common`` keeps first-seen order among equals, as the reproduction study does."""
    (table,) = fit(POPULARITY, sessions=sessions)
    events = [item for session in sessions for item in session]
    assert (
        list(zip(table["item"].to_pylist(), table["events"].to_pylist(), strict=True)) == Counter(events).most_common()
    )
    assert table["popularity_rank"].to_pylist() == list(range(1, len(set(events)) + 1))


def test_the_vocabulary_is_the_ranking() -> None:
    model, vocabulary = model_of(CARD, fit(POPULARITY, sessions=[["b", "a"], ["c", "a"]]))
    assert vocabulary == ["a", "b", "c"]
    assert model.n_items == 3
    (_, scores), *_ = model.score(Sessions.from_lists([[2], [0, 1]]), 512)
    assert observe(scores, np.zeros(3, np.int64), 3).best.tolist() == [[0, 1, 2]] * 3


def test_nothing_ties() -> None:
    (_, scores), *_ = Popularity(100_000).score(Sessions.from_lists([[0]]), 1)
    assert len(np.unique(scores)) == 100_000
