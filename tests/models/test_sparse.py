import numpy as np
import pyarrow as pa
import pytest
from training_tables import model_of

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.counts.association_rules import CARD
from sessrec_pipeline.models.sparse import SparseRows

POPULARITY = pa.table({"item": ["a", "b", "c", "d"]})
RULES = pa.table({"from": ["b", "a", "b"], "to": ["d", "a", "c"], "weight": [2, 7, 5], "place": [2, 1, 1]})


def rules_of(rules: pa.Table, padding: bool = True) -> tuple[SparseRows, list[str]]:
    model, vocabulary = model_of(CARD, (POPULARITY, rules), padding=padding)
    assert isinstance(model, SparseRows)
    return model, vocabulary


def test_rules_come_first_in_their_order_and_the_rest_by_popularity() -> None:
    model, vocabulary = rules_of(RULES)
    assert vocabulary == ["a", "b", "c", "d"]
    assert np.argsort(-model.after(1)).tolist() == [2, 3, 0, 1]
    assert np.argsort(-model.after(0)).tolist() == [0, 1, 2, 3]
    assert np.argsort(-model.after(3)).tolist() == [0, 1, 2, 3], "an item without rules falls back to popularity"
    assert all(len(set(model.after(i))) == 4 for i in range(4)), "nothing ties"


def test_without_padding_scores_are_the_weights() -> None:
    model, _ = rules_of(RULES, padding=False)
    assert [model.after(i).tolist() for i in range(4)] == [[7, 0, 0, 0], [0, 0, 5, 2], [0] * 4, [0] * 4]


def test_the_history_but_for_its_last_event_means_nothing() -> None:
    model, _ = rules_of(RULES)
    ((_, scores),) = model.score(Sessions.from_lists([[0, 1], [1], [3, 1, 1]]), 512)
    np.testing.assert_array_equal(scores[1], scores[2])
    np.testing.assert_array_equal(scores[1], scores[5])


def test_rows_of_items_that_score_nothing() -> None:
    model = SparseRows(
        np.array([0, 1, 1]), np.array([1], np.int32), np.array([9.0]), np.array([0.2, 0.1]), np.array([5.0, 4.0])
    )
    assert model.after(0).tolist() == [0.2, 9]
    assert model.after(1).tolist() == [5, 4]


@pytest.mark.parametrize("column", ["from", "to"])
def test_tables_of_different_training_sets_are_refused(column: str) -> None:
    strange = RULES.set_column(RULES.schema.get_field_index(column), column, [["x", "a", "b"]])
    with pytest.raises(ValueError, match="fit both on the same"):
        rules_of(strange)


def test_the_order_of_the_tables_rows_means_nothing() -> None:
    one, other = (rules_of(RULES.take(order))[0] for order in ([0, 1, 2], [2, 1, 0]))
    for item in range(4):
        np.testing.assert_array_equal(one.after(item), other.after(item))
