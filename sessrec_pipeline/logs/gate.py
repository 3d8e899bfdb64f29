"""What a landed log must be before an engine may see it: refused files cost a sentence, not a night."""

import codecs
import csv
import re
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.logs.parts import Part, parts_of, sha256_of
from sessrec_pipeline.logs.unpack import (
    PACKED,
    Compression,
    PackedDataError,
    compression_of_bytes,
    compression_of_name,
    other_format,
    unpacked,
)
from sessrec_pipeline.settings import LogSettings
from sessrec_pipeline.storage.files import file_name

PARQUET_MAGIC = b"PAR1"
MAX_HEADER = 1 << 16
MAX_LINE = 16 << 20
"""Bytes; from about 30 MB on the engine loses a line without a word."""
BLANK_LINE = re.compile(rb"(?<=\n)\n")
JSON = re.compile(r'\s*(\[\s*)?\{\s*"')
JSON_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*({|$)")
UTF_16 = "UTF-16 is not read: convert the file (iconv -f UTF-16 -t UTF-8)"


class LogRefusedError(ValueError):
    """A landed file that is not read at all. The text says which, why, and what to do."""


@dataclass(frozen=True)
class LandedLog:
    """A log that passed the gate."""

    path: Path
    """Of a file, or of a folder of Parquet parts."""
    name: str
    sha256: str
    """Of the file's bytes, as landed; of the names and bytes of the parts."""
    bytes: int
    records: int
    """Lines after the header, blank ones left out; rows of a Parquet file."""
    blank_lines: int
    columns: tuple[str, ...]
    """All columns, in order; of JSON Lines the keys that the settings name."""
    compression: Compression
    time_unit: str
    """Unit of the time column: the settings', "format" where they have a ``time_format``, or iso8601 for a date or a
    timestamp of Parquet, which has a unit of its own."""


def check_name(name: str) -> None:
    """Refuse names that an engine, a URL, a shell or a terminal would read as more than a name."""
    plain = all(c.isalnum() or c in "_.=+@() -" or unicodedata.category(c).startswith("M") for c in name)
    # Three points are a range of partitions to Dagster; file systems end at 255 bytes.
    if not plain or not name[:1].isalnum() or "..." in name or len(name) > 200 or len(file_name(name)) > 240:
        raise LogRefusedError(
            f"{name!r}: a log's name may hold letters, digits, space and _ . = + @ ( ) - only, begins with a letter or "
            "digit, and has no three points in a row (at most 200 characters, fewer where many are beyond ASCII); "
            "rename it"
        )


def preamble(line: str) -> str | None:
    """What a line is that programs write before the header; None where it may be the header."""
    if re.fullmatch(r"\ufeff?sep=.{1,2}", line.strip("\r\n"), re.IGNORECASE):
        return "a hint for Excel"
    return "a comment" if line.lstrip("\ufeff ").startswith("#") else None


def admit(path: Path, settings: LogSettings) -> LandedLog:
    """Look at a landed file and say what it is; LogRefusedError where it cannot be a log of this feed."""
    name = path.name
    check_name(name)
    if path.is_dir() and settings.format != "parquet":
        raise LogRefusedError(
            f'{name}: a folder; with [logs] format = "{settings.format}" a log is one file: land the files in it one '
            "by one, in the landing folder itself"
        )
    parts = parts_of(path)
    if not parts:
        raise LogRefusedError(f"{name}: a folder without files; land the Parquet parts of the log in it")
    for part in parts:
        status = part.path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise LogRefusedError(f"{part.place}: not a regular file; copy the log itself into the landing folder")
        if status.st_size == 0:
            raise LogRefusedError(f"{part.place}: the file is empty; land it again when it is complete")
    try:
        if settings.format == "parquet":
            return _admit_parquet(path, parts, settings)
        return _admit_text(path, settings, status.st_size)
    except PackedDataError as error:
        raise LogRefusedError(f"{name}: {error}") from error
    except PermissionError as error:
        raise LogRefusedError(f"{name}: may not be read by this user; change its permissions (chmod u+r)") from error


def _admit_text(path: Path, settings: LogSettings, size: int) -> LandedLog:
    name = path.name
    compression = compression_of_name(name)
    with path.open("rb") as file:
        magic = file.read(16)
    if (other := other_format(magic)) is not None:
        raise LogRefusedError(f"{name}: {other}")
    found = compression_of_bytes(magic)
    if compression != found:
        suffix = PACKED[compression if found == "none" else found][0]
        raise LogRefusedError(
            f"{name}: its name ends in {suffix}, but it holds no {compression} data; rename it, or compress it"
            if found == "none"
            else f"{name}: it holds {found} data, but its name does not end in {suffix}; rename it, or unpack it"
        )
    if magic.startswith(PARQUET_MAGIC):
        raise LogRefusedError(f'{name}: this is Parquet; set [logs] format = "parquet" for this feed')
    if magic.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise LogRefusedError(f"{name}: {UTF_16}, and land it again")
    first, lines, blank_lines = _lines(path, compression)
    if b"\r" in first.rstrip(b"\r\n"):
        raise LogRefusedError(f"{name}: lines end in a bare CR; convert the file to LF or CRLF line ends")
    if settings.format == "jsonl":
        columns = settings.needed_columns
        if JSON_ARRAY.match(first):
            raise LogRefusedError(f"{name}: a JSON array, not JSON Lines; write one object a line (jq -c '.[]')")
    else:
        columns = _columns(name, first, settings)
        lines -= settings.columns is None
    return LandedLog(path, name, sha256_of(path), size, lines, blank_lines, columns, compression, _unit(settings))


def _unit(settings: LogSettings) -> str:
    return settings.time_unit if settings.time_format is None else "format"


def _lines(path: Path, compression: Compression) -> tuple[bytes, int, int]:
    """The first line, how many lines are not blank, and how many are.

    NUL bytes are refused on the way, for they end a file that a crash cut off, and so are lines without end.
    """
    first = b""
    ends = blank = unfinished = 0
    last = b"\n"
    for chunk in unpacked(path, compression):
        if not ends:
            first += chunk[: max(0, MAX_HEADER - len(first))]
        if (nul := chunk.find(b"\0")) >= 0:
            number = ends + chunk.count(b"\n", 0, nul) + 1
            raise LogRefusedError(f"{path.name}: line {number} holds NUL bytes: {_why_nul(chunk)}")
        newline = chunk.find(b"\n")
        if unfinished + (newline if newline >= 0 else len(chunk)) > MAX_LINE:
            raise LogRefusedError(
                f"{path.name}: line {ends + 1} is longer than {MAX_LINE >> 20} MiB, which is no event; is it the right "
                "file, and are its line ends LF or CRLF?"
            )
        unfinished = len(chunk) - chunk.rfind(b"\n") - 1 if newline >= 0 else unfinished + len(chunk)
        text = last + chunk.replace(b"\r", b"")
        ends += text.count(b"\n", 1)
        if b"\n\n" in text:
            blank += len(BLANK_LINE.findall(text))
        last = text[-1:]
    return first.partition(b"\n")[0] + b"\n", ends + (last != b"\n") - blank, blank


def _why_nul(chunk: bytes) -> str:
    """What text with NUL bytes is, and what to do: of UTF-16 every other byte of most letters is one."""
    start = chunk[:MAX_HEADER]
    if max(start[::2].count(0), start[1::2].count(0)) > len(start) / 4:
        return f"{UTF_16}, and land it again"
    return "a crash has cut it off, or it is no text; land it again"


def _columns(name: str, first: bytes, settings: LogSettings) -> tuple[str, ...]:
    if settings.columns is not None:
        columns = settings.columns
    else:
        try:
            header = first.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise LogRefusedError(f"{name}: the header is not UTF-8; convert the file") from None
        if JSON.match(header):
            raise LogRefusedError(
                f'{name}: this looks like JSON; set [logs] format = "jsonl" for this feed if it has an object a line, '
                "or land it in a feed that reads JSON Lines"
            )
        if (what := preamble(header)) is not None and not set(settings.needed_columns) & set(
            header.split(settings.separator)
        ):
            raise LogRefusedError(
                f"{name}: the first line, {header[:40]!r}, is {what}, not the header; delete the lines before the "
                "header"
            )
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if settings.format == "csv" else csv.QUOTE_NONE
        try:
            columns = next(csv.reader([header], delimiter=settings.separator, quoting=quoting, strict=True), [])
        except csv.Error as error:
            raise LogRefusedError(f"{name}: the header cannot be split ({error}); fix its quotes") from None
    _check_columns(name, columns, [c for c in columns if columns.count(c) > 1], settings)
    return tuple(columns)


def _check_columns(name: str, columns: Sequence[str], doubled: list[str], settings: LogSettings) -> None:
    missing = [c for c in settings.needed_columns if c not in columns]
    if doubled or missing:
        wrong = f"column {min(doubled)!r} stands twice" if doubled else f"column {missing[0]!r} is missing"
        looks_like = [d for d in ",;|\t" if len(columns) == 1 and d in columns[0]]
        hint = f"; the delimiter seems to be {looks_like[0]!r}" if looks_like else ""
        raise LogRefusedError(
            f"{name}: {wrong} in the header {list(columns)[:12]}{hint}; fix the file, or say in [logs] of "
            "sessrec.toml what the columns and the delimiter are (`sessrec describe FILE` proposes it)"
        )


def _admit_parquet(path: Path, parts: Sequence[Part], settings: LogSettings) -> LandedLog:
    """A file, or a folder of parts: a column may be of another type in each, and one that is not needed be wanting."""
    columns: dict[str, None] = {}
    rows = 0
    units = set()
    for part in parts:
        try:
            file = pq.ParquetFile(part.path)
            schema, rows = file.schema_arrow, rows + file.metadata.num_rows
        except PermissionError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            with part.path.open("rb") as bytes_of:
                if not bytes_of.read(4).startswith(PARQUET_MAGIC):
                    raise LogRefusedError(
                        f"{part.place}: this is no Parquet, which this feed reads; write it as Parquet, or set [logs] "
                        "format (`sessrec describe FILE` proposes it)"
                    ) from error
            raise LogRefusedError(f"{part.place}: not a readable Parquet file ({error}); land it again") from error
        names = [*schema.names, *(column for column in part.values if column not in schema.names)]
        lower = [column.lower() for column in names]  # the engine does not tell capitals apart
        _check_columns(part.place, names, [c for c in names if lower.count(c.lower()) > 1], settings)
        columns |= dict.fromkeys(names)
        kind = schema.field(settings.time).type if settings.time in schema.names else pa.string()
        units.add("iso8601" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else _unit(settings))
    if len(units) > 1:
        raise LogRefusedError(f"{path.name}: column {settings.time!r} has times in some parts and numbers in others")
    size = sum(part.path.stat().st_size for part in parts)
    return LandedLog(path, path.name, sha256_of(path), size, rows, 0, tuple(columns), "none", units.pop())
