"""The rows of a withdrawn log are in nothing that is made next, and its file is not taken again until it changes."""

from collections.abc import Callable

import dagster as dg
import pytest

from assets.automation import reading
from assets.graph import build
from assets.runs import materialize_all, run_checks, withdraw
from assets.staleness import out_of_date
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.lineage import changes
from sessrec_pipeline.storage.store import Store

HEADER = "SessionId\tItemId\tTime\n"
T = 1_767_700_000
LOGS = [f"day-{day}.tsv" for day in range(3)]


def rows_of(day: int, first: str = "s") -> str:
    return "".join(
        f"{first}{day}-{s}\t{s % 7 + i}\t{T + day * 86_400 + 60 * s + i}\n" for s in range(20) for i in range(3)
    )


@pytest.fixture
def settings(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> FeedSettings:
    """A feed with three days of logs, of which sessions are made."""
    settings = feed(models=["markov"])
    for day, name in enumerate(LOGS):
        (settings.landing / name).write_text(HEADER + rows_of(day))
    assert made(settings, instance) == 180
    return settings


def made(settings: FeedSettings, instance: dg.DagsterInstance, *, everything: bool = False) -> int | None:
    """Rows of the sessions, once they are up to date."""
    assert materialize_all(settings, instance, up_to=["sessions"], everything=everything).success
    return Store(settings).find("sessions").node.rows


def late(settings: FeedSettings) -> set[str]:
    store = Store(settings)
    found = out_of_date(build(settings).resolve_asset_graph(), store, list(store.partitions("raw_sessions")))
    return {key.to_user_string() for key in found}


def seen(settings: FeedSettings, instance: dg.DagsterInstance, check: str) -> tuple[str, str]:
    (verdict,) = [v for v in run_checks(settings, instance) if (v.asset, v.check) == ("raw_sessions", check)]
    return verdict.outcome, verdict.seen


def test_a_withdrawn_log_is_in_nothing_that_is_made_next(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "jane")
    store = Store(settings)
    before = store.find("sessions")
    assert "sessions" not in late(settings)
    assert withdraw(settings, instance, [LOGS[1]], why="a test shop") == {}
    assert "sessions" in late(settings)
    assert made(settings, instance) == 120
    after = store.find("sessions")
    assert not after.arrow(["session"])["session"].to_pylist()[0].startswith("s1-")
    assert {s for s in after.arrow()["session"].to_pylist() if s.startswith("s1-")} == set()
    assert changes(before.lineage.nodes, after.lineage.nodes).logs == (f"-{LOGS[1]}",)
    (decided,) = [n.config["withdrawn"] for n in after.lineage.ancestors if "withdrawn" in n.config]
    assert (decided["by"], decided["why"]) == ("jane", "a test shop") and decided["at"] > "2026"
    for check in ("nothing_lost", "typed_and_complete", "few_quarantined", "times_in_range", "files_are_there"):
        assert seen(settings, instance, check)[0] == "passed", check


def test_it_is_not_taken_again_until_its_file_changes(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    assert withdraw(settings, instance, [LOGS[1]]) == {}
    assert made(settings, instance) == made(settings, instance, everything=True) == 120
    other = settings.model_copy(update={"logs": settings.logs.model_copy(update={"max_bad_share": 0.4})})
    assert made(other, instance) == 120, "the others are read again with other settings"
    (settings.landing / LOGS[1]).write_text(HEADER + rows_of(1) + f"new\t1\t{T}\nnew\t2\t{T + 1}\n")
    assert made(settings, instance) == 182


def test_undoing_it_reads_the_file_again(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    before = Store(settings).find("sessions").node.data_version
    assert withdraw(settings, instance, LOGS[:2]) == {}
    assert withdraw(settings, instance, LOGS[:2]) == {}, "once is enough"
    assert made(settings, instance) == 60
    (settings.landing / LOGS[1]).rename(settings.home / "elsewhere.tsv")
    failed = withdraw(settings, instance, LOGS[:2], undo=True)
    assert list(failed) == [LOGS[1]] and "land it again" in failed[LOGS[1]]
    assert made(settings, instance) == 120
    (settings.home / "elsewhere.tsv").rename(settings.landing / LOGS[1])
    assert made(settings, instance) == 120, "it came back as it was"
    assert withdraw(settings, instance, LOGS[:2], undo=True) == {}
    assert made(settings, instance) == 180
    assert Store(settings).find("sessions").node.data_version == before


def test_the_run_config_of_the_job_does_the_same(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    job = build(settings).resolve_job_def("ingest")
    assert job.execute_in_process(reading([LOGS[0]], withdraw=True, why="bots"), instance=instance).success
    assert made(settings, instance) == 120
    (run, *_) = instance.get_runs(dg.RunsFilter(job_name="ingest"))
    told = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    events = [e for e in told if e.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION]
    assert {(e.asset_key and e.asset_key.to_user_string(), e.partition) for e in events} == {
        ("raw_sessions", LOGS[0]), ("quarantine", LOGS[0]),
    }  # fmt: skip
    # Partitions that are chosen by the dozen do not bring it back, its name does.
    assert job.execute_in_process(instance=instance, partition_key=LOGS[0]).success
    assert made(settings, instance) == 120
    assert job.execute_in_process(reading([LOGS[0]]), instance=instance).success
    assert made(settings, instance) == 180
    result = job.execute_in_process(reading(["no.tsv"], withdraw=True), instance=instance, raise_on_error=False)
    assert not result.success and not Store(settings).has("raw_sessions", "no.tsv")


def test_a_log_that_lost_its_rows_is_told(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    path = settings.landing / LOGS[1]
    whole = path.read_text()
    rows = len(whole.splitlines()) - 1
    assert seen(settings, instance, "logs_keep_their_rows") == ("passed", "all")
    for left in (0, 10):
        path.write_text("".join(whole.splitlines(keepends=True)[: left + 1]))
        made(settings, instance)
        outcome, text = seen(settings, instance, "logs_keep_their_rows")
        assert outcome == "warning" and f"{LOGS[1]} had {rows} rows and has {left} now; if its file was cut" in text
    path.write_text(HEADER)
    made(settings, instance)
    path.unlink()
    assert seen(settings, instance, "files_are_there")[0] == "passed", "it had no rows"
    path.write_text(whole + "more\t1\t1700000000\nmore\t2\t1700000001\n")
    made(settings, instance)
    assert seen(settings, instance, "logs_keep_their_rows")[0] == "passed"
    assert withdraw(settings, instance, [LOGS[1]]) == {}
    assert seen(settings, instance, "logs_keep_their_rows")[0] == "passed", "it was meant"


def test_a_file_that_is_gone_and_a_correction_under_a_new_name_are_told(
    settings: FeedSettings, instance: dg.DagsterInstance
) -> None:
    assert seen(settings, instance, "files_are_there")[0] == "passed"
    assert seen(settings, instance, "logs_differ")[0] == "passed"
    (settings.landing / LOGS[0]).unlink()
    outcome, text = seen(settings, instance, "files_are_there")
    assert outcome == "warning" and LOGS[0] in text and "sessrec withdraw" in text
    corrected = rows_of(1).replace("\t3\t", "\t4\t").splitlines(keepends=True)
    (settings.landing / "day-1-fixed.tsv").write_text(HEADER + "".join(corrected[:24]) + rows_of(4))
    made(settings, instance)
    assert seen(settings, instance, "logs_differ")[0] == "passed", "less than half of the smaller log"
    (settings.landing / "day-1-fixed.tsv").write_text(HEADER + "".join(corrected))
    made(settings, instance)
    outcome, text = seen(settings, instance, "logs_differ")
    assert outcome == "warning" and "day-1-fixed.tsv and day-1.tsv" in text and "100 %" in text
    assert withdraw(settings, instance, [LOGS[0], LOGS[1]]) == {}
    assert made(settings, instance) == 120
    for check in ("files_are_there", "logs_differ"):
        assert seen(settings, instance, check)[0] == "passed"
