"""Files that are either the old version or the new one, whatever dies in between."""

import os
import platform
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from sessrec_pipeline.caches import private_folder


class DamagedFileError(ValueError):
    """A file of ours that cannot be read, or whose content is not what was written: all damage is told as this."""

    def __init__(self, path: Path, problem: str, advice: str = "`sessrec materialize` makes it again") -> None:
        super().__init__(f"{path} is damaged: {problem}; {advice}")
        self.path = path


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Tell what reading ``path`` comes to as DamagedFileError: spoilt bytes may raise anything in who decodes them.

    Not where the file may not be read, which is no damage.
    """
    try:
        yield
    except (DamagedFileError, PermissionError):
        raise
    except Exception as error:
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise DamagedFileError(path, f"it cannot be read ({reason})") from error


class BusyError(RuntimeError):
    """Another process holds what is needed; the text says what to do."""


TEMPORARY = ".tmp-"
"""Prefix of files under construction: ``.tmp-<pid>-<machine>-…``."""
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
"""This machine or container; several may share a home, and process numbers tell dead from living on one alone."""
OURS = re.compile(rf"{re.escape(TEMPORARY)}(\d+)-([0-9a-f]{{8}})-")
ABANDONED = 2 * 86_400
"""Seconds after which what another machine has under construction, and no longer touches, is taken for abandoned."""


def temporary_prefix() -> str:
    """How the names of this process's files under construction begin."""
    return f"{TEMPORARY}{os.getpid()}-{MACHINE}-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end it is flushed to disk and takes the place of ``path``.

    When the block raises, ``path`` is as it was and the temporary file is gone.
    """
    with writing(path.parent, path.suffix) as temporary:
        yield temporary
        finish(temporary)
        move(temporary, path)


@contextmanager
def writing(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield a temporary path in ``folder`` to write to; what is still there at the end is removed."""
    make_folder(folder)
    handle, name = tempfile.mkstemp(dir=folder, prefix=temporary_prefix(), suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def finish(temporary: Path) -> None:
    """Bring a file that is complete to the disk, readable for everyone."""
    temporary.chmod(0o644)
    _flush(temporary)


def move(source: Path, target: Path) -> None:
    """Rename within a file system, in place of what is there, so that a loss of power does not undo it."""
    source.replace(target)
    _flush(target.parent)
    if source.parent != target.parent:
        _flush(source.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it where they are missing, so that a loss of power does not undo it."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, for those who look at once; nothing happens where there is none."""
    if folder.is_dir():
        aside = tempfile.mkdtemp(dir=folder.parent, prefix=temporary_prefix())
        with suppress(FileNotFoundError):
            folder.replace(aside)  # who dies now leaves it to ``sweep``
            _flush(folder.parent)
        shutil.rmtree(aside)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, seconds: float, busy: type[BusyError] = BusyError) -> Iterator[None]:
    """Hold the lock file ``path``, on this machine and others; ``busy`` when it is not free within ``seconds``."""
    make_folder(path.parent)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise busy(
            f"{path} was held by another sessrec process for {seconds:.0f} s; wait for it and run again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def sweep(root: Path) -> int:
    """Remove temporary files and folders under ``root`` of processes that died; return how many."""
    removed = 0
    # Unlike rglob, walk does not mind folders that others remove meanwhile.
    there = [Path(folder, name) for folder, names, files in os.walk(root) for name in (*names, *files)]
    for path in there:
        if (made := OURS.match(path.name)) is None:  # a file of somebody else's, such as an upload
            continue
        owner, machine = made.groups()
        with suppress(FileNotFoundError):  # another machine finishes its files meanwhile
            dead = not alive(int(owner)) if machine == MACHINE else path.stat().st_mtime < time.time() - ABANDONED
            if dead:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


@contextmanager
def passing_folder(purpose: str) -> Iterator[Path]:
    """A folder outside any home, gone at the end; what processes that died left of the same purpose goes first."""
    place = private_folder(purpose)
    sweep(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=temporary_prefix()) as folder:
        yield Path(folder)


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def file_name(key: str) -> str:
    """A file name for any text: percent-encoded, so it can neither leave its folder nor act as a pattern."""
    encoded = quote(key, safe=" @+=")
    if encoded.startswith("."):
        return f"%2E{encoded[1:]}"
    return encoded or "%"  # no other text becomes a lone percent sign


def key_of(name: str) -> str:
    """Inverse of ``file_name``."""
    return "" if name == "%" else unquote(name)
