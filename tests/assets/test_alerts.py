"""Logs that stop coming make assets stale, and a run that failed leaves one sentence."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from assets.alerts import failure_sensor
from assets.graph import build
from assets.ingestion import landed_logs
from assets.runs import execute
from sessrec_pipeline.feed import FeedSettings

LOG = "SessionId\tItemId\tTime\na\t1\t1767700000\na\t2\t1767700010\n"


def ingest(settings: FeedSettings, instance: dg.DagsterInstance, name: str, text: str) -> dg.ExecuteInProcessResult:
    (settings.landing / name).write_text(text)
    instance.add_dynamic_partitions(str(landed_logs.name), [name])
    return execute(build(settings).resolve_job_def("ingest"), instance, partition_key=name)


# --- freshness -------------------------------------------------------------------------------------------------------


def policies(settings: FeedSettings) -> dict[str, dg.FreshnessPolicy]:
    nodes = build(settings).resolve_asset_graph().asset_nodes
    return {n.key.to_user_string(): n.freshness_policy for n in nodes if n.freshness_policy}


def test_nothing_goes_stale_unless_settings_say_when(feed: Callable[..., FeedSettings]) -> None:
    assert policies(feed()) == {}


def test_what_came_in_and_what_answers_go_stale(feed: Callable[..., FeedSettings]) -> None:
    found = policies(feed(automation={"stale_after_hours": 36}))
    assert set(found) == {"raw_sessions", "gru4rec_checkpoint", "leaderboard"}
    assert all(policy == dg.FreshnessPolicy.time_window(timedelta(hours=36)) for policy in found.values())


def test_logs_are_stale_once_none_came_for_so_long(
    feed: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    settings = feed(automation={"stale_after_hours": 36})
    node = build(settings).resolve_asset_graph().get(dg.AssetKey("raw_sessions"))

    def state(hours: float) -> FreshnessState:
        moment = (datetime.now(UTC) + timedelta(hours=hours)).timestamp()
        with patch("dagster._core.definitions.freshness_evaluator.get_current_timestamp", lambda: moment):
            look = TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(LoadingContextForTest(instance), node)
            return asyncio.run(look)

    assert state(0) is FreshnessState.UNKNOWN
    assert ingest(settings, instance, "monday.tsv", LOG).success
    assert state(35) is FreshnessState.PASS
    assert state(37) is FreshnessState.FAIL


# --- failures --------------------------------------------------------------------------------------------------------


def raised(settings: FeedSettings, instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    context = dg.build_run_status_sensor_context(
        sensor_name="failure_sensor",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=next(e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE),
        partition_key=result.dagster_run.tags.get("dagster/partition"),
    )
    failure_sensor(settings)(context)


def test_a_failed_run_leaves_one_sentence(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> None:
    settings = feed()
    result = ingest(settings, instance, "cut.tsv", "SessionId;ItemId;Time\n1;2;3\n")
    assert not result.success
    for _ in range(2):
        raised(settings, instance, result)
    first, second = settings.alerts.read_text().splitlines()
    when, _, sentence = first.partition(" ")
    assert datetime.fromisoformat(when).tzinfo is not None
    assert sentence == second.partition(" ")[2]
    assert sentence.startswith("quarantine, raw_sessions[cut.tsv]: cut.tsv")
    for part in ("delimiter", f"sessrec --home {settings.home} materialize", result.run_id[:8], "job ingest"):
        assert part in sentence


def test_an_error_of_many_lines_is_one_line(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> None:
    settings = feed()

    @dg.op
    def stumble() -> None:
        raise ValueError("first\r\nsecond\x1b[31m\u2028third\x00")

    @dg.job
    def short() -> None:
        stumble()

    raised(settings, instance, short.execute_in_process(instance=instance, raise_on_error=False))
    (line,) = settings.alerts.read_bytes().decode().splitlines()
    assert "stumble: first second\ufffd[31m third\ufffd. Fix what it names" in line


def test_the_daemon_sees_runs_of_the_command_line(
    feed: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    """As the daemon does it: a tick of the sensor from a cursor on, over what the instance has recorded."""
    settings = feed()
    sensor = failure_sensor(settings)
    definitions = build(settings)

    def tick(cursor: str | None) -> str | None:
        with dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=definitions.get_repository_def(), sensor_name=sensor.name
        ) as context:
            return sensor.evaluate_tick(context).cursor

    cursor = tick(None)
    assert not settings.alerts.exists()
    ingest(settings, instance, "good.tsv", LOG)
    ingest(settings, instance, "cut.tsv", "SessionId;ItemId;Time\n1;2;3\n")
    # As far as Dagster is concerned, the command line and the daemon are two places.
    elsewhere = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("elsewhere"), "elsewhere")
    dead = instance.create_run_for_job(
        definitions.resolve_job_def("checks"), remote_job_origin=RemoteJobOrigin(elsewhere, "checks")
    )
    instance.report_run_failed(dead, "process 17 died")
    while (then := tick(cursor)) != cursor:
        cursor = then
    refused, died = settings.alerts.read_text().splitlines()
    assert "cut.tsv" in refused
    assert "process 17 died. Fix what it names" in died
