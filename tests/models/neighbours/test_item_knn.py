import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_tables import fit, quick, train_sets

from sessrec_pipeline.models.neighbours.item_knn import ITEM_KNN

Similar = dict[str, list[tuple[str, float]]]


def compared(sessions: list[list[str]], neighbours: int, regularisation: float) -> Similar:
    """Compare the sets of sessions of each two items; among equals the item seen first comes first."""
    visits: dict[str, set[int]] = {}
    for number, session in enumerate(sessions):
        for item in session:
            visits.setdefault(item, set()).add(number)
    similar: Similar = {}
    for item, own in visits.items():
        found = [
            (other, len(own & theirs) / math.sqrt((len(own) + regularisation) * (len(theirs) + regularisation)))
            for other, theirs in visits.items()
            if other != item and own & theirs
        ]
        if found:
            similar[item] = sorted(found, key=lambda pair: -pair[1])[:neighbours]
    return similar


def fitted(sessions: list[list[str]], **config: object) -> Similar:
    (table,) = fit(ITEM_KNN, sessions=sessions, item_knn=config)
    similar: Similar = {}
    for row in table.to_pylist():
        similar.setdefault(row["item"], []).append((row["other_item"], row["similarity"]))
        assert row["similarity_rank"] == len(similar[row["item"]])
    return similar


def test_a_cosine_of_sets_of_sessions() -> None:
    """a and b share one session, a is in two, b in one; that a comes twice in it means nothing."""
    similar = fitted([["a", "b", "a"], ["a", "c"], ["d"]], regularisation=0)
    assert similar["a"] == [("b", pytest.approx(1 / math.sqrt(2))), ("c", pytest.approx(1 / math.sqrt(2)))]
    assert similar["b"] == [("a", pytest.approx(1 / math.sqrt(2)))]
    assert "d" not in similar


def test_regularisation_makes_rare_items_less_alike() -> None:
    sessions = [["a", "b"], *[["a", "c"]] * 4, ["c"]]
    assert fitted(sessions, regularisation=0)["a"][1][0] == "b"
    assert fitted(sessions, regularisation=20)["a"][1] == ("b", pytest.approx(1 / math.sqrt(25 * 21)))


@given(train_sets, st.integers(1, 6), st.sampled_from([0, 1.5, 20]))
@quick
def test_the_table_equals_the_comparison(sessions: list[list[str]], neighbours: int, regularisation: float) -> None:
    found = fitted(sessions, neighbours=neighbours, regularisation=regularisation)
    assert found == compared(sessions, neighbours, regularisation)
