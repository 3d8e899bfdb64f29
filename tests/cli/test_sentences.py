"""Whatever goes wrong ends in one sentence and exit code 2, the traceback in a log; then the same command goes on."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from terminal import sessrec

from sessrec_pipeline.cli import main
from sessrec_pipeline.storage.store import Store

ROOT = Path(__file__).parents[2]
LOG = "SessionId\tItemId\tTime\n" + "".join(f"{i // 4}\t{i % 7}\t{1_700_000_000 + i * 600}\n" for i in range(400))
FOR_ALL = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
"""Root without its power over files: an ordinary user, for whom this Python is where it is."""


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo, tmp_path / "home"))


@pytest.fixture
def feed_of_sessions(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "landing").mkdir(parents=True)
    (home / "landing" / "log.tsv").write_text(LOG)
    (home / "sessrec.toml").write_text('models = ["markov"]\n')
    return home


def program(
    home: Path, *arguments: str, before: Sequence[str] = (), **options: Any
) -> "subprocess.CompletedProcess[str]":
    command = [*before, sys.executable, "-m", "sessrec_pipeline", "--home", str(home), *arguments]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}, **how)


def sentence(done: "Result | subprocess.CompletedProcess[str]") -> str:
    code = done.exit_code if isinstance(done, Result) else done.returncode
    assert code == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    return done.stderr


def the_log(home: Path) -> str:
    return (home / "errors.log").read_text()


# --- what should be a file is a folder, and the other way round -------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["warehouse.duckdb", "manifest.json", "lake/metrics/current", "dagster/history/runs.db", "store.lock"]
)
def test_a_folder_where_a_file_should_be(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).unlink()
    (copy / name).mkdir()
    said = sentence(sessrec(copy, "check"))
    assert f"{copy / name}: Is a directory; there must be a file: move the folder away" in said
    assert f"the whole traceback is in {copy / 'errors.log'}" in said and "Traceback" in the_log(copy)
    (copy / name).rmdir()
    (copy / name).write_bytes(content)
    assert sessrec(copy, "check").exit_code == 0


@pytest.mark.parametrize("name", ["dagster", "history", "lake/metrics"])
def test_a_file_where_a_folder_should_be(copy: Path, name: str) -> None:
    shutil.rmtree(copy / name)
    (copy / name).touch()
    assert f"{copy / name}" in sentence(sessrec(copy, "check"))


# --- the drive --------------------------------------------------------------------------------------------------------


def mounted(script: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script of the shell among mounts of its own; the test is left out where none can be made."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this machine makes no namespaces")
    words = {"SESSREC": f"{sys.executable} -m sessrec_pipeline --home {home}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, env=os.environ | words)
    if done.returncode == 99:
        pytest.skip(f"this machine does not mount: {done.stderr}")
    return done


def test_a_full_drive_and_going_on_once_there_is_room(feed_of_sessions: Path, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    (tmp_path / "header").write_text(LOG.partition("\n")[0] + "\n")
    script = f"""
    mount -t tmpfs -o size=20m none {drive} || exit 99
    cp -r {feed_of_sessions} {drive}/home
    $SESSREC materialize sessions || exit 1
    (cat {tmp_path}/header; sed -n 2,10p {feed_of_sessions}/landing/log.tsv) > {drive}/home/landing/more.tsv
    dd if=/dev/zero of={drive}/fill bs=64k 2>/dev/null
    echo full >&2
    $SESSREC materialize sessions; echo code $? >&2
    $SESSREC rebuild-catalog; echo code $? >&2
    rm {drive}/fill
    echo free >&2
    $SESSREC materialize sessions; echo code $? >&2
    """
    done = mounted(script, drive / "home")
    full, _, free = done.stderr.partition("full\n")[2].partition("free\n")
    assert "Traceback" not in done.stderr and full.count("code 2") == 2, done.stderr
    errors = [line for line in full.splitlines() if line.startswith(("Error: ", "not taken: "))]
    assert errors and all("No space left on device; make room, and run the same command" in line for line in errors)
    assert free.endswith("code 0\n") and "made raw_sessions[more.tsv]" in free


def test_a_drive_that_may_only_be_read(copy: Path) -> None:
    script = f"""
    mount --bind {copy} {copy} && mount -o remount,ro,bind {copy} || exit 99
    for command in check "lineage metrics" verify "recommend --items 1"; do
        $SESSREC $command >/dev/null 2>&1 || echo "$command: $?"
    done
    for command in rebuild-catalog materialize; do $SESSREC $command; done
    """
    done = mounted(script, copy)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 2, done.stdout + done.stderr
    assert f"{copy / 'warehouse.duckdb.lock'}: Read-only file system; mount that drive for writing" in done.stderr
    assert not (copy / "errors.log").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up its rights")
@pytest.mark.parametrize(
    ("name", "command"),
    [("sessrec.toml", "check"), ("landing", "materialize"), ("lake", "verify"), ("reports/report.html", "check")],
)
def test_what_this_user_may_not_read(copy: Path, name: str, command: str) -> None:
    (copy / name).chmod(0)
    said = sentence(program(copy, command, before=FOR_ALL))
    assert f"{copy / name}" in said and ": Permission denied; give this user the rights to it" in said


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can give up its rights")
def test_a_catalogue_is_not_made_anew_of_the_folders_that_can_be_read(copy: Path) -> None:
    before = (copy / "warehouse.duckdb").read_bytes()
    (copy / "lake" / "sessions" / "versions").chmod(0)
    assert "lake/sessions/versions: Permission denied" in sentence(program(copy, "rebuild-catalog", before=FOR_ALL))
    assert (copy / "warehouse.duckdb").read_bytes() == before


@pytest.mark.parametrize("folder", ["lake", "landing"])
def test_a_folder_that_is_a_link_to_another_drive(feed_of_sessions: Path, tmp_path: Path, folder: str) -> None:
    (feed_of_sessions / "lake").mkdir()
    (feed_of_sessions / folder).rename(tmp_path / folder)
    (feed_of_sessions / folder).symlink_to(tmp_path / folder)
    result = sessrec(feed_of_sessions, "materialize", "train_split")
    assert result.exit_code == 0 and "made train_split" in result.stderr, result.stderr


def test_a_folder_of_the_lake_that_leads_out_is_named(feed_of_sessions: Path, tmp_path: Path) -> None:
    assert sessrec(feed_of_sessions, "materialize", "sessions").exit_code == 0
    (feed_of_sessions / "lake" / "sessions").rename(tmp_path / "sessions")
    (feed_of_sessions / "lake" / "sessions").symlink_to(tmp_path / "sessions")
    result = sessrec(feed_of_sessions, "materialize", "train_split")
    assert result.exit_code == 2 and "leads out of the home by a link" in result.stderr


def test_files_are_for_whom_the_umask_allows(feed_of_sessions: Path) -> None:
    done = program(feed_of_sessions, "materialize", "sessions", umask=0o077)
    assert done.returncode == 0, done.stderr
    made = [path for path in feed_of_sessions.rglob("*") if path.is_file() and path.suffix in (".parquet", ".json", "")]
    assert len(made) > 5 and all(path.stat().st_mode & 0o077 == 0 for path in made)


def test_a_full_drive_behind_the_shells_arrow(demo: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = program(demo, "versions", stdout=full)
    assert done.returncode == 2 and "standard output: No space left on device" in done.stderr


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "needed"), [("materialize", 4), ("check", 2)])
def test_too_little_address_space_is_said_before_libraries_end_the_process(
    feed_of_sessions: Path, command: str, needed: int
) -> None:
    limit = (needed << 30) - 1
    done = program(feed_of_sessions, command, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert f"`ulimit -v` allows {needed}.0 GiB of addresses, and this command needs {needed} at least" in sentence(done)


def test_what_needs_more_room_than_spilling_may_take(feed_of_sessions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessrec_pipeline.engine.duckdb.SPILLED", 0.0)
    monkeypatch.setenv("SESSREC_MEMORY_LIMIT", "1MB")
    monkeypatch.setattr("assets.retries.WAITS", ())
    (feed_of_sessions / "landing" / "big.tsv").write_text(
        "SessionId\tItemId\tTime\n" + "".join(f"session{i}\titem{i}\t{1_700_000_000 + i}\n" for i in range(100_000))
    )
    result = sessrec(feed_of_sessions, "materialize", "sessions")
    assert result.exit_code in (1, 2) and "memory_limit of sessrec.toml" in result.stderr
    assert "Traceback" not in result.stderr


# --- what nobody foresaw ----------------------------------------------------------------------------------------------


def test_an_unforeseen_error_is_a_sentence_and_a_log(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        {}["the key \x1b[31m"]  # type: ignore[index]

    monkeypatch.setattr(Store, "versions", broken)
    said = sentence(sessrec(copy, "versions", "metrics"))
    assert "sessrec met an error that it does not know" in said and "KeyError" in said and "\x1b" not in said
    assert "in broken" in the_log(copy) and (copy / "errors.log").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("SESSREC_TRACEBACK", "")
    whole = CliRunner().invoke(main, ["--traceback", "--home", str(copy), "versions", "metrics"])
    assert whole.exit_code == 2 and "Traceback" in whole.stderr and "in broken" in whole.stderr


def test_an_error_in_a_step_is_the_same_sentence(feed_of_sessions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("sessrec_pipeline.engine.duckdb.DuckDBEngine.register", broken)
    result = sessrec(feed_of_sessions, "materialize", "sessions")
    assert result.exit_code == 2 and "Traceback" not in result.stderr
    assert result.stderr.count("sessrec met an error that it does not know") > 0
    assert "KeyError" in the_log(feed_of_sessions)


# --- text of strangers ------------------------------------------------------------------------------------------------


def test_names_of_files_and_ids_do_not_steer_the_terminal(feed_of_sessions: Path) -> None:
    (feed_of_sessions / "landing" / "a\x1b]0;owned\x07\nError: all is lost.tsv").write_text(LOG)
    result = sessrec(feed_of_sessions, "materialize", "sessions")
    assert result.exit_code == 1
    assert not set(result.output) & {"\x1b", "\x07", "\x9b"} and "\nError: all is lost" not in result.output
    assert "\\x1b]0;owned" in result.output
    result = sessrec(feed_of_sessions, "lineage", "\x1b[2J")
    assert result.exit_code == 2 and "\x1b" not in result.output


def test_json_stays_json(demo: Path) -> None:
    item = "a\x9b\u202e\x7f\U0001f45f"
    result = sessrec(demo, "recommend", "--items", f"{item},1", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["unknown"] == [item]
    assert not set(result.stdout) & {"\x9b", "\u202e", "\x7f"}
