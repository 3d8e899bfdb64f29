"""Commands that are stopped while they work, as processes: what they say, what they leave, what the next one does."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest
from terminal import sessrec

from assets.instance import open_instance
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.stopping import LINE
from sessrec_pipeline.storage.owners import locked
from sessrec_pipeline.storage.store import Store

ROOT = Path(__file__).parents[2]
TOML = """
models = ["markov", "gru4rec"]
[gru4rec]
layers = [16]
n_epochs = 30
n_sample = 32
batch_size = 16
"""


@contextmanager
def program(*arguments: str, cwd: Path = ROOT) -> Iterator["subprocess.Popen[str]"]:
    """The command as a script starts it in the background, where SIGINT is ignored; its output on one stream."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "sessrec_pipeline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(process: "subprocess.Popen[str]", words: str) -> list[str]:
    """The lines up to the one with ``words``."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} never came:\n{''.join(lines)}")


def picture(home: Path) -> dict[tuple[str, str | None], str]:
    """Content hash of all that is there."""
    versions = Store(load_settings(home)).versions()
    return {(v.stored.node.asset, v.stored.node.partition): v.stored.node.data_version for v in versions if v.current}


def in_home(tmp_path: Path, name: str) -> Path:
    home = tmp_path / name
    home.mkdir()
    (home / "sessrec.toml").write_text(TOML)
    write_logs(SyntheticSettings(sessions=150, items=50, days=2), home / "landing")
    return home


def test_a_command_that_is_stopped_goes_on_and_ends_as_one_in_peace(tmp_path: Path) -> None:
    quiet, home = in_home(tmp_path, "quiet"), in_home(tmp_path, "stopped")
    assert sessrec(quiet, "materialize", "metrics").exit_code == 0
    moments = [
        ("events, ", signal.SIGINT),  # a log is read
        ("epoch 2 of", signal.SIGTERM),
        ("made gru4rec_checkpoint", signal.SIGINT),  # what comes next is ranked
    ]
    for words, number in moments:
        with program("--home", str(home), "materialize", "metrics") as process:
            wait_for(process, words)
            os.killpg(process.pid, number)
            rest = process.communicate(timeout=60)[0].splitlines()
            assert process.returncode == 128 + number, rest
        assert rest[-1] == LINE and rest.count(LINE) == 1
        assert "Traceback" not in "".join(rest) and "FAILED" not in "".join(rest)
        if words == moments[0][0]:
            assert not Store(load_settings(home)).has("sessions"), "nothing is made of some of the logs"
    with open_instance(load_settings(home)) as instance:
        runs = instance.get_runs()
        assert {run.status for run in runs} <= {dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS}
        assert [run.status for run in runs].count(dg.DagsterRunStatus.CANCELED) == len(moments)
    assert sessrec(home, "materialize", "metrics").exit_code == 0
    assert picture(home) == picture(quiet)
    assert not list(home.rglob(".tmp-*"))


def test_what_describe_leaves_is_gone_after_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (short := tmp_path / "short.tsv").write_text("SessionId\tItemId\tTime\n1\t2\t1700000000\n")
    log = tmp_path / "log.tsv"
    log.write_text("SessionId\tItemId\tTime\n" + "".join(f"{i // 9}\t{i % 97}\t{i}\n" for i in range(2_000_000)))
    with program("describe", str(log)) as process:
        while not list((tmp_path / "temporary").glob("sessrec-describe-*/*/scratch/*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == f"{LINE}\n" and process.returncode == 130
    with program("describe", str(short)) as process:
        assert "1 event in 1 session" in process.communicate(timeout=60)[0]
    assert not list((tmp_path / "temporary").glob("*/*"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def locations(url: str) -> str:
    query = b'{"query": "{workspaceOrError {... on Workspace {locationEntries {name loadStatus}}}}"}'
    request = urllib.request.Request(f"{url}/graphql", query, {"content-type": "application/json"})
    answer: bytes = urllib.request.urlopen(request).read()
    return answer.decode()


def commands_with(words: str) -> list[str]:
    """The command lines of this machine's processes that hold these words; where there is no /proc, none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(path.read_bytes().decode(errors="replace"))
    return [line for line in found if words in line]


def test_dev_opens_its_feed_from_another_project_and_ends_with_its_processes(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module="x"\n'
    )
    for name in ("assets", "dagster"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with program("--home", str(demo), "dev", "--port", str(port), cwd=tmp_path) as process:
        said = wait_for(process, "ready: ")
        assert said[-1].startswith(f"ready: {url} shows the feed {demo}")
        assert '{"name":"demo","loadStatus":"LOADED"}' in locations(url).replace(" ", "")
        assert Path("/proc").is_dir() == bool(commands_with(str(demo / "dagster")))
        again = sessrec(demo, "dev", "--port", str(free_port()))
        assert again.exit_code == 2 and f"open already, at {url}: " in again.output
        assert f"`kill {process.pid}` ends that" in again.output
        (other := tmp_path / "other").mkdir()
        (other / "sessrec.toml").touch()
        busy = sessrec(other, "dev", "--port", str(port))
        assert busy.exit_code == 2 and f"port {port} of 127.0.0.1 is busy" in busy.output
        assert "--port" in busy.output
        process.terminate()
        rest = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 143 and rest[-1] == LINE and "Traceback" not in "".join(rest)
    with pytest.raises(OSError, match="refused"):
        locations(url)
    assert not commands_with(str(demo / "dagster"))


def test_who_waits_says_for_whom_and_obeys_a_signal(tmp_path: Path) -> None:
    home = in_home(tmp_path, "waits")
    with locked(home / "store.lock", 0), program("--home", str(home), "materialize") as process:
        (line,) = wait_for(process, "waiting")
        assert f"process {os.getpid()} on " in line and f"holds {home / 'store.lock'}; `kill {os.getpid()}`" in line
        os.killpg(process.pid, signal.SIGTERM)
        assert process.communicate(timeout=60)[0].splitlines()[-1] == LINE
        assert process.returncode == 128 + signal.SIGTERM


def test_who_has_waited_for_long_gives_up_with_a_sentence(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.instance.LOCK_SECONDS", 0.0)
    with locked(demo / "dagster" / "instance.lock", 0):
        gave_up = sessrec(demo, "check")
    assert gave_up.exit_code == 2 and "Traceback" not in gave_up.output
    assert f"gave up after 0 seconds: process {os.getpid()}" in gave_up.output and "instance.lock" in gave_up.output
