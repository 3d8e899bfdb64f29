import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_tables import fit, quick, train_sets

from sessrec_pipeline.models.counts.sequential_rules import SR, UNIT, SequentialRulesSettings

Rules = dict[str, list[tuple[str, int]]]
WEIGHTS = {
    "div": lambda d: 1 / d,
    "quadratic": lambda d: 1 / d**2,
    "linear": lambda d: max(0, 1 - d / 10),
    "log": lambda d: 1 / math.log10(d + 1.7),
    "same": lambda d: 1,
}


def walked(sessions: list[list[str]], steps: int, weighting: str, pruning: int) -> Rules:
    """Walk the sessions event by event and look back ``steps`` events; the pair seen first comes first."""
    rules: dict[str, dict[str, int]] = {}
    for session in sessions:
        for p, item in enumerate(session):
            for d in range(1, min(steps, p) + 1):
                of_one = rules.setdefault(session[p - d], {})
                of_one[item] = of_one.get(item, 0) + math.floor(0.5 + UNIT * WEIGHTS[weighting](d))
    return {item: sorted(found.items(), key=lambda rule: -rule[1])[:pruning] for item, found in rules.items()}


def fitted(sessions: list[list[str]], **config: object) -> Rules:
    (table,) = fit(SR, sessions=sessions, sr=config)
    rules: Rules = {}
    for row in table.to_pylist():
        rules.setdefault(row["item"], []).append((row["next_item"], row["weight"]))
        assert row["rule_rank"] == len(rules[row["item"]])
    return rules


def test_the_nearer_the_more_weight_and_never_backwards() -> None:
    rules = fitted([["a", "b", "c", "a"]])
    assert rules["a"] == [("b", UNIT), ("c", UNIT // 2), ("a", UNIT // 3)]
    assert rules["b"] == [("c", UNIT), ("a", UNIT // 2)]
    assert rules["c"] == [("a", UNIT)]


def test_steps_are_the_farthest_that_counts() -> None:
    assert fitted([["a", "b", "c"]], steps=1) == {"a": [("b", UNIT)], "b": [("c", UNIT)]}


def test_a_rule_without_weight_is_none() -> None:
    far = ["a", *(["b"] * 10), "c"]
    assert "c" not in dict(fitted([far], steps=20, weighting="linear")["a"])
    assert dict(fitted([far], steps=20)["a"])["c"] == round(UNIT / 11)


@pytest.mark.parametrize("weighting", ["div", "quadratic"])
def test_weights_of_the_default_steps_are_exact(weighting: str) -> None:
    """Then equal sums are equal, whatever they are made of: 1/2 and 1/2 as good as 1."""
    power = 2 if weighting == "quadratic" else 1
    assert all(UNIT % d**power == 0 for d in range(1, SequentialRulesSettings().steps + 1))


@pytest.mark.parametrize("weighting", WEIGHTS)
def test_the_table_equals_the_walk(weighting: str) -> None:
    @given(train_sets, st.integers(1, 9), st.integers(1, 6))
    @quick
    def check(sessions: list[list[str]], steps: int, pruning: int) -> None:
        found = fitted(sessions, steps=steps, weighting=weighting, pruning=pruning)
        assert found == walked(sessions, steps, weighting, pruning)

    check()
