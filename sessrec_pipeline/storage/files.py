"""Files that are either the old version or the new one, whatever dies in between."""

import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote


class DamagedFileError(ValueError):
    """A published file that cannot be read, or whose content is not what was written; the text says what to do."""


TEMPORARY = ".tmp-"
"""Prefix of files under construction: ``.tmp-<pid>-<machine>-…``."""
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
"""This machine or container; several may share a home, and process numbers tell dead from living on one alone."""
ABANDONED = 2 * 86_400
"""Seconds after which what another machine has under construction, and no longer touches, is nobody's."""


def temporary_prefix() -> str:
    """How the names of this process's files under construction begin."""
    return f"{TEMPORARY}{os.getpid()}-{MACHINE}-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end it is flushed to disk and takes the place of ``path``.

    When the block raises, ``path`` is as it was and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(), suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(root: Path) -> int:
    """Remove temporary files and folders under ``root`` that nobody will finish; return how many."""
    removed = 0
    for path in list(root.rglob(f"{TEMPORARY}*")):
        owner, machine, *_ = [*path.name.removeprefix(TEMPORARY).split("-"), ""]
        ours = machine == MACHINE and owner.isdigit()
        with suppress(FileNotFoundError):  # another machine finishes its files meanwhile
            if not alive(int(owner)) if ours else path.stat().st_mtime < time.time() - ABANDONED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
    return removed


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
