"""How the landed logs change from day to day."""

import dagster as dg
import pandas as pd

from assets.retries import retried
from assets.stage import stage
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.monitoring.drift import DRIFT, MEASURES, as_table, measure_drift
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
    frame = table.to_pandas()
    context.add_output_metadata(
        {
            "last day": dg.MarkdownMetadataValue(overview(frame)),
            "over time": dg.MarkdownMetadataValue(as_markdown(drift_figure(frame), "drift over time")),
        }
    )
    drifted = {row.day for row in rows if row.verdict == DRIFT}
    return Table(table, {"days": len({row.day for row in rows}), "days that drifted": len(drifted)}, engine=label)


def overview(rows: pd.DataFrame) -> str:
    """The last day as a Markdown table, each measure with a sparkline of its days."""
    if rows.empty:
        return "no events"
    last = rows[rows["day"] == rows["day"].iloc[-1]]
    lines = [f"| {last['day'].iloc[0]} | value | threshold | verdict | over time |", "| --- | --- | --- | --- | --- |"]
    for row in last.itertuples():
        spark = over_time(rows, str(row.measure))
        lines.append(f"| {row.measure} | {row.value:.4g} | {row.threshold:.4g} | {row.verdict} | {spark} |")
    return "\n".join(lines)


def over_time(rows: pd.DataFrame, measure: str) -> str:
    """A measure's sparkline with its last threshold."""
    own = rows[rows["measure"] == measure]
    values = [None if pd.isna(value) else float(value) for value in own["value"]]
    threshold = own["threshold"].dropna()
    return sparkline(values, float(threshold.iloc[-1]) if len(threshold) else None, measure)
