"""Dagster's event log for runs that live inside one process."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._record import copy
from dagster._utils.concurrency import ConcurrencyClaimStatus
from sqlalchemy import Connection, StaticPool, create_engine

from assets.processes import end_dead_runs, held_by
from sessrec_pipeline.storage.owners import LONG, Waiting

POLL = 1.0
"""Seconds between two asks for a slot of a pool."""


def keep_open(instance: dg.DagsterInstance) -> None:
    """Let this process keep the files of the event log open, where they are SQLite's.

    Dagster opens, prepares and closes one to three of them for every event, which takes longer than to write it.
    """
    storage = instance.event_log_storage
    if type(storage) is SqliteEventLogStorage:
        storage.__class__ = _KeptOpen  # the same log in the same files, whatever set it up


class _KeptOpen(SqliteEventLogStorage):
    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engines = self.__dict__.setdefault("_engines", {})
            if shard not in engines:
                # One connection, which one thread at a time uses: the lock is ours.
                options = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False}
                engine = create_engine(self.conn_string_for_shard(shard), poolclass=StaticPool, connect_args=options)
                if shard not in self._initialized_dbs:
                    self._initdb(engine)
                    self._initialized_dbs.add(shard)
                engines[shard] = engine
            with engines[shard].begin() as connection:
                yield connection

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """Ask for a slot; who waits for one says for whom, and ends what the dead hold. BusyError after LONG."""
        status = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        waits: dict[tuple[str, str], Waiting] = self.__dict__.setdefault("_waits", {})
        if not status.is_claimed and end_dead_runs(self._instance):
            status = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if status.is_claimed:
            waits.pop((run_id, step_key), None)
            return status
        new = Waiting(LONG, lambda: held_by(self._instance, concurrency_key))
        waits.setdefault((run_id, step_key), new).on(POLL)
        # Dagster would ask less and less often, and compute for nothing meanwhile; other steps go on between two asks.
        return copy(status, sleep_interval=0.0)

    def dispose(self) -> None:
        for engine in self.__dict__.get("_engines", {}).values():
            engine.dispose()
        super().dispose()
