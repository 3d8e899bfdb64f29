"""Every error is one sentence: what happened, where, what to do, and where the whole traceback is."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
import torch

from sessrec_pipeline import failures
from sessrec_pipeline.failures import LOG, MOST_LOGGED, WHOLE, is_of_machine, kept, sentence_of
from sessrec_pipeline.storage.files import DamagedFileError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "landing").mkdir()
    monkeypatch.setenv("SESSREC_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    return tmp_path


def caught(act: Callable[[], object]) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def raises(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def spilled(folder: Path) -> None:
    with duckdb.connect(config={"memory_limit": "40MB", "temp_directory": str(folder), "threads": 1}) as connection:
        connection.execute("SET max_temp_directory_size = '5MB'")
        connection.execute("CREATE TABLE t AS SELECT range AS a, MD5(CAST(range AS VARCHAR)) AS b FROM range(3000000)")


def read_only_database(folder: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{folder / 'dagster'}/no/such.db")
    with engine.connect():
        pass


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda home: (home / "landing").read_bytes(), "landing: Is a directory; there must be a file"),
        (lambda home: (home / "x").write_bytes(b"") or (home / "x" / "y").mkdir(), "x/y: Not a directory; there must"),
        (lambda home: (home / "landing").replace(home / "no" / "x"), "no/x: No such file or directory; bring it back"),
        (lambda home: raises(OSError(errno.ENOSPC, "No space left on device"))(), "No space left on device; make room"),
        (
            lambda home: raises(OSError(errno.EROFS, "Read-only file system", "/x"))(),
            "/x: Read-only file system; mount",
        ),
        (lambda home: raises(OSError(errno.EMFILE, "Too many open files"))(), "raise the limit of open files"),
        (lambda home: raises(OSError(errno.ENOMEM, "Cannot allocate memory"))(), "there is not enough memory"),
        (lambda home: raises(MemoryError())(), "there is not enough memory"),
        (lambda home: raises(RuntimeError("DefaultCPUAllocator: can't allocate memory"))(), "not enough memory"),
        (lambda home: raises(torch.OutOfMemoryError("CUDA out of memory"))(), "there is not enough memory"),
        (lambda home: raises(RuntimeError("can't start new thread"))(), "raise the limit of processes and threads"),
        (lambda home: raises(ImportError("x.so: failed to map segment"))(), "there is not enough memory"),
        (lambda home: raises(ImportError("no module y"))(), "a package that sessrec needs cannot be loaded"),
        (lambda home: duckdb.connect(str(home / "landing")), "landing: Is a directory; there must be a file"),
        (lambda home: spilled(home / "spill"), "need more room on the drive"),
        (lambda home: raises(duckdb.IOException("IO Error: what"))(), "a file cannot be read or written"),
        (lambda home: raises(sqlite3.OperationalError("database or disk is full"))(), "Dagster's database cannot be"),
        (read_only_database, "Dagster's database cannot be used (unable to open database file)"),
        (lambda home: {}["x"], "sessrec met an error that it does not know"),
    ],
)
def test_errors_of_the_machine_say_where_and_what_to_do(home: Path, act: Callable[[Path], object], said: str) -> None:
    sentence = sentence_of(caught(lambda: act(home)))
    assert said in sentence and len(sentence.splitlines()) == 1
    assert sentence.endswith(f"the whole traceback is in {home / LOG}")
    assert "Traceback" in (home / LOG).read_text() and (home / LOG).stat().st_mode & 0o777 == 0o600


def test_a_full_drive_is_named_where_the_error_does_not(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "FREE", 1 << 80)
    assert sentence_of(OSError(errno.ENOSPC, "No space left on device")).startswith(f"{home}: No space left")
    full = sentence_of(sqlite3.OperationalError("disk I/O error"))
    assert full.startswith(f"{home}: No space left on device; make room"), "as SQLite says it"


def test_databases_that_may_not_be_opened_are_found(home: Path) -> None:
    (home / "dagster" / "history" / "runs.db").mkdir(parents=True)
    sentence = sentence_of(sqlite3.OperationalError("unable to open database file"))
    assert sentence.startswith(f"{home}/dagster/history/runs.db: Is a directory")


def test_what_was_refused_on_purpose_is_said_as_it_is(home: Path) -> None:
    damaged = DamagedFileError(home / "x", "cut off")
    assert sentence_of(damaged) == str(damaged) and not (home / LOG).exists()


def test_the_log_is_bounded(home: Path) -> None:
    for _ in range(5):
        kept("x" * (MOST_LOGGED // 2))
    assert sorted(path.name for path in home.glob("errors*")) == [LOG, f"{LOG}.1"]
    assert sum(path.stat().st_size for path in home.glob("errors*")) < 3 * MOST_LOGGED


def test_the_log_is_among_the_users_own_files_where_the_home_may_not_be_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / LOG).symlink_to("/dev/null")  # as a stranger may have put it there
    (tmp_path / "own").mkdir()
    monkeypatch.setattr(failures, "private_folder", lambda purpose: tmp_path / "own")
    assert kept("story\n") == f"the whole traceback is in {tmp_path / 'own' / LOG}"
    assert "story" in (tmp_path / "own" / LOG).read_text()


def test_no_log_is_put_into_a_folder_of_other_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SESSREC_HOME", str(tmp_path))
    monkeypatch.setenv(WHOLE, "1")
    kept("story \x1b]0;title\x07")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == "story \\x1b]0;title\\x07"


@pytest.mark.parametrize(
    ("error", "of_machine"),
    [
        (duckdb.OutOfMemoryException("Out of Memory Error"), True),
        (MemoryError(), False),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), True),
        (PermissionError(errno.EACCES, "no"), True),
        (OSError(errno.EIO, os.strerror(errno.EIO)), False),
        (OSError("Couldn't deserialize thrift"), False),
        (ValueError("no JSON"), False),
    ],
)
def test_what_the_machine_does_not_let_be_read_is_no_damage(error: Exception, of_machine: bool) -> None:
    assert is_of_machine(error) is of_machine


def test_memory_is_short_where_it_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spoilt bytes ask for any amount of it as well."""
    monkeypatch.setattr(failures, "_address_space", lambda: 1 << 32)
    assert is_of_machine(MemoryError()) and is_of_machine(OSError(errno.ENOMEM, "Cannot allocate memory"))
