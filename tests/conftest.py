"""Feeds for tests: a home in a temporary folder, its settings, and the real logs where they are at hand."""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage import files


@atexit.register
def _quiet_end() -> None:
    """DuckDB's bindings print a page of leak warnings under the result when the interpreter ends with torch loaded."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


ROOT = Path(__file__).parents[1]
DATASETS = Path(os.environ.get("SESSREC_DATASETS", ROOT.parent / "shared" / "datasets"))
"""Public session logs that cannot be shipped (their licences differ); tests that need them are skipped without."""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SESSREC_") and name != "SESSREC_DATASETS":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.retries.WAITS", (0.0, 0.0, 0.0))


@pytest.fixture(autouse=True)
def _no_place_left() -> Iterator[None]:
    """As if each test were a process: it gives back its lock files in the homes that it worked in."""
    yield
    files.leave()


@pytest.fixture
def no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that run the graph and look at something else: figures take half of a small run's time."""
    monkeypatch.setattr("sessrec_pipeline.report.page._drawings", lambda data: [])
    monkeypatch.setattr("sessrec_pipeline.report.drawing._svg", lambda figure, title: "<svg/>\n")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: on kernels as small as those of tests more of them only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's runs and events, for one test."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def feed(tmp_path: Path) -> Callable[..., FeedSettings]:
    """``feed(split={"rule": "days"})``: settings of a new feed in a temporary home, with a landing folder."""

    def make(name: str = "home", **sections: Any) -> FeedSettings:
        settings = FeedSettings(home=tmp_path / name, **sections)
        settings.landing.mkdir(parents=True, exist_ok=True)
        return settings

    return make


@pytest.fixture
def dataset() -> Callable[[str], Path]:
    """``dataset("seed_demo")``: the folder of a public log; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        folder = DATASETS / name
        if not folder.is_dir():
            pytest.skip(f"{name} is not at hand: put it under {DATASETS} or name its parent in SESSREC_DATASETS")
        return folder

    return find
