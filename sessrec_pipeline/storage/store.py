"""The one way in and the one way out: publish a value under an asset's name, find it and its origin again.

Every published version of a table or model is kept (``versions``), up to ``[storage] keep_versions``; pages are one
file each, under a path that people can keep.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage import checkpoints, lake, pages
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import (
    DamagedFileError,
    file_name,
    finish,
    key_of,
    make_folder,
    move,
    remove_folder,
    replacing,
    state_of_file,
    sweep,
    undamaged,
    works_in,
    writing,
)
from sessrec_pipeline.storage.history import METRICS, History, rankings_of
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.landed import LANDING, WITHDRAWN, LandedCopies, landed_hash
from sessrec_pipeline.storage.layout import check_layout, is_spoilt, write_layout
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.manifest import Manifest
from sessrec_pipeline.storage.owners import locked
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.versions import PARTITIONS, VersionFolder
from sessrec_pipeline.storage.warehouse import (
    DamagedWarehouseError,
    Warehouse,
    WarehouseBusyError,
    enter,
    forget,
    inputs_of_current,
    load,
    remember,
    remembered,
    seen,
)

Publishable = Table | Checkpoint | Page
RAW, QUARANTINE = "raw_sessions", "quarantine"
"""Both have a partition for each log."""
VERSIONED = {".parquet": lake.read_lineage, ".safetensors": checkpoints.read_lineage}
"""Suffixes of what is kept in versions, and how a file's lineage is read."""
LOCK, LOCK_SECONDS = "store.lock", 60
CATALOGUE = "popularity"
"""The table whose items, in its order, are those of every model that was made from it."""
EVENTS = re.compile(r"(raw_|recent_)?sessions|quarantine|.*_(split|rankings|ranking_shards|rank_counts)")
"""Assets whose tables grow with the logs; the rows of all others are also loaded into the warehouse, for SQL."""


class NotMaterializedError(LookupError):
    """An artefact that is asked for but was never made."""


class GoneError(RuntimeError):
    """Logs that were ingested and are not there any more; the text says what to do."""


class UnknownVersionError(LookupError):
    """A version that is asked for but is not there; the text names those that are."""


_known: dict[Path, tuple[int, int, int]] = {}
"""What this process has verified or written: inode, size and time of change of each file."""


@dataclass(frozen=True)
class Stored:
    """A published artefact: where it is and what it came from."""

    path: Path
    lineage: Lineage
    tables: tuple[Path, ...] = field(default=(), compare=False)
    """Of a model: the tables that it was made from, one of which has its items; none where they are not all there."""

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

        A process reads a file once for it, as long as the file does not change.
        """
        with undamaged(self.path):
            state = state_of_file(self.path)
            if _known.get(self.path) == state:
                return self
            if self.path.suffix == ".safetensors":
                self.checkpoint()
            elif self.path.suffix == ".html":
                pages.read_lineage(self.path)
            elif not lake.is_as_written(self.path, self.node.data_version):
                raise DamagedFileError(self.path, "its rows differ from its own hash")
        _known[self.path] = state
        return self

    def known(self) -> Self:
        """This artefact, which need not be verified as long as its file does not change."""
        _known[self.path] = state_of_file(self.path)
        return self

    def arrow(self, columns: list[str] | None = None) -> pa.Table:
        """All rows of a table, verified."""
        return pq.ParquetFile(self.verified().path).read(columns)

    def checkpoint(self) -> Checkpoint:
        """A verified checkpoint."""
        checkpoint = checkpoints.read_checkpoint(self.path)
        if problem := _foreign_items(checkpoint, self.tables):
            raise DamagedFileError(self.path, problem)
        return checkpoint


def _foreign_items(checkpoint: Checkpoint, tables: Sequence[Path]) -> str | None:
    """How the items of a model differ from those of what it was made from; None where they do not.

    They are those of one of the ``tables``, in its order.
    """
    order = False
    for path in tables:
        with undamaged(path):
            lineage = _lineage_of(path, state_of_file(path))
            if (
                lineage is None
                or "item" not in pq.read_schema(path).names
                or lineage.node.rows != len(checkpoint.items)
            ):
                continue
        items = Stored(path, lineage).arrow(["item"])["item"].to_pylist()
        if items == checkpoint.items:
            return None
        order = order or sorted(items) == sorted(checkpoint.items)
    if not tables:
        return None
    how = "in another order than in" if order else "not those of"
    return f"its {len(checkpoint.items):,} items are {how} the tables that it says it was made from"


@dataclass(frozen=True)
class Version:
    """A published version of a table or model, as ``Store.versions`` lists it."""

    stored: Stored
    current: bool
    pinned: bool


class Store:
    """Publishes and finds the artefacts of one feed's home; LayoutError for a home of an earlier layout."""

    def __init__(self, settings: Settings) -> None:
        check_layout(settings)
        self.settings = settings
        self.warehouse = Warehouse(settings.warehouse)
        self.history = History(settings)
        self.manifest = Manifest(settings.home)
        self.landed = LandedCopies(settings.kept)
        self.home = settings.home
        works_in(settings.scratch)

    def folder(self, asset: str, partition: str | None, suffix: str) -> VersionFolder:
        """Where the versions of a table or model are."""
        return VersionFolder.of(self._root(suffix), suffix, asset, partition)

    def _root(self, suffix: str) -> Path:
        return self.settings.lake if suffix == ".parquet" else self.settings.checkpoints

    def page(self, asset: str, partition: str | None = None) -> Path:
        """Where a page is, or will be; it has one version, under this path."""
        if partition is None:
            return self.settings.reports / f"{file_name(asset)}.html"
        return self.settings.reports / file_name(asset) / f"{file_name(partition)}.html"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing what is current and which versions there are; for moments only."""
        make_folder(self.home)
        with locked(self.home / LOCK, LOCK_SECONDS):
            yield

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
        entered: bool = True,
    ) -> Stored:
        """Write ``value`` so that readers see the old version or the new one, then enter it in the catalogue.

        Who publishes many at once, not ``entered``, calls ``enter`` for all of them: a transaction costs more than a
        small table. Who dies before that leaves it to ``mend``.
        """
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
            stored, folder = self._write_table(value, draft, parents)
            return self._kept(self._entered(stored), folder) if entered else stored
        stats = value.stats if isinstance(value, Checkpoint) else {}
        lineage = _lineage(replace(draft, data_version=value.content_hash(), stats=stats), [*parents, *value.origins])
        if isinstance(value, Checkpoint):
            self._refuse_unfit(asset, value, lineage)
        if isinstance(value, Page):
            with replacing(self.page(asset, partition)) as temporary:
                pages.write_page(temporary, value, lineage)
            return self._entered(Stored(self.page(asset, partition), lineage))
        folder = self.folder(asset, partition, ".safetensors")
        with writing(folder.files, folder.suffix) as temporary:
            checkpoints.write_checkpoint(temporary, value, lineage)
            stored = self._put(temporary, folder, lineage)
        return self._kept(self._entered(stored), folder)

    def _refuse_unfit(self, asset: str, model: Checkpoint, lineage: Lineage) -> None:
        """UnfitModelError for a model that cannot score, or scores other items than those of its data."""
        problem = checkpoints.not_finite(model.arrays) or _foreign_items(model, self._tables(lineage))
        if problem:
            raise checkpoints.UnfitModelError(
                f"{asset}: {problem}; it is not published, and what was published before stays: look for the fault in "
                f"the settings or the code of {model.model}"
            )

    def _tables(self, lineage: Lineage) -> tuple[Path, ...]:
        """The tables that a model was made from; none where they are not all there any more."""
        node = lineage.node
        if not node.asset.endswith("_checkpoint"):
            return ()
        parents = [n for n in lineage.ancestors if n.id in node.parents and n.asset != node.asset]
        paths = [self.folder(n.asset, n.partition, ".parquet").path(n.data_version) for n in parents]
        return tuple(paths) if CATALOGUE in {n.asset for n in parents} and all(p.exists() for p in paths) else ()

    def _write_table(self, table: Table, draft: Node, parents: Sequence[Lineage]) -> tuple[Stored, VersionFolder]:
        folder = self.folder(draft.asset, draft.partition, ".parquet")
        with writing(folder.files, folder.suffix) as temporary:
            writer, content, rows = lake.write_table(temporary, table.data)
            node = replace(draft, data_version=content, rows=rows, stats=table.stats, engine=table.engine)
            lineage = _lineage(node, [*parents, *table.origins])
            lake.end_table(writer, temporary, lineage)
            return self._put(temporary, folder, lineage), folder

    def _put(self, temporary: Path, folder: VersionFolder, lineage: Lineage) -> Stored:
        finish(temporary)  # which may take long, and nobody waits for it
        with self._locked():
            write_layout(self.settings)
            path = folder.put(temporary, lineage.node.data_version)
            return Stored(path, lineage, self._tables(lineage)).known()

    def enter(self, published: Sequence[Stored]) -> None:
        """Tell the catalogue of what was published but not ``entered``, and delete versions that are too many."""
        self._entered(*published)
        for stored in published:
            self._kept(stored, self.folder(stored.node.asset, stored.node.partition, stored.path.suffix))

    def _entered(self, *published: Stored) -> Stored:
        """Tell the catalogue of new files; a catalogue that somebody deleted is made anew with them. The last one."""
        with self._locked():
            self._expect(published)
        if not self.warehouse.path.exists() and self.rebuild_catalogue(only_if_missing=True):
            return published[-1]
        # While somebody reads the file in another program, ``mend`` is who enters it later.
        with suppress(WarehouseBusyError), self.warehouse.connect() as connection:
            # Of others somebody published another version meanwhile, and enters it after us or did so before.
            now = [stored for stored in published if self.is_current(stored.node)]
            self._enter(connection, *now)
            enter(connection, *(s.lineage for s in published if s not in now), current=False)
        return published[-1]

    def _expect(self, published: Sequence[Stored]) -> None:
        """Let the manifest know what is there from now on. The store is locked."""
        decided = {
            str(stored.node.partition): stored.node.config.get(WITHDRAWN, {}).get("sha256")
            for stored in published
            if stored.node.asset == RAW
        }
        self.manifest.change({_key(stored): stored.node.data_version for stored in published}, withdrawn=decided)

    def _kept(self, stored: Stored, folder: VersionFolder) -> Stored:
        """Delete versions beyond ``[storage] keep_versions``, the oldest first.

        Never the current one, what is pinned, and what something current was made from.
        """
        if not self._too_many(folder):
            return stored
        # While the warehouse is ours nobody loads a table into it, which may be of a version that goes here.
        with suppress(WarehouseBusyError), self.warehouse.connect() as connection, self._locked():
            needed = inputs_of_current(connection, folder.asset, folder.partition) | folder.pinned()
            for version in self._too_many(folder):
                if version not in needed:
                    folder.path(version).unlink(missing_ok=True)
        return stored

    def _too_many(self, folder: VersionFolder) -> list[str]:
        current = folder.current()
        others = [version for version in folder.there() if version != current]
        return others[self.settings.storage.keep_versions - 1 :]

    def find(self, asset: str, partition: str | None = None) -> Stored:
        """The current version of an artefact; NotMaterializedError where there is none."""
        for suffix in VERSIONED:
            if stored := self._current(self.folder(asset, partition, suffix)):
                return stored
        page = self.page(asset, partition)
        if page.exists():
            lineage = pages.read_lineage(page)
            if lineage is None:
                raise NotMaterializedError(f"{page} was not written by sessrec (no lineage); materialize {asset}")
            if (lineage.node.asset, lineage.node.partition) != (asset, partition):
                raise _misplaced(page, lineage)
            return Stored(page, lineage)
        raise NotMaterializedError(f"{_named(asset, partition)} is not there yet; materialize {asset} first")

    def _current(self, folder: VersionFolder) -> Stored | None:
        """The current version; None where none was made current, or somebody deleted its file."""
        while (version := folder.current()) is not None:
            try:
                return self._version(folder, version)
            except DamagedFileError:
                if folder.path(version).exists():
                    raise
                if folder.current() == version:  # else a newer one became current, and this one was deleted
                    if self._expected(folder) not in (None, version):
                        raise DamagedFileError(folder.pointer, f"it names {version[:12]}, which is not there") from None
                    break
        return None

    def _expected(self, folder: VersionFolder) -> str | None:
        """The version that the manifest names, where it is there."""
        version = (self.manifest.read() or {}).get((folder.asset, folder.partition))
        return version if version is not None and folder.path(version).exists() else None

    def current_path(self, asset: str, partition: str | None = None) -> Path:
        """The file of the current version, for readers of other programs; NotMaterializedError where there is none."""
        return self.find(asset, partition).path

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Whether the artefact was made."""
        with suppress(NotMaterializedError):
            self.find(asset, partition)
            return True
        return False

    def remember(self, metrics: Stored) -> None:
        """Keep a run's metrics in the history, and the ranks behind them as far as they are in the lake."""
        if self.history.has(metrics.node):
            return
        known = {node.id: node for node in rankings_of(metrics.lineage)}
        for node in known.values():
            folder = self.folder(node.asset, node.partition, ".parquet")
            with suppress(DamagedFileError):  # pruned meanwhile: then the metrics alone are kept
                ranked = self._version(folder, node.data_version).verified()
                self.history.keep_ranks(ranked.path, ranked.lineage)
        kept = self.history.keep_metrics(metrics.path, metrics.node)
        with suppress(WarehouseBusyError), self.warehouse.connect() as connection:
            remember(connection, metrics.lineage, kept)

    def names(self) -> list[str]:
        """Assets of which a table, a model or a page is there."""
        pages = self._with_pages([], lambda damage: None)
        return sorted({folder.asset for folder in self._folders()} | {page.node.asset for page in pages})

    def versions(
        self,
        asset: str | None = None,
        partition: str | None = None,
        report: Callable[[str], None] = lambda damage: None,
    ) -> list[Version]:
        """The versions of the tables and models that are there: of each artefact the newest first.

        Of all assets, or one, or one of its partitions. Damaged files are given to ``report`` and left out.
        """
        listed: list[Version] = []
        for folder in self._folders():
            if asset not in (None, folder.asset) or partition not in (None, folder.partition):
                continue
            listed += self._listed(folder, report)
        return listed

    def _listed(self, folder: VersionFolder, report: Callable[[str], None]) -> Iterator[Version]:
        current, pinned = None, folder.pinned()
        try:
            current = folder.current()
            if current is not None and not folder.path(current).exists():
                report(
                    f"{folder.pointer} names {current[:12]}, which is not there; `sessrec materialize` makes it again"
                )
        except DamagedFileError as error:
            report(str(error))
        for version in folder.there():
            try:
                yield Version(self._version(folder, version), version == current, version in pinned)
            except DamagedFileError as error:
                if folder.path(version).exists():  # else it was deleted meanwhile
                    report(str(error))

    def _folders(self) -> Iterator[VersionFolder]:
        """Where there are versions, by asset and partition."""
        for suffix in VERSIONED:
            root = self._root(suffix)
            for folder in sorted(root.glob("[!.]*")):
                asset = key_of(folder.name)
                partitions = [key_of(path.name) for path in sorted((folder / PARTITIONS).glob("[!.]*"))]
                for partition in (None, *partitions):
                    found = VersionFolder.of(root, suffix, asset, partition)
                    if found.files.is_dir():
                        yield found

    def restore(self, asset: str, version: str, partition: str | None = None) -> Stored:
        """Make an earlier version current again, once it is verified.

        ``version`` is the beginning of its content hash. What was made from another version is then out of date.
        UnknownVersionError where no version, or more than one, begins so; DamagedFileError where its content is not
        what was published.
        """
        folder, version = self._resolved(asset, version, partition)
        stored = self._version(folder, version).verified()
        with self._locked():
            folder.renew(version)  # or it would be the next to be deleted
            folder.make_current(version)
        return self._entered(stored)

    def pin(self, asset: str, version: str, partition: str | None = None) -> None:
        """Keep a version, given by the beginning of its content hash, from being deleted; UnknownVersionError."""
        with self._locked():
            folder, version = self._resolved(asset, version, partition)
            folder.pin(version)

    def unpin(self, asset: str, version: str, partition: str | None = None) -> None:
        """Undo ``pin``; the version is deleted by the next publish that finds too many."""
        folder, version = self._resolved(asset, version, partition)
        folder.unpin(version)

    def pinned(self) -> set[tuple[str, str | None, str]]:
        """Asset, partition and content hash of the versions that are pinned."""
        return {(f.asset, f.partition, version) for f in self._folders() for version in f.pinned()}

    def _resolved(self, asset: str, version: str, partition: str | None) -> tuple[VersionFolder, str]:
        """The one version whose content hash begins with ``version``, and where it is."""
        what = _named(asset, partition)
        folders = [self.folder(asset, partition, suffix) for suffix in VERSIONED]
        found = [(folder, name) for folder in folders for name in folder.there()]
        if not found:
            others = [str(f.partition) for f in self._folders() if f.asset == asset and f.partition is not None]
            if others and partition is None:
                raise UnknownVersionError(f"{asset} has partitions, each with versions of its own: name one of them")
            if self.page(asset, partition).exists():
                raise UnknownVersionError(f"{what} is a page, of which one version is kept: materialize {asset} again")
            raise UnknownVersionError(f"there is no version of {what}: `sessrec versions` lists those that there are")
        matching = [(folder, name) for folder, name in found if name.startswith(version)]
        if len(matching) != 1:
            names = ", ".join(name[:12] for _, name in matching or found)
            problem = f"more than one version of {what} begins" if matching else f"no version of {what} begins"
            raise UnknownVersionError(f"{problem} with {version!r}; there are {names}")
        return matching[0]

    def partitions(self, asset: str) -> dict[str, Stored]:
        """The partitions of ``asset`` that are there, by key, in order."""
        found = [stored for folder in self._partition_folders(asset) if (stored := self._current(folder))]
        return {str(stored.node.partition): stored for stored in sorted(found, key=lambda s: str(s.node.partition))}

    def _partition_folders(self, asset: str) -> list[VersionFolder]:
        root = self.settings.lake
        names = sorted(path.name for path in (root / file_name(asset) / PARTITIONS).glob("[!.]*"))
        return [VersionFolder.of(root, ".parquet", asset, key_of(name)) for name in names]

    def log_versions(self) -> dict[str, str | None]:
        """The content hash of each ingested log, by name, from the pointers alone."""
        return {str(folder.partition): folder.current() for folder in self._partition_folders(RAW)}

    def logs(self) -> dict[str, Stored]:
        """All ingested logs, by name; GoneError where one that was ingested is not there any more."""
        there = self.partitions(RAW)
        if gone := self.gone_logs(there):
            raise GoneError(
                f"{self._gone_table(gone[0], there)} was ingested and is gone from the lake"
                + (f", and so it is with {len(gone) - 1:,} more" if len(gone) > 1 else "")
                + f": land {gone[0]} again, bring it back with `sessrec restore --backup DIR --missing`, or give it up "
                f"with `sessrec withdraw {gone[0]}`"
            )
        return there

    def gone_logs(self, there: Collection[str]) -> list[str]:
        """Names of logs that were ingested and are not ``there``, or whose quarantine is not, and were not pruned.

        Not those that were withdrawn, which have no rows to lose.
        """
        withdrawn = self.manifest.withdrawn()
        expected = [(asset, str(log)) for asset, log in self.manifest.read() or {} if log not in withdrawn]
        gone = {log for asset, log in expected if asset == RAW and log not in there}
        gone |= {log for asset, log in expected if asset == QUARANTINE and not self._has_quarantine(log)}
        return sorted(gone)

    def _gone_table(self, log: str, there: Collection[str]) -> str:
        return _named(RAW if log not in there else QUARANTINE, log)

    def _has_quarantine(self, log: str) -> bool:
        folder = self.folder(QUARANTINE, log, ".parquet")
        version = folder.current()
        return version is not None and folder.path(version).exists()

    def give_up(self, logs: Sequence[str]) -> None:
        """Expect logs that are gone no longer."""
        with self._locked():
            self.manifest.change({}, gone=[(asset, log) for asset in (RAW, QUARANTINE, LANDING) for log in logs])

    def keep_landed(self, log: str, sha256: str, path: Path, parts: Mapping[str, Path]) -> None:
        """Keep a copy of a landed log that was read, for when its file is gone; as ``LandedCopies.keep``."""
        self.landed.keep(sha256, path, parts)
        with self._locked():
            self.manifest.change({(LANDING, log): sha256})

    def forget_landed(self) -> None:
        """Delete the copies of landed logs that no version of ``raw_sessions`` was read from, nor were withdrawn."""
        if not self.landed.folder.is_dir():
            return
        with self._locked():  # a copy comes after the version that was read from it
            versions = [version.stored.lineage for version in self.versions(RAW)]
            needed = {sha256 for lineage in versions if (sha256 := landed_hash(lineage))}
            needed.update(self.manifest.withdrawn().values())
            with suppress(DamagedFileError):  # ``verify`` tells of it; until then all of them stay
                self.landed.forget(needed)
                others = [key for key, version in (self.manifest.read() or {}).items() if version not in needed]
                self.manifest.change({}, gone=[key for key in others if key[0] == LANDING])

    def ingested(self) -> dict[str, Stored]:
        """The logs that are in the window, by name: what sessions rests on. GoneError as for ``logs``."""
        there = self.logs()
        taken = {stored.node.id for stored in self.in_window(list(there.values()))}
        return {log: stored for log, stored in there.items() if stored.node.id in taken}

    def in_window(self, logs: Sequence[Stored]) -> list[Stored]:
        """Those of the ingested ``logs`` that ``[sessions] window_days`` takes; all of them without it."""
        days = self.settings.sessions.window_days
        if days is None:
            return list(logs)
        ends = [log.stats.get("last_time") for log in logs]  # a log without events has none, and does no harm
        first = max((int(end) for end in ends if end is not None), default=0) - int(days * DAY)
        return [log for log, end in zip(logs, ends, strict=True) if end is None or int(end) >= first]

    def live(self) -> set[str]:
        """Ids of everything that a current artefact rests on."""
        stored = self.current(lambda damage: None)
        return {ancestor.id for artefact in stored for ancestor in artefact.lineage.ancestors}

    def is_current(self, node: Node) -> bool:
        """Whether this is the current version of the artefact."""
        try:
            return self.find(node.asset, node.partition).node.id == node.id
        except NotMaterializedError:
            return False

    def keep_partitions(self, asset: str, partitions: Sequence[str]) -> None:
        """Delete the tables of all other partitions of ``asset``: those of settings that are no more."""
        for folder in self._partition_folders(asset):
            if folder.partition not in partitions:
                self.remove(asset, str(folder.partition))

    def remove(self, asset: str, partition: str) -> None:
        """Delete all versions of a partition's table, as one step; one with a pinned version stays as it is."""
        folder = self.folder(asset, partition, ".parquet")
        with self._locked():
            if folder.pinned():
                return
            remove_folder(folder.folder)
            self.manifest.change({}, gone=[(asset, partition), *([(LANDING, partition)] if asset == RAW else [])])
        if self.warehouse.path.exists():
            with suppress(WarehouseBusyError), self.warehouse.connect() as connection:
                forget(connection, asset, partition)

    def mend(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Bring the home to where a process that died in mid-work would have brought it, and say what was done.

        Files under construction go. Damaged files are set aside. What was published but not entered in the catalogue is
        entered. A warehouse that cannot be read is set aside and made anew. A version that is complete but was not made
        current yet stays, as one of the versions that are not current.
        """
        with self._locked():
            if is_spoilt(self.settings):
                report(f"{self.home / 'layout'} was damaged and is written again")
            write_layout(self.settings)
        if damage := self.manifest.damage():
            report(f"{damage.path} was damaged ({damage.problem}) and is written again, from the one before it")
        if swept := sweep(self.home):
            report(f"removed {swept} unfinished files of processes that died")
        stored = self._undamaged(report)
        if not stored:
            return
        self._mend_history(report)
        with self._locked():
            self._expect(stored)
        try:
            with self.warehouse.connect() as connection:
                known = seen(connection)
                behind = [s for s in stored if (s.node.asset, s.node.partition, s.node.id) not in known]
                self._enter(connection, *(artefact for artefact in behind if self.is_current(artefact.node)))
                for asset, partition in {key[:2] for key in known} - set(map(_key, stored)):
                    forget(connection, asset, partition or "")
                self._remember_all(connection, report)
        except WarehouseBusyError as error:
            report(f"{error}; what was published is there, and is entered in the warehouse by a later command")
        except DamagedWarehouseError as error:
            aside = self.warehouse.path.with_name(self.warehouse.path.name + ".damaged")
            self.warehouse.path.replace(aside)
            report(f"{error}; it was done now, and the old file is {aside}")
            self.rebuild_catalogue(report)
        else:
            if behind:
                report(f"entered {len(behind)} artefacts that the catalogue did not know")

    @staticmethod
    def _enter(connection: DuckDBPyConnection, *artefacts: Stored) -> None:
        """Enter current versions, and load the rows of those that are for people, once they are verified.

        DamagedFileError undoes the transaction.
        """
        for artefact in filter(_for_people, artefacts):
            load(connection, artefact.node.asset, artefact.verified().path)
        enter(connection, *(artefact.lineage for artefact in artefacts))

    def _undamaged(self, report: Callable[[str], None]) -> list[Stored]:
        """All current artefacts, oldest first, their content verified; damaged files are taken out of the way."""

        told: list[DamagedFileError] = []

        def contained(damage: DamagedFileError) -> None:
            told.append(damage)
            report(self.set_aside(damage))

        stored = self.current(contained)
        if told:  # a pointer may name again what it named
            stored = self.current(contained)
        with ThreadPoolExecutor() as beside:
            found = list(zip(stored, beside.map(_damage_of, stored), strict=True))
        for _, damage in found:
            if damage is not None and damage.path.exists():  # else it was deleted meanwhile, as one of too many
                contained(damage)
        return [artefact for artefact, damage in found if damage is None]

    def _mend_history(self, report: Callable[[str], None]) -> None:
        """Take what is damaged of the history out of the way, and keep it again where the lake still has it."""
        damaged = []
        for path in [*self.history.evaluations(), *self.history.folder.glob("ranks/*/[!.]*.parquet")]:
            try:
                Stored(path, self.history.read_lineage(path)).verified()
            except DamagedFileError as error:
                if path.exists():  # else it was one of too many
                    damaged.append(error)
        for damage in damaged:
            report(self.set_aside(damage))
        if damaged:
            self._keep_again({damage.path for damage in damaged})

    def _keep_again(self, lost: Collection[Path]) -> None:
        """Keep once more those files of the history that are ``lost`` and that the lake has a version of."""
        for version in self.versions():
            stored, node = version.stored, version.stored.node
            with suppress(DamagedFileError):  # it is told of elsewhere
                if node.asset == METRICS and self.history.place(node) in lost:
                    self.history.keep_metrics(stored.verified().path, node)
                elif self.history.place_of_ranks(node) in lost:
                    self.history.keep_ranks(stored.verified().path, stored.lineage)

    def set_aside(self, damage: DamagedFileError) -> str:
        """Take a damaged file out of the way of those who look for what is current; what was done."""
        with self._locked():
            for folder in self._folders():
                if damage.path == folder.pointer and (versions := folder.there()):
                    expected = self._expected(folder) or versions[0]
                    folder.make_current(expected)
                    which = "the newest version" if expected == versions[0] else "the version published last"
                    return f"{damage.path} was damaged and names {which} again, {expected[:12]}"
            aside = self.home / "damaged" / damage.path.relative_to(self.home)
            make_folder(aside.parent)
            move(damage.path, aside)
        return f"{damage}; set aside as {aside}"

    def rebuild_catalogue(
        self, report: Callable[[str], None] = lambda damage: None, *, only_if_missing: bool = False
    ) -> int:
        """Make the warehouse anew from the lake's files; return the number of artefacts entered.

        The origin of versions that are not current is entered, too. Damaged files are given to ``report`` and left out.
        The new file takes the place of the old one when it is complete. Who publishes meanwhile waits to enter.
        """
        sweep(self.home)
        with self.warehouse.locked():
            if only_if_missing and self.warehouse.path.exists():  # somebody else was faster
                return 0
            return self._rebuild(report)

    def _rebuild(self, report: Callable[[str], None]) -> int:
        def told(damage: DamagedFileError) -> None:
            report(str(damage))

        with replacing(self.warehouse.path) as temporary:
            versions = self.versions(report=report)
            stored = self._with_pages([version.stored for version in versions if version.current], told)
            damaged = {s.path: damage for s in filter(_for_people, stored) if (damage := _damage_of(s))}
            for damage in damaged.values():
                told(damage)
            temporary.unlink()
            with Warehouse(temporary).connect() as connection:
                enter(connection, *(v.stored.lineage for v in versions if not v.current), current=False)
                self._enter(connection, *(artefact for artefact in stored if artefact.path not in damaged))
                self._remember_all(connection, report)
            # DuckDB would replay into the new file what a process that died left unwritten for the old one.
            self.warehouse.path.with_name(self.warehouse.path.name + ".wal").unlink(missing_ok=True)
        return len(stored)

    def _remember_all(self, connection: DuckDBPyConnection, report: Callable[[str], None]) -> None:
        """Enter those of the kept metrics that the catalogue does not know."""
        known = remembered(connection)
        for path in self.history.evaluations():
            if path.stem.rpartition("-")[2] not in known:
                try:
                    lineage = self.history.read_lineage(path)
                    remember(connection, lineage, Stored(path, lineage).verified().path)
                except DamagedFileError as error:
                    report(str(error))

    def at(self, path: Path) -> Stored | None:
        """The artefact in a file of lake, checkpoints or reports, None for a page of a person's own.

        DamagedFileError where it is not what its place says.
        """
        if path.suffix == ".html":
            return self._page_at(path)
        root = self._root(path.suffix)
        match path.relative_to(root).parts:
            case (asset, _, _):
                folder = self.folder(key_of(asset), None, path.suffix)
            case (asset, _, partition, _, _):
                folder = self.folder(key_of(asset), key_of(partition), path.suffix)
            case _:
                raise DamagedFileError(path, "nothing is published here", "move it to where it belongs")
        if path != folder.path(path.stem):
            raise DamagedFileError(path, "nothing is published here", "move it to where it belongs")
        return self._version(folder, path.stem)

    def _page_at(self, path: Path) -> Stored | None:
        """The page in a file, None for one of a person's own, such as a copy; DamagedFileError for another page."""
        lineage = pages.read_lineage(path)
        if lineage is None:
            return None
        if path != self.page(lineage.node.asset, lineage.node.partition):
            expected = self.manifest.read() or {}
            if any(path == self.page(*key) for key in expected):
                raise _misplaced(path, lineage)
            return None
        return Stored(path, lineage).known()  # reading its lineage has verified it

    def _version(self, folder: VersionFolder, version: str) -> Stored:
        """A version that is there; DamagedFileError where it cannot be read, or is not what its place says."""
        path = folder.path(version)
        with undamaged(path):
            lineage = _lineage_of(path, state_of_file(path))
        place = (folder.asset, folder.partition, version)
        if lineage is None or (lineage.node.asset, lineage.node.partition, lineage.node.data_version) != place:
            raise _misplaced(path, lineage)
        return Stored(path, lineage, self._tables(lineage))

    def current(self, report: Callable[[DamagedFileError], None]) -> list[Stored]:
        """All current artefacts, oldest first; what cannot be read is given to ``report``."""
        stored: list[Stored] = []
        for folder in self._folders():
            try:
                stored += filter(None, [self._current(folder)])
            except DamagedFileError as error:
                report(error)
        return self._with_pages(stored, report)

    def _with_pages(self, stored: list[Stored], report: Callable[[DamagedFileError], None]) -> list[Stored]:
        for path in self.settings.reports.rglob("[!.]*.html"):
            if not path.is_file():
                continue
            try:
                stored += filter(None, [self._page_at(path)])
            except DamagedFileError as error:
                report(error)
        return sorted(stored, key=lambda s: s.node.created_at)


@lru_cache(maxsize=10_000)
def _lineage_of(path: Path, state: tuple[int, int, int]) -> Lineage | None:
    """What a file says of itself, read once as long as its ``state`` does not change."""
    return VERSIONED[path.suffix](path)


def _key(stored: Stored) -> tuple[str, str | None]:
    return stored.node.asset, stored.node.partition


def _misplaced(path: Path, lineage: Lineage | None) -> DamagedFileError:
    """What is wrong with a file that is not what its place says."""
    node = lineage and lineage.node
    says = f"it says that it is {_named(node.asset, node.partition)} {node.data_version[:12]}, so " if node else ""
    return DamagedFileError(path, f"{says}it is not what was published here")


def _named(asset: str, partition: str | None) -> str:
    return asset if partition is None else f"{asset}[{partition}]"


def _lineage(node: Node, parents: Sequence[Lineage]) -> Lineage:
    ids = tuple(sorted({parent.node.id for parent in parents}))
    return Lineage.of(replace(node, parents=ids), parents)


def _damage_of(stored: Stored) -> DamagedFileError | None:
    """What is wrong with a file, once all of it was read."""
    try:
        stored.verified()
    except DamagedFileError as error:
        return error
    return None


def _for_people(stored: Stored) -> bool:
    """Whether a table is also loaded into the warehouse."""
    return stored.path.suffix == ".parquet" and EVENTS.fullmatch(stored.node.asset) is None
