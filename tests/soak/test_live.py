"""The UI and its daemon for real: a log that lands becomes a leaderboard with nobody touching anything. Minutes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.store import NotMaterializedError, Store

pytestmark = pytest.mark.soak

LAW = SyntheticSettings(sessions=300, items=60, days=4)
TOML = """
models = ["markov", "gru4rec"]

[gru4rec]
layers = [8]
n_epochs = 1
n_sample = 16

[automation]
poll_seconds = 5
settle_seconds = 3
"""
PATIENCE = 600


@contextmanager
def dev(settings: FeedSettings, port: int) -> Iterator[None]:
    """``sessrec dev`` on a feed, ended with all that it started."""
    command = [Path(sys.executable).with_name("sessrec"), "--home", settings.home, "dev", "--port", str(port)]
    with (settings.home / "dev.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env={**os.environ})
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):  # what of its children did not hear it
                os.killpg(process.pid, signal.SIGKILL)


def logs_behind_the_leaderboard(store: Store) -> set[str | None]:
    try:
        lineage = store.find("leaderboard").lineage
    except NotMaterializedError:
        return set()
    return {node.partition for node in lineage.ancestors if node.asset == "raw_sessions"}


def wait_for(store: Store, logs: set[str]) -> float:
    begin = time.monotonic()
    while logs_behind_the_leaderboard(store) != logs:
        told = (store.home / "dev.log").read_text()[-3000:]
        assert time.monotonic() - begin < PATIENCE, told
        time.sleep(1)
    return time.monotonic() - begin


def test_a_log_that_lands_becomes_a_leaderboard(feed: Callable[..., FeedSettings]) -> None:
    settings = feed()
    (settings.home / "sessrec.toml").write_text(TOML)
    logs = write_logs(LAW, settings.home / "later")
    store = Store(settings)
    with dev(settings, port=3777):
        landed: set[str] = set()
        for log in logs[:2], logs[2:]:
            for path in log:
                path.rename(settings.landing / path.name)
                landed.add(path.name)
            print(f"{len(landed)} logs: leaderboard after {wait_for(store, landed):.0f} s")
