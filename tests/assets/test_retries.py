"""What may pass by itself is tried again; what will not fails at once; and nothing is tried for ever."""

from collections.abc import Callable

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from assets import retries
from assets.io_manager import StoreIOManager
from assets.logger import reason
from assets.retries import retried
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.warehouse import WarehouseBusyError

PASSING = [
    OSError(28, "No space left on device"),
    duckdb.IOException("IO Error: Could not write"),
    WarehouseBusyError("warehouse.duckdb is open elsewhere"),
]


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    return Store(feed())


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> tuple[float, ...]:
    monkeypatch.setattr(retries, "WAITS", (0.01, 0.02, 0.03))
    return retries.WAITS


def failing(times: int, error: Exception) -> Callable[[], None]:
    """Raises the first so many times that it is called."""
    calls = iter(range(times))

    def fail() -> None:
        if next(calls, None) is not None:
            raise error

    return fail


def materialize(store: Store, fail: Callable[[], None]) -> dg.ExecuteInProcessResult:
    @dg.asset
    @retried
    def made(context: dg.AssetExecutionContext) -> Table:
        fail()
        return Table(pa.table({"a": [context.retry_number]}))

    return dg.materialize([made], resources={"io_manager": StoreIOManager(store)}, raise_on_error=False)


def waited(result: dg.ExecuteInProcessResult) -> list[float | None]:
    return [
        event.step_retry_data.seconds_to_wait
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY
    ]


@pytest.mark.parametrize("error", PASSING, ids=lambda e: type(e).__name__)
def test_what_may_pass_is_tried_again_later_and_later(store: Store, waits: tuple[float, ...], error: Exception) -> None:
    result = materialize(store, failing(2, error))
    assert result.success
    assert waited(result) == list(waits[:2])
    assert store.find("made").arrow()["a"].to_pylist() == [2]


def test_after_the_last_try_the_failure_stands_in_its_own_words(store: Store, waits: tuple[float, ...]) -> None:
    result = materialize(store, failing(100, PASSING[0]))
    assert not result.success
    assert waited(result) == list(waits)
    (failure,) = result.get_step_failure_events()
    assert "No space left on device" in reason(failure)


@pytest.mark.parametrize("error", [ValueError("no event is left"), ZeroDivisionError(), dg.Failure("refused")])
def test_what_will_not_pass_fails_at_once(store: Store, error: Exception) -> None:
    result = materialize(store, failing(1, error))
    assert not result.success
    assert waited(result) == []


def test_publishing_is_tried_again_with_all_of_the_step(
    store: Store, waits: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail, publish = failing(1, PASSING[0]), Store.publish

    def refuse(self: Store, *args: object, **kwargs: object) -> object:
        fail()
        return publish(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "publish", refuse)
    result = materialize(store, lambda: None)
    assert result.success
    assert waited(result) == [waits[0]]
    assert store.find("made").arrow()["a"].to_pylist() == [1], "what was made at the second try"


def test_an_error_that_passes_is_told_on_the_terminal(store: Store, waits: tuple[float, ...]) -> None:
    result = materialize(store, failing(1, PASSING[0]))
    (event,) = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert "No space left on device; make room" in reason(event)
