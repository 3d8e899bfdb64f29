import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.evaluation.comparisons import compare
from sessrec_pipeline.evaluation.metrics import MARKS, SCHEMA, leaderboard, metrics_table
from sessrec_pipeline.evaluation.ranking import MISS
from sessrec_pipeline.evaluation.ranks import METRICS
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings, TieRule

Evidence = tuple[int, int, int]
"""Session, items scored greater than the target, items scored equal."""
RULES: list[TieRule] = ["standard", "median", "conservative"]


def settings(*cutoffs: int, **changes: object) -> EvaluationSettings:
    values = {"cutoffs": list(cutoffs) or [1, 5, 20], "bootstrap_samples": 100, "permutations": 1000} | changes
    return EvaluationSettings.model_validate({"top_items": max(cutoffs, default=20)} | values)


def rankings_of(rows: Sequence[Evidence]) -> pa.Table:
    session, greater, equal = zip(*rows, strict=True)
    return pa.table(
        {
            "session": [f"s{s}" for s in session],
            "position": [1 + session[:i].count(s) for i, s in enumerate(session)],
            "target": ["i"] * len(rows),
            "greater": greater,
            "equal": equal,
        }
    )


@contextmanager
def stored(**models: Sequence[Evidence]) -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = {model: Path(folder, f"{model}.parquet") for model in models}
        for model, rows in models.items():
            pq.write_table(rankings_of(rows), paths[model])
        yield paths


def measured(evaluation: EvaluationSettings, **models: Sequence[Evidence]) -> pa.Table:
    with stored(**models) as paths:
        return metrics_table(paths, {model: f"id of {model}" for model in models}, evaluation)


def board_of(evaluation: EvaluationSettings, **models: Sequence[Evidence]) -> pa.Table:
    with stored(**models) as paths:
        metrics = metrics_table(paths, {model: f"id of {model}" for model in models}, evaluation)
        return leaderboard(metrics, compare(paths, evaluation), evaluation)


def value(
    table: pa.Table, metric: str, k: int, rule: str = "standard", column: str = "value", model: str = "m"
) -> float:
    key = (model, metric, k, rule)
    (row,) = [r for r in table.to_pylist() if (r["model"], r["metric"], r["k"], r["tie_rule"]) == key]
    found: float = row[column]  # None for an interval that there is not
    return found


def by_hand(rows: Sequence[Evidence], metric: str, k: int, rule: str) -> float:
    total = 0.0
    for _, greater, equal in rows:
        first, last = greater + 1, greater + equal
        target_rank = {"standard": first, "median": (first + last) / 2, "conservative": last}[rule]
        if target_rank <= k:
            gains = {"recall": 1.0, "precision": 1 / k, "ndcg": 1 / math.log2(target_rank + 1)}
            total += gains.get(metric, 1 / target_rank)
    return total / len(rows)


evidence = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 30) | st.just(MISS), st.integers(1, 12)), min_size=1, max_size=25
)


@given(evidence, st.sets(st.integers(1, 40), min_size=1, max_size=3))
@example([(0, 0, 1)], {1})
@hypothesis_settings(max_examples=30, deadline=None)
def test_the_sql_equals_a_loop(rows: list[Evidence], cutoffs: set[int]) -> None:
    table = measured(settings(*sorted(cutoffs)), m=rows)
    assert table.schema == SCHEMA
    assert table.num_rows == len(METRICS) * len(cutoffs) * len(RULES)
    for metric in METRICS:
        for k in cutoffs:
            for rule in RULES:
                assert value(table, metric, k, rule) == pytest.approx(by_hand(rows, metric, k, rule), abs=1e-12)
                low, high = (value(table, metric, k, rule, column) for column in ("low", "high"))
                few = len({session for session, _, _ in rows}) < LEAST_SESSIONS
                assert low is None and high is None if few else 0 <= low <= high <= 1
    assert set(table["predictions"].to_pylist()) == {len(rows)}
    assert set(table["sessions"].to_pylist()) == {len({session for session, _, _ in rows})}
    assert set(table["rankings"].to_pylist()) == {"id of m"}


def run_of(rows: Sequence[Evidence], rule: str) -> tuple[list[ir_measures.Qrel], list[ir_measures.ScoredDoc]]:
    """The same predictions as queries with one relevant document each, whose place in the run the tie rule decides."""
    judged, listed = [], []
    for query, (_, greater, equal) in enumerate(rows):
        before = min(greater, 40) + (0 if rule == "standard" else equal - 1)
        judged.append(ir_measures.Qrel(str(query), "target", 1))
        others = [f"other{i}" for i in range(before)]
        listed += [ir_measures.ScoredDoc(str(query), item, -float(i)) for i, item in enumerate([*others, "target"])]
    return judged, listed


@given(evidence, st.integers(1, 30))
@hypothesis_settings(max_examples=20, deadline=None)
def test_the_metrics_are_those_of_a_reference_implementation(rows: list[Evidence], k: int) -> None:
    """The median rule's ranks may lie between two places, which no list can show."""
    from ir_measures import AP, RR, P, R, Success, nDCG

    theirs = {
        "recall": [R @ k, Success @ k],
        "mrr": [RR @ k],
        "map": [AP @ k],
        "ndcg": [nDCG @ k],
        "precision": [P @ k],
    }
    table = measured(settings(k), m=rows)
    for rule in ("standard", "conservative"):
        judged, listed = run_of(rows, rule)
        found = ir_measures.calc_aggregate([m for own in theirs.values() for m in own], judged, listed)
        for metric, own in theirs.items():
            for measure_of in own:
                assert value(table, metric, k, rule) == pytest.approx(found[measure_of], abs=1e-12), measure_of


def test_with_one_target_map_is_mrr_and_precision_is_recall_over_k() -> None:
    table = measured(settings(4), m=random_evidence(40, seed=5))
    for column in ("value", "low", "high"):
        assert value(table, "map", 4, column=column) == value(table, "mrr", 4, column=column)
        assert value(table, "precision", 4, column=column) == pytest.approx(
            value(table, "recall", 4, column=column) / 4, abs=1e-12
        )


def test_recall_cutoff_inclusive() -> None:
    table = measured(settings(19, 20, 21), m=[(0, 19, 1)])  # rank 20
    assert [value(table, "recall", k) for k in (19, 20, 21)] == [0, 1, 1]
    assert value(table, "mrr", 20) == 1 / 20


def test_metrics_micro_averaged() -> None:
    """Four predictions of which three hit, over two sessions whose own recalls are 0 and 1."""
    table = measured(settings(5), m=[(0, 9, 1), (1, 0, 1), (1, 1, 1), (1, 2, 1)])
    assert value(table, "recall", 5) == 0.75
    assert value(table, "mrr", 5) == pytest.approx((1 + 1 / 2 + 1 / 3) / 4)


def test_ties_not_optimistic() -> None:
    """A model that scores everything alike finds nothing under the rule of the leaderboard."""
    constant = [(session, 0, 500) for session in range(30)]
    table = measured(settings(), m=constant)
    assert value(table, "recall", 20, "standard") == 1, "this is why a figure without its tie rule is meaningless"
    assert value(table, "recall", 20, "median") == 0
    assert value(table, "recall", 20, "conservative") == 0
    assert board_of(settings(), m=constant).to_pylist()[0]["recall_at_20"] == 0


def test_the_median_rank_is_the_middle_of_the_tied_ones() -> None:
    table = measured(settings(3, 4), m=[(0, 1, 5)])  # ranks 2 to 6
    assert value(table, "recall", 3, "median") == 0
    assert value(table, "mrr", 4, "median") == 1 / 4
    assert value(measured(settings(3), m=[(0, 2, 2)]), "recall", 3, "median") == 0, "rank 3.5 is not among the first 3"


def test_ndcg_formula() -> None:
    table = measured(settings(5), m=[(0, 0, 1), (0, 2, 1), (1, 4, 1), (1, 5, 1)])
    assert value(table, "ndcg", 5) == pytest.approx((1 + 1 / 2 + 1 / math.log2(6)) / 4, abs=1e-12)


def test_a_miss_is_a_miss_at_every_cutoff() -> None:
    table = measured(settings(1, 1_000_000), m=[(0, MISS, 1)])
    assert max(table["value"].to_pylist()) == 0


def random_evidence(sessions: int, seed: int) -> list[Evidence]:
    rng = np.random.default_rng(seed)
    level = rng.integers(1, 60, size=sessions)
    return [(s, int(rng.integers(level[s])), 1) for s in range(sessions) for _ in range(rng.integers(1, 6))]


def test_intervals_contain_the_value_and_shrink_with_more_sessions() -> None:
    widths = []
    for sessions in (30, 3000):
        table = measured(settings(20, bootstrap_samples=300), m=random_evidence(sessions, seed=1))
        for row in table.to_pylist():
            assert row["low"] < row["value"] < row["high"]
        widths.append(value(table, "recall", 20, column="high") - value(table, "recall", 20, column="low"))
    assert widths[1] < widths[0] / 5, "a hundred times the sessions: a tenth of the width, give or take"


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = random_evidence(50, seed=2)
    one, again, other = (measured(settings(5, seed=seed), m=rows) for seed in (1, 1, 2))
    assert one.equals(again)
    assert one["low"].to_pylist() != other["low"].to_pylist()
    assert one["value"].to_pylist() == other["value"].to_pylist()


def test_all_models_see_the_same_resamples() -> None:
    rows = random_evidence(50, seed=3)
    table = measured(settings(5), a=rows, b=rows, c=random_evidence(50, seed=4))
    for column in ("value", "low", "high"):
        assert value(table, "mrr", 5, column=column, model="a") == value(table, "mrr", 5, column=column, model="b")


def test_sessions_are_resampled_whole() -> None:
    """Twenty sessions of 50 equal predictions know as much as twenty predictions, not as a thousand."""
    one = [(s, 0 if s % 2 else 99, 1) for s in range(20)]
    copied = [row for row in one for _ in range(50)]
    table = measured(settings(5, bootstrap_samples=400), one=one, copied=copied)
    lows = [value(table, "recall", 5, column="low", model=model) for model in ("one", "copied")]
    assert lows[0] == lows[1]


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        ("standard", ["tied", "good", "also_bad", "bad"]),
        ("median", ["tied", "good", "also_bad", "bad"]),
        ("conservative", ["good", "also_bad", "bad", "tied"]),
    ],
)
def test_the_leaderboard_shows_its_rule_best_model_first(rule: TieRule, order: list[str]) -> None:
    """By Recall at the largest cutoff, equals by name."""
    evaluation = settings(5, 20, tie_rule=rule)
    models = {
        "tied": [(0, 0, 30), (1, 0, 30)],
        "good": [(0, 1, 1), (1, 25, 1)],
        "bad": [(0, 40, 1), (1, 50, 1)],
        "also_bad": [(0, 40, 1), (1, 50, 1)],
    }
    metrics = measured(evaluation, **models)
    board = board_of(evaluation, **models).to_pylist()

    assert [row["model"] for row in board] == order
    for row in board:
        assert row["tie_rule"] == rule
        assert row["rankings"] == f"id of {row['model']}"
        assert (row["predictions"], row["sessions"]) == (2, 2)
        for metric in METRICS:
            for k in (5, 20):
                for column, name in (("value", ""), ("low", "_low"), ("high", "_high")):
                    cell = value(metrics, metric, k, rule, column, row["model"])
                    assert row[f"{metric}_at_{k}{name}"] == cell


def test_the_leaderboard_says_who_can_be_told_from_whom() -> None:
    rng = np.random.default_rng(0)
    good = [(s, int(rng.random() < 0.4) * 99, 1) for s in range(300)]
    luckier = [(s, 0 if s == 0 else g, 1) for s, g, _ in good]
    bad = [(s, int(rng.random() < 0.9) * 99, 1) for s in range(300)]
    models = {"a_good": luckier, "b_good": good, "c_bad": bad, "oracle": [(s, 0, 1) for s in range(300)]}
    oracle, first, second, third = board_of(settings(5), **models).to_pylist()

    assert [oracle["model"], first["model"], third["model"]] == ["oracle", "a_good", "c_bad"]
    assert all(oracle[name] is None for name in MARKS), "it does not compete"
    assert first["p_best"] is None and first["vs_best"] is None
    assert first["vs_next"] == second["vs_best"] == "equivalent" and second["p_best"] == first["p_next"] == 1
    assert second["vs_next"] == "differs" and second["p_next"] < 0.05
    assert third["vs_best"] == "differs" and third["p_next"] is None


@pytest.mark.parametrize(
    ("sessions", "interval", "verdict"),
    [(1, False, "too few sessions"), (9, False, "too few sessions"), (10, True, "too few sessions"),
     (49, True, "too few sessions"), (50, True, "differs")],
)  # fmt: skip
def test_few_sessions_give_no_interval_and_no_verdict(sessions: int, interval: bool, verdict: str) -> None:
    models = {"all": [(s, 0, 1) for s in range(sessions)], "none": [(s, 99, 1) for s in range(sessions)]}
    table = measured(settings(5), **models)
    assert (value(table, "recall", 5, column="low", model="all") is not None) == interval
    assert (value(table, "mrr", 5, column="high", model="none") is not None) == interval
    best, worst = board_of(settings(5), **models).to_pylist()
    assert best["recall_at_5"] == 1 and (best["recall_at_5_low"] is not None) == interval
    assert best["vs_next"] == worst["vs_best"] == verdict
    assert (best["p_next"] is not None) == interval


def test_the_primary_metric_orders_the_leaderboard() -> None:
    models = {"wide": [(s, 15, 1) for s in range(60)], "sharp": [(s, 0 if s % 2 else 99, 1) for s in range(60)]}
    assert [row["model"] for row in board_of(settings(5, 20), **models).to_pylist()] == ["wide", "sharp"]
    by_mrr = board_of(settings(5, 20, primary="mrr@5"), **models).to_pylist()
    assert [row["model"] for row in by_mrr] == ["sharp", "wide"] and by_mrr[0]["vs_next"] == "differs"


def test_a_leaderboard_of_one_model_compares_nothing() -> None:
    board = board_of(settings(5), only=[(0, 0, 1)])
    assert {name: board.schema.field(name).type for name in MARKS} == MARKS
    assert all(board[name].to_pylist() == [None] for name in MARKS)


def test_a_rankings_path_is_no_pattern(tmp_path: Path) -> None:
    for folder, greater in (("shop=nl [a]*", 0), ("shop=nl ab", 99)):
        (tmp_path / folder).mkdir()
        pq.write_table(rankings_of([(0, greater, 1)]), tmp_path / folder / "r.parquet")
    table = metrics_table({"m": tmp_path / "shop=nl [a]*" / "r.parquet"}, {"m": "id"}, settings(5))
    assert value(table, "recall", 5) == 1


def test_a_models_name_is_no_sql(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    pq.write_table(rankings_of([(0, 0, 1)]), path)
    with pytest.raises(ValueError, match="identifier"):
        metrics_table({"m' OR 1=1 --": path}, {}, settings(5))
