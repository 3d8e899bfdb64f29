"""Runs of processes that died, and those who wait for runs of processes that live."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files as resources
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from assets.graph import build
from assets.instance import open_instance
from assets.processes import PROCESS_TAG, end_dead_runs, owning
from assets.runs import _failures, execute
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.owners import is_dead

TRAINS = """
import sys
import dagster as dg
from assets.graph import build
from assets.instance import open_instance
from assets.runs import execute
from sessrec_pipeline.feed import load_settings

@dg.op(pool="gpu")
def trains():
    print("training", flush=True)
    sys.stdin.read()

@dg.job
def training():
    trains()

settings = load_settings()
with open_instance(settings) as instance:
    execute(training, instance)
"""
HOLDS = """
import sys
from pathlib import Path
from sessrec_pipeline.storage.owners import owned
with owned(Path(sys.argv[1])):
    print("training", flush=True)
    sys.stdin.read()
"""


@dg.op(pool="gpu")
def trains_on() -> int:
    return 1


@dg.job
def training_again() -> None:
    trains_on()


@contextmanager
def running(home: Path, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """A process that says that it trains."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"SESSREC_HOME": str(home)},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "training\n"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def training(settings: FeedSettings) -> Iterator["subprocess.Popen[str]"]:
    """A process that has a run, which has the GPU, as far as others can tell."""
    with open_instance(settings) as instance:
        tags = {PROCESS_TAG: "box-one:1"}
        run = instance.create_run_for_job(training_again, tags=tags, status=dg.DagsterRunStatus.STARTED)
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.claim_concurrency_slot("gpu", run.run_id, "trains").is_claimed
    lock = settings.dagster_home / "running" / f"{run.run_id}.lock"
    lock.parent.mkdir()
    with running(settings.home, sys.executable, "-c", HOLDS, str(lock)) as process:
        yield process


@pytest.fixture
def with_gpu(feed: Callable[..., FeedSettings]) -> FeedSettings:
    settings = feed()
    settings.dagster_home.mkdir()
    (settings.dagster_home / "dagster.yaml").write_bytes((resources("sessrec_pipeline") / "dagster.yaml").read_bytes())
    return settings


def statuses(instance: dg.DagsterInstance) -> list[dg.DagsterRunStatus]:
    return [run.status for run in instance.get_runs()]


def test_a_killed_training_ends_wherever_it_ran_and_gives_the_gpu_back(with_gpu: FeedSettings) -> None:
    """On a machine of another name, with process numbers of its own."""
    elsewhere = ["unshare", "--uts", "--pid", "--fork", "sh", "-c", 'hostname box-one; exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*elsewhere, "true"], capture_output=True).returncode:
        pytest.skip(f"{' '.join(elsewhere)} is not allowed here")
    command = [*elsewhere, sys.executable, "-c", TRAINS]
    with running(with_gpu.home, *command) as process, open_instance(with_gpu) as instance:
        assert end_dead_runs(instance) == [] and statuses(instance) == [dg.DagsterRunStatus.STARTED], "it lives"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert execute(training_again, instance).success, "the slot of the pool is free"
        assert statuses(instance) == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def test_who_waits_for_the_gpu_when_a_training_is_killed_goes_on(
    with_gpu: FeedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with training(with_gpu) as process, open_instance(with_gpu) as instance:
        monkeypatch.setattr("assets.event_log.held_by", lambda *_: f"{process.kill()}")
        monkeypatch.setattr("sessrec_pipeline.storage.owners.NOTICE", 0.0)
        assert execute(training_again, instance).success
        assert statuses(instance) == [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def test_in_a_copy_of_a_home_no_training_is_under_way(with_gpu: FeedSettings, tmp_path: Path) -> None:
    with training(with_gpu):
        shutil.copytree(with_gpu.home, tmp_path / "copy")
        with open_instance(with_gpu.model_copy(update={"home": tmp_path / "copy"})) as instance:
            (line,) = end_dead_runs(instance)
            assert "died" in line and statuses(instance) == [dg.DagsterRunStatus.FAILURE]
            assert execute(training_again, instance).success
        with open_instance(with_gpu) as instance:
            assert end_dead_runs(instance) == [] and statuses(instance) == [dg.DagsterRunStatus.STARTED]


def test_who_waits_for_the_gpu_says_for_whom_and_gives_up(
    with_gpu: FeedSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sessrec_pipeline.storage.owners.NOTICE", 0.0)
    monkeypatch.setattr("assets.event_log.LONG", 0.1)
    with training(with_gpu) as process, open_instance(with_gpu) as instance:
        result = execute(training_again, instance)
        number = process.pid
        whom = rf"pool 'gpu' is in use for trains: process {number} on .*, holds .*; `kill {number}` ends that"
        assert re.search(f"waiting, for at most 0.1 seconds: {whom}", capfd.readouterr().err)
        assert re.search(f"gave up after 0.1 seconds: {whom}", _failures(result)["run"])
        assert statuses(instance) == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]


def test_a_run_whose_number_went_to_another_program_has_died(instance: dg.DagsterInstance) -> None:
    """So has one of an earlier version, which held no lock."""
    living = {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"}
    run = instance.create_run_for_job(training_again, tags=living, status=dg.DagsterRunStatus.STARTED)
    (line,) = end_dead_runs(instance)
    assert run.run_id[:8] in line and statuses(instance) == [dg.DagsterRunStatus.FAILURE]


def test_a_launched_run_whose_process_was_killed_has_died(with_gpu: FeedSettings) -> None:
    """Its process holds the lock while it executes the run; without a lock file it may run out of sight."""
    locks = with_gpu.dagster_home / "running"
    seen: list[bool] = []

    @dg.op
    def looks() -> None:
        seen.extend(is_dead(path) for path in locks.iterdir())

    @dg.job(executor_def=owning(dg.in_process_executor))
    def launched() -> None:
        looks()

    with open_instance(with_gpu) as instance:
        execute_run(InMemoryJob(launched), instance.create_run_for_job(launched), instance)
        assert seen == [False] and list(locks.iterdir()) == []
        left = instance.create_run_for_job(launched, status=dg.DagsterRunStatus.STARTED)
        assert end_dead_runs(instance) == []
        (locks / f"{left.run_id}.lock").touch()  # which nobody holds
        (line,) = end_dead_runs(instance)
        assert left.run_id[:8] in line and list(locks.iterdir()) == []
        assert statuses(instance) == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@pytest.mark.parametrize("job", ["ingest", "checks", "rebuild", "studies"])
def test_all_jobs_of_a_feed_own_their_runs(feed: Callable[..., FeedSettings], job: str) -> None:
    assert build(feed()).resolve_job_def(job).executor_def.executor_creation_fn.__module__ == "assets.processes"  # type: ignore[union-attr]
