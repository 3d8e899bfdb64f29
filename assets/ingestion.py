"""Landed logs become typed events; what cannot be read goes to quarantine with its reason."""

from collections.abc import Iterator

import dagster as dg

from assets.retries import tried_again
from assets.stage import stage
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.settings import Settings

landed_logs = dg.DynamicPartitionsDefinition(name="landed_logs")


@dg.multi_asset(
    name="read_landed_log",
    partitions_def=landed_logs,
    outs={
        "raw_sessions": dg.AssetOut(
            description="Events of one landed log, typed, in the order of the file. One partition per log; the log's "
            "sha256 is the root of everything's lineage. Landing the same bytes again changes nothing.",
            **stage(
                "ingestion",
                ["duckdb", "parquet"],
                reads=["logs"],
                columns={
                    "log": ("string", "Name of the landed file"),
                    "line": ("int64", "Line of the event in the file (its number, where a line is a session)"),
                    "session": (
                        "string",
                        "Session id, trimmed, in Unicode NFC; a whole number is its digits",
                    ),
                    "item": ("string", "Item id, likewise"),
                    "time": ("int64", "Microseconds since 1970-01-01 UTC"),
                },
            ),
        ),
        "quarantine": dg.AssetOut(
            description="Rows of one landed log that could not be read, each with its line and the reason. Nothing "
            "downstream reads them; mend the log or the settings and ingest it again.",
            **stage(
                "ingestion",
                ["duckdb", "parquet"],
                reads=["logs"],
                columns={
                    "log": ("string", "Name of the landed file"),
                    "line": ("int64", "Line in the file"),
                    "reason": ("string", "Why the row could not be read"),
                    "session": ("string", "Session id as it stood"),
                    "item": ("string", "Item id as it stood"),
                    "time": ("string", "Time as it stood"),
                    "text": ("string", "The whole line, where it could not be split into fields"),
                },
            ),
        ),
    },
)
def read_landed_log(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> Iterator[dg.Output]:  # type: ignore[type-arg]
    """Read one landed log."""
    try:
        with tried_again(context.retry_number):
            ingested = ingest_landed(settings, context.partition_key, context.log.info)
    except LogRefusedError as error:
        # A retry cannot help: the file or the settings must change first.
        raise dg.Failure(str(error), allow_retries=False) from error
    # The events last: they are what says that a log was read, also to a run after this one was killed in between.
    yield dg.Output(ingested.quarantine, output_name="quarantine")
    yield dg.Output(ingested.events, output_name="raw_sessions")
