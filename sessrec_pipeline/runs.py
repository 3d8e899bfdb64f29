"""The whole graph in this process: what ``sessrec demo``, ``sessrec materialize`` and CI jobs run.

In-process runs cost a third of the CPU of a process per step, and show their progress in the terminal.
"""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from assets.ingestion import landed_logs
from sessrec_pipeline.automation import checks_job, ingest_job, rebuild_job
from sessrec_pipeline.definitions import build
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import alive
from sessrec_pipeline.storage.store import NotMaterializedError, Store

TO_THE_TERMINAL: dict[str, Any] = {"loggers": {"console": {}}}
"""Run config that puts short progress lines in the place of Dagster's engine log."""
PROCESS_TAG = "sessrec/process"
"""Run tag ``host:pid`` of a run that lives inside one process, and dies with it."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True)
class Outcome:
    """What became of a run over everything."""

    landed: list[str] = field(default_factory=list)
    """Logs in the landing folder that can be taken."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files and logs that were not taken, with the reason; the others went on without them."""
    failed: dict[str, str] = field(default_factory=dict)
    """Steps after ingestion that failed, with the reason; what rests on them was not made."""
    rebuilt: list[str] = field(default_factory=list)
    """Assets that were made."""

    @property
    def success(self) -> bool:
        """Whether everything after ingestion is there and up to date, and no blocking check failed."""
        return bool(self.landed) and not self.failed


def materialize_all(
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    everything: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Take every log that landed or changed since it was ingested, then rebuild what is not up to date.

    ``everything`` rebuilds all of it, up to date or not.
    """
    for line in [*end_dead_runs(instance), *held_pools(instance)]:
        say(line)
    definitions = build(settings)
    store = Store(settings)
    found = scan(settings.landing, store, {})
    refused = dict(found.refused)
    if not found.seen:
        return Outcome(refused=refused)
    instance.add_dynamic_partitions(str(landed_logs.name), list(found.seen))
    ingest = definitions.resolve_job_def(ingest_job.name)
    for name in found.seen if everything else found.new:
        failed = _failures(execute(ingest, instance, partition_key=name))
        if failed:
            refused[name] = next(iter(failed.values()))
    if len(found.new) == len(found.seen) and all(name in refused for name in found.new):
        return Outcome(list(found.seen), refused, {"ingestion": "no log could be taken"})
    todo = [key for key in _in_order(definitions) if everything or not up_to_date(definitions, store, instance, key)]
    # Downstream of what is rebuilt all is done again: its inputs may change under it.
    graph = definitions.resolve_asset_graph()
    keys = sorted({below for key in todo for below in [key, *_below(graph, key)]})
    if not keys:
        say("everything is up to date")
        return Outcome(list(found.seen), refused)
    rebuild = definitions.resolve_job_def(rebuild_job.name)
    failed = _failures(execute(rebuild, instance, asset_selection=keys))
    return Outcome(list(found.seen), refused, failed, [key.to_user_string() for key in keys])


def up_to_date(definitions: dg.Definitions, store: Store, instance: dg.DagsterInstance, key: dg.AssetKey) -> bool:
    """Whether an unpartitioned asset was made by today's code and settings from today's versions of its inputs."""
    node = definitions.resolve_asset_graph().get(key)
    try:
        stored = store.find(key.to_user_string())
        inputs = set()
        for parent in node.parent_keys:
            name = parent.to_user_string()
            partitioned = definitions.resolve_asset_graph().get(parent).is_partitioned
            logs = landed_logs.get_partition_keys(dynamic_partitions_store=instance) if partitioned else [None]
            for log in logs:
                if log is None or store.path(name, log, ".parquet").exists():
                    inputs.add(store.find(name, log).node.id)
    except NotMaterializedError:
        return False
    return stored.node.code_version == node.code_version and inputs <= set(stored.node.parents)


def run_checks(settings: Settings, instance: dg.DagsterInstance) -> tuple[list[dg.AssetCheckEvaluation], bool]:
    """All asset checks on what is there: their evaluations by asset and name, and whether every one could run."""
    result = execute(build(settings).resolve_job_def(checks_job.name), instance)
    evaluations = sorted(result.get_asset_check_evaluations(), key=lambda e: (e.asset_key, e.check_name))
    return evaluations, result.success


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of ours whose process is gone as failed and free what they held; say which.

    Dagster itself would wait for a slot of the GPU's pool that a killed run still holds, for ever and in silence.
    """
    lines = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        host, _, pid = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)):
            instance.report_run_failed(run, f"process {pid} died")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            lines.append(f"run {run.run_id[:8]} of process {pid}, which died, is marked as failed")
    return lines


def held_pools(instance: dg.DagsterInstance) -> list[str]:
    """Which runs hold the slots that a run may have to wait for."""
    storage = instance.event_log_storage
    return [
        f"pool {pool!r} is in use by run {slot.run_id[:8]} ({slot.step_key}); steps that need it wait"
        for pool in sorted(storage.get_concurrency_keys())
        for slot in storage.get_concurrency_info(pool).claimed_slots
    ]


def execute(job: dg.JobDefinition, instance: dg.DagsterInstance, **selection: Any) -> dg.ExecuteInProcessResult:
    """Run a job in this process, with progress on the terminal, tagged so that ``end_dead_runs`` knows it."""
    tags = {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"}
    return job.execute_in_process(TO_THE_TERMINAL, instance=instance, raise_on_error=False, tags=tags, **selection)


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Why each failed step failed, and each blocking check that did not pass."""
    reasons = {}
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            text = (error.cause or error).message.strip() if error else "failed"
            reasons[str(event.step_key)] = text.partition(": ")[2] or text  # without the name of the class
    if not result.success and not reasons:
        for check in result.get_asset_check_evaluations():
            if not check.passed and check.blocking:
                reasons[check.asset_key.to_user_string()] = f"check {check.check_name} did not pass"
    return reasons if reasons or result.success else {"run": "failed"}


def _in_order(definitions: dg.Definitions) -> Sequence[dg.AssetKey]:
    graph = definitions.resolve_asset_graph()
    return [key for level in graph.toposorted_asset_keys_by_level for key in level if not graph.get(key).is_partitioned]


def _below(graph: Any, key: dg.AssetKey) -> set[dg.AssetKey]:
    children = set(graph.get(key).child_keys)
    return children | {below for child in children for below in _below(graph, child)}
