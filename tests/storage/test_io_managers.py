"""What a step may use, and what it may publish."""

import time
from collections.abc import Callable

import dagster as dg
import pyarrow as pa
import pytest

from assets.io_manager import SECONDS, StoreIOManager
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    return Store(feed())


def rows(*values: int) -> Table:
    return Table(pa.table({"a": values}))


def materialize(store: Store, read: Callable[[Stored], Table]) -> dg.ExecuteInProcessResult:
    """One asset, which ``read``s the stored table ``above``."""

    @dg.asset(ins={"above": dg.AssetIn("above")})
    def below(above: Stored) -> Table:
        return read(above)

    return dg.materialize(
        [dg.AssetSpec("above"), below], resources={"io_manager": StoreIOManager(store)}, raise_on_error=False
    )


def test_a_step_whose_input_was_replaced_publishes_nothing_and_begins_again(store: Store) -> None:
    store.publish("above", rows(1))
    seen = []

    def read(above: Stored) -> Table:
        seen.append(above.node.id)
        if len(seen) == 1:
            store.publish("above", rows(2))
            with pytest.raises(NotMaterializedError):
                store.find("below")
        return Table(above.arrow())

    assert materialize(store, read).success
    assert len(seen) == 2
    assert store.find("below").node.parents == (store.find("above").node.id,)
    assert store.find("below").arrow()["a"].to_pylist() == [2]


def test_inputs_that_never_stay_the_same_fail_the_step(store: Store) -> None:
    store.publish("above", rows(0))
    times = iter(range(1, 100))

    def read(above: Stored) -> Table:
        store.publish("above", rows(next(times)))
        return Table(above.arrow())

    assert not materialize(store, read).success
    with pytest.raises(NotMaterializedError):
        store.find("below")


def test_a_table_with_a_changed_byte_is_not_used(store: Store) -> None:
    stored = store.publish("above", rows(*range(5000)))
    content = bytearray(stored.path.read_bytes())
    content[len(content) // 3] ^= 1
    stored.path.write_bytes(content)
    result = materialize(store, lambda above: pytest.fail("the step was run"))
    (failure,) = result.get_step_failure_events()
    error = failure.step_failure_data.error
    assert error is not None and error.cause is not None
    assert f"{stored.path}" in error.cause.message and "makes it again" in error.cause.message


def test_seconds_are_told_and_are_no_part_of_the_version(store: Store) -> None:
    """Or every run would look like a change, and everything below it would be made again."""
    store.publish("above", rows(1))
    seen = []
    for pause in (0.0, 0.05):

        def read(above: Stored, pause: float = pause) -> Table:
            time.sleep(pause)
            return Table(above.arrow(), {"other": 3})

        result = materialize(store, read)
        (event,) = result.asset_materializations_for_node("below")
        seen.append((store.find("below"), (event.tags or {})["dagster/data_version"]))
    (fast, fast_version), (slow, slow_version) = seen
    assert float(slow.stats[SECONDS]) >= 0.05 and slow.stats["other"] == 3
    assert fast.stats[SECONDS] != slow.stats[SECONDS]
    assert fast_version == slow_version == fast.node.data_version == slow.node.data_version
    assert fast.node.id == slow.node.id


def test_a_step_that_times_itself_is_believed(store: Store) -> None:
    store.publish("above", rows(1))
    assert materialize(store, lambda above: Table(above.arrow(), {SECONDS: 123.0})).success
    assert store.find("below").stats[SECONDS] == 123
