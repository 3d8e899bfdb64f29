"""The order of the rooms, and what importing the library does: nothing but that."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importlinter.cli import lint_imports

PROJECT = Path(__file__).parents[2]
RUNS_DAGSTER = ("assets", "sessrec_pipeline.cli", "sessrec_pipeline.definitions")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the project with its file."""
    for package in ("assets", "sessrec_pipeline"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            yield ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"), path


def is_in(module: str, rooms: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def test_a_room_imports_the_rooms_below_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    failed = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert not failed, capsys.readouterr().out


def test_every_room_has_its_place() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers: list[str] = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    placed = [room.strip() for layer in layers for room in layer.split("|")]
    assert len(placed) == len(set(placed))
    rooms = {".".join(name.split(".")[:2]) for name, _ in modules() if "." in name and not name.startswith("assets")}
    assert rooms | {"assets"} == set(placed)


def test_all_that_is_printed_goes_through_one_function() -> None:
    """``say`` makes visible what would steer a terminal; two places draw by other means what is visible already."""
    ways = ("print", "click.echo", "click.secho", "tqdm.write", "sys.stdout.write", "sys.stderr.write")
    found = {
        (module, ast.unparse(node))
        for module, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in ways
    }
    assert found == {("assets.logger", "tqdm.write"), ("sessrec_pipeline.failures", "sys.stderr.write")}


def test_dagster_is_imported_by_what_runs_it_alone() -> None:
    found = set()
    for module, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(is_in(name, ("dagster",)) for name in names):
                found.add(module)
    assert found, "the search finds nothing any more"
    assert {module for module in found if not is_in(module, RUNS_DAGSTER)} == set()


def python(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "importing says nothing"
    return done.stdout


def test_the_package_alone_is_light() -> None:
    loaded = json.loads(python("import sessrec_pipeline, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert "sessrec_pipeline" in loaded
    assert {"dagster", "torch", "pandas", "duckdb", "numba"}.isdisjoint(loaded)


IMPORTING = """
import collections.abc, importlib, json, os, sys

project, *names = sys.argv[1:]
read, opened = [], []
passing = (os.getenv.__code__.co_filename, collections.abc.Mapping.get.__code__.co_filename)

class Watched(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename in passing:
            frame = frame.f_back
        if frame.f_code.co_filename.startswith(os.path.join(project, "sessrec_pipeline") + os.sep):
            read.append(f"{key} by {frame.f_code.co_filename}:{frame.f_lineno}")
        return super().__getitem__(key)

def audit(event, arguments):
    if event in ("open", "os.listdir", "os.scandir", "os.chdir", "os.mkdir") and isinstance(arguments[0], str):
        if os.path.abspath(arguments[0]).startswith(os.environ._data[b"SESSREC_HOME"].decode()):
            opened.append(arguments[0])

os.environ.__class__ = Watched
sys.addaudithook(audit)
os.environ.get("SESSREC_HOME")  # by no file of the project
before = os.fstat(2)
for name in names:
    importlib.import_module(name)
same = (before.st_dev, before.st_ino) == (os.fstat(2).st_dev, os.fstat(2).st_ino)
print(json.dumps({"read": read, "opened": opened, "stderr": same, "dagster": "dagster" in sys.modules}))
"""


def test_importing_the_library_reads_nothing_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text("models = [1]")  # which nobody could read
    library = [name for name, _ in modules() if not is_in(name, RUNS_DAGSTER)]
    assert len(library) > 100
    seen: dict[str, Any] = json.loads(python(IMPORTING, str(PROJECT), *library, SESSREC_HOME=str(tmp_path)))
    assert seen == {"read": [], "opened": [], "stderr": True, "dagster": False}
