"""Who works in a home, whether they still live, and how others wait for them.

Whoever works holds a lock on a file: one that others wait for (``locked``), or one of its own beside what it makes
(``owned``): a run, a trial, a folder under construction. The kernel frees the lock when its process ends, however it
ends, so a file that nobody holds was left by the dead. That is right between containers and namespaces of one kernel,
after the machine was renamed, where a process number went to another program, and in a copy of a home, whose files
nobody holds.

A kernel may not see the locks of other machines that share the home. So a holder leaves a note in its file with the
boot of its kernel, and renews the file's time every ``BEAT`` seconds; a file of another boot counts as held until it
has not been renewed for ``SILENCE`` seconds.

What this cannot know: whether a silent machine is dead, or asleep, or cut off from the shared drive; it is taken for
dead. Where locks do not reach, two that ask for the same free file in the same moment both get it. Machines that were
started from one snapshot of a running one have the same boot.
"""

import fcntl
import json
import os
import platform
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sessrec_pipeline.clock import SECOND, lasting, moment
from sessrec_pipeline.text import say

BEAT, SILENCE = 10.0, 40.0
"""Seconds between two signs of life, and without one after which a machine whose locks cannot be seen is dead."""
NOTICE = 2.0
"""Seconds after which a wait says for whom."""
POLL = 0.05
"""Seconds between two looks of one who waits."""
LONG = 86_400.0
"""Seconds that work waits for other work of its kind: a training, a search, the GPU."""
COMMAND = 200
"""Characters of a command that are told."""


class BusyError(RuntimeError):
    """Another process holds what is needed; the text says which, and what to do."""


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return platform.node()


BOOT = _boot()


@dataclass(frozen=True)
class Note:
    """What a holder says of itself."""

    process: int
    machine: str
    boot: str
    command: str
    since: str

    @classmethod
    def mine(cls) -> "Note":
        """This process, now."""
        return cls(os.getpid(), platform.node(), BOOT, _shown(sys.orig_argv), moment(int(time.time() * SECOND)))

    def __str__(self) -> str:
        return f"process {self.process} on {self.machine} ({self.command}), since {self.since} UTC"


class Waiting:
    """A wait for others: after NOTICE seconds it says for whom, once, and after ``seconds`` it ends in ``busy``.

    ``whom`` says who is waited for and what would end that.
    """

    def __init__(self, seconds: float, whom: Callable[[], str], busy: type[BusyError] = BusyError) -> None:
        self.seconds, self.whom, self.busy = seconds, whom, busy
        self.begun, self.told = time.monotonic(), False

    def on(self, pause: float = POLL) -> None:
        """Wait a moment longer."""
        waited, limit = time.monotonic() - self.begun, lasting(self.seconds * SECOND)
        if waited >= self.seconds:
            raise self.busy(f"gave up after {limit}: {self.whom()}; then run again")
        if waited >= NOTICE and not self.told:
            self.told = True
            say(f"waiting, for at most {limit}: {self.whom()}", err=True)
        time.sleep(pause)


@contextmanager
def locked(path: Path, seconds: float, busy: type[BusyError] = BusyError) -> Iterator[None]:
    """Hold the lock file ``path``, which one process at a time can; ``busy`` when it is not free within ``seconds``."""
    waiting = Waiting(seconds, lambda: holder(path), busy)
    while (lock := _taken(path, os.O_CREAT)) is None:
        waiting.on()
    with _held(path, lock):
        yield


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Hold a lock file whose name nobody else uses; it is gone at the end. BusyError where somebody was faster."""
    if (lock := _taken(path, os.O_CREAT)) is None:
        raise BusyError(holder(path))
    with _held(path, lock, passing=True):
        yield


def is_dead(path: Path) -> bool:
    """Whether nobody holds the lock file any more, or it is gone."""
    try:
        lock = _taken(path, how=fcntl.LOCK_SH)
    except FileNotFoundError:
        return True
    except PermissionError:  # of another user, of whom nothing can be known
        return False
    if lock is not None:
        os.close(lock)
    return lock is not None


@contextmanager
def taken_over(path: Path) -> Iterator[bool]:
    """Whether ``is_dead``, and then one process alone is told so until the block ends, after which the file is gone."""
    lock, gone = None, False
    try:
        lock = _taken(path)
    except FileNotFoundError:
        gone = True
    try:
        yield gone or lock is not None
    finally:
        if lock is not None:
            path.unlink(missing_ok=True)
            os.close(lock)


def holder(path: Path) -> str:
    """Who holds a lock file, and what would end that: of this kernel's processes by what it says, or by the note."""
    found, note = _seen_by_the_kernel(path), _note_in(path)
    if found is not None:
        if note is not None and note.process == found.process:
            found = note
        return f"{found}, holds {path}; `kill {found.process}` ends that"
    if note is not None:
        return f"{note}, holds {path}; `kill {note.process}` there ends that"
    return f"another process holds {path}; `fuser {shlex.quote(str(path))}` on its machine names it"


def _taken(path: Path, flags: int = 0, how: int = fcntl.LOCK_EX) -> int | None:
    """A descriptor with the lock of a file; None where somebody else has it, or had it removed meanwhile."""
    lock = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o666)
    ours = False
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(lock), path.stat()) and not _lives_elsewhere(path, lock)
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not ours:
            os.close(lock)
    return lock if ours else None


@contextmanager
def _held(path: Path, lock: int, passing: bool = False) -> Iterator[None]:
    with suppress(OSError):  # a full disk keeps nobody from holding a lock
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(asdict(Note.mine())).encode(), 0)
    _beat_for(path, lock)
    try:
        yield
    finally:
        if _beating.pop(path, None) is not None:  # else this is a fork of the process that holds it
            with suppress(OSError):
                path.unlink() if passing else os.ftruncate(lock, 0)
            fcntl.flock(lock, fcntl.LOCK_UN)  # a process that is just being started may have the descriptor, too
            os.close(lock)


def _shown(command: list[str]) -> str:
    return " ".join(shlex.join(command).split())[:COMMAND]


_beating: dict[Path, int] = {}
"""The files that this process holds, with their descriptors."""
_heart = threading.Thread()


def _forked() -> None:
    """A fork holds nothing: it may live longer than the process that it was."""
    for lock in _beating.values():
        os.close(lock)
    _beating.clear()


os.register_at_fork(after_in_child=_forked)


def _beat_for(path: Path, lock: int) -> None:
    global _heart  # noqa: PLW0603
    _beating[path] = lock
    if not _heart.is_alive():
        _heart = threading.Thread(target=_beat, name="heartbeat", daemon=True)
        _heart.start()


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        for path in list(_beating):
            with suppress(OSError):  # it has just been given back, or the drive is away
                os.utime(path)


def _lives_elsewhere(path: Path, lock: int) -> bool:
    """Whether another kernel's process held the file a moment ago, by the clock of the file system."""
    note = _note_of(os.pread(lock, 4096, 0))
    if note is None or note.boot == BOOT:
        return False
    with tempfile.TemporaryFile(dir=path.parent) as now:
        return os.fstat(now.fileno()).st_mtime - os.fstat(lock).st_mtime < SILENCE


def _note_in(path: Path) -> Note | None:
    with suppress(OSError):
        return _note_of(path.read_bytes())
    return None


def _note_of(content: bytes) -> Note | None:
    with suppress(ValueError, TypeError):
        return Note(**json.loads(content))
    return None


def _seen_by_the_kernel(path: Path) -> Note | None:
    """The process that Linux says has the lock, where it can be seen from here."""
    with suppress(OSError, ValueError, IndexError):
        file = path.stat()
        device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK  ADVISORY  WRITE 706 fe:00:2147918 0 EOF
            _, kind, _, _, process, where, *_ = line.split()
            if (kind, where) == ("FLOCK", device):
                folder = Path("/proc", process)
                command = _shown(os.fsdecode((folder / "cmdline").read_bytes()).rstrip("\0").split("\0"))
                ticks = int((folder / "stat").read_text().rpartition(")")[2].split()[19])
                since = int(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK"))
                return Note(int(process), platform.node(), BOOT, command, moment(since * SECOND))
    return None
