"""What runs by itself: logs are taken when they land, everything downstream follows when content or code changed."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from assets.ingestion import landed_logs
from assets.rankings import shard_assets, shard_partitions
from assets.staleness import out_of_date, unread
from assets.studies import GROUP
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.logs.landing import from_cursor, scan, to_cursor
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store

REQUESTS_PER_TICK = 50


def rebuild_when_changed(*watched: str) -> dg.AutomationCondition[dg.AssetKey]:
    """Rebuild when an upstream's content hash or the asset's own code version changed, once nothing above is moving.

    ``eager()`` would retrain on every upstream run, equal bytes or not. Looking two steps up, and not only one, keeps
    a leaderboard from mixing a model of yesterday with a test split of today: rankings wait for the model, metrics
    for all rankings. An asset that reads tables of every stage names the last ones that it ``watched``, or it would
    be rebuilt once for each. A log that was refused leaves its partition missing; the others go on without it.
    """
    condition = dg.AutomationCondition
    new_content = condition.any_deps_match(condition.data_version_changed())
    if watched:
        new_content = new_content.allow(dg.AssetSelection.assets(*watched))
    changed = new_content | condition.code_version_changed()
    due = changed.newly_true().since(condition.newly_requested()).with_label("due")
    moving = (due | condition.in_progress()).with_label("moving")
    upstream_moving = condition.any_deps_match(moving | condition.any_deps_match(moving))
    missing = condition.any_deps_match(condition.missing()).ignore(dg.AssetSelection.assets("raw_sessions"))
    return (due & ~missing & ~upstream_moving & ~condition.in_progress()).with_label("rebuild_when_changed")


ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets("raw_sessions", "quarantine"),
    # One log is one short step: a process of its own would cost more than the work.
    executor_def=dg.in_process_executor,
    description="Read one landed log.",
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
    executor_def=dg.in_process_executor,
    description="All asset checks, on what is there.",
)


def rebuild_job(settings: Settings) -> UnresolvedAssetJobDefinition:
    """Everything after ingestion; the shards of a ranking one after the other, so that one run makes it all."""
    shards = shard_partitions(settings.evaluation.shards).get_partition_keys()
    return dg.define_asset_job(
        REBUILD,
        selection=dg.AssetSelection.all()
        - dg.AssetSelection.assets("raw_sessions", "quarantine")
        - dg.AssetSelection.groups(GROUP),
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
    """A partition and a run for every log that landed or changed since it was ingested."""

    @dg.sensor(
        job=ingest_job,
        name="landing_sensor",
        minimum_interval_seconds=settings.automation.poll_seconds,
        default_status=_status(settings),
        description="Looks into data/landing: a new or changed log becomes a partition of raw_sessions and is read.",
    )
    def sensor(context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]) -> dg.SensorResult:
        known = from_cursor(context.cursor)
        found = scan(settings.landing, store, known, settle_seconds=settings.automation.settle_seconds)
        for reason in found.refused.values():
            context.log.warning(reason)
        taken = dict(list(found.new.items())[:REQUESTS_PER_TICK])
        # What this tick leaves for the next one must look new to it.
        seen = {name: s for name, s in found.seen.items() if name not in found.new or name in taken}
        return dg.SensorResult(
            run_requests=[
                # With the time in the key a log that was changed and changed back is read both times.
                dg.RunRequest(partition_key=name, run_key=f"{name}:{sha256}:{found.seen[name].state}")
                for name, sha256 in taken.items()
            ],
            dynamic_partitions_requests=[landed_logs.build_add_request(list(taken))] if taken else [],
            cursor=to_cursor(seen),
        )

    return sensor


def rebuild_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Evaluates ``rebuild_when_changed`` on every asset."""
    return dg.AutomationConditionSensorDefinition(
        "rebuild_sensor",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=settings.automation.poll_seconds,
        default_status=_status(settings),
        description="Rebuilds assets whose inputs or code changed in content.",
    )


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
        logs = list(store.ingested(landed_logs.get_partition_keys(dynamic_partitions_store=context.instance)))
        if not logs:
            yield dg.SkipReason("no log has been ingested yet")
        elif late := out_of_date(graph, store, logs):
            yield dg.RunRequest(asset_selection=late)
        else:
            yield dg.SkipReason("everything is up to date with the logs that are ingested, the settings and the code")

    return nightly


def _status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if settings.automation.running else dg.DefaultSensorStatus.STOPPED
