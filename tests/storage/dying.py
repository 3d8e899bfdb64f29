"""For processes that die at a chosen rename; in a module of its own, which they import in little time."""

import itertools
import os
from pathlib import Path
from typing import Any

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.backup import backup, restore
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Publishable, Store


def die_at(moment: int, before: bool, *names: str) -> None:
    """Be gone before or after the ``moment``-th call of these methods of paths, with nothing cleaned up."""
    seen = [0]

    def fatal(method: Any) -> Any:
        def act(self: Path, *args: Any, **kwargs: Any) -> Any:
            seen[0] += 1
            if before and seen[0] == moment:
                os._exit(9)
            done = method(self, *args, **kwargs)
            if seen[0] == moment:
                os._exit(9)
            return done

        return act

    for name in names or ("replace",):
        setattr(Path, name, fatal(getattr(Path, name)))


def publish_and_die(settings: Settings, asset: str, value: Publishable, moment: int, before: bool) -> None:
    """Publish, and be gone before or after the ``moment``-th rename."""
    die_at(moment, before)
    Store(settings).publish(asset, value)


def back_up_and_die(settings: Settings, folder: Path, moment: int, before: bool) -> None:
    """Back up so that one snapshot stays, and be gone at the ``moment``-th rename, or when a file is deleted."""
    die_at(moment, before, "replace", "unlink")
    backup(Store(settings), folder, keep=1)


def restore_and_die(folder: Path, home: Path, moment: int, before: bool) -> None:
    """Restore, and be gone before or after the ``moment``-th rename."""
    die_at(moment, before)
    restore(folder, home)


def publish_for_ever(settings: Settings, table: Table) -> None:
    """Publish one version after another, log after log, and delete what another process may just copy."""
    store, rows = Store(settings), table.arrow()
    for number in itertools.count():
        for asset in ("sessions", "leaderboard"):
            store.publish(asset, Table(rows.slice(number % 50)))
        store.publish("raw_sessions", Table(rows.slice(number % 50)), partition=f"log-{number % 7}.tsv")
        store.remove("raw_sessions", f"log-{(number + 3) % 7}.tsv")
