"""What tells a team that something is wrong: logs that stopped coming, and runs that failed."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.logger import reason
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.text import printable


def freshness_policy(settings: Settings, asset: dg.AssetKey) -> dg.FreshnessPolicy | None:
    """Stale once the asset was not made for ``[automation] stale_after_hours``; None where nothing is expected.

    Watched are what came in, the trained models and the figures about them.

    Models are made when content changed, so without new logs all of them go stale. Dagster's daemon looks.
    """
    hours = settings.automation.stale_after_hours
    watched = ["raw_sessions", *(card.checkpoint for card in cards_of(settings) if card.training), "leaderboard"]
    if hours is None or asset.to_user_string() not in watched:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=hours))


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """One sentence for every run that failed, as an error in the log and as a line of ``alerts.log``."""

    @dg.run_failure_sensor(
        name="failure_sensor",
        # Without it runs of the command line, which belong to no code location, would not be seen.
        monitor_all_code_locations=True,
        minimum_interval_seconds=settings.automation.poll_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.automation.running
        else dg.DefaultSensorStatus.STOPPED,
        description="Writes a sentence about every failed run to alerts.log: which asset, why, what to do.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        sentence = alert(context, settings)
        context.log.error(sentence)
        with settings.alerts.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {sentence}\n")

    return sensor


def alert(context: dg.RunFailureSensorContext, settings: Settings) -> str:
    """Which assets were not made, why, and what to do: one line, whatever the error says."""
    run = context.dagster_run
    planned = context.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    ).records
    assets: dict[str | None, list[str]] = {}
    for record in planned:
        if (event := record.event_log_entry.dagster_event) and event.asset_key:
            assets.setdefault(event.step_key, []).append(event.asset_key.to_user_string())
    partition = f"[{context.partition_key}]" if context.partition_key else ""
    failures = [
        f"{', '.join(sorted(assets.get(event.step_key, [str(event.step_key)])))}{partition}: "
        f"{reason(event).rstrip('.')}"
        for event in context.get_step_failure_events()
    ]
    what = "; ".join(failures) or context.failure_event.message or "no reason is known"
    todo = (
        f"Fix what it names, then run `sessrec --home {settings.home} materialize`; the whole story is run "
        f"{run.run_id[:8]} of job {run.job_name} in the UI."
    )
    return printable(" ".join(f"{what}. {todo}".split()))
