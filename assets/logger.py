"""For a person in front of a terminal: a line for what each step says and what it made."""

import logging
import sys
import time

import dagster as dg
from tqdm import tqdm

from sessrec_pipeline.text import visible


class _Line(logging.Formatter):
    def __init__(self) -> None:
        super().__init__()
        self.start = time.monotonic()

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        message = str(meta.get("orig_message") or record.getMessage()) if event is None else _story(event)
        return f"{time.monotonic() - self.start:7.1f}s  {meta.get('step_key') or '':<22} {message}"


def _story(event: dg.DagsterEvent) -> str:
    if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
        made = event.step_materialization_data.materialization
        rows = made.metadata.get("dagster/row_count")
        key = made.asset_key.to_user_string() + (f"[{made.partition}]" if made.partition else "")
        return f"made {key}" + (f": {rows.value:,} rows" if rows else "")
    if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
        check = event.asset_check_evaluation_data
        verdict = "passed" if check.passed else f"NOT PASSED ({check.severity.value})"
        return f"check {check.check_name}: {verdict}"
    if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY:
        wait = event.step_retry_data.seconds_to_wait
        return f"{reason(event)}; trying again" + (f" in {wait:.0f} s" if wait else "")
    return f"FAILED: {reason(event)}"


def reason(failure: dg.DagsterEvent) -> str:
    """Why a step failed, or has to be tried again: what was raised, or the sentence of a ``dg.Failure``."""
    retry = failure.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY
    error = failure.step_retry_data.error if retry else failure.step_failure_data.error
    if error is None:
        return "no reason is known"
    text = (error if error.cls_name == "Failure" else error.cause or error).message.strip()
    return text.partition(": ")[2] or text  # without the name of the class


SHOWN = {
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.STEP_UP_FOR_RETRY,
}


def _wanted(record: logging.LogRecord) -> bool:
    event = getattr(record, "dagster_meta", {}).get("dagster_event")
    if event is not None:
        return event.event_type in SHOWN
    # What a failure leaves undone would bury its reason under a screen of lines.
    undone = "Dependencies for step" in record.getMessage()
    return record.levelno >= logging.INFO and not undone


class _AboveBars(logging.Handler):
    """Lines on stderr that leave progress bars whole."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(visible(self.format(record)), file=sys.stderr)


@dg.logger
def progress_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Dagster's default console logger prints every engine event; a person wants the story."""
    logger = logging.Logger("sessrec", level=logging.DEBUG)
    handler = _AboveBars()
    handler.setFormatter(_Line())
    handler.addFilter(_wanted)
    logger.addHandler(handler)
    return logger
