"""A window over the logs, and what may leave the lake behind it."""

from collections.abc import Callable

import dagster as dg
import pytest

from assets.runs import materialize_all, prune
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import SessionSettings
from sessrec_pipeline.storage.retention import prunable
from sessrec_pipeline.storage.store import NotMaterializedError, Store

QUICK = GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16)
DAY = 86_400
METRICS = ["metrics"]


@pytest.fixture
def settings(feed: Callable[..., FeedSettings]) -> FeedSettings:
    """Three days, a log each, and a window of a day and a half."""
    settings = feed(models=["gru4rec"], gru4rec=QUICK, sessions=SessionSettings(window_days=1.5))
    for day in range(3):
        land(settings, day)
    return settings


def land(settings: FeedSettings, day: int) -> None:
    rows = [
        f"{day}-{session}\t{(session * k) % 9}\t{1767225600 + day * DAY + 300 * session + k}\n"
        for session in range(60)
        for k in range(1, 5)
    ]
    (settings.landing / f"day{day}.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows))


def logs_behind(settings: FeedSettings, asset: str) -> set[str | None]:
    return {n.partition for n in Store(settings).find(asset).lineage.ancestors if n.asset == "raw_sessions"}


def test_only_logs_in_the_window_are_prepared(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    assert materialize_all(settings, instance, up_to=METRICS).success
    assert logs_behind(settings, "metrics") == {"day1.tsv", "day2.tsv"}
    days = {int(t) // (DAY * 1_000_000) for t in Store(settings).find("sessions").arrow()["time"].to_pylist()}
    assert len(days) == 2
    assert materialize_all(settings, instance, up_to=METRICS).rebuilt == []

    land(settings, 3)
    assert "sessions" in materialize_all(settings, instance, up_to=METRICS).rebuilt
    assert logs_behind(settings, "metrics") == {"day2.tsv", "day3.tsv"}


def test_pruning_takes_what_nothing_needs_and_nothing_else(
    settings: FeedSettings, instance: dg.DagsterInstance
) -> None:
    store = Store(settings)
    assert materialize_all(settings, instance, up_to=METRICS).success
    assert prune(settings, store, instance) == [], "their files are in the landing folder"
    for log in list(settings.landing.iterdir()):
        log.rename(settings.home / log.name)
    assert prune(settings, store, instance) == ["day0.tsv"]
    for asset in ("raw_sessions", "quarantine"):
        with pytest.raises(NotMaterializedError):
            store.find(asset, "day0.tsv")
    assert instance.get_dynamic_partitions("landed_logs") == ["day1.tsv", "day2.tsv"]
    assert prune(settings, store, instance) == []


def test_a_log_that_a_result_rests_on_stays(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    """Made without the window, the results rest on the first day until they are made again."""
    store = Store(settings)
    whole = settings.model_copy(update={"sessions": SessionSettings()})
    assert materialize_all(whole, instance, up_to=METRICS).success
    (settings.landing / "day0.tsv").unlink()
    assert list(prunable(settings, store)) == []
    assert materialize_all(settings, instance, up_to=METRICS).success
    ((log, artefacts),) = prunable(settings, store)
    assert log == "day0.tsv"
    assert [artefact.node.asset for artefact in artefacts] == ["raw_sessions", "quarantine"]


def test_without_a_window_everything_stays(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    assert list(prunable(settings, Store(settings))) == []
