"""Who is alive, who is dead, and whom one waits for."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from holding import holding

from sessrec_pipeline.storage import owners
from sessrec_pipeline.storage.owners import BusyError, Note, Waiting, holder, is_dead, locked, owned, taken_over

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from sessrec_pipeline.storage.owners import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder_of(path: Path) -> list[str]:
    """The command of another process that holds the lock file."""
    return [sys.executable, "-c", HOLDER, str(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "owner.lock"


def told_by_elsewhere(path: Path, age: float) -> None:
    """A note of a process on another machine, whose locks are not to be seen, and its last sign of life."""
    path.write_text(json.dumps(asdict(replace(Note.mine(), process=7, machine="box-two", boot="another boot"))))
    os.utime(path, (time.time() - age, time.time() - age))


def test_who_ends_or_is_killed_is_dead(path: Path) -> None:
    assert is_dead(path), "nobody ever was there"
    with holding(holder_of(path), ROOT) as process:
        assert not is_dead(path)
        process.kill()
        process.wait()
        assert path.exists() and is_dead(path)
    with owned(path):
        assert not is_dead(path)
    assert not path.exists() and is_dead(path)


def test_one_process_alone_takes_over_what_a_dead_one_left(path: Path) -> None:
    path.touch()
    with taken_over(path) as first, taken_over(path) as second:
        assert (first, second) == (True, False)
    assert not path.exists()
    with owned(path), taken_over(path) as dead:
        assert not dead
    with taken_over(path) as dead:
        assert dead and not path.exists()


def test_another_machine_is_dead_once_it_has_given_no_sign_of_life(path: Path) -> None:
    told_by_elsewhere(path, age=0)
    assert not is_dead(path)
    with taken_over(path) as dead:
        assert not dead
    assert "process 7 on box-two" in holder(path) and "`kill 7` there" in holder(path)
    told_by_elsewhere(path, age=owners.SILENCE + 1)
    assert is_dead(path)
    with locked(path, 0):
        assert "box-two" not in holder(path)


def test_a_holder_gives_signs_of_life(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "BEAT", 0.01)
    monkeypatch.setattr(owners, "_heart", threading.Thread())
    with owned(path):
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:
            time.sleep(0.01)


def test_a_wait_says_for_whom_and_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(owners, "NOTICE", 0.0)
    with holding(holder_of(path), ROOT) as process:
        whom = rf"process {process.pid} on \S+ \(.*owned.*\), since [-\d]+ [:\d]+ UTC, holds {path}"
        whom += rf"; `kill {process.pid}` ends that"
        with pytest.raises(BusyError, match=f"^gave up after 0.3 seconds: {whom}; then run again$"), locked(path, 0.3):
            pass
    assert re.fullmatch(f"waiting, for at most 0.3 seconds: {whom}\n", capsys.readouterr().err), "once"


def test_what_is_free_soon_is_not_spoken_of(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(60, lambda: "nobody")
    waiting.on(0)
    with locked(path, 0):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells")
def test_another_program_that_has_the_lock_is_named(path: Path) -> None:
    script = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    path.touch()
    other = [sys.executable, "-c", script, str(path)]
    process = subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        busy = pytest.raises(BusyError, match=rf"process {process.pid} .*import fcntl.*`kill {process.pid}`")
        with busy, locked(path, 0):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_holder_out_of_sight_is_named_by_its_note(path: Path) -> None:
    """In another namespace of process numbers the kernel names nobody of ours."""
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("namespaces of process numbers are not allowed here")
    script = "from sessrec_pipeline.storage.owners import *; p = Path(sys.argv[1]); print(holder(p), is_dead(p))"
    with owned(path):
        command = [*namespace, sys.executable, "-c", script, str(path)]
        seen = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    me = os.getpid()
    assert seen.startswith(f"process {me} on ") and seen.endswith(f"`kill {me}` there ends that False\n")


FORKS = """
import os, sys
from pathlib import Path
from sessrec_pipeline.storage.files import temporary_prefix
from sessrec_pipeline.storage.owners import locked, owned
with owned(Path(sys.argv[1])):
    if os.fork() == 0:
        print(temporary_prefix(), flush=True)
        with locked(Path(sys.argv[1] + ".own"), 0):
            print("holds", flush=True)
            sys.stdin.read()
    else:
        print(temporary_prefix(), flush=True)
        os.wait()
"""


def test_a_fork_holds_what_is_its_own_alone(path: Path) -> None:
    """The process that it was may be dead while it lives."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(path)]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None and parent.stdin is not None
    told = [parent.stdout.readline() for _ in range(3)]
    assert len(set(told)) == 3, "their folders have names of their own"
    parent.kill()
    parent.wait()
    assert is_dead(path) and not is_dead(path.with_name(f"{path.name}.own"))
    parent.communicate()
    while not is_dead(path.with_name(f"{path.name}.own")):
        time.sleep(0.01)
    assert path.exists(), "the fork did not take it for its own"
