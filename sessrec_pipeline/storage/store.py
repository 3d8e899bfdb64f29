"""The one way in and the one way out: publish a value under an asset's name, find it again, tell its origin."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage import checkpoints, lake, pages
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import DamagedFileError, file_name, replacing, sweep
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage, Node
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.warehouse import DamagedWarehouseError, Warehouse, enter, load, seen

Publishable = Table | Checkpoint | Page
SUFFIXES = {".parquet": lake.read_lineage, ".safetensors": checkpoints.read_lineage, ".html": pages.read_lineage}
EVENTS = re.compile(r"(raw_|recent_)?sessions|quarantine|.*_(split|rankings|ranking_shards|rank_counts)")
"""Assets whose tables grow with the logs; the rows of all others are also loaded into the warehouse, for SQL."""


class NotMaterializedError(LookupError):
    """An artefact that is asked for but was never made."""


@dataclass(frozen=True)
class Stored:
    """A published artefact: where it is and what it came from."""

    path: Path
    lineage: Lineage

    @property
    def node(self) -> Node:
        """The artefact's own node."""
        return self.lineage.node

    @property
    def stats(self) -> Stats:
        """Counts that were published with it."""
        return self.lineage.node.stats

    def verified(self) -> Self:
        """This artefact, once its content has been read and found to be what was written; DamagedFileError else.

        Tables only: a checkpoint is verified by reading it, and nothing reads a page.
        """
        if self.path.suffix == ".parquet":
            try:
                content = lake.content_hash(self.path)
            except (pa.ArrowException, OSError) as error:
                raise DamagedFileError(f"{self.path} cannot be read ({error}); {self._again()}") from error
            if content != self.node.data_version:
                raise DamagedFileError(f"{self.path} is damaged: its rows differ from its own hash; {self._again()}")
        return self

    def _again(self) -> str:
        return f"delete it and materialize {self.node.asset} again"

    def arrow(self, columns: list[str] | None = None) -> pa.Table:
        """All rows of a table."""
        return pq.ParquetFile(self.path).read(columns)

    def checkpoint(self) -> Checkpoint:
        """A verified checkpoint."""
        return checkpoints.read_checkpoint(self.path)


class Store:
    """Publishes and finds the artefacts of one feed's home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.warehouse = Warehouse(settings.warehouse)
        self.home = settings.home

    def path(self, asset: str, partition: str | None, suffix: str) -> Path:
        """Where an artefact lives: a folder for a partitioned asset, else one file."""
        folder = {".parquet": self.settings.lake, ".safetensors": self.settings.checkpoints}.get(
            suffix, self.settings.reports
        )
        if partition is None:
            return folder / f"{file_name(asset)}{suffix}"
        return folder / file_name(asset) / f"{file_name(partition)}{suffix}"

    def publish(
        self,
        asset: str,
        value: Publishable,
        *,
        partition: str | None = None,
        code_version: str = "",
        config: dict[str, Any] | None = None,
        run_id: str = "",
        parents: Sequence[Lineage] = (),
    ) -> Stored:
        """Write ``value`` so that readers see the old version or the new one, then enter it in the catalogue."""
        draft = Node(
            asset=asset,
            partition=partition,
            data_version="",
            code_version=code_version,
            config=config or {},
            engine="python",
            run_id=run_id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        if isinstance(value, Table):
            return self._publish_table(value, draft, parents)
        suffix = ".safetensors" if isinstance(value, Checkpoint) else ".html"
        stats = value.stats if isinstance(value, Checkpoint) else {}
        lineage = _lineage(replace(draft, data_version=value.content_hash(), stats=stats), [*parents, *value.origins])
        path = self.path(asset, partition, suffix)
        with replacing(path) as temporary:
            if isinstance(value, Checkpoint):
                checkpoints.write_checkpoint(temporary, value, lineage)
            else:
                pages.write_page(temporary, value, lineage)
        return self._entered(Stored(path, lineage))

    def _publish_table(self, table: Table, draft: Node, parents: Sequence[Lineage]) -> Stored:
        path = self.path(draft.asset, draft.partition, ".parquet")
        with replacing(path) as temporary:
            writer, content, rows = lake.write_table(temporary, table.data)
            node = replace(draft, data_version=content, rows=rows, stats=table.stats, engine=table.engine)
            lineage = _lineage(node, [*parents, *table.origins])
            writer.add_key_value_metadata({METADATA_KEY: lineage.to_json()})
            writer.close()
        return self._entered(Stored(path, lineage))

    def _entered(self, stored: Stored) -> Stored:
        """Tell the catalogue of a new file; a catalogue that somebody deleted is made anew with it."""
        if not self.warehouse.path.exists():
            self.rebuild_catalogue(only_if_missing=True)
        if _for_people(stored):
            self.warehouse.load(stored.lineage, stored.path)
        else:
            self.warehouse.record([stored.lineage])
        return stored

    def find(self, asset: str, partition: str | None = None) -> Stored:
        """The current version of an artefact; NotMaterializedError where there is none."""
        for suffix, read_lineage in SUFFIXES.items():
            path = self.path(asset, partition, suffix)
            if path.exists():
                lineage = read_lineage(path)
                if lineage is None:
                    raise NotMaterializedError(f"{path} was not written by sessrec (no lineage); materialize {asset}")
                return Stored(path, lineage)
        what = asset if partition is None else f"{asset}[{partition}]"
        raise NotMaterializedError(f"{what} is not there yet; materialize {asset} first")

    def partitions(self, asset: str) -> dict[str, Stored]:
        """The partitions of ``asset`` that are there, by key, in order."""
        paths = (self.settings.lake / file_name(asset)).glob("[!.]*.parquet")
        found = [Stored(path, lineage) for path in paths if (lineage := lake.read_lineage(path)) is not None]
        return {str(stored.node.partition): stored for stored in sorted(found, key=lambda s: str(s.node.partition))}

    def ingested(self, logs: Sequence[str]) -> dict[str, Stored]:
        """Partitions of raw_sessions that are there and in the window, by log: what sessions rests on."""
        there = {}
        for log in logs:
            with suppress(NotMaterializedError):
                there[log] = self.find("raw_sessions", log)
        taken = {stored.node.id for stored in self.in_window(list(there.values()))}
        return {log: stored for log, stored in there.items() if stored.node.id in taken}

    def in_window(self, logs: Sequence[Stored]) -> list[Stored]:
        """Those of the ingested ``logs`` that ``[sessions] window_days`` takes; all of them without it."""
        days = self.settings.sessions.window_days
        if days is None:
            return list(logs)
        ends = [log.stats.get("last_time") for log in logs]  # a log without events has none, and does no harm
        first = max((int(end) for end in ends if end is not None), default=0) - int(days * 86_400_000_000)
        return [log for log, end in zip(logs, ends, strict=True) if end is None or int(end) >= first]

    def live(self) -> set[str]:
        """Ids of everything that an artefact which is there rests on."""
        stored = self._stored(lambda damage: None)
        return {ancestor.id for artefact in stored for ancestor in artefact.lineage.ancestors}

    def is_current(self, node: Node) -> bool:
        """Whether the file of this artefact still is this version of it."""
        try:
            return self.find(node.asset, node.partition).node.id == node.id
        except NotMaterializedError:
            return False

    def keep_partitions(self, asset: str, partitions: Sequence[str]) -> None:
        """Delete the tables of all other partitions of ``asset``: those of settings that are no more."""
        kept = {self.path(asset, partition, ".parquet") for partition in partitions}
        for path in (self.settings.lake / file_name(asset)).glob("*.parquet"):
            if path not in kept and not path.name.startswith("."):
                path.unlink(missing_ok=True)

    def mend(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Bring the home to where a process that died in mid-work would have brought it, and say what was done.

        Files under construction go. What was published but not entered in the catalogue is entered. A warehouse that
        cannot be read is set aside and made anew.
        """
        if swept := sweep(self.home):
            say(f"removed {swept} unfinished files of processes that died")
        stored = self._stored(say)
        if not stored:
            return
        try:
            with self.warehouse.connect() as connection:
                known = seen(connection)
                behind = [s for s in stored if (s.node.asset, s.node.partition, s.node.id) not in known]
                for artefact in behind:
                    self._enter(connection, artefact)
        except DamagedWarehouseError as error:
            aside = self.warehouse.path.with_name(self.warehouse.path.name + ".damaged")
            self.warehouse.path.replace(aside)
            say(f"{error}; it was done now, and the old file is {aside}")
            self.rebuild_catalogue(say)
        else:
            if behind:
                say(f"entered {len(behind)} artefacts that the catalogue did not know")

    @staticmethod
    def _enter(connection: DuckDBPyConnection, artefact: Stored) -> None:
        enter(connection, artefact.lineage)
        if _for_people(artefact):
            load(connection, artefact.node.asset, artefact.path)

    def rebuild_catalogue(
        self, say: Callable[[str], None] = lambda damage: None, *, only_if_missing: bool = False
    ) -> int:
        """Make the warehouse anew from the lake's files; return the number of artefacts entered.

        Damaged files are told to ``say`` and left out. The new file takes the place of the old one when it is
        complete. Who publishes meanwhile waits to enter.
        """
        sweep(self.home)
        with self.warehouse.locked():
            if only_if_missing and self.warehouse.path.exists():  # somebody else was faster
                return 0
            return self._rebuild(say)

    def _rebuild(self, say: Callable[[str], None]) -> int:
        with replacing(self.warehouse.path) as temporary:
            stored = self._stored(say)
            temporary.unlink()
            with Warehouse(temporary).connect() as connection:
                for artefact in stored:
                    self._enter(connection, artefact)
            temporary.with_name(temporary.name + ".lock").unlink(missing_ok=True)
            # DuckDB would replay into the new file what a process that died left unwritten for the old one.
            self.warehouse.path.with_name(self.warehouse.path.name + ".wal").unlink(missing_ok=True)
        return len(stored)

    def _stored(self, say: Callable[[str], None]) -> list[Stored]:
        """All artefacts in the lake, oldest first."""
        stored = []
        for folder in (self.settings.lake, self.settings.checkpoints, self.settings.reports):
            for path in sorted(folder.rglob("*")):
                if path.suffix not in SUFFIXES or path.name.startswith("."):
                    continue
                try:
                    lineage = SUFFIXES[path.suffix](path)
                except DamagedFileError as error:
                    say(str(error))
                    continue
                if lineage is not None:
                    stored.append(Stored(path, lineage))
        return sorted(stored, key=lambda s: s.node.created_at)


def _lineage(node: Node, parents: Sequence[Lineage]) -> Lineage:
    ids = tuple(sorted({parent.node.id for parent in parents}))
    return Lineage.of(replace(node, parents=ids), parents)


def _for_people(stored: Stored) -> bool:
    """Whether a table is also loaded into the warehouse."""
    return stored.path.suffix == ".parquet" and EVENTS.fullmatch(stored.node.asset) is None
