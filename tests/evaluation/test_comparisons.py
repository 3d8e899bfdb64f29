from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.comparisons import SCHEMA, between, compare, holm, sign_flips
from sessrec_pipeline.evaluation.metrics import metrics_table
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[5, 20], bootstrap_samples=500, permutations=2000)
Ranks = NDArray[np.int64]


def write(folder: Path, sessions: list[int], **models: Ranks) -> dict[str, Path]:
    """Rankings in which each session has so many predictions; the ranks of all of them, one after the other."""
    session = np.repeat(np.arange(len(sessions)), sessions)
    position = np.concatenate([np.arange(n) + 1 for n in sessions])
    paths = {}
    for model, ranks in models.items():
        paths[model] = folder / f"{model}.parquet"
        columns = {"session": [f"s{s:05d}" for s in session], "position": position, "target": ["i"] * len(ranks)}
        pq.write_table(pa.table(columns | {"greater": ranks - 1, "equal": np.ones_like(ranks)}), paths[model])
    return paths


def drawn(sessions: list[int], seed: int, hit: float = 0.4) -> Ranks:
    """Ranks that are 1 or 99; sessions are easy or hard for every model in the same way."""
    rng = np.random.default_rng(0)
    easy = np.repeat(rng.random(len(sessions)), sessions)
    noise = np.random.default_rng(seed).random(len(easy))
    return np.where(0.9 * easy + 0.1 * noise < hit, 1, 99)


def test_a_paired_test_finds_what_overlapping_intervals_hide(tmp_path: Path) -> None:
    sessions = [3] * 300
    better = drawn(sessions, seed=1, hit=0.45)
    paths = write(tmp_path, sessions, better=better, worse=drawn(sessions, seed=2, hit=0.42))
    metrics = {
        row["model"]: row
        for row in metrics_table(paths, dict.fromkeys(paths, ""), SETTINGS).to_pylist()
        if (row["metric"], row["k"], row["tie_rule"]) == ("recall", 20, "conservative")
    }
    assert metrics["worse"]["value"] < metrics["better"]["value"]
    assert metrics["worse"]["high"] > metrics["better"]["value"], "by their own intervals nobody could tell"

    pair = between(compare(paths, SETTINGS).to_pandas(), "better", "worse", "recall", 20)
    assert pair["significant"] and pair["p_holm"] < 0.01
    assert 0 < pair["low"] < pair["difference"] < pair["high"]
    assert pair["difference"] == pytest.approx(metrics["better"]["value"] - metrics["worse"]["value"])


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    ranks = drawn([2, 5, 1] * 20, seed=1)
    table = compare(write(tmp_path, [2, 5, 1] * 20, a=ranks, b=ranks), SETTINGS)
    assert table.schema == SCHEMA
    assert table.num_rows == 3 * 2, "metrics times cutoffs"
    for row in table.to_pylist():
        assert (row["p"], row["p_holm"], row["significant"]) == (1, 1, False)
        assert row["difference"] == row["low"] == row["high"] == 0
        assert (row["predictions"], row["sessions"]) == (160, 60)


def test_the_order_of_two_models_turns_the_sign_and_nothing_else(tmp_path: Path) -> None:
    sessions = [1, 4, 2] * 30
    one, other = drawn(sessions, seed=1, hit=0.5), drawn(sessions, seed=2)
    tables = []
    for name, (a, b) in {"x": (one, other), "y": (other, one)}.items():
        (tmp_path / name).mkdir()
        tables.append(compare(write(tmp_path / name, sessions, a=a, b=b), SETTINGS).to_pandas())
    straight, turned = tables
    for column in ("p", "p_holm", "significant"):
        assert straight[column].equals(turned[column])
    np.testing.assert_allclose(straight["difference"], -turned["difference"], atol=1e-12)
    np.testing.assert_allclose(straight["low"], -turned["high"], atol=1e-12)


def test_a_pair_is_found_whichever_way_it_is_stored(tmp_path: Path) -> None:
    sessions = [2] * 40
    paths = write(tmp_path, sessions, a=drawn(sessions, 1, 0.6), b=drawn(sessions, 2))
    table = compare(paths, SETTINGS).to_pandas()
    there, back = between(table, "a", "b", "mrr", 5), between(table, "b", "a", "mrr", 5)
    assert there["difference"] == -back["difference"] > 0
    assert (there["low"], there["high"]) == (-back["high"], -back["low"])
    assert there["p"] == back["p"]
    with pytest.raises(LookupError, match="a and c are not compared in mrr@5"):
        between(table, "a", "c", "mrr", 5)


def test_different_predictions_are_not_compared(tmp_path: Path) -> None:
    paths = write(tmp_path, [2, 2], a=np.array([1, 2, 3, 4])) | write(tmp_path, [1, 3], b=np.array([1, 2, 3, 4]))
    with pytest.raises(ValueError, match=r"b and a ranked different predictions.*a_rankings, b_rankings again"):
        compare(paths, SETTINGS)


def test_few_sessions_give_the_exact_p_value() -> None:
    """With three sessions that all favour a, two of the eight sign patterns are as extreme: p is a quarter."""
    sums = {"a": np.array([[3.0], [2.0], [1.0]]), "b": np.array([[1.0], [0.0], [0.5]])}
    ((p,),) = sign_flips(sums, [("a", "b")], 20_000, seed=1)
    assert p == pytest.approx(0.25, abs=0.01)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Under the null hypothesis a p-value below 5 % comes in 5 % of the cases; sessions differ in length and level."""
    rng = np.random.default_rng(0)
    trials, sessions = 1000, 60
    counts = rng.integers(1, 8, size=sessions)
    level = rng.random((sessions, 1))
    sums = {m: rng.binomial(counts[:, None], level, size=(sessions, trials)).astype(np.float64) for m in "ab"}
    (p,) = sign_flips(sums, [("a", "b")], 1000, seed=1)
    assert 0.03 < (p < 0.05).mean() < 0.07
    assert 0.16 < (p < 0.2).mean() < 0.24


p_values = hnp.arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.floats(0.0001, 1))


@given(p_values)
@hypothesis_settings(max_examples=60, deadline=None)
def test_holm_never_helps_and_keeps_the_order(p: NDArray[np.float64]) -> None:
    corrected = holm(p)
    assert corrected.shape == p.shape
    assert (corrected >= p).all() and (corrected <= 1).all()
    assert (corrected <= np.minimum(p * len(p), 1) + 1e-12).all(), "and never hurts more than Bonferroni"
    for column, own in zip(p.T, corrected.T, strict=True):
        order = np.argsort(column, kind="stable")
        assert (np.diff(own[order]) >= 0).all()
        assert own[order[0]] == pytest.approx(min(1, column[order[0]] * len(p)))


def test_holm_by_hand() -> None:
    p = np.array([[0.01], [0.04], [0.03], [0.005]])
    assert holm(p)[:, 0].tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
