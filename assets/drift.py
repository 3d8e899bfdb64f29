"""How the landed logs change from day to day."""

from collections.abc import Sequence

import dagster as dg

from assets.retries import retried
from assets.stage import stage
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.monitoring.drift import DRIFT, MEASURES, Row, as_table, measure_drift
from sessrec_pipeline.report.drift import drift_figure, sparkline
from sessrec_pipeline.report.figures import as_markdown
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored


@dg.asset(
    **stage(
        "ingestion",
        ["duckdb", "parquet"],
        reads=[
            "drift",
            "logs.session_scope",
            "logs.extra_columns",
            "sessions.drop_duplicates",
            "sessions.inactivity_gap_minutes",
            "split.rule",
            "split.column",
            "split.test_logs",
        ],
        columns={
            "day": ("string", "Day of the events, UTC, ISO 8601"),
            "measure": ("string", "One of " + ", ".join(MEASURES)),
            "observed": ("double", "What the day has"),
            "reference": ("double", "What the weeks before it have, where the measure compares two numbers"),
            "value": ("double", "How far the day is from the weeks before it"),
            "threshold": ("double", "Above it the day has drifted; fixed by settings or learned"),
            "verdict": ("string", "steady, drift, not enough days, nothing to compare, or under way (the last day)"),
        },
    )
)
@retried
def drift(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], raw_sessions: list[Stored]) -> Table:
    """Each day of the landed logs against the weeks before it: new items, popularity, session lengths, volume.

    Days are by the time of the events, not by file. Copies count once, and sessions are cut, as settings say; no
    filter has been applied yet. The checks of severity WARN look at the last day.
    """
    if not raw_sessions:
        raise dg.Failure(f"no log has been ingested yet: put logs into {settings.landing} and materialize raw_sessions")
    with DuckDBEngine(settings) as engine:
        rows = measure_drift(engine, settings, [log.path for log in raw_sessions])
        label = engine.label
    table = as_table(rows)
    context.add_output_metadata(
        {
            "last day": dg.MarkdownMetadataValue(overview(rows)),
            "over time": dg.MarkdownMetadataValue(as_markdown(drift_figure(table.to_pandas()), "drift over time")),
        }
    )
    drifted = {row.day for row in rows if row.verdict == DRIFT}
    return Table(table, {"days": len({row.day for row in rows}), "days that drifted": len(drifted)}, engine=label)


def overview(rows: Sequence[Row]) -> str:
    """The last day as a Markdown table, each measure with a sparkline of its days."""
    if not rows:
        return "no events"
    last = [row for row in rows if row.day == rows[-1].day]
    lines = [f"| {rows[-1].day} | value | threshold | verdict | over time |", "| --- | --- | --- | --- | --- |"]
    for row in last:
        value, threshold = ("nan" if number is None else f"{number:.4g}" for number in (row.value, row.threshold))
        lines.append(f"| {row.measure} | {value} | {threshold} | {row.verdict} | {over_time(rows, row.measure)} |")
    return "\n".join(lines)


def over_time(rows: Sequence[Row], measure: str) -> str:
    """A measure's sparkline with its last threshold."""
    own = [row for row in rows if row.measure == measure]
    thresholds = [row.threshold for row in own if row.threshold is not None]
    return sparkline([row.value for row in own], thresholds[-1] if thresholds else None, measure)
