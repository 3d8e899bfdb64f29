import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import ITEMS, World

from sessrec_pipeline.evaluation import beyond_accuracy
from sessrec_pipeline.evaluation.beyond_accuracy import MEASURES, SCHEMA, gini
from sessrec_pipeline.evaluation.ranking import SCHEMA as RANKINGS
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[1, 3, 8], top_items=8, diversity_lists=10_000)
Found = dict[tuple[str, str, int], dict[str, float]]


def measured(world: World, settings: EvaluationSettings = SETTINGS) -> Found:
    table = beyond_accuracy.beyond_accuracy_table(world.rankings, *world.splits, settings)
    assert table.schema == SCHEMA
    return {(row["model"], row["metric"], row["k"]): row for row in table.to_pylist()}


def test_measures_equal_their_definitions_in_a_loop(world: World) -> None:
    found = measured(world)
    assert len(found) == 2 * len(MEASURES) * 3
    catalogue = world.table("popularity").to_pylist()
    total = sum(row["events"] for row in catalogue)
    share = {row["item"]: row["events"] / total for row in catalogue}
    holders: dict[str, set[int]] = {item: set() for item in ITEMS}
    for row in world.table("train").to_pylist():
        holders[row["item"]].add(row["session_number"])

    def distance(one: str, other: str) -> float:
        both = len(holders[one] & holders[other])
        return 1 - both / math.sqrt(len(holders[one]) * len(holders[other]))

    histories = []
    for items in world.sessions().values():
        for position in range(1, len(items)):
            known = [share[item] for item in items[:position] if item in share]
            histories += [np.mean(known)] if known else []

    for model in world.rankings:
        lists = [row["top_items"] for row in world.predictions(model) if row["top_items"]]
        for k in SETTINGS.cutoffs:
            listed = [item for own in lists for item in own[:k]]  # type: ignore[index]
            counts = np.array([listed.count(item) for item in ITEMS])
            pairs = np.abs(counts[:, None] - counts[None]).sum()  # half the mean absolute difference over the mean
            n = len(ITEMS)
            expected = {
                "coverage": len(set(listed)) / n,
                "gini": pairs / (2 * n * counts.sum()) * n / (n - 1),
                "popularity_lift": np.mean([share[item] for item in listed]) / np.mean(histories) - 1,
                "novelty": np.mean([-math.log2(share[item]) for item in listed]),
            }
            for metric, value in expected.items():
                assert found[model, metric, k]["value"] == pytest.approx(value), (metric, k)
                assert found[model, metric, k]["lists"] == len(lists)
            diversity = found[model, "diversity", k]
            if k == 1:
                assert (diversity["value"], diversity["lists"]) == (None, 0)
            else:
                per_list = [np.mean([distance(*p) for p in combinations(own[:k], 2)]) for own in lists]  # type: ignore[index]
                assert diversity["value"] == pytest.approx(np.mean(per_list))
                assert diversity["lists"] == len(lists)


def test_a_sample_of_lists_is_the_same_every_time_and_near_the_whole(world: World) -> None:
    few = SETTINGS.model_copy(update={"diversity_lists": 60})
    one, again, whole = measured(world, few), measured(world, few), measured(world)
    assert one == again
    assert one["a", "diversity", 8]["lists"] <= 60
    assert one["a", "diversity", 8]["value"] != whole["a", "diversity", 8]["value"]
    assert one["a", "diversity", 8]["value"] == pytest.approx(whole["a", "diversity", 8]["value"], abs=0.05)


def test_only_late_training_sessions_tell_what_goes_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measured(world)["a", "diversity", 8]["value"]
    monkeypatch.setattr(beyond_accuracy, "TRAINING_SESSIONS", 1)  # the last one has a single event
    assert measured(world)["a", "diversity", 8]["value"] == 1 > whole


def test_a_model_without_any_list_has_no_measures_but_no_coverage(world: World, tmp_path: Path) -> None:
    rows = [row | {"top_items": []} for row in world.predictions("a")]
    pq.write_table(pa.Table.from_pylist(rows, RANKINGS), tmp_path / "m.parquet")
    table = beyond_accuracy.beyond_accuracy_table({"m": tmp_path / "m.parquet"}, *world.splits, SETTINGS)
    for row in table.to_pylist():
        assert row["value"] == (0 if row["metric"] == "coverage" else None)
        assert row["lists"] == 0


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20).filter(any))
def test_gini_lies_between_even_and_all_to_one(counts: list[int]) -> None:
    value = gini(np.array(counts))
    assert -1e-12 <= value <= 1 + 1e-12
    assert gini(np.array(counts[::-1])) == value
    assert gini(np.full(len(counts), 7)) == 0
    assert gini(np.array([0] * (len(counts) - 1) + [3])) == 1
