"""`sessrec` as a process: what it imports, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "{}\nfrom sessrec_pipeline.cli import main\nmain()"
SAY_LOADED = """
import os, sys
leave = os._exit
def say(code):
    print(*[name for name in {heavy!r}.split() if name in sys.modules], file=sys.stderr, flush=True)
    leave(code)
os._exit = say
"""


def run(home: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(before), "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def loaded(home: Path, *arguments: str, heavy: str) -> list[str]:
    done = run(home, *arguments, before=SAY_LOADED.format(heavy=heavy))
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


def test_help_loads_next_to_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "--help", heavy="pydantic numpy pyarrow duckdb dagster torch") == []


@pytest.mark.parametrize("model", ["markov", "gru4rec"])
def test_recommending_loads_neither_dagster_nor_torch(demo: Path, model: str) -> None:
    arguments = ["recommend", "--items", "1", "--model", model]
    assert loaded(demo, *arguments, heavy="dagster pandas numba torch matplotlib") == []


@pytest.mark.parametrize("command", ["check", "materialize"])
def test_commands_that_train_and_draw_nothing_load_nothing_for_it(demo: Path, command: str) -> None:
    assert loaded(demo, command, heavy="dagster pandas numba torch matplotlib") == ["dagster"]


def test_the_program_ends_with_the_code_of_its_command(tmp_path: Path, demo: Path) -> None:
    assert run(demo, "recommend", "--items", "1").returncode == 0
    refused = run(tmp_path / "typo", "check")
    assert refused.returncode == 2 and "nothing is materialized in" in refused.stderr
    fault = run(demo, "check", before="import os; os.environ.__class__.__setitem__ = None")
    assert fault.returncode == 2 and "sessrec met an error that it does not know" in fault.stderr
    assert "Traceback" not in fault.stderr


def test_nothing_follows_the_result(demo: Path) -> None:
    """With torch loaded, DuckDB's bindings would print leaks when the interpreter is taken down."""
    done = run(demo, "lineage", "popularity", "--wide", before="import torch")
    assert done.returncode == 0 and done.stdout and done.stderr == ""
