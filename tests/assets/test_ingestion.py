"""One run, and one step, reads all logs that landed; each has a result of its own, and a bad one is refused alone."""

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets import retries
from assets.automation import reading
from assets.graph import build
from assets.ingestion import RAW, landed_logs
from assets.runs import materialize_all, run_checks
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.store import Store

HEADER = "SessionId\tItemId\tTime\n"
T = 1_767_700_000
LOGS = [f"day-{day}.tsv" for day in range(4)]


@pytest.fixture
def settings(feed: Callable[..., FeedSettings]) -> FeedSettings:
    """A feed on which four logs landed; the third has a row that cannot be read."""
    settings = feed(models=["markov"])
    for day, name in enumerate(LOGS):
        rows = [f"s{day}-{s}\t{s + i}\t{T + day * 86_400 + 60 * s + i}\n" for s in range(20) for i in range(3)]
        bad = "no time\t7\tyesterday\n" if day == 2 else ""
        (settings.landing / name).write_text(HEADER + "".join(rows) + bad)
    return settings


def runs_of(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=job)))


def read_by(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str | None]:
    """The partitions of raw_sessions that a run made, as Dagster knows them."""
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.dagster_event]
    made = [event for event in events if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION]
    return [event.partition for event in made if event.asset_key == RAW]


def test_one_step_gives_each_log_its_result(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    (settings.landing / "broken.tsv").write_text("SessionId\tItem\n1\t2\n")
    (settings.landing / "empty.tsv").touch()
    outcome = materialize_all(settings, instance, up_to=["sessions"])
    assert outcome.success and set(outcome.refused) == {"broken.tsv", "empty.tsv"}
    assert "'ItemId' is missing" in outcome.refused["broken.tsv"] and "is empty" in outcome.refused["empty.tsv"]

    (run,) = runs_of(instance, "ingest")
    assert run.status is dg.DagsterRunStatus.FAILURE, "it shows that logs were refused"
    assert read_by(instance, run) == LOGS
    for asset in ("raw_sessions", "quarantine"):
        assert instance.get_materialized_partitions(dg.AssetKey(asset)) == set(LOGS)
    records = instance.fetch_materializations(RAW, limit=10).records
    events = {str(r.partition_key): r.asset_materialization for r in records}
    store = Store(settings)
    for name in LOGS:
        event, stored = events[name], store.find("raw_sessions", name)
        assert event and event.tags and event.tags[DATA_VERSION_TAG] == stored.node.data_version
        assert event.metadata["events"].value == 60
        assert event.metadata["quarantined"].value == int(name == LOGS[2]) == store.find("quarantine", name).node.rows
    with store.warehouse.connect() as connection:
        rows = connection.execute("SELECT asset, partition_key FROM lineage.current WHERE partition_key <> ''")
        assert set(rows.fetchall()) == {(asset, log) for asset in ("raw_sessions", "quarantine") for log in LOGS}


def test_the_checks_look_at_all_logs_before_anything_is_made_of_them(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.checks.DAY", -(10**15))  # so that every time lies in the future
    outcome = materialize_all(settings, instance, up_to=["sessions"])
    assert "check times_in_range did not pass" in outcome.failed["raw_sessions"]
    assert not Store(settings).has("sessions")
    monkeypatch.undo()
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    (run, *_) = runs_of(instance, "rebuild")
    found = [e.dagster_event for e in instance.all_logs(run.run_id) if e.dagster_event]
    lost = [
        event.asset_check_evaluation_data
        for event in found
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        and event.asset_check_evaluation_data.asset_check_key == dg.AssetCheckKey(RAW, "nothing_lost")
    ]  # fmt: skip
    assert [(check.passed, check.metadata["logs"].value, check.metadata["rows"].value) for check in lost] == [
        (True, 4, 240)
    ]


def test_checks_name_the_logs_that_lie_in_the_landing_folder_and_were_not_taken(
    settings: FeedSettings, instance: dg.DagsterInstance
) -> None:
    def seen() -> str:
        (verdict,) = [
            v for v in run_checks(settings, instance) if (v.asset, v.check) == ("raw_sessions", "nothing_lost")
        ]
        return verdict.seen

    broken = settings.landing / "broken.tsv"
    broken.write_text("SessionId\tItem\n1\t2\n")
    assert list(materialize_all(settings, instance, up_to=["sessions"]).refused) == [broken.name]
    assert seen().endswith(", rows_missing=none, landed_but_not_ingested=broken.tsv")
    broken.unlink()
    assert seen().endswith(", rows_missing=none")


def test_a_run_that_died_leaves_the_rest_to_the_next_one(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Store.publish

    def die(self: Store, name: str, value: object, **options: object) -> object:
        if (name, options["partition"]) == ("raw_sessions", LOGS[2]):
            raise SystemExit
        return publish(self, name, value, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", die)
        assert not materialize_all(settings, instance, up_to=["sessions"]).success
    assert list(Store(settings).partitions("raw_sessions")) == LOGS[:2]
    assert not Store(settings).has("sessions"), "nothing is made of some of the logs"
    assert materialize_all(settings, instance, up_to=["sessions"]).success
    last, first = runs_of(instance, "ingest")
    assert (read_by(instance, first), read_by(instance, last)) == (LOGS[:2], LOGS[2:])


def test_what_may_pass_is_tried_again_for_the_logs_that_are_left(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, failures = Store.publish, iter([OSError(28, "No space left on device")])
    monkeypatch.setattr(retries, "WAITS", (0.01, 0.01, 0.01))
    (settings.landing / "broken.tsv").write_text("SessionId\tItem\n1\t2\n")

    def fail(self: Store, name: str, value: object, **options: object) -> object:
        if (name, options["partition"]) == ("raw_sessions", LOGS[1]) and (error := next(failures, None)):
            raise error
        return publish(self, name, value, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "publish", fail)
    outcome = materialize_all(settings, instance, up_to=["sessions"])
    assert outcome.success and list(outcome.refused) == ["broken.tsv"]
    (run,) = runs_of(instance, "ingest")
    assert read_by(instance, run) == [LOGS[0], *LOGS[2:], LOGS[1]]


def test_a_run_that_repeats_another_reads_what_that_one_did_not(
    settings: FeedSettings, instance: dg.DagsterInstance
) -> None:
    """The daemon begins a run again whose process died."""
    instance.add_dynamic_partitions(str(landed_logs.name), LOGS)
    job = build(settings).resolve_job_def("ingest")
    first = job.execute_in_process(reading(LOGS[:3]), instance=instance)
    again = instance.create_run_for_job(
        job, run_config=reading(LOGS), parent_run_id=first.run_id, root_run_id=first.run_id
    )
    assert execute_run(InMemoryJob(job), again, instance).success
    assert read_by(instance, again) == LOGS[3:]
    other = instance.create_run_for_job(job, run_config=reading(LOGS[:1]))
    assert execute_run(InMemoryJob(job), other, instance).success
    assert read_by(instance, other) == LOGS[:1], "who asks anew has it read anew"


def test_partitions_that_are_chosen_in_the_ui_are_one_run(settings: FeedSettings, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(landed_logs.name), LOGS)
    graph = build(settings).resolve_asset_graph()
    assert graph.get(RAW).backfill_policy == dg.BackfillPolicy.single_run()
    tags = {ASSET_PARTITION_RANGE_START_TAG: LOGS[1], ASSET_PARTITION_RANGE_END_TAG: LOGS[3]}
    job = build(settings).resolve_job_def("ingest")
    run = instance.create_run_for_job(job, tags=tags)
    assert execute_run(InMemoryJob(job), run, instance).success
    assert read_by(instance, run) == LOGS[1:]
