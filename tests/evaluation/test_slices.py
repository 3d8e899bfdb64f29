from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from worlds import DAY, World

from sessrec_pipeline.evaluation import slices
from sessrec_pipeline.evaluation.slices import SCHEMA, SLICES, UNKNOWN, bands
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[3, 8], top_items=8, bootstrap_samples=200)


def by_hand(world: World, name: str, prediction: dict[str, object]) -> str:
    """The band of one prediction, from the splits."""
    session, position = str(prediction["session"]), int(str(prediction["position"]))
    items, target = world.sessions()[session], str(prediction["target"])
    train, test = world.rows("train"), world.rows("test")
    time = next(row["time"] for row in test if (row["session"], row["position"]) == (session, position))
    if name == "session_length":
        return {2: "2", 3: "3", 4: "4", 5: "5-6", 6: "5-6"}.get(len(items), "7-10")
    if name == "position":
        return {1: "1", 2: "2", 3: "3", 4: "4-5", 5: "4-5"}.get(position, "6-10")
    if name == "repeat":
        return "seen in session" if target in items[:position] else "new in session"
    if name == "day":
        return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d}"
    if target == "unseen":
        return UNKNOWN
    if name == "popularity":
        rank = world.table("popularity")["item"].to_pylist().index(target) + 1
        return "next 9 %" if rank <= 3 else "next 40 %" if rank <= 15 else "rarest 50 %"  # one of 30 is more than 1 %
    age = (time - min(row["time"] for row in train if row["item"] == target)) / DAY
    limits = {1: "< 1 day", 3: "1-3 days", 7: "3-7 days", 30: "7-30 days"}
    return next(band for limit, band in limits.items() if age < limit)


def test_slices_equal_a_loop(world: World) -> None:
    table = slices.slices_table(world.rankings, *world.splits, SETTINGS)
    assert table.schema == SCHEMA
    found = {(r["model"], r["slice"], r["band"], r["k"]): r for r in table.to_pylist()}
    expected: dict[tuple[str, str, str, int], list[tuple[float, float, str]]] = {}
    for model in world.rankings:
        for row in world.predictions(model):
            rank = int(str(row["greater"])) + int(str(row["equal"]))
            for name in SLICES:
                band = by_hand(world, name, row)
                for k in SETTINGS.cutoffs:
                    hit = float(rank <= k)
                    expected.setdefault((model, name, band, k), []).append((hit, hit / rank, str(row["session"])))
    assert set(found) == set(expected)
    assert {band for _, name, band, _ in found if name == "item_age"} >= {"1-3 days", "7-30 days", UNKNOWN}
    for key, values in expected.items():
        row = found[key]
        assert row["predictions"] == len(values)
        assert row["sessions"] == len({session for *_, session in values})
        assert row["recall"] == pytest.approx(np.mean([hit for hit, *_ in values]))
        assert row["mrr"] == pytest.approx(np.mean([gain for _, gain, _ in values]))
        if row["sessions"] < LEAST_SESSIONS:
            assert row["low"] is row["high"] is None
        else:
            assert row["low"] - 1e-9 <= row["recall"] <= row["high"] + 1e-9


def test_rows_stand_in_the_order_of_slices_and_bands(world: World) -> None:
    rows = slices.slices_table(world.rankings, *world.splits, SETTINGS).to_pylist()
    keys = [(row["model"], list(SLICES).index(row["slice"]), row["place"], row["k"]) for row in rows]
    assert keys == sorted(keys) and len(keys) == len(set(keys))


def test_times_that_only_tell_the_order_have_no_days(world: World) -> None:
    table = slices.slices_table(world.rankings, *world.splits, SETTINGS, clock=False)
    assert set(table["slice"].to_pylist()) == {"session_length", "position", "popularity", "repeat"}


def test_bands_hold_their_edges() -> None:
    places, names = bands("popularity", np.array([0.01, 0.0101, 0.1, 0.1001, 0.5, 0.51, 1.0, np.nan]))
    assert [names[p] for p in places] == [
        "top 1 %", "next 9 %", "next 9 %", "next 40 %", "next 40 %", "rarest 50 %", "rarest 50 %", UNKNOWN
    ]  # fmt: skip
    places, names = bands("item_age", np.array([-2.0, 0.0, 0.99, 1.0, 30.0]))
    assert [names[p] for p in places] == ["< 1 day", "< 1 day", "< 1 day", "1-3 days", "30+ days"]
    for cut in SLICES.values():
        assert list(cut.edges) == sorted(cut.edges)
        assert not cut.bands or len(cut.bands) == len(cut.edges) + 1


def test_rankings_of_another_test_split_are_refused(world: World, tmp_path: Path) -> None:
    shorter = world.table("test").slice(0, 50)
    pq.write_table(shorter, tmp_path / "test.parquet")
    _, train, popularity = world.splits
    with pytest.raises(ValueError, match="not those of this test split"):
        slices.slices_table(world.rankings, tmp_path / "test.parquet", train, popularity, SETTINGS)
