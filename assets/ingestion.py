"""Landed logs become typed events; what cannot be read goes to quarantine with its reason."""

import getpass
import os
import time
from collections.abc import Iterator, Mapping

import dagster as dg
from pydantic import Field

from assets.io_manager import PartitionWriter
from assets.retries import PASSING, WAITS, told, tried_again
from assets.stage import stage
from sessrec_pipeline.clock import moment
from sessrec_pipeline.failures import sentence_of
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import Ingested, ingest_each
from sessrec_pipeline.logs.parts import parts_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.landed import WITHDRAWN, OtherBytesError
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.withdrawal import emptied, is_withdrawn, kept_logs, landed_sha256, withdrawn_logs
from sessrec_pipeline.text import about, counted

landed_logs = dg.DynamicPartitionsDefinition(name="landed_logs")
RAW = dg.AssetKey("raw_sessions")
REFUSED = "refused"
"""Metadata of a failed step: the logs that were not taken, each with its reason."""
SHOWN = 3
TOGETHER = 20
"""Logs that are told of in one message: Dagster takes longer to store it than a small log to be read."""


class LandedLogs(dg.Config):
    """Which logs a run reads, or withdraws."""

    logs: list[str] = Field(
        default=[],
        description="Names of landed logs, also of withdrawn ones; none: the partitions of the run.",
    )
    withdraw: bool = Field(
        default=False,
        description="Take the rows of these logs out of everything after them. Their files stay where they are, and "
        "are taken again when they change, or when a run names them without this.",
    )
    why: str = Field(default="", description="Why they are withdrawn, for the lineage.")


@dg.multi_asset(
    name="read_landed_log",
    partitions_def=landed_logs,
    backfill_policy=dg.BackfillPolicy.single_run(),  # a run for each log costs twenty times what reading it does
    outs={
        "raw_sessions": dg.AssetOut(
            is_required=False,  # the step itself says which partitions it made
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
            is_required=False,
            description="Rows of one landed log that could not be read, each with its line and the reason. Nothing "
            "downstream reads them; fix the log or the settings and ingest it again.",
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
@told
def read_landed_log(
    context: dg.AssetExecutionContext,
    config: LandedLogs,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
) -> Iterator[dg.Output]:  # type: ignore[type-arg]
    """Read landed logs, one after the other; one that is refused keeps no other from being taken."""
    if config.withdraw:
        _withdraw(context, config, store)
        return
    refused: dict[str, str] = {}
    passing: Exception | None = None
    unexpected: Exception | None = None
    told: list[str] = []
    copies, keep = kept_logs(store), settings.storage.keep_landed
    with PartitionWriter(store, context) as writer:
        named = config.logs or _not_withdrawn(context, store)
        made = [log for log in named if writer.was_made("raw_sessions", log)]
        logs = [log for log in named if log not in made or (keep and log not in copies)]
        for log, read in ingest_each(settings, logs, told.append, copies):
            if told and (len(told) == TOGETHER or log == logs[-1]):
                context.log.info("\n".join(told))
                told.clear()
            try:
                if isinstance(read, Exception):
                    raise read
                # The events last: they say that a log was read, also to a run after this one was killed in between.
                writer.publish("quarantine", log, read.quarantine)
                writer.publish("raw_sessions", log, read.events)
                if keep:
                    _keep_copy(settings, store, log, read)
            except Exception as error:
                refused[log] = sentence_of(error)
                passing = error if isinstance(error, PASSING) else passing
                unexpected = unexpected if isinstance(error, LogRefusedError) else error
                context.log.error(f"not taken: {_told({log: refused[log]})}")
    if keep:
        store.forget_landed()
    if passing and context.retry_number < len(WAITS):  # else the file or the settings must change first
        with tried_again(context.retry_number):
            raise passing
    if refused:
        raise dg.Failure(_told(refused), metadata={REFUSED: refused}, allow_retries=False) from unexpected
    yield from ()  # the writer has told Dagster of each partition


def _keep_copy(settings: Settings, store: Store, log: str, read: Ingested) -> None:
    """Keep a copy of what a log was read from, if it is still there: else it was read from the copy."""
    path, (landed,) = settings.landing / log, read.events.origins
    if not path.exists():
        return
    try:
        store.keep_landed(log, landed.node.data_version, path, {part.name: part.path for part in parts_of(path)})
    except (FileNotFoundError, OtherBytesError):
        raise LogRefusedError(
            f"{log}: was read, and changed or went before its copy was kept ([storage] keep_landed); land it again"
        ) from None


def _not_withdrawn(context: dg.AssetExecutionContext, store: Store) -> list[str]:
    """The logs of the run's partitions that are to be read: many are chosen at once, withdrawn ones by their names."""
    left = set(withdrawn_logs(store)) & set(context.partition_keys)
    for log in sorted(left):
        context.log.info(f"{log} is withdrawn and stays so; to read it again, name it in the config of the job ingest")
    return [log for log in context.partition_keys if log not in left]


def _withdraw(context: dg.AssetExecutionContext, config: LandedLogs, store: Store) -> None:
    logs, there = config.logs or context.partition_keys, store.partitions(RAW.to_user_string())
    if unknown := [log for log in logs if log not in there]:
        raise dg.Failure(f"{unknown[0]} is not ingested: there is nothing to withdraw", allow_retries=False)
    with PartitionWriter(store, context) as writer:
        for log in logs:
            node = there[log].node
            if is_withdrawn(node) and config.why in ("", node.config[WITHDRAWN]["why"]):
                continue
            at = moment(time.time_ns() // 1_000)
            decided = {"sha256": landed_sha256(store, log), "by": _who(), "at": at, "why": config.why}
            if store.has("quarantine", log):
                writer.publish("quarantine", log, emptied(store.find("quarantine", log)), withdrawn=decided)
            writer.publish("raw_sessions", log, emptied(there[log]), withdrawn=decided)
            if is_withdrawn(node):
                context.log.info(f"{log}: withdrawn before; the reason is another now")
            else:
                context.log.info(f"{log}: withdrawn; {counted(node.rows or 0, 'event')} left out of what is made next")


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        return f"user {os.getuid()}"


def _told(refused: Mapping[str, str]) -> str:
    """What a person reads of a run: all logs that were not taken, or the first ones of many."""
    reasons = [about(log, why) for log, why in refused.items()]
    more = f"; and {len(reasons) - SHOWN:,} more, which the run's log names" if len(reasons) > SHOWN else ""
    return "; ".join(reasons[:SHOWN]) + more
