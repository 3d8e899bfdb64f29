"""Which logs there are is asked of the lake and its manifest, never of Dagster's database or the landing folder."""

import shutil
import time
from collections.abc import Callable

import dagster as dg
import pytest

from assets.runs import materialize_all, withdraw
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.settings import LogSettings, RowRule
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.withdrawal import withdrawn_logs

T = 1_767_700_000
LOGS = [f"day-{day}.tsv" for day in range(3)]


@pytest.fixture
def settings(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> FeedSettings:
    """A feed of three logs whose files have left the landing folder since sessions were made of them."""
    settings = feed(models=["markov"])
    for day, name in enumerate(LOGS):
        rows = [f"s{day}-{s}\t{s % 7 + i}\t{T + day * 86_400 + 60 * s + i}\n" for s in range(20) for i in range(3)]
        (settings.landing / name).write_text("SessionId\tItemId\tTime\n" + "".join(rows))
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    for name in LOGS[1:]:
        (settings.landing / name).unlink()
    return settings


def test_a_lost_database_loses_no_log(settings: FeedSettings) -> None:
    with dg.DagsterInstance.ephemeral() as new:
        done = materialize_all(settings, new, up_to=["sessions"], everything=True)
    assert (done.success, done.landed) == (True, LOGS)
    assert Store(settings).find("sessions").node.rows == 180


def test_a_home_without_landed_files_is_made_again(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    (settings.landing / LOGS[0]).unlink()
    done = materialize_all(settings, instance, up_to=["sessions"], everything=True)
    assert done.success and done.rebuilt == ["sessions"]


def test_nothing_is_made_of_what_is_left_of_the_logs(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    store = Store(settings)
    for log in LOGS[:2]:  # the first still lies in the landing folder, and is read again
        shutil.rmtree(store.find("raw_sessions", log).path.parents[1])
    done = materialize_all(settings, instance, up_to=["sessions"], everything=True)
    assert not done.success
    assert f"raw_sessions[{LOGS[1]}] was ingested and is gone from the lake: land" in done.failed["ingestion"]
    assert store.has("raw_sessions", LOGS[0])
    store.give_up(LOGS[1:2])
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    assert store.find("sessions").node.rows == 120


def test_logs_that_new_settings_cannot_reach_are_named(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    rule = RowRule(column="ItemId", not_prefix="3")
    changed = settings.model_copy(update={"logs": LogSettings(keep=[rule])})
    done = materialize_all(changed, instance, up_to=["sessions"])
    assert list(done.refused) == LOGS[1:2]
    assert f"{LOGS[1]} and 1 more logs were read under other [logs] settings" in done.refused[LOGS[1]]
    assert materialize_all(settings, instance, up_to=["sessions"]).refused == {}


def test_times_that_have_come_since_are_taken(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    rows = "".join(f"n{s}\t1\t{int(now) - 100 - 86_400 * s}\n" for s in range(8))
    (settings.landing / "new.tsv").write_text(f"SessionId\tItemId\tTime\n{rows}far\t1\t{int(now) + 40 * 86_400}\n")
    with monkeypatch.context() as clock:
        clock.setattr("time.time", lambda: now - 3 * 86_400)
        assert materialize_all(settings, instance, up_to=["sessions"]).success
        assert Store(settings).find("quarantine", "new.tsv").node.rows == 3
        assert materialize_all(settings, instance, up_to=["sessions"]).rebuilt == []
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    assert Store(settings).find("quarantine", "new.tsv").node.rows == 1
    at = Store(settings).find("raw_sessions", "new.tsv").node.created_at
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    assert Store(settings).find("raw_sessions", "new.tsv").node.created_at == at


def test_lost_quarantine_is_read_again_or_named(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    store = Store(settings)
    shutil.rmtree(settings.lake / "quarantine")
    done = materialize_all(settings, instance, up_to=["sessions"])
    assert f"quarantine[{LOGS[1]}] was ingested and is gone from the lake" in done.failed["ingestion"]
    assert list(store.partitions("quarantine")) == LOGS[:1]
    for log in LOGS[1:]:
        assert withdraw(settings, instance, [log]) == {}
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    assert store.find("sessions").node.rows == 60


def test_a_lost_partition_does_not_bring_a_withdrawn_log_back(
    settings: FeedSettings, instance: dg.DagsterInstance
) -> None:
    store = Store(settings)
    assert withdraw(settings, instance, LOGS[:1]) == {}
    for asset in ("raw_sessions", "quarantine"):
        shutil.rmtree(store.find(asset, LOGS[0]).path.parents[1])
    done = materialize_all(settings, instance, up_to=["sessions"])
    assert done.success and done.rebuilt == ["sessions"]
    assert withdrawn_logs(store) == LOGS[:1] and store.find("sessions").node.rows == 120
    assert withdraw(settings, instance, LOGS[:1], undo=True) == {}
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    assert withdrawn_logs(store) == [] and store.find("sessions").node.rows == 180
