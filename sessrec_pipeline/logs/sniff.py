"""What an unknown file looks like, from its first lines: format, encoding, delimiter, columns, rows."""

import codecs
import csv
import json
import math
import re
import stat
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.logs.gate import JSON_ARRAY, MAX_HEADER, PARQUET_MAGIC, UTF_16, LogRefusedError, preamble
from sessrec_pipeline.logs.parts import parts_of
from sessrec_pipeline.logs.unpack import Compression, PackedDataError, compression_of_bytes, other_format, unpacked

HEAD = 1 << 20
DELIMITERS = ("\t", ",", ";", "|", "\x01", "^", "~", " ")
MAX_ROWS = 10_000
MAX_TRIED = 1_000
"""Lines that delimiters are tried on; rows of Parquet that are looked at."""
SURE = 0.8
"""Share of the looked-at values that must agree before a column gets a role."""

ISO = re.compile(r"\d{4}[-/](?:0?[1-9]|1[0-2])[-/]\d{1,2}([ T]\d{1,2}:\d\d(?!.*([AaPp][Mm]| [+-])).*)?")
DATES = (
    (r"\d{1,2}([/.-])\d{1,2}\1\d{4}", ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")),
    (r"\d{1,2}([/.-])\d{1,2}\1\d{2}", ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")),
    (r"\d{4}([/.-])\d{1,2}\1\d{1,2}", ("%Y{0}%m{0}%d", "%Y{0}%d{0}%m")),
    (r"\d{1,2}([ /-])[A-Za-z]{3}\1\d{4}", ("%d{0}%b{0}%Y",)),
    (r"\d{1,2}([ -])[A-Za-z]{4,9}\1\d{4}", ("%d{0}%B{0}%Y",)),
    (r"[A-Za-z]{3}( )\d{1,2} \d{4}", ("%b %d %Y",)),
    (r"[A-Za-z]{3}( )\d{1,2}, \d{4}", ("%b %d, %Y",)),
    (r"[A-Za-z]{4,9}( )\d{1,2}, \d{4}", ("%B %d, %Y",)),
    (r"\d{8}()(?=$|[ T]|\d{4,6}(?:$|[Z+-]))", ("%Y%m%d",)),
)
"""Ways to write a date, and what they are in ``time_format``; all, where day, month or year could be either."""
CLOCK = re.compile(
    r"(?P<gap>$|T|:| |, )(?:(?P<hour>\d{1,2}):\d\d(?P<second>:\d\d)?(?P<fraction>[.,]\d{1,6})?"
    r"(?P<half> ?[AaPp][Mm])?(?P<zone> ?[+-]\d\d:?\d\d| UTC| GMT|Z)?)?"
)
COMPACT = re.compile(r"(?P<gap>T?)\d{4}(?P<second>\d\d)?(?P<zone>Z|[+-]\d{4})?")
WEEKDAY = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? ")
BOMS = {
    codecs.BOM_UTF8: "UTF-8 with a byte-order mark",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


NAMES: dict[str, tuple[str, ...]] = {
    "session": (
        *("session", "sessionid", "usersession", "sess", "visit", "visitid", "basket", "basketid", "order", "orderid"),
        *("invoiceno", "invoice", "visitorid", "visitor", "userid", "user", "customerid", "customer", "clientid"),
        *("userpseudoid", "visitorkey", "cookieid"),
    ),
    "item": (
        *("item", "itemid", "aid", "product", "productid", "stockcode", "sku", "article", "articleid", "movieid"),
        *("trackid", "songid", "newsid", "contentid", "asin"),
    ),
    "time": (
        *("time", "timestamp", "ts", "eventtime", "datetime", "createdat", "eventdate", "date", "invoicedate"),
        *("unixtime", "eventtimestamp"),
    ),
    "time_offset": ("timeframe",),
    "event type": (
        *("eventtype", "event", "eventname", "type", "behaviortype", "behaviourtype", "behavior", "behaviour"),
        *("actiontype", "action", "interactiontype", "interaction"),
    ),
}
"""Usual column names by role, letters and digits only, the likeliest first."""
EVENT_TYPES = {
    *("view", "views", "pageview", "page_view", "pv", "click", "clicks", "detail", "cart", "carts", "addtocart"),
    *("add_to_cart", "remove_from_cart", "removefromcart", "buy", "buys", "purchase", "purchases", "order", "orders"),
    *("transaction", "fav", "favorite", "wishlist", "like", "search", "impression", "checkout", "begin_checkout"),
}
"""What usually stands in a column of them, in small letters."""
KNOWN = {name for names in NAMES.values() for name in names}


@dataclass
class Look:
    """What a file looks like."""

    size: int
    """Bytes, as it lies there."""
    format: Literal["tsv", "csv", "jsonl", "parquet"] | None = None
    compression: Compression = "none"
    encoding: str = "UTF-8"
    line_ends: str = ""
    delimiter: str = ""
    header: bool = True
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    """First rows, a text for each column."""
    events: str | None = None
    """Key of the list of events, in JSON Lines with a session a line; columns and rows are then the events'."""
    outer_columns: list[str] = field(default_factory=list)
    """Keys of such a line itself."""
    roles: dict[str, str] = field(default_factory=dict)
    """Column by role: session, item, time, time_offset, event type."""
    notes: list[str] = field(default_factory=list)
    """What a person should know or do."""

    def values(self, column: str) -> list[str]:
        """What the first rows hold in a column, without the empty ones."""
        place = self.columns.index(column)
        return [row[place] for row in self.rows if len(row) > place and row[place].strip()]


def look_at(path: Path) -> Look:
    """Look at the start of a file; LogRefusedError where it is none or cannot be opened."""
    try:
        if path.is_dir() and not path.is_symlink():
            return _look_at_parts(path)
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise LogRefusedError(f"{path}: not a regular file; name the log itself")
        with path.open("rb") as file:
            start = file.read(16)
    except (OSError, ValueError) as error:
        if isinstance(error, LogRefusedError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise LogRefusedError(f"{str(path)!r}: cannot be opened ({reason})") from error
    look = Look(status.st_size, compression=compression_of_bytes(start))
    if not start:
        look.notes.append("The file is empty.")
    elif (other := other_format(start)) is not None:
        look.notes.append(f"{other[0].upper()}{other[1:]}.")
    elif start.startswith(PARQUET_MAGIC):
        _parquet(path, look)
    else:
        _text(path, look)
    return look


def _look_at_parts(folder: Path) -> Look:
    """Look at the first Parquet part of a log that is a folder."""
    parts = parts_of(folder)
    if not parts or parts[0].path.suffix != ".parquet":
        raise LogRefusedError(f"{folder}: a folder without Parquet parts (*.parquet); name the log itself")
    look = Look(sum(part.path.stat().st_size for part in parts))
    _parquet(parts[0].path, look)
    further = {column: value or "" for column, value in parts[0].values.items() if column not in look.columns}
    look.columns += further
    look.rows = [[*row, *further.values()] for row in look.rows]
    look.notes.append(f"A log of {len(parts):,} parts, of which this is the first: {parts[0].name}.")
    return look


def _parquet(path: Path, look: Look) -> None:
    look.format, look.encoding = "parquet", ""
    try:
        file = pq.ParquetFile(path)
        look.columns = list(file.schema_arrow.names)
        batch = next(file.iter_batches(MAX_TRIED), None)
        rows = [] if batch is None else batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        look.notes.append(f"The Parquet data are damaged or cut off ({error}).")
        return
    nested = {field.name: str(field.type) for field in file.schema_arrow if pa.types.is_nested(field.type)}
    if nested:
        names = ", ".join(f"{name!r} ({kind})" for name, kind in list(nested.items())[:4])
        look.notes.append(
            f"Columns of lists or structures are not read: {names}. Write one row for each event, with a text, number "
            "or time in each column."
        )
    nothing = ("None", "nan")
    look.rows = [["" if text in nothing else text for text in map(str, row.values())] for row in rows]


def _text(path: Path, look: Look) -> None:
    head = b""
    try:
        for chunk in unpacked(path, look.compression):
            head += chunk
            if len(head) >= HEAD:
                break
    except PackedDataError as error:
        look.notes.append(f"Of {path.name}, {error}.")
        if not head:
            return
    if compression_of_bytes(head) != "none":
        look.notes.append("The data are compressed twice: unpack them once.")
        return
    text = _decoded(head, look)
    if text is None:
        return
    plain_text = re.sub(r'(?<=[\n,;|\t])"[^"]*"', "", text)  # in quotes line ends may differ, as in what Excel writes
    ends = {"CRLF": plain_text.count("\r\n")}
    ends |= {"LF": plain_text.count("\n") - ends["CRLF"], "CR": plain_text.count("\r") - ends["CRLF"]}
    look.line_ends = " and ".join(kind for kind, count in ends.items() if count)
    if "CR" in look.line_ends.split() or " and " in look.line_ends:
        look.notes.append(f"Line ends are {look.line_ends}: convert the file to LF or CRLF throughout.")
    if JSON_ARRAY.match(text.encode()):
        look.notes.append("A JSON array is not read: write one object a line (jq -c '.[]').")
        return
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip() and len(line) < MAX_HEADER][: MAX_ROWS + 1]
    lines = _without_preamble(lines, look)
    if not lines:
        look.notes.append("The file starts with blank lines or with one line without end.")
    elif any(_json_object(line) for line in lines[:2]):
        _json_lines(lines, look)
    else:
        _delimited(lines, look)


def _without_preamble(lines: list[str], look: Look) -> list[str]:
    """The lines without those before the header that are none, which are noted."""
    first = 0
    while first + 1 < len(lines) and (what := preamble(lines[first])) is not None:
        delimiters = [d for d in DELIMITERS if lines[first].count(d) > 1]
        if any(lines[first].count(d) == lines[-1].count(d) for d in delimiters):  # the names begin with a number sign
            break
        if not first:
            look.notes.append(
                f"The first line, {lines[0][:40]!r}, is {what}: delete it, and any more before the header."
            )
        first += 1
    return lines[first:]


def _decoded(head: bytes, look: Look) -> str | None:
    """The start of a file as text, None where it is none; sets the encoding and adds to the notes."""
    bom = next((mark for mark in BOMS if head.startswith(mark)), b"")
    look.encoding = BOMS.get(bom, look.encoding)
    if look.encoding == "UTF-16":
        look.notes.append(f"{UTF_16}.")
    elif b"\0" in head:
        look.notes.append(
            "The file holds NUL bytes: it is no text, UTF-16 without a mark, or cut off by a crash; it is not read."
        )
        return None
    if len(head) >= HEAD:  # the last line may be cut off in the middle of a character
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        return head.decode("utf-16", "replace") if look.encoding == "UTF-16" else head.decode("utf-8-sig")
    except UnicodeDecodeError:
        look.encoding = "not UTF-8 throughout"
        look.notes.append("Some bytes are not UTF-8 (Latin-1?): such lines go to quarantine; convert the file.")
        return head.decode("utf-8-sig", errors="replace")


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _json_lines(lines: Sequence[str], look: Look) -> None:
    look.format = "jsonl"
    objects = [found for line in lines if (found := _json_object(line)) is not None]
    lists = Counter(key for o in objects for key, value in o.items() if isinstance(value, list) and value)
    look.events = next((key for key, n in lists.most_common(1) if n >= SURE * len(objects)), None)
    if look.events is not None:
        look.outer_columns = list(dict.fromkeys(key for o in objects for key in o))
        objects = [event for o in objects for event in o.get(look.events) or [] if isinstance(event, dict)]
    look.columns = list(dict.fromkeys(key for o in objects for key in o))
    look.rows = [[_as_text(o.get(key)) for key in look.columns] for o in objects[:MAX_ROWS]]


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _delimited(lines: Sequence[str], look: Look) -> None:
    best: tuple[float, int] = (0, 0)
    kept: Literal[0, 3] = csv.QUOTE_NONE
    for delimiter in DELIMITERS:
        quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        try:
            rows = list(csv.reader(lines[:MAX_TRIED], delimiter=delimiter, quoting=quoting))
        except csv.Error:
            continue
        (width, count), *_ = Counter(len(row) for row in rows).most_common(1)
        fit = (count / len(rows), width)
        words = delimiter == " " and (look.delimiter or len(rows) == 1 or count < len(rows))
        if width >= 3 and fit[0] >= SURE and fit > best and not words:
            best, look.delimiter, look.rows = fit, delimiter, rows
            kept = quoting
    if not look.delimiter:
        look.columns, look.rows = [], [[line] for line in lines[:3]]
        look.notes.append("No delimiter (tab , ; | ^A ^ ~ space) parts the lines into three columns or more.")
        return
    look.format = "tsv" if look.delimiter == "\t" else "csv"
    if len(lines) > MAX_TRIED:
        with suppress(csv.Error):
            look.rows = list(csv.reader(lines, delimiter=look.delimiter, quoting=kept))
    first, rest = look.rows[0], look.rows[1:]
    look.header = _is_header(first, rest)
    if look.header:
        look.columns, look.rows = first, rest
    else:
        look.columns = [f"column{i}" for i in range(1, best[1] + 1)]
    twice = [name for name, n in Counter(look.columns).items() if n > 1]
    if twice:
        look.notes.append(f"Column {twice[0]!r} stands twice: rename one of the two in the header.")


def _is_header(first: Sequence[str], rest: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: by names that we know, or because it holds no values and others do.

    The name of a column may be empty, as pandas leaves that of an index.
    """
    named = [cell for cell in first if cell.strip()]
    known = sum(plain(cell) in KNOWN for cell in named)
    if known >= min(2, len(first)):
        return True
    if any(map(_is_value, named)) or (known == 0 and len(named) < len(first)):
        return False
    return known > 0 or not rest or any(_is_value(cell) for row in rest for cell in row)


def _is_value(cell: str) -> bool:
    return bool(ISO.fullmatch(cell.strip())) or number(cell) is not None or bool(time_formats(cell))


def time_formats(text: str) -> list[str]:
    """The values of ``time_format`` that the look of a text allows."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):  # of web servers
        return [f"[{form}]" for form in time_formats(text[1:-1])]
    weekday = WEEKDAY.match(text)
    named = "" if weekday is None else f"%a{weekday[0][3:]}"
    text = text[weekday.end() :] if weekday else text
    if re.fullmatch(r"[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d (UTC |GMT )?\d{4}", text):  # of ctime and Java
        zone = next((f" {name}" for name in ("UTC", "GMT") if name in text), "")
        return [f"{named}%b %d %H:%M:%S{zone} %Y"]
    for shape, formats in DATES:
        if (date := re.match(shape, text)) is None:
            continue
        rest = text[date.end() :]
        if "%Y%m%d" in formats and (compact := COMPACT.fullmatch(rest)) is not None:
            second = "%S" if compact["second"] else ""
            return [f"{named}%Y%m%d{compact['gap']}%H%M{second}{_zone_format(compact['zone'])}"]
        if (clock := CLOCK.fullmatch(rest)) is None:
            continue
        time = ""
        if clock["hour"]:
            hour = "%I" if clock["half"] else "%H"
            half = "" if clock["half"] is None else " %p" if clock["half"].startswith(" ") else "%p"
            second = ":%S" if clock["second"] else ""
            time = f"{clock['gap']}{hour}:%M{second}{half}{_zone_format(clock['zone'])}"
        return [f"{named}{form.format(date[1])}{time}" for form in formats]
    return []


def _zone_format(zone: str | None) -> str:
    """How a zone stands in ``time_format``: a name of UTC as it is."""
    return "" if zone is None else re.sub(r"[+-].*", "%z", zone)


def parsed(text: str, time_format: str) -> datetime:
    """The time that a text says, to the second; ValueError where it says none so."""
    return datetime.strptime(re.sub(r"(:\d\d)[.,]\d+", r"\1", text.strip()), time_format).replace(tzinfo=UTC)


def fits(text: str, time_format: str) -> bool:
    """Whether a text can be read so."""
    try:
        parsed(text, time_format)
    except ValueError:
        return False
    return True


def number(text: str) -> float | None:
    """A finite number, perhaps with a decimal comma, or None."""
    try:
        value = float(text.replace(",", ".", 1))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def plain(name: str) -> str:
    """A column's name in small letters and digits, without RecBole's type."""
    return re.sub(r"[^a-z0-9]", "", name.partition(":")[0].lower())
