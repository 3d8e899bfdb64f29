"""The whole of what SQL makes, on any engine, and whether two engines made the same."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from engine_tables import FITTED, fits_of, steps_of

from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.models.neighbours.session_knn import RECENT_SESSIONS
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import replacing
from sessrec_pipeline.storage.lake import Stats, write_table

SAMPLE = 5
"""Sessions of an item's list: so few that the small feeds of tests fill it."""


def landed(folder: Path, logs: dict[str, list[tuple[str, str, int]]], **extra: list[str | None]) -> list[Path]:
    """Ingested logs of (session, item, time) as Parquet; ``extra`` columns run through all logs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, start = [], 0
    for name, events in logs.items():
        sessions, items, times = zip(*events, strict=True)
        columns = {
            "log": pa.array([name] * len(events)),
            "line": pa.array(range(1, len(events) + 1), pa.int64()),
            "session": pa.array(sessions),
            "item": pa.array(items),
            "time": pa.array(times, pa.int64()),
        }
        columns |= {key: pa.array(values[start : start + len(events)], pa.string()) for key, values in extra.items()}
        start += len(events)
        paths.append(folder / f"{name}.parquet")
        write_table(paths[-1], pa.table(columns))[0].close()
    return paths


class Made(NamedTuple):
    """A table on disk."""

    path: Path
    content: str
    rows: int | None
    stats: Stats


TABLES = (
    "sessions", "train_split", "test_split", "tuning_train_split", "tuning_test_split", *FITTED,
)  # fmt: skip
"""Every table that an engine makes, each after those that it reads."""


def prepared(
    settings: Settings,
    raw: Sequence[Path],
    after: Mapping[str, Callable[[], None]] = MappingProxyType({}),
    tables: Sequence[str] = TABLES,
) -> dict[str, Made]:
    """The ``tables`` in the home, each by an engine of its own as the assets do it.

    ``after`` says what happens once a table is there.
    """
    made: dict[str, Made] = {}
    few = dict.fromkeys(RECENT_SESSIONS.reads, SAMPLE)
    fits = fits_of(settings) | {"recent_sessions": lambda engine, train: RECENT_SESSIONS.fit(engine, train, few)}
    steps = steps_of(settings, raw, lambda asset: made[asset].path, fits)
    assert tuple(steps) == TABLES
    for asset in tables:
        with open_engine(settings) as engine:
            table = steps[asset](engine)
        path = settings.home / "tables" / f"{asset}.parquet"
        with replacing(path) as temporary:
            writer, content, rows = write_table(temporary, table.data)
            writer.close()
        made[asset] = Made(path, content, rows, table.stats)
        after.get(asset, bool)()
    return made


def assert_same(one: dict[str, Made], other: dict[str, Made]) -> None:
    """Types, rows in both directions, order of rows, and counts."""
    assert one.keys() == other.keys()
    for asset, mine in one.items():
        theirs = other[asset]
        assert pq.read_schema(mine.path).remove_metadata() == pq.read_schema(theirs.path).remove_metadata(), asset
        for left, right in ((mine.path, theirs.path), (theirs.path, mine.path)):
            sql = "SELECT COUNT(*) FROM (FROM read_parquet($left) EXCEPT ALL FROM read_parquet($right)) AS rest"
            rest = duckdb.connect().execute(sql, {"left": str(left), "right": str(right)}).fetchall()
            assert rest == [(0,)], asset
        assert mine[1:] == theirs[1:], asset
