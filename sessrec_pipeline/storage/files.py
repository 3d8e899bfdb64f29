"""Files that are either the old version or the new one, whatever dies in between."""

import atexit
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from sessrec_pipeline.caches import private_folder
from sessrec_pipeline.failures import is_of_machine
from sessrec_pipeline.storage.owners import BusyError, is_dead, owned, taken_over


class DamagedFileError(ValueError):
    """A file of ours that cannot be read, or whose content is not what was written: all damage is told as this."""

    def __init__(self, path: Path, problem: str, advice: str = "`sessrec materialize` makes it again") -> None:
        super().__init__(f"{path} is damaged: {problem}; {advice}")
        self.path, self.problem = path, problem


class OtherVersionError(RuntimeError):
    """Something that another version of sessrec wrote, and this one cannot read; the text says what to do."""


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Tell what reading ``path`` comes to as DamagedFileError: spoilt bytes may raise anything in who decodes them.

    Not where the machine did not let it be read, or another version of sessrec wrote it, which is no damage.
    """
    try:
        yield
    except DamagedFileError:
        raise
    except OtherVersionError as error:
        raise OtherVersionError(f"{path}: {error}") from error
    except Exception as error:
        if is_of_machine(error):
            raise
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise DamagedFileError(path, f"it cannot be read ({reason})") from error


TEMPORARY = ".tmp-"
OURS = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{32}}")
"""Name of a folder under construction; its owner holds the lock file ``OWNER`` in it (``owners``)."""
OWNER = "owner.lock"
SCRATCH = re.compile(rf"({OURS.pattern})-\w+")
"""Name of a folder that a library made with ``temporary_prefix``; its owner holds a lock file beside it."""
LOCK = re.compile(rf"{OURS.pattern}\.lock")
ABANDONED = 2 * 86_400
"""Seconds after which a folder whose owner is not known is taken for abandoned."""
_places: dict[Path, ExitStack] = {}


def works_in(place: Path) -> None:
    """From its first ``temporary_prefix`` on, this process is known to be alive to those who sweep ``place``."""
    _places.setdefault(place, ExitStack())


def temporary_prefix() -> str:
    """How the names of this process's folders begin, for ``tempfile``, in the places that it ``works_in``."""
    name = _name(os.getpid())
    for place, stack in _places.items():
        lock = place / f"{name}.lock"
        if place.is_dir() and not lock.exists():  # else nothing is made there now
            # Nothing is made in a home that may only be read; who was swept in this moment stays unknown.
            with suppress(OSError, BusyError):
                stack.enter_context(owned(lock))
    return f"{name}-"


@cache
def _name(process: int) -> str:
    """Forks have names of their own."""
    return f"{TEMPORARY}{uuid4().hex}"


@atexit.register
def leave() -> None:
    """Give back what ``temporary_prefix`` holds in the places that this process works in."""
    for stack in _places.values():
        stack.close()


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
    """Yield a temporary path below ``folder`` to write to; what is still there at the end is removed."""
    make_folder(folder)
    with temporary_folder(folder) as own:
        temporary = own / f".new{suffix}"  # hidden from those who look for files in all folders
        temporary.touch()
        yield temporary


@contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """Yield a new folder in ``place``, which is there; it is removed at the end, and by ``sweep`` if we die first."""
    with ExitStack() as stack:
        while True:
            folder = place / f"{TEMPORARY}{uuid4().hex}"
            folder.mkdir()
            stack.callback(_remove, folder)
            with suppress(BusyError, FileNotFoundError):  # swept before it was ours
                stack.enter_context(owned(folder / OWNER))
                break
        stack.callback(_empty, folder)
        yield folder


def _empty(folder: Path) -> None:
    """Remove all but the lock file, which goes last: without it the rest would be nobody's."""
    for path in folder.iterdir():
        if path.name != OWNER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    with suppress(OSError):  # it is gone, or a sweep removes it in a moment
        folder.rmdir()


def finish(temporary: Path) -> None:
    """Bring a file that is complete to the disk, with the rights that files of this user have."""
    temporary.chmod((temporary.parent / OWNER).stat().st_mode & 0o777)
    _flush(temporary)


def move(source: Path, target: Path) -> None:
    """Rename within a file system, in place of what is there, so that a loss of power does not undo it."""
    source.replace(target)
    _flush(target.parent)
    if source.parent != target.parent and not OURS.fullmatch(source.parent.name):
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
        with temporary_folder(folder.parent) as aside, suppress(FileNotFoundError):
            folder.replace(aside / folder.name)  # who dies now leaves it to ``sweep``
            _flush(folder.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(root: Path) -> int:
    """Remove what processes that died had under construction under ``root``; return how many folders that were."""
    removed = 0
    # Unlike rglob, walk does not mind folders that others remove meanwhile.
    for place, names, files in os.walk(root):
        ours = [name for name in names if OURS.fullmatch(name)]
        scratch = {name: Path(place, f"{made[1]}.lock") for name in names if (made := SCRATCH.fullmatch(name))}
        names[:] = [name for name in names if name not in ours and name not in scratch]
        removed += sum(_sweep(Path(place, name)) for name in ours)
        removed += sum(_sweep_scratch(Path(place, name), lock) for name, lock in scratch.items())
        for lock in filter(LOCK.fullmatch, files):
            with suppress(FileNotFoundError, PermissionError), taken_over(Path(place, lock)):
                pass
    return removed


def _sweep_scratch(folder: Path, lock: Path) -> bool:
    """Remove a folder whose owner is dead, or which its unknown owner has long left alone."""
    with suppress(FileNotFoundError):  # its owner finishes it meanwhile
        dead = is_dead(lock) if lock.exists() else folder.stat().st_mtime < time.time() - ABANDONED
        if dead:
            shutil.rmtree(folder)
        return dead
    return False


def _sweep(folder: Path) -> bool:
    """Remove a folder whose owner is dead; True where there was something in it."""
    if not (folder / OWNER).exists():
        _remove(folder)  # an empty one: it had no owner yet, or has none any more
        return False
    try:
        with taken_over(folder / OWNER) as dead:
            if dead:
                _empty(folder)
    except (FileNotFoundError, PermissionError):  # somebody else was faster; it is another user's
        return False
    if dead:
        _remove(folder)
    return dead


@contextmanager
def passing_folder(purpose: str) -> Iterator[Path]:
    """A folder outside any home, gone at the end; what processes that died left of the same purpose goes first."""
    place = private_folder(purpose)
    sweep(place)
    with temporary_folder(place) as folder:
        yield folder


def file_name(key: str) -> str:
    """A file name for any text: percent-encoded, so it can neither leave its folder nor act as a pattern."""
    encoded = quote(key, safe=" @+=")
    if encoded.startswith("."):
        return f"%2E{encoded[1:]}"
    return encoded or "%"  # no other text becomes a lone percent sign


def key_of(name: str) -> str:
    """Inverse of ``file_name``."""
    return "" if name == "%" else unquote(name)


def state_of_file(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of change: a file whose state is the same is taken for the same."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def sha256_of_json(value: object) -> str:
    """The hash that texts of ours carry about the rest of themselves."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
