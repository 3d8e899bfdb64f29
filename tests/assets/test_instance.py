"""Dagster's memory of runs may be lost or spoilt: the lake knows what there is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from assets import instance as module
from assets.instance import open_instance
from sessrec_pipeline.feed import FeedSettings


@pytest.fixture
def settings(feed: Callable[..., FeedSettings]) -> FeedSettings:
    settings = feed()
    settings.dagster_home.mkdir()
    (settings.dagster_home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with open_instance(settings) as made:
        made.add_dynamic_partitions("landed_logs", ["a.tsv"])
    return settings


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["runs.db", "index.db", "schedules.db"])
@pytest.mark.parametrize("spoil", [cut, lambda path: path.write_bytes(b"x" * 4096)], ids=["cut", "garbage"])
def test_a_spoilt_database_is_set_aside(settings: FeedSettings, name: str, spoil: Callable[[Path], None]) -> None:
    (path,) = settings.dagster_home.rglob(name)
    spoil(path)
    said: list[str] = []
    with open_instance(settings, said.append) as instance:
        assert instance.get_runs() == []
    (line,) = said
    (aside,) = settings.home.glob("dagster.damaged-*")
    assert line.startswith("Dagster's memory of runs cannot be read (") and str(aside) in line
    assert (settings.dagster_home / "dagster.yaml").read_text() == (aside / "dagster.yaml").read_text()
    with open_instance(settings, said.append):
        assert len(said) == 1


@pytest.mark.parametrize("text", [b"a: [", b"\xff\xfe", b"nonsense: 1\n"])
def test_a_spoilt_configuration_is_replaced_by_the_shipped_one(settings: FeedSettings, text: bytes) -> None:
    (settings.dagster_home / "dagster.yaml").write_bytes(text)
    said: list[str] = []
    with open_instance(settings, said.append):
        assert len(said) == 1
    assert "max_concurrent_runs" in (settings.dagster_home / "dagster.yaml").read_text()


def test_a_database_that_is_busy_is_left_alone(settings: FeedSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(home: Path) -> None:
        raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))

    monkeypatch.setattr(module, "_opened", busy)
    with pytest.raises(OperationalError), open_instance(settings):
        pass
    assert not list(settings.home.glob("dagster.damaged-*"))
