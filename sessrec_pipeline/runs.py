"""The whole graph in this process: what ``sessrec demo``, ``sessrec materialize`` and CI jobs run.

In-process runs cost a third of the CPU of a process per step, and show their progress in the terminal.
"""

from dataclasses import dataclass
from typing import Any

import dagster as dg

from assets.ingestion import landed_logs
from sessrec_pipeline.automation import checks_job, ingest_job, rebuild_job
from sessrec_pipeline.definitions import build
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store

TO_THE_TERMINAL: dict[str, Any] = {"loggers": {"console": {}}}
"""Run config that puts short progress lines in the place of Dagster's engine log."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run over everything."""

    landed: list[str]
    """Logs in the landing folder that can be taken."""
    refused: dict[str, str]
    """Files that cannot, with the reason."""
    not_ingested: list[str]
    """Logs whose ingestion failed; the others went on without them."""
    success: bool
    """Whether everything after ingestion was made and no blocking check failed."""


def materialize_all(settings: Settings, instance: dg.DagsterInstance) -> Outcome:
    """Take every log that landed or changed since it was ingested, then rebuild everything after it."""
    definitions = build(settings)
    found = scan(settings.landing, Store(settings), {})
    if not found.seen:
        return Outcome([], found.refused, [], success=False)
    instance.add_dynamic_partitions(str(landed_logs.name), list(found.seen))
    ingest = definitions.resolve_job_def(ingest_job.name)
    not_ingested = [
        name
        for name in found.new
        if not ingest.execute_in_process(
            TO_THE_TERMINAL, instance=instance, partition_key=name, raise_on_error=False
        ).success
    ]
    rebuilt = definitions.resolve_job_def(rebuild_job.name).execute_in_process(
        TO_THE_TERMINAL, instance=instance, raise_on_error=False
    )
    return Outcome(list(found.seen), found.refused, not_ingested, rebuilt.success)


def run_checks(settings: Settings, instance: dg.DagsterInstance) -> tuple[list[dg.AssetCheckEvaluation], bool]:
    """All asset checks on what is there: their evaluations by asset and name, and whether every one could run."""
    result = (
        build(settings)
        .resolve_job_def(checks_job.name)
        .execute_in_process(TO_THE_TERMINAL, instance=instance, raise_on_error=False)
    )
    evaluations = sorted(result.get_asset_check_evaluations(), key=lambda e: (e.asset_key, e.check_name))
    return evaluations, result.success
