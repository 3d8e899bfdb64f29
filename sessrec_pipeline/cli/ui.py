"""The Dagster UI and daemon on one feed, as processes below this one."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sessrec_pipeline.cli.common import Failure
from sessrec_pipeline.stopping import at_stop, end_children, is_stopping
from sessrec_pipeline.storage.files import replacing
from sessrec_pipeline.storage.owners import BusyError, holder, locked
from sessrec_pipeline.text import say

if TYPE_CHECKING:
    from sessrec_pipeline.settings import Settings

HOST = "127.0.0.1"
"""The UI has no login: nobody but this machine's users may reach it."""
POLL = 0.3
"""Seconds between two looks at the processes."""


def serve(settings: "Settings", port: int) -> None:
    """Run the UI and the daemon until a signal ends this process.

    Failure where the feed's UI is open already, the port is not free, or the processes end by themselves.
    """
    url = f"http://{HOST}:{port}"
    with _alone(settings, url):
        _check_port(port)
        from assets.instance import open_instance
        from assets.processes import end_dead_runs
        from assets.runs import fail_launched_runs

        with open_instance(settings) as instance:
            for line in end_dead_runs(instance):  # or they would count against the limit of runs
                say(line, err=True)
            # Sockets and the like, which processes that are killed leave behind.
            with (
                TemporaryDirectory(prefix="sessrec-dev-", ignore_cleanup_errors=True) as folder,
                at_stop(partial(rmtree, folder)),
                at_stop(lambda: fail_launched_runs(instance)),
                at_stop(end_children),  # first, for they may hold locks of Dagster's database
            ):
                try:
                    _run(settings, port, url, folder)
                finally:
                    end_children()


def _run(settings: "Settings", port: int, url: str, temporary_files: str) -> None:
    workspace = settings.dagster_home / "workspace.yaml"
    location = {"module_name": "sessrec_pipeline.definitions", "location_name": settings.home.name}
    with replacing(workspace) as temporary:  # JSON is YAML
        temporary.write_text(json.dumps({"load_from": [{"python_module": location}]}, indent=1), encoding="utf-8")
    # Neither the folder that the command was called in, which may be another Dagster project, nor one with modules.
    python = [sys.executable, "-P", "-W", "ignore", "-m", "dagster", "dev", "--workspace", str(workspace)]
    process = subprocess.Popen(  # noqa: S603
        [*python, "--host", HOST, "--port", str(port)],
        cwd=settings.dagster_home,
        env=os.environ | {"PYTHONSAFEPATH": "1", "TMPDIR": temporary_files},
        start_new_session=True,  # Ctrl-C in the terminal is for this process alone, which ends the others
    )
    ready = False
    while process.poll() is None:
        if not ready and (ready := _answers(port)):
            say(f"ready: {url} shows the feed {settings.home}; Ctrl-C ends it", err=True)
        time.sleep(POLL)
    while is_stopping():
        time.sleep(POLL)
    raise Failure(f"the Dagster UI ended by itself with code {process.returncode}; what it said is above")


def _answers(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def _alone(settings: "Settings", url: str) -> Iterator[None]:
    """Hold the lock of the feed's UI; Failure where another process holds it."""
    note, lock = settings.dagster_home / "dev.json", settings.dagster_home / "dev.lock"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, 0))
        except BusyError:
            other = {"url": "another port"}
            with suppress(OSError, ValueError):
                other |= json.loads(note.read_text(encoding="utf-8"))
            raise Failure(
                f"the UI of {settings.home} is open already, at {other['url']}: open that page, or end it first: "
                f"{holder(lock)}"
            ) from None
        with replacing(note) as temporary:
            temporary.write_text(json.dumps({"url": url}), encoding="utf-8")
        yield


def _check_port(port: int) -> None:
    """Failure where nothing can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, or a port just left is "busy"
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise Failure(f"port {port} of {HOST} is not for this user: choose one above 1023 with --port") from None
        except OSError:
            raise Failure(
                f"port {port} of {HOST} is busy: stop what listens there, or choose another one, "
                f"as in `sessrec dev --port {port + 1 if port < 65535 else port - 1}`"
            ) from None
