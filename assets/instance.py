"""Dagster's instance of a feed: what it remembers of runs, and nothing that the lake does not know better."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster_shared.serdes.errors import DeserializationError
from sqlalchemy.exc import DatabaseError

from assets.event_log import keep_open
from assets.processes import UNFINISHED
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import make_folder, move, replacing
from sessrec_pipeline.storage.owners import locked
from sessrec_pipeline.text import say

UNCAPTURED: dict[str, Any] = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""What runs in this process says to the terminal goes there, and not through files and four processes that copy it:
they would hide the terminal from progress bars, and print tracebacks of their own when Ctrl-C reaches them."""
LOCK_SECONDS = 60
SPOILT = (DeserializationError, ValueError, KeyError, TypeError)
"""What Dagster raises when a row of its databases is no longer what it wrote; UnicodeDecodeError is a ValueError."""


def _say(line: str) -> None:
    say(line, err=True)


@contextmanager
def open_instance(settings: Settings, report: Callable[[str], None] = _say) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance of this feed, made by one process at a time if it is new: two at once would both fail.

    One that cannot be read is set aside and made anew, for all that results rest on is in the lake.
    """
    home = settings.dagster_home
    make_folder(home)
    with locked(home / "instance.lock", LOCK_SECONDS):
        try:
            instance = _opened(home)
        except Exception as error:
            if not _is_damage(error):
                raise
            aside = home.with_name(f"{home.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}")
            report(f"Dagster's memory of runs cannot be read ({_reason(error)}): set aside as {aside} and begun anew")
            move(home, aside)
            home.mkdir()
            with replacing(home / "dagster.yaml") as temporary:
                temporary.write_bytes(_config(aside))
            instance = _opened(home)
    with instance:
        keep_open(instance)
        yield instance


def damage_of(settings: Settings) -> str | None:
    """What is wrong with the instance, which stays as it is; None where it can be read."""
    if not settings.dagster_home.is_dir():
        return f"{settings.dagster_home} is no folder: move it away; the next run makes one"
    next(settings.dagster_home.iterdir(), None)  # PermissionError, where Dagster would begin with an empty one
    try:
        with _opened(settings.dagster_home):
            return None
    except Exception as error:
        if not _is_damage(error):
            raise
        return f"{settings.dagster_home} cannot be read ({_reason(error)}); the next run sets it aside"


def _reason(error: Exception) -> str:
    return " ".join(f"{getattr(error, 'orig', error)}".split())


def _opened(home: Path) -> dg.DagsterInstance:
    instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=UNCAPTURED))
    # Each of its three databases is asked something; of the runs, those that will be asked for.
    instance.get_runs(limit=1)
    instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    instance.get_dynamic_partitions("landed_logs")
    instance.all_instigator_state()
    return instance


def _is_damage(error: Exception) -> bool:
    """Whether a file of the instance is spoilt, and not busy, out of reach, or on another server."""
    if isinstance(error, DatabaseError):
        cause = error.orig
        # Of a file that was cut off, or taken from another program, or whose texts are none any more.
        lost = any(words in str(cause) for words in ("no such", "Could not decode"))
        return isinstance(cause, sqlite3.DatabaseError) and (lost or not isinstance(cause, sqlite3.OperationalError))
    if isinstance(error, SPOILT):
        return True
    unreadable = type(error).__module__.startswith("yaml.")  # not imported: no module of ours may load objects
    return unreadable or isinstance(error, dg.DagsterInvalidConfigError)


def _config(aside: Path) -> bytes:
    """The configuration of an instance that was set aside, or the shipped one where that is what is spoilt."""
    own = aside / "dagster.yaml"
    try:
        InstanceRef.from_dir(str(aside))
    except Exception as error:
        if not _is_damage(error):
            raise
    else:
        if own.exists():
            return own.read_bytes()
    return (files("sessrec_pipeline") / "dagster.yaml").read_bytes()
