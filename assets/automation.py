"""What runs by itself: logs are taken when they land, everything downstream follows when content or code changed."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.ingestion import RAW, landed_logs, read_landed_log
from assets.processes import end_dead_runs, has_died, owning
from assets.rankings import shard_assets, shard_partitions
from assets.retries import told
from assets.staleness import checks_of, out_of_date, unread, would_rest_on
from assets.studies import GROUP
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.logs.landing import from_cursor, scan, to_cursor
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store

UNKNOWN = ""
"""In the rebuild sensor's cursor: what an asset is made from that waits for others in the same run."""

ingest_job = dg.define_asset_job(
    "ingest",
    # The checks of all logs together are the first steps of a rebuild, which they may stop.
    selection=dg.AssetSelection.assets("raw_sessions", "quarantine").without_checks(),
    executor_def=owning(dg.in_process_executor),  # a process of its own would cost more than the work
    description="Read landed logs: those of the run's partitions, or those that its config names. With "
    "`withdraw: true` take their rows out again; to undo that, name them without it.",
)
REBUILD = "rebuild"
"""Name of the job that makes everything after ingestion."""
studies_job = dg.define_asset_job(
    "studies",
    selection=dg.AssetSelection.groups(GROUP),
    description="The studies and their page: slow, so they run when somebody asks for them.",
)
checks_job = dg.define_asset_job(
    "checks",
    selection=dg.AssetSelection.all_asset_checks(),
    executor_def=owning(dg.in_process_executor),
    description="All asset checks, on what is there.",
)


def rebuild_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """Everything after ingestion; the shards of a ranking one after the other, so that one run makes it all."""
    shards = shard_partitions(settings.evaluation.shards).get_partition_keys()
    return dg.define_asset_job(
        REBUILD,
        selection=dg.AssetSelection.all()
        - dg.AssetSelection.assets("raw_sessions", "quarantine")
        - dg.AssetSelection.groups(GROUP)
        | dg.AssetSelection.checks_for_assets(RAW),
        tags={ASSET_PARTITION_RANGE_START_TAG: shards[0], ASSET_PARTITION_RANGE_END_TAG: shards[-1]}
        if len(shards) > 1
        else {},
        description="Everything after ingestion, from sessions to the report.",
    )


def rank_jobs(settings: Settings) -> list[UnresolvedAssetJobDefinition]:
    """The job that ranks one shard with all models, where there are shards: each can be a run on another machine."""
    if settings.evaluation.shards == 1:
        return []
    shards = dg.AssetSelection.assets(*[name for card in cards_of(settings) for name in shard_assets(card)])
    return [dg.define_asset_job("rank", selection=shards, description="One shard of the test sessions.")]


def landing_sensor(settings: Settings) -> dg.SensorDefinition:
    """A partition for every log that landed or changed since it was ingested, and one run for all of them."""

    @dg.sensor(
        job=ingest_job,
        name="landing_sensor",
        minimum_interval_seconds=settings.automation.poll_seconds,
        default_status=_status(settings),
        description="Looks into data/landing: new and changed logs become partitions of raw_sessions and are read, all "
        "in one run.",
    )
    @told
    def sensor(context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]) -> dg.SensorResult:
        known, rules = from_cursor(context.cursor), settings.automation
        found = scan(
            settings.landing,
            store,
            known,
            settle_seconds=rules.settle_seconds,
            reread_seconds=None if rules.reread_hours is None else rules.reread_hours * 3600,
        )
        for reason in found.refused.values():
            context.log.warning(reason)
        # With the time in the key a log that was changed and changed back is read both times.
        key = hashlib.sha256(repr([(name, found.new[name], found.seen[name].state) for name in found.new]).encode())
        # Dagster knows of the logs that the lake has: its own memory of them may have been lost.
        known_to_dagster = landed_logs.get_partition_keys(dynamic_partitions_store=context.instance)
        new = sorted({*found.new, *store.partitions("raw_sessions")} - set(known_to_dagster))
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=key.hexdigest(), run_config=reading(list(found.new)))]
            if found.new
            else [],
            dynamic_partitions_requests=[landed_logs.build_add_request(new)] if new else [],
            cursor=to_cursor(found.seen),
        )

    return sensor


def reading(logs: Sequence[str], **how: str | bool) -> dict[str, Any]:
    """Run config of the ingest job: read these logs, or what else its config says."""
    return {"ops": {read_landed_log.op.name: {"config": {"logs": list(logs), **how}}}}


def rebuild_sensor(settings: Settings) -> dg.SensorDefinition:
    """One run over all that is out of date, by the rule of `sessrec materialize`, once nothing is under way.

    What failed is not asked for again until its inputs, settings or code change; a run for something else tries it too.
    """

    @dg.sensor(
        job_name=REBUILD,
        name="rebuild_sensor",
        minimum_interval_seconds=settings.automation.poll_seconds,
        default_status=_status(settings),
        description="Rebuilds in one run what rests on other logs, settings or code than now.",
    )
    @told
    def sensor(context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]) -> dg.SensorResult | dg.SkipReason:
        asked: dict[str, str] = json.loads(context.cursor or "{}")
        graph, instance = _graph(context), context.instance
        for line in end_dead_runs(instance):  # or runs that the daemon launched would wait for what they hold
            context.log.warning(line)
        if waiting := under_way(instance, ingest_job.name, REBUILD):
            return dg.SkipReason(f"run {waiting[:8]} is under way")
        logs = list(store.ingested())
        late = out_of_date(graph, store, logs) if logs else []
        if not late:
            return dg.SkipReason("everything is up to date" if logs else "no log has been ingested yet")
        first = would_rest_on(graph, store, late, logs)
        # What the last run was to make, and could begin with, and is not there: that failed.
        asked |= {name: version for name, version in first.items() if asked.get(name) == UNKNOWN}
        if all(asked.get(name) == version for name, version in first.items()):
            context.update_cursor(json.dumps(asked))
            return dg.SkipReason(f"{', '.join(first)} failed; nothing that it rests on has changed since")
        cursor = dict.fromkeys((key.to_user_string() for key in late), UNKNOWN) | first
        return dg.SensorResult(run_requests=[rebuild_request(graph, late)], cursor=json.dumps(cursor))

    return sensor


def rebuild_request(graph: AssetGraph, late: Sequence[dg.AssetKey]) -> dg.RunRequest:
    """A run that makes these assets."""
    return dg.RunRequest(asset_selection=list(late), asset_check_keys=sorted(checks_of(graph, late)))


def under_way(instance: dg.DagsterInstance, *jobs: str) -> str | None:
    """The id of an unfinished run of one of the jobs, whose process has not died."""
    for job in jobs:
        for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=NOT_FINISHED_STATUSES)):
            if not has_died(instance, run):
                return run.run_id
    return None


def _graph(context: dg.SensorEvaluationContext) -> AssetGraph:
    if context.repository_def is None:
        raise ValueError("a sensor looks at the graph of its code location")
    return context.repository_def.asset_graph


def nightly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """One run a night for teams that switch the sensors off: what `sessrec materialize` would make, of the same logs.

    It reads no logs: a run of its job cannot. Logs that landed and are not read, by a sensor or a person, are named.
    """

    @dg.schedule(
        job_name=REBUILD,
        name="nightly",
        cron_schedule=settings.automation.nightly,
        execution_timezone="UTC",
        description="Rebuilds what rests on other logs, settings or code than now; nothing when all is up to date.",
    )
    def nightly(
        context: dg.ScheduleEvaluationContext, store: dg.ResourceParam[Store]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        graph = context.repository_def.asset_graph
        if waiting := unread(graph, store, scan(settings.landing, store, {})):
            context.log.warning(
                f"{len(waiting)} logs have landed and are not read by today's code and settings, such as {waiting[0]}: "
                "switch landing_sensor on, or run `sessrec materialize`"
            )
        logs = list(store.ingested())
        if not logs:
            yield dg.SkipReason("no log has been ingested yet")
        elif late := out_of_date(graph, store, logs):
            yield rebuild_request(graph, late)
        else:
            yield dg.SkipReason("everything is up to date with the logs that are ingested, the settings and the code")

    return nightly


def _status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if settings.automation.running else dg.DefaultSensorStatus.STOPPED
