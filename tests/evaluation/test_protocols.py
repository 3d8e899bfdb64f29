from pathlib import Path

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ir_measures import AP, P, R
from worlds import World

from sessrec_pipeline.evaluation import protocols
from sessrec_pipeline.evaluation.metrics import metrics_table
from sessrec_pipeline.evaluation.protocols import PROTOCOLS, REMAINING, SCHEMA
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[1, 3, 8], top_items=8, bootstrap_samples=200)


@pytest.fixture(scope="module")
def found(world: World) -> dict[tuple[str, str, str, int], dict[str, object]]:
    table = protocols.protocols_table(world.rankings, world.splits[0], SETTINGS)
    assert table.schema == SCHEMA
    rows = {(r["protocol"], r["model"], r["metric"], r["k"]): r for r in table.to_pylist()}
    assert len(rows) == table.num_rows == len(PROTOCOLS) * 2 * 3 * 3
    return rows


Found = dict[tuple[str, str, str, int], dict[str, object]]


def test_the_standard_protocol_is_the_metrics_table(world: World, found: Found) -> None:
    for row in metrics_table(world.rankings, dict.fromkeys(world.rankings, ""), SETTINGS).to_pylist():
        if row["tie_rule"] == "conservative" and row["metric"] in ("recall", "mrr", "ndcg"):
            own = found["next_item", row["model"], row["metric"], row["k"]]
            for name in ("value", "low", "high"):
                assert own[name] == pytest.approx(row[name], abs=1e-12)
            assert (own["predictions"], own["sessions"]) == (row["predictions"], row["sessions"])


def test_last_item_counts_every_session_once(world: World, found: Found) -> None:
    lengths = {session: len(items) for session, items in world.sessions().items()}
    for model in world.rankings:
        last = [row for row in world.predictions(model) if row["position"] == lengths[str(row["session"])] - 1]
        ranks = np.array([int(str(row["greater"])) + int(str(row["equal"])) for row in last])
        for k in SETTINGS.cutoffs:
            row = found["last_item", model, "recall", k]
            assert row["value"] == pytest.approx((ranks <= k).mean())
            assert row["predictions"] == row["sessions"] == len(lengths)
            assert row["tie_rule"] == "conservative"


def test_remaining_items_are_judged_as_by_a_reference_implementation(world: World, found: Found) -> None:
    """Each prediction is a query: relevant is every distinct item from its position on, unknown ones too."""
    sessions = world.sessions()
    for model in world.rankings:
        rows = world.predictions(model)
        judged, listed = [], []
        for query, row in enumerate(rows):
            rest = sessions[str(row["session"])][int(str(row["position"])) :]
            judged += [ir_measures.Qrel(str(query), item, 1) for item in set(rest)]
            items = row["top_items"]
            assert isinstance(items, list)
            listed += [ir_measures.ScoredDoc(str(query), item, -float(i)) for i, item in enumerate(items)]
        for k in SETTINGS.cutoffs:
            theirs = ir_measures.calc_aggregate([P @ k, R @ k, AP @ k], judged, listed)
            for metric, reference in zip(REMAINING, (P @ k, R @ k, AP @ k), strict=True):
                row = found["remaining_items", model, metric, k]
                assert row["value"] == pytest.approx(theirs[reference], abs=1e-12), (metric, k)
                assert row["predictions"] == len(rows)
                assert row["tie_rule"] == "as listed"


def test_repeats_of_a_remaining_item_count_once(tmp_path: Path) -> None:
    """a | b c b: after a, {b, c} are relevant; after b, {c, b}; after c, {b}."""
    test = pa.table({"session": ["s"] * 4, "position": [0, 1, 2, 3], "item": ["a", "b", "c", "b"]})
    pq.write_table(test, tmp_path / "test.parquet")
    lists = [["x", "b", "c"], ["b", "x", "y"], []]
    rankings = pa.table({"session": ["s"] * 3, "position": [1, 2, 3], "target": ["b", "c", "b"],
                         "greater": [1, 9, 9], "equal": [1, 1, 1],
                         "top_items": pa.array(lists, pa.list_(pa.string()))})  # fmt: skip
    pq.write_table(rankings, tmp_path / "m.parquet")
    found = protocols.remaining(tmp_path / "m.parquet", tmp_path / "test.parquet", [2, 3])
    precision, recall, average = found
    assert precision.tolist() == [[1 / 2, 1 / 2, 0], [2 / 3, 1 / 3, 0]]
    assert recall.tolist() == [[1 / 2, 1 / 2, 0], [1, 1 / 2, 0]]
    np.testing.assert_allclose(average, [[1 / 4, 1 / 2, 0], [(1 / 2 + 2 / 3) / 2, 1 / 2, 0]])


def test_rankings_of_another_test_split_have_no_remaining_items(world: World, tmp_path: Path) -> None:
    pq.write_table(world.table("test").slice(0, 50), tmp_path / "test.parquet")
    with pytest.raises(ValueError, match="not those of this test split"):
        protocols.protocols_table(world.rankings, tmp_path / "test.parquet", SETTINGS)
