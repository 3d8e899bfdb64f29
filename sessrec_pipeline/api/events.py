"""Events in sessions, and their split in time, by the SQL of the pipeline's own preparation."""

import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sessrec_pipeline.api.frames import Columns, FrameError, TimeUnit, read_frame
from sessrec_pipeline.api.options import validated
from sessrec_pipeline.clock import DAY
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.quality import Evidence, examine
from sessrec_pipeline.quality.splits import few_sessions
from sessrec_pipeline.settings import SessionSettings, Settings, SplitSettings

AS_IT_IS = SessionSettings(drop_duplicates=False, min_session_length=1, max_session_length=1_000_000)
"""What takes a frame's events without leaving one out."""


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Events in the order of their sessions, such as the train and test parts of a split.

    Has what a frame needs to be read elsewhere: ``to_pandas()``, and ``pyarrow.table(events)`` or
    ``polars.DataFrame(events)`` by ``__arrow_c_stream__``; the columns are session, item and time.
    """

    table: pa.Table
    """Columns session, session_number, position, item, time, session_start, as of the graph's splits."""

    def __len__(self) -> int:
        """Events."""
        return int(self.table.num_rows)

    @property
    def sessions(self) -> list[str]:
        """Ids of the sessions, in the order of their first event."""
        found: list[str] = pc.unique(self.table["session"]).to_pylist()
        return found

    @property
    def items(self) -> list[str]:
        """Ids of the items, in the order in which they are first seen."""
        found: list[str] = pc.unique(self.table["item"]).to_pylist()
        return found

    def to_arrow(self) -> pa.Table:
        """The columns session, item and time (UTC) as a table of pyarrow."""
        time = self.table["time"].cast(pa.timestamp("us", "UTC"))
        return pa.table({"session": self.table["session"], "item": self.table["item"], "time": time})

    def to_pandas(self) -> pd.DataFrame:
        """The columns session, item and time (UTC) as a frame of pandas."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        times = pc.min_max(self.table["time"].cast(pa.timestamp("us", "UTC"))).as_py()
        return (
            f"Events({len(self):,} events, {len(self.sessions):,} sessions, {len(self.items):,} items, "
            f"{times['min']:%Y-%m-%d %H:%M} to {times['max']:%Y-%m-%d %H:%M} UTC)"
        )


def temporal_split(
    frame: object,
    *,
    days: float | None = None,
    ratio: float | None = None,
    session: str = "session",
    item: str = "item",
    time: str = "time",
    time_unit: TimeUnit | None = None,
    drop_duplicates: bool = True,
    inactivity_gap_minutes: float | None = None,
    drop_consecutive_repeats: bool = False,
    min_session_length: int = 2,
    max_session_length: int = 2000,
    min_item_support: int = 1,
    keep_unseen_items: bool = False,
) -> tuple[Events, Events]:
    """Clean the sessions of ``frame`` and split them in time: train and test, without a look into the future.

    frame: a pandas frame, anything with ``__arrow_c_stream__`` (polars, pyarrow), or the path of a Parquet file, with a
        row for each event; its columns are ``session``, ``item`` and ``time``. Ids are whole numbers or text, and a
        number and its digits as text are the same id. Times are datetimes (UTC where they name no zone), ISO 8601
        text, or numbers with a ``time_unit``. Events of a session that have the same time stay in the frame's order.
    days: sessions that start in the last ``days`` days test, and train ends at that moment.
    ratio: the first sessions in time order, this share of them, train; 0.8 where neither is given.
    drop_duplicates: drop a row that equals another one in session, item and time.
    inactivity_gap_minutes: start a new session after so many minutes without an event.
    drop_consecutive_repeats: drop an event on the same item as the event before it in its session.
    min_session_length: drop shorter sessions, again and again together with rare items until nothing changes.
    max_session_length: drop longer sessions (crawlers).
    min_item_support: drop items with fewer events; 5 is usual for real logs.
    keep_unseen_items: keep test events on items that training never saw; they count as misses.

    The train part of a split can be split once more, to tune on: its events are prepared already, and only divided.

    A warning says where train knows what happens during the test, where many targets are dropped because train never
    saw them, and where time does not say which sessions test.

    FrameError where the frame cannot be used, SettingsError where an argument cannot, ValueError where no session is
    left to train or to test on.
    """
    if days is not None and ratio is not None:
        raise TypeError("temporal_split takes days or ratio, not both")
    rule: dict[str, Any] = {"rule": "ratio", "ratio": 0.8 if ratio is None else ratio}
    if days is not None:
        rule = {"rule": "days", "days": days}
    split = validated(SplitSettings, {**rule, "keep_unseen_items": keep_unseen_items}, "temporal_split")
    cleaning = {
        "drop_duplicates": drop_duplicates,
        "inactivity_gap_minutes": inactivity_gap_minutes,
        "drop_consecutive_repeats": drop_consecutive_repeats,
        "min_session_length": min_session_length,
        "max_session_length": max_session_length,
        "min_item_support": min_item_support,
    }
    rules = validated(SessionSettings, cleaning, "temporal_split")
    if isinstance(frame, Events):
        if rules != SessionSettings():
            raise ValueError("these events are prepared already: give the settings of sessions at the first split")
        events = frame
    else:
        events = _prepared(read_frame(frame, Columns(session, item, time, time_unit)), rules)
    with workspace(split=split) as settings, DuckDBEngine(settings) as engine:
        sessions = write_events(events, settings.home / "sessions.parquet")
        try:
            train = Events(train_split(engine, split, sessions).arrow())
            made = test_split(engine, split, sessions, write_events(train, settings.home / "train.parquet"))
            test = made.arrow()
        except ValueError as error:
            raise ValueError(_nothing_left(str(error), events, days, ratio)) from error
        for each, finding in examine("test_split", Evidence(engine.connection, settings, {"test": made.stats})):
            if finding.broken and each.measure is not few_sessions:  # the size of the test is in its ``repr``
                warnings.warn(_as_arguments(finding.sentence), stacklevel=2)
    return train, Events(test)


def events_of(frame: object, columns: Columns) -> Events:
    """Events as they are: of a split, or a frame whose sessions are put in order, and nothing else."""
    if isinstance(frame, Events):
        return frame
    given = read_frame(frame, columns)
    events = _prepared(given, AS_IT_IS)
    if len(events) < given.num_rows:
        raise FrameError(f"a session has more than {AS_IT_IS.max_session_length:,} events: cut it into parts")
    return events


def _prepared(frame: pa.Table, rules: SessionSettings) -> Events:
    """The sessions of a frame (session, item, time) under the rules."""
    with workspace(sessions=rules) as settings, DuckDBEngine(settings) as engine:
        raw = settings.home / "raw.parquet"
        # One log, in which an event's line is its row: it parts events of the same time.
        rows = frame.num_rows
        log = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["frame"])
        pq.write_table(frame.append_column("log", log).append_column("line", pa.array(np.arange(rows))), raw)
        try:
            table = prepare_sessions(engine, settings, [raw], lambda line: None).arrow()
        except ValueError as error:
            step = str(error).partition(": loosen")[0]
            raise ValueError(f"{step}: loosen the settings of the sessions in temporal_split") from error
    return Events(table.drop_columns("split"))


def _nothing_left(sentence: str, events: Events, days: float | None, ratio: float | None) -> str:
    if "session is left by" not in sentence or "keep_unseen_items" in sentence:
        return _as_arguments(sentence)
    times = pc.min_max(events.table["session_start"]).as_py()
    span = (times["max"] - times["min"]) / DAY
    asked = f"days={days:g}" if days is not None else f"ratio={0.8 if ratio is None else ratio:g}"
    return (
        f"{sentence.partition(' by [split]')[0]} with {asked}: the {len(events.sessions):,} sessions begin within "
        f"{span:.1f} days; give other days or another ratio"
    )


def _as_arguments(sentence: str) -> str:
    """A sentence about settings, about the arguments of ``temporal_split`` instead."""
    plain = re.sub(r"\[\w+\] ", "", sentence).replace(" = true", "=True")
    return plain.replace('rule = "days"', "days=...").replace('rule = "ratio"', "ratio=...")


# --- where work is done ----------------------------------------------------------------------------------------------


@contextmanager
def workspace(**sections: Any) -> Iterator[Settings]:
    """Settings with these sections, all others at their defaults, of a home that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sessrec-") as folder:
        # Constructed, not read: no variable of the environment, which is that of a feed, may change a result.
        yield FeedSettings.model_construct(home=Path(folder).resolve(), **sections)


def write_events(events: Events, path: Path) -> Path:
    """The events as the Parquet of a split."""
    pq.write_table(events.table, path)
    return path
