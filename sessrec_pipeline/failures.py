"""What went wrong, as one sentence for a person: what happened, where, what to do, and where the whole traceback is."""

import dis
import errno
import os
import re
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sessrec_pipeline.caches import private_folder
from sessrec_pipeline.text import visible

PACKAGES = ("sessrec_pipeline", "assets")
WHOLE = "SESSREC_TRACEBACK"
"""Environment variable, set by ``sessrec --traceback``: whole tracebacks are printed, by processes below it, too."""
LOG = "errors.log"
MOST_LOGGED = 1 << 20
"""Bytes after which the log is begun anew; the one before it is kept as ``errors.log.1``."""
AGAIN = "run the same command again to go on"
ROOM = f"make room, and {AGAIN}"
RIGHTS = f"give this user the rights to it, or name another --home, and {AGAIN}"
FOLDER = f"there must be a folder: move what is there away, or name another --home, and {AGAIN}"
DRIVE = f"look at what the system says of that drive (dmesg, mount), and {AGAIN}"
FREE = 1 << 20
"""Bytes: a drive with less is told of as full, where the error itself does not name one."""
WHAT_TO_DO = {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: f"mount that drive for writing, or name another --home, and {AGAIN}",
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: f"raise the limit of a file's size (ulimit -f), and {AGAIN}",
    errno.EEXIST: FOLDER,
    errno.ENOTDIR: FOLDER,
    errno.EISDIR: f"there must be a file: move the folder away, and {AGAIN}",
    errno.ENOENT: f"bring it back, or name another --home, and {AGAIN}",
    errno.ELOOP: f"put a folder or a file in the place of the link, and {AGAIN}",
    errno.ENAMETOOLONG: "give the home a shorter path",
    errno.EXDEV: f"it must be on the home's own drive: put a folder in the place of the link, and {AGAIN}",
    errno.EMFILE: f"raise the limit of open files (ulimit -n 4096), and {AGAIN}",
    errno.EAGAIN: f"raise the limit of processes and threads (ulimit -u), or end other programs, and {AGAIN}",
    errno.EIO: DRIVE,
    errno.ESTALE: DRIVE,
    errno.ENOTCONN: DRIVE,
    errno.ETIMEDOUT: DRIVE,
}
"""What the person at the terminal can do about errors of the operating system."""
SAID = {
    r"no space left|disk is full|database or disk is full|could not write all bytes": errno.ENOSPC,
    r"quota exceeded": errno.EDQUOT,
    r"permission denied|operation not permitted": errno.EACCES,
    r"read-?only": errno.EROFS,
    r"is a directory": errno.EISDIR,
    r"not a directory": errno.ENOTDIR,
    r"no such file|unable to open database file": errno.ENOENT,
    r"too many open files": errno.EMFILE,
    r"disk i/o error|input/output error|file too large": errno.EIO,
    r"can't start new thread|resource temporarily unavailable": errno.EAGAIN,
}
"""What libraries say, which do not hand on the number."""
NO_MEMORY = re.compile(
    r"bad_alloc|(can ?not|can't|unable to|failed to) (allocate|map segment)|out of memory|mmap failed", re.IGNORECASE
)
DATABASES = ("sqlite3", "sqlalchemy")
FOREIGN = (*DATABASES, "duckdb", "_duckdb", "pyarrow", "safetensors", "safetensors_rust", "torch", "numpy", "numba")
"""Packages whose errors are known by what they say, as are RuntimeError and ImportError."""


def sentence_of(error: BaseException) -> str:
    """The sentence for the person at the terminal or the UI; what nobody refused on purpose goes into the log, too."""
    if _on_purpose(error):
        return str(error) or type(error).__name__
    meant = next((meaning for cause in _chain(error) if (meaning := _meaning(cause)) is not None), None)
    return f"{meant or _unforeseen(error)}; {kept(''.join(traceback.format_exception(error)))}"


def kept(story: str) -> str:
    """Write a whole traceback to the log, which this user alone may read: where it is, for the end of a sentence."""
    if os.environ.get(WHOLE):
        sys.stderr.write(visible(story))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    entry = f"{now} process {os.getpid()}: {' '.join(sys.argv)}\n{story}\n".encode(errors="backslashreplace")
    for folder in _folders():
        path = folder / LOG
        with suppress(OSError):
            if path.exists() and path.stat().st_size > MOST_LOGGED:
                path.replace(path.with_name(f"{LOG}.1"))
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(entry)
            return f"the whole traceback is in {path}"
    return "no file could take the whole traceback, which `sessrec --traceback` prints"


def _folders() -> Iterator[Path]:
    """The home, where it is one, and a folder of this user's own."""
    named = os.environ.get("SESSREC_HOME")
    home = Path(named or "")
    if named and any((home / name).exists() for name in ("sessrec.toml", "landing", "dagster", "lake")):
        yield home
    with suppress(OSError):
        yield private_folder("errors")


def is_of_machine(error: BaseException) -> bool:
    """Whether an error in reading a file says nothing of its bytes: rights, memory, a folder in its place."""
    if isinstance(error, OSError) and error.errno is not None and error.errno != errno.ENOMEM:
        return error.errno in WHAT_TO_DO.keys() - {errno.EIO, errno.ENOENT}
    if type(error).__name__ == "OutOfMemoryException":
        return True
    # Spoilt bytes ask for memory without end, too: it is short for sure only where it is limited.
    no_memory = isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))
    return no_memory and _address_space() > 0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def _on_purpose(error: BaseException) -> bool:
    """Whether the project put it into words: a class of its own, Dagster's Failure, or a ``raise`` in its code."""
    if _is_ours(type(error).__module__) or type(error).__name__ == "Failure":
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or type(error) not in (ValueError, RuntimeError, LookupError):
        return False
    raised = trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and _is_ours(trace.tb_frame.f_globals.get("__name__", ""))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("sessrec_pipeline", "assets")


def _meaning(error: BaseException) -> str | None:
    """What a known error means and what to do; None of an unknown one."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _no_memory()
    if isinstance(error, OSError) and error.errno is not None:
        return _of_file(error.errno, _place(error), error.strerror or str(error))
    package = type(error).__module__.partition(".")[0]
    known = package in FOREIGN or isinstance(error, RuntimeError | ImportError)
    return _of_library(error, package, " ".join(str(error).split())) if known else None


def _of_library(error: BaseException, package: str, text: str) -> str | None:
    """What an error without a number means, by what it says; None where it says nothing that is known."""
    kind = type(error).__name__
    number = next((number for said, number in SAID.items() if re.search(said, text, re.IGNORECASE)), None)
    meant = None
    if kind == "OutOfMemoryException":
        meant = _beyond_duckdb(text)
    elif kind == "PermissionException":
        place = _named_in(text) or _home()
        meant = f"{place} leads out of the home by a link, where nothing is read: put the folder itself there; {AGAIN}"
    elif NO_MEMORY.search(text):
        meant = _no_memory()
    elif package in DATABASES:
        meant = _of_database(" ".join(str(getattr(error, "orig", error)).split()), number)
    elif number is not None:
        meant = _of_file(number, _named_in(text) or _full_drive() or _home(), os.strerror(number))
    elif isinstance(error, ImportError):
        meant = f"a package that sessrec needs cannot be loaded ({text}); install the project again"
    elif kind == "IOException":
        meant = f"a file cannot be read or written: {text}; {DRIVE}"
    return meant


def _of_file(number: int, place: str, text: str) -> str:
    return f"{place}: {text}; {WHAT_TO_DO.get(number, AGAIN)}"


def _place(error: OSError) -> str:
    name = error.filename2 or error.filename  # where a file was to be moved to
    if isinstance(name, str | bytes | os.PathLike):
        return os.fsdecode(name)
    return _named_in(str(error)) or _full_drive() or _home()


def _named_in(text: str) -> str:
    found = re.search(r"""["'](/[^"']+)["']""", text)
    return found[1] if found else ""


def _full_drive() -> str:
    for folder in (_home(), tempfile.gettempdir()):
        with suppress(OSError):
            if shutil.disk_usage(folder).free < FREE:
                return folder
    return ""


def _home() -> str:
    return os.environ.get("SESSREC_HOME") or str(Path.cwd())


def _of_database(text: str, number: int | None) -> str:
    """SQLite tells neither the file nor, often, what is wrong with it."""
    if full := _full_drive():
        return _of_file(errno.ENOSPC, full, os.strerror(errno.ENOSPC))
    if _address_space():  # "disk I/O error" where a file could not be mapped
        return _no_memory()
    folder = Path(os.environ.get("DAGSTER_HOME", _home()))
    for path in sorted([folder, *folder.rglob("*")]):
        is_file = path.suffix in (".db", ".db-journal", ".db-wal", ".db-shm")
        if is_file and path.is_dir():
            return _of_file(errno.EISDIR, str(path), os.strerror(errno.EISDIR))
        if (is_file or path.is_dir()) and not os.access(path, os.W_OK):
            known = errno.EROFS if number == errno.EROFS else errno.EACCES
            return _of_file(known, str(path), os.strerror(known))
    return f"{folder}: Dagster's database cannot be used ({text}); {DRIVE}"


def _address_space() -> int:
    """The limit of `ulimit -v`, bytes; 0 where there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def too_little_address_space(gibibytes: int) -> str | None:
    """The sentence where `ulimit -v` allows less: libraries end the process then, or wait for ever, without a word."""
    limit = _address_space()
    if not limit or limit >= gibibytes << 30:
        return None
    return (
        f"`ulimit -v` allows {limit / 2**30:.1f} GiB of addresses, and this command needs {gibibytes} at least, which "
        "are not all memory: raise it (`ulimit -v unlimited`); what limits memory itself is memory_limit in "
        "sessrec.toml, or a container"
    )


def _no_memory() -> str:
    limit = _address_space()
    what = f"`ulimit -v` allows {limit / 2**30:.1f} GiB: raise that" if limit else "end other programs"
    return f"there is not enough memory; {what}, or lower memory_limit in sessrec.toml, and {AGAIN}"


def _beyond_duckdb(text: str) -> str:
    if "used)" not in text:  # no limit of its own, but none is left
        return _no_memory()
    used = re.search(r"\(([^()]*) used\)", text)
    amount = f" ({used[1]} are used)" if used else ""
    if "max_temp_directory_size" in text:
        return (
            f"the rows need more room on the drive of {_home()} than half of what was free{amount}, beside the "
            f"memory_limit of sessrec.toml; make room or raise that limit, and {AGAIN}"
        )
    return (
        f"the rows need more memory than the memory_limit of sessrec.toml allows{amount}; raise it there, or in "
        f"SESSREC_MEMORY_LIMIT, and {AGAIN}"
    )


def _unforeseen(error: BaseException) -> str:
    trace = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in trace if any(f"/{package}/" in frame.filename for package in PACKAGES)]
    where = f" at {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"sessrec met an error that it does not know{where} ({said[:400]}); {AGAIN}, and report it if it comes again"
