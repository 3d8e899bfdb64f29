"""Copies of a home in another folder, and a home made again from one.

    DIR/sessrec-backup                      says that the folder holds backups, and their format
    DIR/objects/<ab>/<sha256>               the bytes of a file, once, however many snapshots have it
    DIR/snapshots/<number>-<time>.json      what a home held at a moment: path, sha256, bytes and time of each file

A snapshot appears by rename after all its objects are there and were read back, so who dies leaves the ones before it.
In it is what cannot be made again from the rest: not the warehouse, Dagster's databases, trainings under way, scratch.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from sessrec_pipeline.stopping import at_stop
from sessrec_pipeline.storage.files import (
    TEMPORARY,
    DamagedFileError,
    finish,
    make_folder,
    move,
    replacing,
    sha256_of_json,
    state_of_file,
    sweep,
    temporary_folder,
    writing,
)
from sessrec_pipeline.storage.landed import LANDING, SUFFIXES
from sessrec_pipeline.storage.layout import RESTORING, write_layout
from sessrec_pipeline.storage.owners import locked
from sessrec_pipeline.storage.store import LOCK, LOCK_SECONDS, VERSIONED, Store
from sessrec_pipeline.storage.verification import check_file, gone

MARK, FORMAT = "sessrec-backup", 1
FOLDERS = ("lake", "checkpoints", "history", "reports", "kept")
LAYOUT, MANIFEST = "layout", "manifest.json"
SETTINGS = "sessrec.toml"
OWN = ("alerts.log", "dagster/dagster.yaml")
"""Taken, too; what a home has of them stays when another copy is restored."""
ON_NEW_DISKS = {"lost+found"}
NAME = re.compile(r"(\d{6,})-\d{8}T\d{6}Z")
"""Of a snapshot: a number that goes up, for a clock may be set back, and when it was made."""
CHUNK = 4 << 20
BUSY_SECONDS = 5.0
STAGE = ".restoring"
"""Folder of a home in which a restored copy is complete before any of it takes its place."""
NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems say that do not link these two places, or files of other owners."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and all bytes."""


class BackupError(RuntimeError):
    """A folder that is none of backups, or a home that is not taken or replaced; the text says what to do."""


@dataclass(frozen=True)
class Entry:
    """A file of a snapshot."""

    sha256: str
    bytes: int
    changed: int
    """When its content changed, nanoseconds since 1970: versions are ordered by it."""


@dataclass(frozen=True)
class Snapshot:
    """What a home held."""

    name: str
    home: str
    """Where it was."""
    made_at: str
    files: Mapping[str, Entry]
    """By path below the home."""


@dataclass(frozen=True)
class Made:
    """What a backup came to."""

    snapshot: Snapshot
    new_files: int
    new_bytes: int
    """What had to be copied, each content once."""
    removed: Sequence[str]
    """Names of older snapshots that went."""
    unread: Sequence[DamagedFileError]
    """Older snapshots that cannot be read; as long as there is one, no object is deleted."""


class Backups:
    """A folder of backups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshots = folder / "snapshots"

    @classmethod
    def found(cls, folder: Path) -> Self:
        """One that is there; BackupError."""
        try:
            text = (folder / MARK).read_text(encoding="utf-8", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            raise BackupError(f"{folder} holds no backups: `sessrec backup` makes them") from None
        if text != str(FORMAT):
            raise BackupError(f"{folder / MARK} says {text!r}, and this version of sessrec knows {FORMAT}: update it")
        return cls(folder)

    @classmethod
    def begun(cls, folder: Path) -> Self:
        """One that is there, or made in an empty folder, or as a new one in a folder that is there; BackupError."""
        if (folder / MARK).exists():
            return cls.found(folder)
        if folder.exists() and not folder.is_dir():
            raise BackupError(f"{folder} is a file; name a folder for the backups")
        if not folder.parent.is_dir():
            raise BackupError(
                f"there is no folder {folder.parent}: is the disk for backups mounted? Make it, or mount it"
            )
        others = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        if other := next((name for name in sorted(others) if not _is_nothing(name)), None):
            raise BackupError(f"{folder} holds other things, such as {other!r}; name an empty or a new folder")
        with replacing(folder / MARK) as temporary:
            temporary.write_text(f"{FORMAT}\n", encoding="utf-8")
        return cls(folder)

    def names(self) -> list[str]:
        """Names of the snapshots, the oldest first."""
        found = [
            (int(made[1]), made[0]) for path in self.snapshots.glob("*.json") if (made := NAME.fullmatch(path.stem))
        ]
        return [name for _, name in sorted(found)]

    def path(self, name: str) -> Path:
        """The file of a snapshot."""
        return self.snapshots / f"{name}.json"

    def read(self, name: str | None = None) -> Snapshot:
        """The snapshot of this name, or the newest one; BackupError where there is none, DamagedFileError."""
        names = self.names()
        if not names:
            raise BackupError(f"{self.folder} holds no complete backup yet: run `sessrec backup` again")
        if name not in (None, *names):
            raise BackupError(f"there is no snapshot {name!r} in {self.folder}; there are {', '.join(names)}")
        path = self.path(name or names[-1])
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            written = found.pop("sha256")
            if written != sha256_of_json(found):
                raise ValueError("its text differs from its own hash")
            files = {key: Entry(**entry) for key, entry in found["files"].items()}
            if outside := [key for key in files if Path(key).is_absolute() or ".." in Path(key).parts]:
                raise ValueError(f"{outside[0]!r} lies outside of a home")
            return Snapshot(path.stem, found["home"], found["made_at"], files)
        except (ValueError, KeyError, TypeError) as error:
            others = ", ".join(other for other in names if other != path.stem) or "no others"
            raise DamagedFileError(path, str(error), f"name another one with --snapshot; there are {others}") from error

    def write(self, home: Path, files: Mapping[str, Entry]) -> Snapshot:
        """Add a snapshot."""
        now = datetime.now(UTC)
        names = self.names()
        number = int(names[-1].partition("-")[0]) + 1 if names else 1
        snapshot = Snapshot(f"{number:06d}-{now:%Y%m%dT%H%M%SZ}", str(home), now.isoformat(timespec="seconds"), files)
        rows = {key: asdict(entry) for key, entry in sorted(files.items())}
        value = {"home": snapshot.home, "made_at": snapshot.made_at, "files": rows}
        with replacing(self.path(snapshot.name)) as temporary:
            temporary.write_text(json.dumps({**value, "sha256": sha256_of_json(value)}, indent=0), encoding="utf-8")
        return snapshot

    def object(self, sha256: str) -> Path:
        """Where the bytes of this hash are, or will be."""
        return self.folder / "objects" / sha256[:2] / sha256

    def holds(self, sha256: str, size: int, *, reading: bool) -> bool:
        """Whether these bytes are there: by their length, or by ``reading`` them."""
        path = self.object(sha256)
        try:
            return path.stat().st_size == size and (not reading or _hashed(path) == sha256)
        except FileNotFoundError:
            return False

    def add(self, source: Path) -> str:
        """Copy a file; its hash."""
        with writing(self.folder / "objects", "") as temporary:
            sha256 = _copy(source, temporary)
            make_folder(self.object(sha256).parent)
            move(temporary, self.object(sha256))
        return sha256

    def lay_out(self, entry: Entry, place: Path, step: Callable[[int], None] = lambda size: None) -> None:
        """Bring a file of a snapshot back, as it was; one that is there so stays. DamagedFileError."""
        if place.exists() and _is_same(place, entry):
            step(entry.bytes)
            return
        path = self.object(entry.sha256)
        advice = "name another snapshot with --snapshot: " + ", ".join(self.names())
        with writing(place.parent, "") as temporary:
            try:
                sha256 = _copy(path, temporary, step)
            except FileNotFoundError:
                raise DamagedFileError(path, "it is gone", advice) from None
            if sha256 != entry.sha256:
                raise DamagedFileError(path, "its bytes differ from its name", advice)
            os.utime(temporary, ns=(entry.changed, entry.changed))
            move(temporary, place)

    def forget(self, keep: int) -> tuple[list[str], list[DamagedFileError]]:
        """Delete all but the newest ``keep`` snapshots, and the objects that none has; their names, and what is unread.

        Nothing that a snapshot may need goes: while one cannot be read, no object does.
        """
        names = self.names()
        old = names[:-keep]
        for name in old:
            self.path(name).unlink()
        unread: list[DamagedFileError] = []
        needed: set[str] = set()
        for name in names[-keep:]:
            try:
                needed |= {entry.sha256 for entry in self.read(name).files.values()}
            except DamagedFileError as error:
                unread.append(error)
        if not unread:
            for path in (self.folder / "objects").glob("??/*"):
                if path.name not in needed:
                    path.unlink()
        return old, unread


def backup(
    store: Store,
    folder: Path,
    *,
    keep: int,
    landing: bool = True,
    check: bool = False,
    progress: Progress = lambda done, total: None,
    report: Callable[[str], None] = lambda line: None,
) -> Made:
    """Copy the home into ``folder`` as a snapshot, and delete those beyond the newest ``keep``.

    Runs may go on meanwhile: the home is taken as it is at one moment. ``landing``: also the landed files. ``check``:
    also what was copied earlier is read back, and copied again where it is damaged. ``report`` is told of what was left
    out. BackupError names what is damaged in the home, or gone from it; then there is no new snapshot, and the earlier
    ones stay. BusyError while another process makes a backup there.
    """
    home = store.home
    if folder == home or folder.is_relative_to(home):
        raise BackupError(f"{folder} is inside the home, and would be lost with it; name a folder on another disk")
    backups = Backups.begun(folder)
    with locked(folder / "backup.lock", BUSY_SECONDS):
        sweep(folder)
        before = _newest(backups)
        with _frozen(store) as held:
            bad = list(_unsound(held))
            sources = dict(_files_in(held.home))
            _refuse_other_feed(backups, before, home, sources)
            if landing:
                sources |= {f"{LANDING}/{key}": path for key, path in _files_in(home / LANDING, links=False)}
            copying = _Copying(backups, held, before, check)
            files = copying.all(sources, progress, report)
            if bad := list(dict.fromkeys([*bad, *copying.damaged])):
                told = "\n".join(f"  {line}" for line in bad).replace(str(held.home), str(home))
                raise BackupError(
                    f"nothing was added to {folder}, for the home is damaged:\n{told}\n"
                    f"`sessrec --home {home} verify --repair` sets aside what is damaged, `sessrec materialize` makes "
                    "again what is made of logs, `sessrec restore --backup DIR --missing` brings back the rest from an "
                    "earlier backup. Then back up again"
                )
        snapshot = backups.write(home, files)
        removed, unread = backups.forget(keep)
    return Made(snapshot, copying.new_files, copying.new_bytes, removed, unread)


class _Copying:
    """Brings files into a folder of backups, as far as their bytes are not there."""

    def __init__(self, backups: Backups, held: Store, before: Snapshot | None, check: bool) -> None:
        self.backups, self.held, self.check = backups, held, check
        self.before = before.files if before else {}
        self.new_files = self.new_bytes = 0
        self.damaged: list[str] = []
        self.there: set[str] = set()

    def all(self, sources: Mapping[str, Path], progress: Progress, report: Callable[[str], None]) -> dict[str, Entry]:
        """Bring all of ``sources``, by path below the home; what is damaged is noted and not copied."""
        found: dict[str, Entry] = {}
        step = _steps(progress, sum(map(_size, sources.values())))
        for key, path in sources.items():
            try:
                if (entry := self._bring(key, path, step)) is None:
                    report(f"left out: {path} changes while it is read; the next backup takes it")
                else:
                    found[key] = entry
            except FileNotFoundError:
                if not key.startswith(f"{LANDING}/"):  # a link could not hold it
                    raise BackupError(
                        f"{path.resolve()} was deleted while it was copied, and this file system has no hard links "
                        "that would have held it; back up again while no run is going on"
                    ) from None
            except DamagedFileError as error:
                if path == error.path:
                    self.damaged.append(str(error))
                else:
                    raise
        return found

    def _bring(self, key: str, path: Path, step: Callable[[int], None]) -> Entry | None:
        """One file; None where it is not as it was when it was looked at. DamagedFileError."""
        state = state_of_file(path)
        sha256, size = _hashed(path, step=step), state[1]
        known = self.before.get(key)
        if (known is None or known.sha256 != sha256) and _says_its_hash(key):
            check_file(self.held, path)
        if sha256 not in self.there and not self.backups.holds(sha256, size, reading=self.check):
            if self.backups.add(path) != sha256:
                return None
            self.new_files += 1
            self.new_bytes += size
        self.there.add(sha256)
        return Entry(sha256, size, state[2]) if state_of_file(path) == state else None


@contextmanager
def _frozen(store: Store) -> Iterator[Store]:
    """The home as it is at this moment: links to its files, which nobody writes to once they have their names.

    So what is published, replaced or deleted from now on changes nothing of it.
    """
    home = store.home
    with temporary_folder(home) as own, at_stop(lambda: shutil.rmtree(own)):
        held = own / "home"
        with locked(home / LOCK, LOCK_SECONDS):
            for folder in FOLDERS:
                for key, path in _files_in(home / folder):
                    _link(path, held / folder / key)
            for name in (LAYOUT, MANIFEST, f"{MANIFEST}.before"):
                _link(home / name, held / name)
        for name in (SETTINGS, *OWN):  # which a person, or the end of a run, may write to in place
            with suppress(FileNotFoundError):
                (held / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(home / name, held / name)
        yield Store(store.settings.model_copy(update={"home": held}))


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # one that went just now
        try:
            os.link(path.resolve(), place)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            place.symlink_to(path.resolve())


def _files_in(folder: Path, links: bool = True) -> Iterator[tuple[str, Path]]:
    """The files in a folder and below, by their path in it; not what is hidden, no file, or a link without ``links``.

    A link that leads nowhere any more is among them.
    """
    for place, names, files in os.walk(folder, followlinks=links):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            wanted = links and (path.is_file() or not path.exists()) if path.is_symlink() else path.is_file()
            if wanted and not name.startswith("."):
                yield path.relative_to(folder).as_posix(), path


def _unsound(held: Store) -> Iterator[str]:
    """What the manifest of a home names and it has not, or cannot be read; at its end the manifest names all it has.

    A version that was published and is not entered in the manifest yet is entered.
    """
    damaged: list[str] = []
    held.versions(report=damaged.append)
    current = {(s.node.asset, s.node.partition): s for s in held.current(lambda error: damaged.append(str(error)))}
    yield from dict.fromkeys(damaged)
    expected = held.manifest.read()
    if expected is None:
        yield f"{held.manifest.path} is not there, so nobody knows whether something is gone"
        return
    held.manifest.change({key: stored.node.data_version for key, stored in current.items()})
    held.manifest.before.unlink(missing_ok=True)
    write_layout(held.settings)  # where it is spoilt
    yield from gone(held, current)


def _says_its_hash(key: str) -> bool:
    """Whether a file of a home, by its path there, is a table, a model, a page or the copy of a landed log."""
    return key.partition("/")[0] in FOLDERS and key.endswith((*VERSIONED, ".html", *SUFFIXES))


def _refuse_other_feed(backups: Backups, before: Snapshot | None, home: Path, sources: Collection[str]) -> None:
    """BackupError where a folder has backups of another home that has no artefact in common with this one."""
    if before is None or before.home == str(home):
        return
    if not {key for key in sources if _says_its_hash(key)} & before.files.keys():
        raise BackupError(
            f"{backups.folder} has the backups of {before.home}, of which nothing is in {home}; name another folder"
        )


def _newest(backups: Backups) -> Snapshot | None:
    """The newest snapshot that can be read."""
    for name in reversed(backups.names()):
        with suppress(DamagedFileError):
            return backups.read(name)
    return None


def restore(
    folder: Path, home: Path, name: str | None = None, progress: Progress = lambda done, total: None
) -> Snapshot:
    """Make ``home`` what it was at the newest snapshot in ``folder``, or the one called ``name``.

    Where the home holds a table, a model, a page, settings or a manifest that the snapshot has not, or has otherwise,
    BackupError names it and nothing is changed; landed files that are there stay as they are. Every byte is compared
    with its hash before any takes its place. Who dies leaves the home as it was, or one that all commands refuse
    until the same call has gone on to its end. DamagedFileError where a snapshot or an object is damaged.
    """
    backups = Backups.found(folder)
    snapshot = backups.read(name)
    make_folder(home)
    stage = home / STAGE
    with locked(home / LOCK, BUSY_SECONDS):
        _refuse_to_replace(home, snapshot)
        missing = {key: entry for key, entry in snapshot.files.items() if not (home / key).exists()}
        missing.pop(LAYOUT, None)  # which comes last
        sweep(home)
        for key, path in list(_files_in(stage)):
            if key not in missing:  # of another snapshot, which was begun before
                path.unlink()
        step = _steps(progress, sum(entry.bytes for entry in missing.values()))
        for key, entry in missing.items():
            backups.lay_out(entry, stage / key, step)
        with replacing(home / LAYOUT) as temporary:
            temporary.write_text(f"{RESTORING} {snapshot.name}\n", encoding="utf-8")
        make_folder(stage)
        _take_place(stage, home)
        backups.lay_out(snapshot.files[LAYOUT], home / LAYOUT)
    return snapshot


def bring_back(folder: Path, store: Store) -> tuple[list[str], list[str]]:
    """Bring back what the manifest names and the home has not, from the newest snapshot that has that very version.

    What came back and what no snapshot that can be read has, by name. What is there stays as it is. BackupError,
    DamagedFileError where an object is damaged.
    """
    backups = Backups.found(folder)
    snapshots: list[Snapshot] = []
    for name in reversed(backups.names()):
        with suppress(DamagedFileError):
            snapshots.append(backups.read(name))
    there = {(s.node.asset, s.node.partition) for s in store.current(lambda damage: None)}
    back: list[str] = []
    lost: list[str] = []
    for (asset, partition), version in sorted((store.manifest.read() or {}).items(), key=str):
        if asset == LANDING:
            if not store.landed.has(version):
                found = _brought(backups, snapshots, store, [f"kept/{version}{suffix}" for suffix in SUFFIXES])
                found = found and all(
                    _brought(backups, snapshots, store, [f"kept/{part}.zst"]) for part in store.landed.parts(version)
                )
                (back if found else lost).append(f"the copy of {partition}")
        elif (asset, partition) not in there:
            files = [store.folder(asset, partition, suffix).path(version) for suffix in VERSIONED]
            found = _brought(backups, snapshots, store, [path.relative_to(store.home).as_posix() for path in files])
            if found:
                store.restore(asset, version, partition)
            (back if found else lost).append(asset if partition is None else f"{asset}[{partition}]")
    return back, lost


def _brought(backups: Backups, snapshots: Sequence[Snapshot], store: Store, keys: Sequence[str]) -> bool:
    """Bring back the first of these files that a snapshot has; whether one has."""
    for snapshot in snapshots:
        for key in keys:
            if entry := snapshot.files.get(key):
                backups.lay_out(entry, store.home / key)
                return True
    return False


def _refuse_to_replace(home: Path, snapshot: Snapshot) -> None:
    """BackupError where a home holds what would be lost, or mixed with what is restored."""
    begun = (home / LAYOUT).read_text(encoding="utf-8", errors="replace") if (home / LAYOUT).exists() else None
    resumed = begun is not None and begun.startswith(RESTORING)
    other = [] if resumed or begun is None or _is_same(home / LAYOUT, snapshot.files[LAYOUT]) else [LAYOUT]
    for key, entry in snapshot.files.items():
        if key not in (LAYOUT, *OWN) and not key.startswith(f"{LANDING}/") and (home / key).exists():
            other += [] if _is_same(home / key, entry) else [key]
    held = (f"{folder}/{key}" for folder in FOLDERS for key, _ in _files_in(home / folder))
    other += [key for key in held if key not in snapshot.files]
    if other:
        more = f" and {len(other) - 1:,} more files" if len(other) > 1 else ""
        advice = (
            f"it is being restored from another one: go on with --snapshot {str(begun).removeprefix(RESTORING).strip()}"
            if resumed
            else f"move the home away first (mv {home} {home}.before), or name another --home"
        )
        raise BackupError(
            f"nothing was restored, for {home} holds {other[0]}{more}, which the snapshot {snapshot.name} has not, or "
            f"has otherwise; {advice}"
        )


def _steps(progress: Progress, total: int) -> Callable[[int], None]:
    """``progress``, told of each step's bytes."""
    done = 0

    def step(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    return step


def _is_same(path: Path, entry: Entry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and _hashed(path) == entry.sha256


def _take_place(staged: Path, place: Path) -> None:
    """Move a file or folder to its place, folders as a whole where they can be; what is there meanwhile stays."""
    if not place.exists():
        move(staged, place)
    elif staged.is_dir():
        for path in sorted(staged.iterdir()):
            _take_place(path, place / path.name)
        staged.rmdir()
    else:
        staged.unlink()


def _is_nothing(name: str) -> bool:
    """Whether a file says nothing about a folder: it is of a new disk, or of a backup that died as it began."""
    return name in ON_NEW_DISKS or name.startswith(TEMPORARY)


def _hashed(path: Path, into: BinaryIO | None = None, step: Callable[[int], None] = lambda size: None) -> str:
    """sha256 of a file's bytes, which are copied on the way."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if into is not None:
                into.write(chunk)
            step(len(chunk))
    return digest.hexdigest()


def _copy(source: Path, temporary: Path, step: Callable[[int], None] = lambda size: None) -> str:
    """Copy a file, bring the copy to the disk and read it back; the hash. DamagedFileError."""
    with temporary.open("wb") as file:
        sha256 = _hashed(source, file, step)
    finish(temporary)
    with temporary.open("rb") as file:
        if hasattr(os, "posix_fadvise"):  # from the disk, not from memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise DamagedFileError(temporary, "what was read back is not what was written", "is the disk broken?")
    return sha256


def _size(path: Path) -> int:
    with suppress(FileNotFoundError):  # told of when its turn comes
        return path.stat().st_size
    return 0
