from hypothesis import given
from hypothesis import strategies as st
from training_tables import fit, quick, train_sets

from sessrec_pipeline.models.counts.association_rules import AR

Rules = dict[str, list[tuple[str, int]]]


def counted(sessions: list[list[str]], pruning: int) -> Rules:
    """Walk the sessions event by event: each pair with an earlier one counts for both; the first seen comes first."""
    rules: dict[str, dict[str, int]] = {}
    for session in sessions:
        for p, later in enumerate(session):
            for earlier in session[:p]:
                for one, other in ((earlier, later), (later, earlier)):
                    of_one = rules.setdefault(one, {})
                    of_one[other] = of_one.get(other, 0) + 1
    return {item: sorted(found.items(), key=lambda rule: -rule[1])[:pruning] for item, found in rules.items()}


def fitted(sessions: list[list[str]], **config: object) -> Rules:
    (table,) = fit(AR, sessions=sessions, ar=config)
    rules: Rules = {}
    for row in table.to_pylist():
        rules.setdefault(row["item"], []).append((row["other_item"], row["pairs"]))
        assert row["rule_rank"] == len(rules[row["item"]])
    return rules


def test_pairs_count_in_both_directions_and_repeats_make_rules_to_themselves() -> None:
    rules = fitted([["a", "b", "a"], ["b", "c"], ["d"]])
    assert rules == {"a": [("b", 2), ("a", 2)], "b": [("a", 2), ("c", 1)], "c": [("b", 1)]}


def test_pruning_keeps_the_strongest_and_of_equals_the_first() -> None:
    sessions = [["a", "b"], ["a", "c"], ["a", "d"], ["a", "d"]]
    assert fitted(sessions, pruning=2)["a"] == [("d", 2), ("b", 1)]


@given(train_sets, st.integers(1, 6))
@quick
def test_the_table_equals_the_walk(sessions: list[list[str]], pruning: int) -> None:
    assert fitted(sessions, pruning=pruning) == counted(sessions, pruning)
