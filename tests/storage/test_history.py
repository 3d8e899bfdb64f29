"""What is kept of evaluations."""

from pathlib import Path

import pyarrow as pa
import pytest

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.lineage import Changes, Lineage, Node, changes
from sessrec_pipeline.storage.store import Store, Stored


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Settings.model_validate({"home": tmp_path, "storage": {"keep_versions": 1, "keep_ranks": 2}}))


def evaluate(store: Store, greater: int) -> Stored:
    """Rankings of one prediction and the metrics of them, published and remembered."""
    ranked = {"session": ["s"], "position": [1], "target": ["i"], "greater": [greater], "equal": [1]}
    rankings = store.publish("markov_rankings", Table(pa.table({**ranked, "top_items": [["i", "j"]]})))
    row = {"model": ["markov"], "metric": ["recall"], "k": [5], "tie_rule": ["median"], "value": [1 / (greater + 1)]}
    rest = {"low": [0.0], "high": [1.0], "predictions": [1], "sessions": [1], "rankings": [rankings.node.id]}
    metrics = store.publish(
        "metrics", Table(pa.table({**row, **rest})), parents=[rankings.lineage], run_id=f"r{greater}"
    )
    store.remember(metrics)
    return metrics


def remembered(store: Store) -> list[tuple[str, float]]:
    with store.warehouse.connect() as connection:
        return connection.execute("SELECT run_id, value FROM history ORDER BY value DESC").fetchall()


def test_metrics_stay_and_ranks_stay_for_a_while(store: Store) -> None:
    made = [evaluate(store, greater) for greater in (0, 1, 3)]
    assert remembered(store) == [("r0", 1.0), ("r1", 0.5), ("r3", 0.25)]
    assert len(store.history.evaluations()) == 3 and len(list(store.history.lineages("markov_rankings"))) == 2
    [first, *others] = [metrics.lineage.ancestors[0] for metrics in made]
    assert store.history.ranks(first) is None
    for greater, rankings in zip((1, 3), others, strict=True):
        path = store.history.ranks(rankings)
        assert path is not None
        kept = pa.parquet.read_table(path)
        assert kept["greater"].to_pylist() == [greater] and "top_items" not in kept.column_names


def test_what_is_remembered_is_not_remembered_again(store: Store) -> None:
    made = [evaluate(store, greater) for greater in (0, 1)]
    before = [path.stat().st_ino for path in store.history.evaluations()]
    for metrics in made:  # the file of the first is gone from the lake
        store.remember(metrics)
    assert [path.stat().st_ino for path in store.history.evaluations()] == before


def test_the_warehouse_has_the_history_again_after_it_was_deleted(store: Store) -> None:
    for greater in (0, 1):
        evaluate(store, greater)
    before = remembered(store)
    store.warehouse.path.unlink()
    store.rebuild_catalogue()
    assert remembered(store) == before and len(before) == 2


def test_a_damaged_file_is_told_and_left_out(store: Store) -> None:
    evaluate(store, 0)
    evaluate(store, 1)
    store.history.evaluations()[0].write_bytes(b"nothing")
    told: list[str] = []
    store.warehouse.path.unlink()
    store.rebuild_catalogue(told.append)
    assert len(remembered(store)) == 1 and str(store.history.evaluations()[0]) in told[0]


def node(asset: str, content: str = "c", code: str = "a-b", partition: str | None = None, **config: object) -> Node:
    return Node(asset, partition, content, code, dict(config), "", "", "2026-01-01T00:00:00+00:00")


def test_changes_name_logs_settings_and_code() -> None:
    old = [node("landing", "1", partition="a"), node("landing", "1", partition="b"), node("sessions", code="x-1", k=1)]
    new = [node("landing", "2", partition="a"), node("landing", "1", partition="c"), node("sessions", code="y-2", k=2)]
    found = changes(old, new)
    assert found == Changes(("~a", "-b", "+c"), ("k = 1 -> 2",), ("sessions",))
    assert found.kinds == "logs, settings, code"
    assert found.in_words() == "logs a changed and 2 more; settings k = 1 -> 2; code of sessions"
    assert changes(new, new).in_words() == "" and changes(new, new).kinds == "nothing"


def test_nested_settings_have_dotted_names() -> None:
    old, new = node("m", evaluation={"seed": 1, "cutoffs": [5]}), node("m", evaluation={"seed": 2, "cutoffs": [5]})
    assert changes([old], [new]).settings == ("evaluation.seed = 1 -> 2",)


def test_an_origin_is_what_one_node_rests_on() -> None:
    log = node("landing")
    split, other = (Node(**{**vars(node(name)), "parents": (log.id,)}) for name in ("split", "other"))
    lineage = Lineage.of(Node(**{**vars(node("metrics")), "parents": (split.id, other.id)}), [
        Lineage(split, (log,)), Lineage(other, (log,)),
    ])  # fmt: skip
    assert {n.asset for n in lineage.origin(split.id)} == {"split", "landing"}
