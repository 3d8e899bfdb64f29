"""What SIGINT and SIGTERM do, with processes that are about something else."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessrec_pipeline.stopping import LINE

PROGRAM = """
import os, subprocess, sys, threading, time
from functools import partial
from sessrec_pipeline.stopping import at_stop, heed_signals, in_a_thread
def ready():
    print("ready", flush=True)
def compute():
    ready()
    while True:
        pass
def query():
    import duckdb
    ready()
    duckdb.sql("SELECT SUM(a.range * b.range) FROM range(10000000) a, range(10000000) b").fetchall()
def dagster():
    from dagster._utils.interrupts import capture_interrupts
    with capture_interrupts():
        compute()
def locked():
    with threading._active_limbo_lock:
        compute()
def heard_elsewhere():
    import signal
    ready()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    while True:
        pass
def acts():
    with at_stop(lambda: print("acted", flush=True)), at_stop(lambda: 1 / 0):
        compute()
def hangs():
    with at_stop(partial(time.sleep, 3600)):
        compute()
def parent():
    grandchild = "import time; print('ready', flush=True); time.sleep(3600)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}], start_new_session=True)"
    subprocess.run([sys.executable, "-c", child])
    print("a child ended", flush=True)
    compute()
heed_signals()
in_a_thread(globals()[sys.argv[1]])
"""
ROOT = Path(__file__).parents[1]
_begun: list["subprocess.Popen[str]"] = []


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """A process that did not end would compute for ever."""
    yield
    while _begun:
        with _begun.pop() as process:
            process.kill()


def begun(work: str, *before: str, prepare: Callable[[], object] | None = None) -> "subprocess.Popen[str]":
    """A process that is at its work."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", PROGRAM, work],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=prepare,
    )
    _begun.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def members(session: int) -> list[int]:
    """Processes whose session it is, by number, but for those that have ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", ["compute", "query", "dagster", "locked"])
def test_a_signal_ends_whatever_is_done_in_one_line(work: str, number: signal.Signals) -> None:
    process = begun(work)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", f"{LINE}\n")
    assert process.returncode == 128 + number


def test_a_signal_that_does_not_wake_the_main_thread_is_heard() -> None:
    """It comes just before that begins to wait, or to another thread."""
    process = begun("heard_elsewhere")
    assert process.communicate(timeout=60) == ("", f"{LINE}\n") and process.returncode == 143


def test_signals_are_heeded_by_what_a_script_started_in_the_background() -> None:
    """A shell that has no job control lets ``command &`` ignore SIGINT, and nohup or a CI runner may."""
    process = begun("compute", prepare=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", f"{LINE}\n") and process.returncode == 130


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_children_end_too_wherever_they_are_and_their_end_is_no_news() -> None:
    process = begun("parent")
    children = [Path(path) for path in Path(f"/proc/{process.pid}/task").glob("*/children")]
    child = next(int(number) for path in children for number in path.read_text().split())
    grandchildren = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    assert [members(int(pid)) for pid in grandchildren] == [[int(pid)] for pid in grandchildren] and grandchildren
    process.terminate()
    assert process.communicate(timeout=60) == ("", f"{LINE}\n") and process.returncode == 143
    assert [members(int(pid)) for pid in [process.pid, *grandchildren]] == [[], []]


def test_what_has_to_be_tidied_is_within_reason() -> None:
    process = begun("acts")
    process.terminate()
    assert process.communicate(timeout=60) == ("acted\n", f"{LINE}\n"), "the one that fails is passed over"
    process = begun("hangs")
    process.terminate()
    assert process.communicate(timeout=60) == ("", f"{LINE}\n") and process.returncode == 143


def test_a_second_signal_ends_it_at_once() -> None:
    process = begun("hangs")
    process.terminate()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", f"{LINE}\n") and process.returncode == 130


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root and unshare")
def test_signals_are_heeded_by_the_first_process_of_a_container() -> None:
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine makes no namespaces")
    process = begun("compute", *namespace)
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child[0]), signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == f"{LINE}\n" and process.returncode == 143
