"""What a landed log must be before an engine may see it: refused files cost a sentence, not a night."""

import csv
import gzip
import hashlib
import re
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.settings import LogSettings

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
CHUNK = 1 << 20
MAX_HEADER = 1 << 16


class LogRefusedError(ValueError):
    """A landed file that is not read at all. The text says which, why, and what to do."""


@dataclass(frozen=True)
class LandedLog:
    """A log that passed the gate."""

    path: Path
    name: str
    sha256: str
    """Of the file's bytes, as landed."""
    bytes: int
    records: int
    """Lines after the header, blank ones left out; rows of a Parquet file."""
    columns: tuple[str, ...]
    compressed: bool
    time_unit: str
    """Unit of the time column: the settings', or iso8601 for a Parquet timestamp, which has a unit of its own."""


def is_log_name(name: str) -> bool:
    """Whether a file of this name is taken at all; hidden files and files under way (.part, .tmp) are left alone."""
    return not name.startswith(".") and not name.endswith((".part", ".tmp"))


def check_name(name: str) -> None:
    """Refuse names that an engine, a URL or a terminal would read as more than a name."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=+@ -]{0,199}", name):
        raise LogRefusedError(
            f"{name!r}: a log's name may hold letters, digits, space and _ . = + @ - only (at most 200); rename it"
        )


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def admit(path: Path, settings: LogSettings) -> LandedLog:
    """Look at a landed file and say what it is; LogRefusedError where it cannot be a log of this feed."""
    name = path.name
    check_name(name)
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise LogRefusedError(f"{name}: not a regular file; copy the log itself into the landing folder")
    if status.st_size == 0:
        raise LogRefusedError(f"{name}: the file is empty; land it again when it is complete")
    if settings.format == "parquet":
        return _admit_parquet(path, settings, status.st_size)
    compressed = name.endswith(".gz")
    with path.open("rb") as file:
        magic = file.read(4)
    if compressed != magic.startswith(GZIP_MAGIC):
        wrong = "named .gz but is not gzip" if compressed else "gzip data without .gz in its name"
        raise LogRefusedError(f"{name}: {wrong}; rename it or compress it again")
    if magic == PARQUET_MAGIC:
        raise LogRefusedError(f'{name}: this is Parquet; set [logs] format = "parquet" for this feed')
    try:
        with _open(path, compressed) as stream:
            first = stream.readline(MAX_HEADER)
        lines = _count_lines(path, compressed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise LogRefusedError(f"{name}: the gzip data are damaged or cut off ({error}); land it again") from error
    if b"\r" in first.rstrip(b"\r\n"):
        raise LogRefusedError(f"{name}: lines end in a bare CR; convert the file to LF or CRLF line ends")
    columns = _columns(name, first, settings)
    if settings.columns is None:
        lines -= 1
    return LandedLog(path, name, sha256_of(path), status.st_size, lines, columns, compressed, settings.time_unit)


def _open(path: Path, compressed: bool) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def _count_lines(path: Path, compressed: bool) -> int:
    """Lines that are not blank; NUL bytes are refused on the way, for they end a file that a crash cut off."""
    lines = 0
    with _open(path, compressed) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip(b"\r\n"):
                lines += 1
            if b"\0" in line:
                raise LogRefusedError(f"{path.name}: line {number} holds NUL bytes (a crash or UTF-16); land it again")
    return lines


def _columns(name: str, first: bytes, settings: LogSettings) -> tuple[str, ...]:
    if settings.columns is not None:
        columns = settings.columns
    else:
        try:
            header = first.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise LogRefusedError(f"{name}: the header is not UTF-8; convert the file") from None
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if settings.format == "csv" else csv.QUOTE_NONE
        try:
            columns = next(csv.reader([header], delimiter=settings.separator, quoting=quoting, strict=True), [])
        except csv.Error as error:
            raise LogRefusedError(f"{name}: the header cannot be split ({error}); mend its quotes") from None
    _check_columns(name, columns, [c for c in columns if columns.count(c) > 1], settings)
    return tuple(columns)


def _check_columns(name: str, columns: Sequence[str], doubled: list[str], settings: LogSettings) -> None:
    needed = [settings.session, settings.item, settings.time, *settings.extra_columns]
    needed += [rule.column for rule in settings.keep]
    missing = [c for c in needed if c not in columns]
    if doubled or missing:
        wrong = f"column {min(doubled)!r} stands twice" if doubled else f"column {missing[0]!r} is missing"
        looks_like = [d for d in ",;|\t" if len(columns) == 1 and d in columns[0]]
        hint = f"; the delimiter seems to be {looks_like[0]!r}" if looks_like else ""
        raise LogRefusedError(
            f"{name}: {wrong} in the header {list(columns)[:12]}{hint}; mend the file, or say in [logs] of "
            "sessrec.toml what the columns and the delimiter are"
        )


def _admit_parquet(path: Path, settings: LogSettings, size: int) -> LandedLog:
    try:
        file = pq.ParquetFile(path)
        columns = tuple(file.schema_arrow.names)
        rows = file.metadata.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise LogRefusedError(f"{path.name}: not a readable Parquet file ({error}); land it again") from error
    stamped = settings.time in columns and pa.types.is_timestamp(file.schema_arrow.field(settings.time).type)
    unit = "iso8601" if stamped else settings.time_unit
    lower = [c.lower() for c in columns]  # the engine does not tell capitals apart
    _check_columns(path.name, columns, [c for c in columns if lower.count(c.lower()) > 1], settings)
    return LandedLog(path, path.name, sha256_of(path), size, rows, columns, False, unit)
