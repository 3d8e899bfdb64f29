"""[storage] keep_landed: logs whose files have left landing are read again from their copies."""

import shutil
from collections.abc import Callable

import dagster as dg
import pytest

from assets.runs import materialize_all, prune, run_checks, withdraw
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.settings import LogSettings, RowRule, SessionSettings, StorageSettings
from sessrec_pipeline.storage.backup import backup, restore
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.verification import problems
from sessrec_pipeline.storage.withdrawal import kept_logs

T = 1_767_700_000
LOGS = [f"day-{day}.tsv" for day in range(3)]
KEEP = StorageSettings(keep_landed=True)
OTHER_RULES = LogSettings(keep=[RowRule(column="ItemId", not_prefix="3")])


def rows_of(day: int) -> str:
    rows = [f"s{day}-{s}\t{s % 7 + i}\t{T + day * 86_400 + 60 * s + i}\n" for s in range(20) for i in range(3)]
    return "SessionId\tItemId\tTime\n" + "".join(rows)


@pytest.fixture
def settings(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> FeedSettings:
    """A feed that keeps copies of its three logs, all of which have left landing since sessions were made of them."""
    settings = feed(models=["markov"], storage=KEEP)
    for day, name in enumerate(LOGS):
        (settings.landing / name).write_text(rows_of(day))
    assert sessions_of(settings, instance) == 180
    for name in LOGS:
        (settings.landing / name).unlink()
    return settings


def sessions_of(settings: FeedSettings, instance: dg.DagsterInstance) -> int | None:
    done = materialize_all(settings, instance, up_to=["sessions"])
    assert (done.success, done.refused) == (True, {})
    return Store(settings).find("sessions").node.rows


def found(settings: FeedSettings) -> list[str]:
    return list(problems(Store(settings), lambda done, total: None))


def test_changed_settings_reach_logs_that_left_landing(
    settings: FeedSettings, feed: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    changed = settings.model_copy(update={"logs": OTHER_RULES})
    there = feed("there", models=["markov"], logs=OTHER_RULES)
    for day, name in enumerate(LOGS):
        (there.landing / name).write_text(rows_of(day))
    with dg.DagsterInstance.ephemeral() as other:
        expected = sessions_of(there, other)
    assert sessions_of(changed, instance) == expected != 180
    for name in LOGS:  # to the line, the hash and the origin what reading the file itself comes to
        one, other_one = (Store(home).find("raw_sessions", name).lineage for home in (changed, there))
        assert one.node.id == other_one.node.id and one.ancestors[0].id == other_one.ancestors[0].id
    assert materialize_all(changed, instance, up_to=["sessions"]).rebuilt == []
    assert sessions_of(settings, instance) == 180
    assert not [path for path in settings.scratch.iterdir() if path.is_dir()], "what was unpacked is gone"
    assert not list(settings.landing.iterdir())
    assert found(settings) == []


def test_without_copies_the_logs_are_named(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    copies = Store(settings).landed
    for path in copies.files():
        path.unlink()
    assert [problem.partition(" is gone")[0] for problem in found(settings)] == [
        f"the copy of the landed log {name}" for name in LOGS
    ]
    changed = settings.model_copy(update={"logs": OTHER_RULES})
    done = materialize_all(changed, instance, up_to=["sessions"])
    assert list(done.refused) == LOGS[:1] and "keep_landed = true keeps copies" in done.refused[LOGS[0]]
    assert found(settings.model_copy(update={"storage": StorageSettings()})) == []


def test_logs_that_landed_before_are_copied_while_they_are_there(
    feed: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    settings = feed(models=["markov"])
    (settings.landing / LOGS[0]).write_text(rows_of(0))
    assert sessions_of(settings, instance) == 60 and not settings.kept.exists()
    settings = settings.model_copy(update={"storage": KEEP})
    before = Store(settings).find("sessions")
    assert materialize_all(settings, instance, up_to=["sessions"]).rebuilt == [], "the rows are the same"
    assert list(kept_logs(Store(settings))) == LOGS[:1] and Store(settings).find("sessions") == before
    at = Store(settings).find("raw_sessions", LOGS[0]).node.created_at
    assert materialize_all(settings, instance, up_to=["sessions"]).refused == {}
    assert Store(settings).find("raw_sessions", LOGS[0]).node.created_at == at


def test_rows_that_are_gone_are_read_again(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    store = Store(settings)
    before = store.find("raw_sessions", LOGS[1]).node
    shutil.rmtree(store.folder("raw_sessions", LOGS[1], ".parquet").folder)
    with dg.DagsterInstance.ephemeral() as new:  # which knows of no log
        assert sessions_of(settings, new) == 180
    assert store.find("raw_sessions", LOGS[1]).node.id == before.id
    shutil.rmtree(store.folder("raw_sessions", LOGS[1], ".parquet").folder)
    store.give_up(LOGS[1:2])
    assert sessions_of(settings, instance) == 120, "what was given up stays so"


def test_a_corrected_log_is_kept_as_it_is_now(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    once = settings.model_copy(update={"storage": StorageSettings(keep_landed=True, keep_versions=1)})
    (settings.landing / LOGS[0]).write_text(rows_of(0).replace("s0-", "x-"))
    assert sessions_of(once, instance) == 180
    (settings.landing / LOGS[0]).unlink()
    assert len(Store(settings).landed.files()) == 4, "the sessions that were current rested on the log as it was"
    assert sessions_of(once.model_copy(update={"logs": OTHER_RULES}), instance) != 180
    assert len(Store(settings).landed.files()) == 3 and found(once) == []
    sessions = set(Store(once).find("raw_sessions", LOGS[0]).arrow()["session"].to_pylist())
    assert all(session.startswith("x-") for session in sessions)


def test_damaged_copies_are_named_and_set_aside(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    store = Store(settings)
    path = store.landed.folder / f"{kept_logs(store)[LOGS[1]]}.zst"
    path.write_bytes(path.read_bytes()[:-9])
    assert [problem for problem in found(settings) if str(path) in problem]
    done = materialize_all(settings.model_copy(update={"logs": OTHER_RULES}), instance, up_to=["sessions"])
    assert list(done.refused) == [LOGS[1]] and str(path) in done.refused[LOGS[1]]
    (settings.landing / LOGS[1]).write_text(rows_of(1))
    path.unlink()
    assert sessions_of(settings, instance) == 180
    assert found(settings) == []


def test_a_withdrawn_log_comes_back_from_its_copy(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    assert withdraw(settings, instance, LOGS[:1], why="bots") == {}
    assert sessions_of(settings.model_copy(update={"logs": OTHER_RULES}), instance) < 120  # type: ignore[operator]
    assert sessions_of(settings, instance) == 120, "it is not read again by itself"
    assert withdraw(settings, instance, LOGS[:1], undo=True) == {}
    assert sessions_of(settings, instance) == 180
    assert withdraw(settings, instance, LOGS[:1]) == {}
    (Store(settings).landed.folder / f"{kept_logs(Store(settings))[LOGS[0]]}.zst").unlink()  # so that nobody reads it
    assert found(settings) == []


def test_copies_of_pruned_logs_go(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    window = settings.model_copy(update={"sessions": SessionSettings(window_days=1.5)})
    assert sessions_of(window, instance) == 120
    assert prune(window, Store(window), instance) == LOGS[:1]
    assert list(kept_logs(Store(window))) == LOGS[1:] and len(Store(window).landed.files()) == 2
    assert found(window) == []
    assert sessions_of(window, instance) == 120


def test_a_backup_has_the_copies(
    settings: FeedSettings, instance: dg.DagsterInstance, feed: Callable[..., FeedSettings]
) -> None:
    folder = settings.home.parent / "bk"
    backup(Store(settings), folder, keep=1)
    again = settings.model_copy(update={"home": settings.home.parent / "again"})
    restore(folder, again.home)
    with dg.DagsterInstance.ephemeral() as new:
        assert materialize_all(again, new, up_to=["sessions"]).rebuilt == []
        assert sessions_of(again.model_copy(update={"logs": OTHER_RULES}), new) != 180
    (path, *_) = Store(settings).landed.files()
    path.write_bytes(b"x")
    with pytest.raises(RuntimeError, match=str(path)):
        backup(Store(settings), folder, keep=1)


def test_the_check_of_files_counts_copies(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    (verdict,) = [v for v in run_checks(settings, instance) if v.check == "files_are_there"]
    assert verdict.outcome == "passed"
