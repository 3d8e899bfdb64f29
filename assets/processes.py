"""Runs that live inside one process, and die with it."""

import os
import socket

import dagster as dg

from sessrec_pipeline.storage.files import alive

PROCESS_TAG = "sessrec/process"
"""Run tag ``host:pid`` of a run that lives inside one process, and dies with it."""


def this_process() -> dict[str, str]:
    """The tag for a run of this process."""
    return {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"}


def dead_process(run: dg.DagsterRun) -> int | None:
    """The number of the process that a run lived in, if it died on this machine."""
    host, _, pid = run.tags.get(PROCESS_TAG, "").rpartition(":")
    return int(pid) if host == socket.gethostname() and pid.isdigit() and not alive(int(pid)) else None
