"""What SIGINT and SIGTERM do to a command: it ends at once, in one line, with its children, at any moment.

The command works in a thread beside the main one, which does nothing but wait. Python runs handlers of signals in the
main thread, so they wait for no query and no training, which give up the interpreter while they compute; and no library
can put handlers of its own in their place, for only the main thread may (Dagster's would note the signal and go on).
Ending hard is safe: files appear by rename, and what was under construction is swept by the next command
(``storage.files``).
"""

import _thread
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

LINE = "stopped; run the same command again to go on"
PATIENCE = 1.0
"""Seconds that what ``at_stop`` names may take, all of it together."""
HEARD = 0.3
"""Seconds after which any signal is heard of."""
_stderr, _stopping = 2, False
_last_acts: list[Callable[[], object]] = []


def heed_signals() -> None:
    """From now on SIGINT and SIGTERM end the process, also where whoever started it had them ignored (``&``, nohup)."""
    global _stderr  # noqa: PLW0603 - Dagster redirects descriptor 2 while a step runs
    if signal.getsignal(signal.SIGINT) is _stop:
        return
    with suppress(OSError):  # there is none
        _stderr = os.dup(2)
    _handle(_stop)


def _handle(handler: Any) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def in_a_thread(work: Callable[[], object]) -> None:
    """Run ``work`` beside the main thread, which hears signals meanwhile; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # SystemExit, too, is for the caller
            raised.append(error)

    thread = threading.Thread(target=run, name="command")
    thread.start()
    while thread.is_alive():
        # Python hears of a signal that comes just before the main thread begins to wait when it stops waiting.
        thread.join(HEARD)
    if raised:
        raise raised[0]


@contextmanager
def at_stop(act: Callable[[], object]) -> Iterator[None]:
    """Around work that leaves something behind when it is stopped: ``act`` is called then, within ``PATIENCE``."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def is_stopping() -> bool:
    """Whether a signal ends this process: what goes wrong now is no failure to tell of."""
    return _stopping


def end_children() -> None:
    """Kill all processes that descend from this one."""
    _send(signal.SIGKILL, _frozen_children())


def _stop(number: int, frame: FrameType | None) -> None:
    """The handler: it waits for no lock and imports nothing, for what it interrupted may be about either."""
    global _stopping  # noqa: PLW0603
    _stopping = True
    _handle(signal.SIG_IGN)  # whoever signals the process and its group signals twice
    children = _frozen_children()  # for now: the thread that works would say that they died
    _handle(lambda number, frame: _leave(number, children))
    acting = _thread.allocate_lock()
    acting.acquire()
    _thread.start_new_thread(_act, (acting,))
    acting.acquire(timeout=PATIENCE)
    _leave(number, children)


def _leave(number: int, children: set[int]) -> None:
    _handle(signal.SIG_IGN)
    with suppress(OSError):
        # On a terminal it takes the place of a progress bar.
        os.write(_stderr, (b"\r\033[K" if os.isatty(_stderr) else b"") + f"{LINE}\n".encode())
    _send(signal.SIGKILL, children)
    os._exit(128 + number)


def _act(acting: _thread.LockType) -> None:
    for act in reversed(_last_acts):
        with suppress(Exception):  # what it would have tidied is tidied by the next command
            act()
    acting.release()


def _frozen_children() -> set[int]:
    """All descendants, stopped, so that none of them starts another one."""
    stopped: set[int] = set()
    while new := _descendants(os.getpid()) - stopped:
        _send(signal.SIGSTOP, new)
        stopped |= new
    return stopped


def _send(number: int, processes: set[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _descendants(ancestor: int) -> set[int]:
    found = {ancestor}
    parents = _parents()
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {ancestor}


def _parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    if Path("/proc/self/stat").exists():
        parents = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                # "12 (any name) S 7 ...": number, name, state, parent
                parents[int(folder.name)] = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
        return parents
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True).stdout.splitlines()  # noqa: S607
    return {int(child): int(parent) for child, parent in map(bytes.split, lines)}
