"""What callers have, as one kind of table: ids as text, times as microseconds; or a sentence on what is wrong."""

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from sessrec_pipeline.logs.times import iso_instant

TimeUnit = Literal["s", "ms", "us"]
PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000}
LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
"""Seconds; what comes later is a wrong unit."""
SPACE = " \t\r\n"
"""What is trimmed from ids, as from those of landed logs."""


class FrameError(ValueError):
    """A frame that cannot be used. The text names the column and the row (its position, from 0), and what to do."""


@dataclass(frozen=True)
class Columns:
    """The names of a frame's columns, and the unit of a time that is a number."""

    session: str = "session"
    item: str = "item"
    time: str = "time"
    time_unit: TimeUnit | None = None


def read_frame(frame: object, columns: Columns) -> pa.Table:
    """The events of ``frame`` in its order: session and item as text, time in microseconds since 1970-01-01 UTC.

    frame: a pandas frame, anything with ``__arrow_c_stream__`` (polars, pyarrow), or the path of Parquet, a file or a
    folder. FrameError where it cannot be used; FileNotFoundError where there is no such file.
    """
    session, item, time = _taken(frame, [columns.session, columns.item, columns.time])
    if not len(session):
        raise FrameError("the frame has no rows")
    return pa.table(
        {
            "session": _ids(session, columns.session),
            "item": _ids(item, columns.item),
            "time": _times(time, columns.time, columns.time_unit),
        }
    )


def texts(ids: Iterable[object], what: str) -> list[str]:
    """Ids in a list, a set or an array as the text that they have in frames; TypeError for what is none."""
    if isinstance(ids, str | bytes):
        raise TypeError(f"{what} must be a list of ids, not the one text {ids!r}; write [{ids!r}]")
    return [text_of(value, what) for value in ids]


def text_of(value: object, what: str) -> str:
    """One id, likewise."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip(SPACE)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise TypeError(f"{what} has {value!r}, but ids are whole numbers or text")


# --- columns ---------------------------------------------------------------------------------------------------------


def _taken(frame: object, names: Sequence[str]) -> list[pa.ChunkedArray]:
    """The columns called ``names``."""
    if isinstance(frame, pd.DataFrame):
        index = [str(name) for name in frame.index.names if name is not None]
        _check_names(names, [str(name) for name in frame.columns], index)
        return [_from_pandas(frame[name], name) for name in names]
    if isinstance(frame, str | Path):
        path = Path(frame)
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        try:
            dataset = pds.dataset(path, format="parquet")
            _check_names(names, dataset.schema.names)
            table = dataset.to_table(columns=list(names))
        except (pa.ArrowException, OSError) as error:
            raise FrameError(f"{path} cannot be read as Parquet ({error}); read it with pandas or polars") from error
    elif hasattr(frame, "__arrow_c_stream__"):
        table = frame if isinstance(frame, pa.Table) else pa.RecordBatchReader.from_stream(frame).read_all()
        _check_names(names, table.column_names)
    else:
        lazy = "; collect() it first" if hasattr(frame, "collect") else ""
        raise FrameError(
            f"{type(frame).__name__} is no frame: give a frame of pandas or polars, a table of pyarrow, or the path of "
            f"a Parquet file{lazy}"
        )
    return [table[name] for name in names]


def _check_names(wanted: Sequence[str], there: Sequence[str], index: Sequence[str] = ()) -> None:
    roles = dict(zip(("session", "item", "time"), wanted, strict=True))
    if len(set(wanted)) < len(wanted):
        raise FrameError(f"session, item and time must be three columns, not {', '.join(map(repr, wanted))}")
    for role, name in roles.items():
        if there.count(name) > 1:
            raise FrameError(f"the frame has {there.count(name)} columns called {name!r}: rename or drop one")
        if name in there:
            continue
        if name in index:
            raise FrameError(f"{name!r} is in the frame's index, not a column: call reset_index() first")
        near = difflib.get_close_matches(name.lower(), {other.lower(): other for other in there}, 1, 0.5)
        likely = next((other for other in there if near and other.lower() == near[0]), "...")
        raise FrameError(
            f"the frame has no column {name!r}, but {', '.join(map(repr, there)) or 'none at all'}: "
            f"say which one is the {role}, {role}={likely!r}"
        )


def _from_pandas(series: "pd.Series[Any]", name: str) -> pa.ChunkedArray:
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, OverflowError) as error:  # objects of several kinds
        kinds = series.map(lambda value: type(value).__name__)
        row = int(np.argmax((kinds != kinds.iloc[0]).to_numpy()))
        raise FrameError(
            f"column {name!r} mixes values of several types (row 0: {kinds.iloc[0]}, row {row}: {kinds.iloc[row]} "
            f"{series.iloc[row]!r}): make them one, for example with astype(str)"
        ) from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _first(condition: pa.ChunkedArray) -> int | None:
    """The first row where a condition holds."""
    row = pc.index(condition, True).as_py()
    return None if row < 0 else int(row)


def _without_nulls(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if pa.types.is_dictionary(array.type):  # categories
        array = pc.cast(array, array.type.value_type)
    if array.null_count:
        more = f" (and {array.null_count - 1:,} others have none)" if array.null_count > 1 else ""
        raise FrameError(
            f"column {name!r} has no value in row {_first(array.is_null())}{more}: drop such rows or fill them"
        )
    return array


def _ids(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Ids as text: whole numbers in decimal digits; text composed (NFC) and without spaces around it."""
    if pa.types.is_floating(array.type):
        row = _first(array.is_null(nan_is_null=True))
        missing = "" if row is None else f" and no value in row {row}"
        raise FrameError(
            f"column {name!r} holds numbers with a point (row 0: {array[0].as_py()}){missing}, as a join leaves them: "
            "drop or fill what is missing, then make ids of it again, for example with astype('int64')"
        )
    array = _without_nulls(array, name)
    if pa.types.is_integer(array.type):
        return array.cast(pa.string())
    if not _is_text(array.type):
        raise FrameError(f"column {name!r} holds {array.type} (row 0: {array[0].as_py()!r}): ids are whole numbers or "
                         "text, for example by astype(str)")  # fmt: skip
    text = array.cast(pa.string())
    if not pc.all(pc.match_substring_regex(text, "^[!-~]+$")).as_py():  # most ids are plain, and looking is faster
        text = pc.utf8_trim(pc.utf8_normalize(text, "NFC"), SPACE)
        if (row := _first(pc.equal(text, ""))) is not None:
            raise FrameError(f"column {name!r} has an empty text in row {row}: drop such rows or fill them")
    return text


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _times(array: pa.ChunkedArray, name: str, unit: TimeUnit | None) -> pa.ChunkedArray:
    """Times in microseconds since 1970-01-01 UTC."""
    array = _without_nulls(array, name)
    kind = array.type
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(array.type):  # one without a zone is UTC
        numbers = pc.cast(array, pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = _scaled(array, name, unit)
    elif _is_text(kind):
        numbers = _parsed(array, name)
    else:
        raise FrameError(f"column {name!r} holds {kind} (row 0: {array[0].as_py()!r}): times are datetimes, or numbers "
                         "with a time_unit")  # fmt: skip
    if (row := _first(pc.less(numbers, 0))) is not None:
        raise FrameError(f"column {name!r} has a time before 1970 in row {row}: {array[row].as_py()}")
    return numbers


def _scaled(array: pa.ChunkedArray, name: str, unit: TimeUnit | None) -> pa.ChunkedArray:
    values = array.to_numpy()
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise FrameError(f"column {name!r} has {values[row]} in row {row}, which is no time")
    if unit is None:
        likely = "s" if values.max() < 1e11 else "ms" if values.max() < 1e14 else "us"
        raise FrameError(
            f"column {name!r} holds numbers (row 0: {values[0]}): say their unit since 1970 with "
            f'time_unit="s", "ms" or "us" (here likely "{likely}")'
        )
    if unit not in PER_SECOND:
        raise FrameError(f'time_unit is "s", "ms" or "us", not {unit!r}')
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise FrameError(f"column {name!r} has a time before 1970 in row {row}: {values[row]}")
    if (late := values > LATEST * PER_SECOND[unit]).any():
        row = int(np.argmax(late))
        raise FrameError(f"column {name!r} has {values[row]} in row {row}, after the year 9999 if that is in {unit}: "
                         "give another time_unit")  # fmt: skip
    factor = 1_000_000 // PER_SECOND[unit]
    if np.issubdtype(values.dtype, np.floating):
        return pa.chunked_array([np.rint(values * factor).astype(np.int64)])
    return pa.chunked_array([values.astype(np.int64) * factor])


def _parsed(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """ISO 8601 text, read as that of landed logs."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("frame", pa.table({"time": array.cast(pa.string())}))
        sql = f"SELECT CAST({iso_instant("time")} AS BIGINT) AS time FROM frame"
        numbers: pa.ChunkedArray = connection.sql(sql).to_arrow_table()["time"]
    if (row := _first(numbers.is_null())) is not None:
        raise FrameError(
            f"column {name!r} has a text in row {row} that is no time: {array[row].as_py()!r}; write ISO 8601 "
            "(2026-01-31T12:00:00Z), or parse it before, for example with pandas.to_datetime"
        )
    return numbers
