"""Runs and the processes that they live and die in: who they are, and what becomes of a run whose process died.

Each run's process holds the run's lock file in Dagster's folder. It is one process for the commands, and the one that
the daemon launched for runs of the UI; runs whose steps are pods are left to Dagster and Kubernetes.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from sessrec_pipeline.storage.files import make_folder
from sessrec_pipeline.storage.owners import holder, is_dead, owned, taken_over

PROCESS_TAG = "sessrec/process"
"""Run tag ``host:pid``, for people, of a run that lives inside a command's process."""
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class _Owning(dg.Executor):
    """An executor that holds the lock file of the run that it executes."""

    def __init__(self, executor: dg.Executor) -> None:
        self.executor = executor

    @property
    def retries(self) -> RetryMode:
        return self.executor.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self.executor.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        with ExitStack() as stack:
            with suppress(OSError):  # as in a pod, into whose folder nobody else looks
                stack.enter_context(own_run(plan_context.instance, plan_context.run_id))
            yield from self.executor.execute(plan_context, execution_plan)


def owning(executor: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    """The executor for runs that are launched: as it is, and others can tell whether the run's process lives."""

    create = executor.executor_creation_fn
    if create is None:
        raise ValueError(f"{executor.name} makes no executors")
    return dg.ExecutorDefinition(
        name=executor.name,
        config_schema=executor.config_schema,  # type: ignore[arg-type] # it takes what it gives
        requirements=executor.get_requirements,
        executor_creation_fn=lambda context: _Owning(create(context)),
        description=executor.description,
    )


@contextmanager
def own_run(instance: dg.DagsterInstance, run_id: str) -> Iterator[dict[str, str]]:
    """Around a run of this process: yields its tags."""
    path = _lock(instance, run_id)
    make_folder(path.parent)
    with owned(path):
        yield {PROCESS_TAG: f"{platform.node()}:{os.getpid()}"}


def _lock(instance: dg.DagsterInstance, run_id: str) -> Path:
    return _locks(instance) / f"{run_id}.lock"


def _locks(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "running"


def _may_be_dead(run: dg.DagsterRun, lock: Path) -> bool:
    """Whether its file says something of a run: one that was launched may run where its file is not to be seen."""
    return PROCESS_TAG in run.tags or lock.exists()


def has_died(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that a run lived in is known to be dead (``storage.owners``)."""
    lock = _lock(instance, run.run_id)
    return _may_be_dead(run, lock) and is_dead(lock)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is dead as failed and free what they held; say which.

    Dagster itself would wait for a slot of the GPU's pool that a killed run still holds, for ever and in silence.
    """
    lines = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        lock = _lock(instance, run.run_id)
        if _may_be_dead(run, lock):
            with taken_over(lock) as dead:
                now = instance.get_run_by_id(run.run_id)
                if dead and now is not None and not now.is_finished:  # else it came to its end since we looked
                    tag = run.tags.get(PROCESS_TAG)
                    process = f"process {tag}" if tag else "a process of the Dagster daemon"
                    instance.report_run_failed(run, f"{process} died")
                    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                    lines.append(f"run {run.run_id[:8]} of {process}, which died, is marked as failed")
    for lock in _locks(instance).glob("*.lock"):  # of runs that ended when their process was stopped
        with suppress(FileNotFoundError), taken_over(lock):
            pass
    return lines


def held_by(instance: dg.DagsterInstance, pool: str) -> str:
    """Whose runs hold the slots of a pool, and what would end that."""
    slots = instance.event_log_storage.get_concurrency_info(pool).claimed_slots
    return "; ".join(f"pool {pool!r} is in use for {slot.step_key}: {_who(instance, slot.run_id)}" for slot in slots)


def _who(instance: dg.DagsterInstance, run_id: str) -> str:
    lock = _lock(instance, run_id)
    if lock.exists():
        return holder(lock)
    return f"run {run_id[:8]} of the Dagster UI or daemon holds it; end it in the UI (`sessrec dev`)"
