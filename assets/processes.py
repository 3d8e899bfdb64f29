"""Runs that live inside one process, and die with it: who they are, and what becomes of them."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from sessrec_pipeline.storage.files import make_folder
from sessrec_pipeline.storage.owners import holder, is_dead, owned, taken_over

PROCESS_TAG = "sessrec/process"
"""Run tag ``host:pid``, for people, of a run that lives inside one process, and holds its lock file as long."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def own_run(instance: dg.DagsterInstance, run_id: str) -> Iterator[dict[str, str]]:
    """Around a run of this process: yields its tags."""
    path = _lock(instance, run_id)
    make_folder(path.parent)
    with owned(path):
        yield {PROCESS_TAG: f"{platform.node()}:{os.getpid()}"}


def _lock(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "running" / f"{run_id}.lock"


def has_died(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the one process that a run lived in is dead (``storage.owners``)."""
    return PROCESS_TAG in run.tags and is_dead(_lock(instance, run.run_id))


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs of ours whose process is dead as failed and free what they held; say which.

    Dagster itself would wait for a slot of the GPU's pool that a killed run still holds, for ever and in silence.
    """
    lines = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if PROCESS_TAG in run.tags:
            with taken_over(_lock(instance, run.run_id)) as dead:
                if dead:
                    instance.report_run_failed(run, f"process {run.tags[PROCESS_TAG]} died")
                    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                    lines.append(
                        f"run {run.run_id[:8]} of process {run.tags[PROCESS_TAG]}, which died, is marked as failed"
                    )
    return lines


def held_by(instance: dg.DagsterInstance, pool: str) -> str:
    """Whose runs hold the slots of a pool, and what would end that."""
    slots = instance.event_log_storage.get_concurrency_info(pool).claimed_slots
    return "; ".join(f"pool {pool!r} is in use for {slot.step_key}: {_who(instance, slot.run_id)}" for slot in slots)


def _who(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    if run is not None and PROCESS_TAG in run.tags:
        return holder(_lock(instance, run_id))
    return f"run {run_id[:8]} of the Dagster UI or daemon holds it; end it in the UI (`sessrec dev`)"
