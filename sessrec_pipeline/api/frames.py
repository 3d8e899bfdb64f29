"""What callers have, as one kind of table: ids as text, times as microseconds; or a sentence on what is wrong."""

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

from sessrec_pipeline.logs.ids import MOST_SPOILT, UNSURE, has_control, id_text, is_spoilt, trimmed, whole
from sessrec_pipeline.logs.sniff import NAMES, plain
from sessrec_pipeline.logs.times import iso_instant, unclear_zone
from sessrec_pipeline.quality.ids import ROUNDED, are_rounded, is_rounded_id

TimeUnit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
YEAR_1990, YEAR_2100 = 631_152_000, 4_102_444_800
LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
"""Seconds; what comes later is a wrong unit."""


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
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise TypeError(f"{what} must be a list of ids, not {ids!r} alone; write [{ids!r}]")
    return [text_of(value, what) for value in ids]


def text_of(value: object, what: str) -> str:
    """One id, likewise."""
    try:
        return id_text(value)
    except TypeError as error:
        raise TypeError(f"{what} {error}") from None


# --- columns ---------------------------------------------------------------------------------------------------------


def _taken(frame: object, names: Sequence[str]) -> list[pa.ChunkedArray]:
    """The columns called ``names``."""
    if isinstance(frame, pd.DataFrame):
        index = [str(name) for name in frame.index.names if name is not None]
        _check_names(names, [str(name) for name in frame.columns], index)
        return [_from_pandas(frame[name], name, is_id=name != names[-1]) for name in names]
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
        by_name = {plain(other): other for other in there}
        usual = (by_name[usual] for usual in NAMES[role] if usual in by_name)
        raise FrameError(
            f"the frame has no column {name!r}, but {', '.join(map(repr, there)) or 'none at all'}: "
            f"say which one is the {role}, for example {role}={next(usual, '...')!r}"
        )


def _from_pandas(series: "pd.Series[Any]", name: str, *, is_id: bool) -> pa.ChunkedArray:
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, OverflowError) as error:  # objects of several kinds
        if is_id:
            return pa.chunked_array([_mixed_ids(series, name)])
        kinds = series.map(lambda value: type(value).__name__)
        row = int(np.argmax((kinds != kinds.iloc[0]).to_numpy()))
        raise FrameError(
            f"column {name!r} mixes values of several types (row 0: {kinds.iloc[0]}, row {row}: {kinds.iloc[row]} "
            f"{series.iloc[row]!r}): make them one, for example with astype(str)"
        ) from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _mixed_ids(series: "pd.Series[Any]", name: str) -> pa.Array:
    """Objects of several kinds, each as the id that it is."""
    found: list[str | None] = []
    for row, (value, missing) in enumerate(zip(series, series.isna(), strict=True)):
        try:
            found.append(None if missing else id_text(value))
        except TypeError as error:
            raise FrameError(
                f"column {name!r} {error} (row {row}): make it one, for example with astype(str)"
            ) from None
    return pa.array(found, pa.string())


def _first(condition: pa.ChunkedArray) -> int | None:
    """The first row where a condition holds."""
    row = pc.index(condition, True).as_py()
    return None if row < 0 else int(row)


def _without_nulls(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if pa.types.is_dictionary(array.type):  # categories
        array = pc.cast(array, array.type.value_type)
    missing = array.is_null(nan_is_null=True)
    if (row := _first(missing)) is not None:
        count = pc.sum(missing).as_py() - 1
        more = f" (and {count:,} others have none)" if count else ""
        raise FrameError(f"column {name!r} has no value in row {row}{more}: drop such rows or fill them")
    return array


def _ids(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Ids as the text that landed logs have for them."""
    array = _without_nulls(array, name)
    kind = array.type
    if pa.types.is_integer(kind):
        return _check_long(array.cast(pa.string()), name)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _whole_numbers(array, name)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or _is_text(kind):
        try:
            text = array.cast(pa.string())
        except pa.ArrowInvalid:
            raise FrameError(f"column {name!r} holds {kind} that is no UTF-8: ids are whole numbers or text") from None
        # Most ids are plain, and looking is faster.
        plain_ids = pc.all(pc.match_substring_regex(text, "^[0-9A-Za-z_-]+$")).as_py()
        return _check_long(text if plain_ids else _texts(text, name), name)
    if isinstance(kind, pa.UuidType):
        return pa.chunked_array([[str(value) for value in array.to_pylist()]], pa.string())
    raise FrameError(f"column {name!r} holds {kind} (row 0: {array[0].as_py()!r}): ids are whole numbers or text, for "
                     "example by astype(str)")  # fmt: skip


def _whole_numbers(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Numbers with a point that are whole, as a column has them that once had a gap."""
    limit = {16: 2.0**11, 32: 2.0**24}.get(array.type.bit_width, UNSURE) if pa.types.is_floating(array.type) else None
    numbers = array if limit is None else array.cast(pa.float64())
    split = pc.invert(pc.fill_null(pc.equal(numbers, pc.trunc(numbers)), False))
    if limit is not None:
        split = pc.or_(split, pc.is_inf(numbers))
    if (row := _first(split)) is not None:
        raise FrameError(
            f"column {name!r} holds the number {array[row].as_py()} in row {row}: ids are whole numbers or text, for "
            "example by astype(str)"
        )
    if limit is None:
        return pc.replace_substring_regex(array.cast(pa.string()), "[.]0+$", "")
    if (row := _first(pc.greater_equal(pc.abs(numbers), limit))) is not None:
        raise FrameError(
            f"column {name!r} holds the number {array[row].as_py()} in row {row}, which has more digits than a "
            f"{array.type} can: what id it was cannot be known; read the column as text or int64 from the start"
        )
    return numbers.cast(pa.int64()).cast(pa.string())


def _texts(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    with duckdb.connect() as connection:
        connection.register("frame", pa.table({"id": array}))
        table = connection.sql(
            f"SELECT {whole('id')} AS id, control FROM "
            f"(SELECT {trimmed('id')} AS id, {has_control('id')} AS control FROM frame)"
        ).to_arrow_table()
        connection.register("ids", table)
        (spoilt,) = connection.sql(f"SELECT COUNT(*) FILTER ({is_spoilt('id')}) FROM ids").fetchall()[0]
    text: pa.ChunkedArray = table["id"].cast(pa.string())
    if (row := _first(pc.equal(text, ""))) is not None:
        raise FrameError(f"column {name!r} has an empty text in row {row}: drop such rows or fill them")
    if (row := _first(table["control"])) is not None:
        raise FrameError(f"column {name!r} has a control character in row {row}: {array[row].as_py()!r}; fix it")
    _check_exact(spoilt, len(text), "4.46E+07", name)
    return text


def _check_long(text: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """FrameError where long numbers have 15 digits and zeros, as a log is refused; else the same ids."""
    zeros = pc.sum(pc.match_substring_regex(text, f"^{ROUNDED}$")).as_py() or 0
    if zeros <= MOST_SPOILT * len(text):
        return text
    with duckdb.connect() as connection:
        connection.register("frame", pa.table({"id": text}))
        ((rounded, example),) = connection.sql(
            f"SELECT {are_rounded('id')}, MIN(id) FILTER ({is_rounded_id('id')}) "
            "FROM (SELECT DISTINCT id FROM frame WHERE STRLEN(id) > 15)"
        ).fetchall()
    _check_exact(zeros if rounded else 0, len(text), example, name)
    return text


def _check_exact(lost: int, rows: int, example: str, name: str) -> None:
    if lost > MOST_SPOILT * rows:
        raise FrameError(
            f"column {name!r} holds ids that have lost digits, {lost:,} of {rows:,}, as a spreadsheet leaves "
            f"them ({example}): what they were cannot be known; export it as text"
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _times(array: pa.ChunkedArray, name: str, unit: TimeUnit | None) -> pa.ChunkedArray:
    """Times in microseconds since 1970-01-01 UTC."""
    array = _without_nulls(array, name)
    kind = array.type
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(array.type):  # one without a zone is UTC
        _refuse_wrong_unit(array, name)
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


def _likely_unit(latest: float) -> TimeUnit | None:
    """The unit in which a number is a time from 1990 to 2100."""
    return next((unit for unit, scale in PER_SECOND.items() if YEAR_1990 <= latest / scale < YEAR_2100), None)


def _refuse_wrong_unit(array: pa.ChunkedArray, name: str) -> None:
    """Datetimes made of seconds that were taken for a smaller unit are all in January 1970."""
    nanoseconds = 1000 * pc.max(pc.cast(array, pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())).as_py()
    likely = _likely_unit(nanoseconds)
    if likely not in (None, "ns"):
        other = "" if likely == "s" else ' or unit="s"'
        raise FrameError(
            f"column {name!r} holds datetimes of January 1970 (row 0: {array[0].as_py()}), made of numbers whose unit "
            f'was taken for a smaller one: make them anew with pandas.to_datetime(..., unit="{likely}"){other}'
        )


def _scaled(array: pa.ChunkedArray, name: str, unit: TimeUnit | None) -> pa.ChunkedArray:
    values = array.to_numpy()
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise FrameError(f"column {name!r} has {values[row]} in row {row}, which is no time")
    if unit is None:
        guess = next((guess for guess, scale in PER_SECOND.items() if values.max() / scale < YEAR_2100), "ns")
        raise FrameError(
            f"column {name!r} holds numbers (row 0: {values[0]}): say their unit since 1970 with "
            f'time_unit="s", "ms", "us" or "ns" (here likely "{guess}")'
        )
    if unit not in PER_SECOND:
        raise FrameError(f'time_unit is "s", "ms", "us" or "ns", not {unit!r}')
    early = YEAR_1990 * PER_SECOND[unit]
    likely = _likely_unit(values.max())
    if likely is not None and values.max() < early:
        year = datetime.fromtimestamp(float(values.max()) / PER_SECOND[unit], UTC).year
        raise FrameError(
            f'column {name!r} holds numbers up to {values.max()}, which are before {year + 1} as time_unit="{unit}": '
            f'they are likely "{likely}"'
        )
    first = _likely_unit(values.min())
    if first not in (None, unit) and values.min() < early:
        row = int(np.argmin(values))
        raise FrameError(
            f"column {name!r} holds numbers in several units: {values[row]} in row {row} is likely "
            f'"{first}", not "{unit}"'
        )
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise FrameError(f"column {name!r} has a time before 1970 in row {row}: {values[row]}")
    if (late := values > LATEST * PER_SECOND[unit]).any():
        row = int(np.argmax(late))
        raise FrameError(f"column {name!r} has {values[row]} in row {row}, after the year 9999 if that is in {unit}: "
                         "give another time_unit")  # fmt: skip
    if unit == "ns":
        return pa.chunked_array([(values // 1000).astype(np.int64)])
    factor = 1_000_000 // PER_SECOND[unit]
    if np.issubdtype(values.dtype, np.floating):
        return pa.chunked_array([np.rint(values * factor).astype(np.int64)])
    return pa.chunked_array([values.astype(np.int64) * factor])


def _parsed(array: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """ISO 8601 text, read as that of landed logs."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("frame", pa.table({"time": array.cast(pa.string())}))
        sql = f"SELECT {iso_instant('time')} AS time FROM frame"
        numbers: pa.ChunkedArray = connection.sql(sql).to_arrow_table()["time"]
        unclear = connection.sql(f"SELECT {unclear_zone('time')} AS unclear FROM frame").to_arrow_table()["unclear"]
    if (row := _first(unclear)) is not None:
        raise FrameError(
            f"column {name!r} has a time in row {row} whose zone could be several: {array[row].as_py()!r}; write the "
            "offset (+05:30), or make datetimes of it with a zone"
        )
    if (row := _first(numbers.is_null())) is not None:
        raise FrameError(
            f"column {name!r} has a text in row {row} that is no time: {array[row].as_py()!r}; write ISO 8601 "
            "(2026-01-31T12:00:00Z), or parse it before, for example with pandas.to_datetime"
        )
    return numbers
