"""When an event was: the numbers and texts of logs, in SQL, as microseconds since 1970 UTC."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from sessrec_pipeline.clock import DAY, SECOND
from sessrec_pipeline.settings import LogSettings

DECIMAL = "TRY_CAST(REPLACE({column}, ',', '.') AS DECIMAL(28, 9))"
NUMBER = f"""CASE
    WHEN REGEXP_FULL_MATCH({{column}}, '[0-9]{{{{1,18}}}}') THEN CAST({{column}} AS HUGEINT) * {{times}}
    ELSE CAST(ROUND({DECIMAL} * {{times}}) AS HUGEINT)
END"""
"""Whole numbers, which most logs have, are read several times as fast as decimal ones; those may have a comma."""
NANOSECONDS = f"""CASE
    WHEN REGEXP_FULL_MATCH({{column}}, '[0-9]{{{{1,20}}}}') THEN CAST({{column}} AS HUGEINT) // 1000
    ELSE CAST(FLOOR({DECIMAL} * 0.001) AS HUGEINT)
END"""
NUMBERS = {
    "s": NUMBER.replace("{times}", "1000000"),
    "ms": NUMBER.replace("{times}", "1000"),
    "us": NUMBER.replace("{times}", "1"),
    "ns": NANOSECONDS,
    "order": "CASE WHEN REGEXP_FULL_MATCH({column}, '-?[0-9]{{1,18}}([.]0+)?') "
    "THEN CAST(FLOOR(CAST({column} AS DECIMAL(28, 9))) AS HUGEINT) + $earliest END",
}
"""Microseconds by the unit of the column; wide enough for sums that no BIGINT holds."""
ROUNDED = r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{1,2}"
"""A number of time as spreadsheets write it."""
POWERS = {"s": 0, "ms": 3, "us": 6, "ns": 9}

NUMERIC_ZONE = r"[-0-9:.TZ/ +]+(?:UTC)?"
"""ISO 8601 in UTC or with an offset: nearly every text of time, and nothing in it to look up."""
NO_ZONE = r"\s*[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?:[ T][0-9:.,]+)?\s*"
ABBREVIATION = r"[0-9] ?([A-Za-z]{2,5})\s*$"
CLEAR = ("AM", "BC", "CET", "EET", "GMT", "HST", "JST", "PM", "UCT", "UTC", "WET", "ZULU")
"""Abbreviations that mean one zone, and what is none. IST is India, Israel or Ireland, CST China, Cuba or Chicago."""


@dataclass(frozen=True)
class Reading:
    """SQL for a column of times. At most one of the two is not null."""

    instant: str
    """Microseconds since 1970 UTC."""
    local: str
    """Microseconds since 1970-01-01 00:00 on the clock of ``[logs] time_zone``."""
    unclear: str
    """Whether the time names a zone by letters that mean several."""


@dataclass(frozen=True)
class Change:
    """A moment at which a zone's clock is moved; microseconds."""

    at: int
    """Since 1970 UTC."""
    before: int
    """Ahead of UTC, until then."""
    after: int
    """Ahead of UTC, from then on."""

    @property
    def first(self) -> int:
        """Local time from which on times are there twice (clock set back) or not at all (set forward)."""
        return self.at + min(self.before, self.after)

    @property
    def end(self) -> int:
        """Local time from which on they are there once again."""
        return self.at + max(self.before, self.after)


@dataclass(frozen=True)
class Clock:
    """A zone's clock over some years."""

    changes: list[Change]
    offset: int
    """Ahead of UTC before the first change."""
    abbreviations: dict[str, int]
    """How far ahead of UTC the zone is where it is called so, for names that mean one thing in it."""

    def to_utc(self, local: str) -> str:
        """SQL: a local time as the first moment at which the clock shows it; one that it skips, as if it did not."""
        offsets = [self.offset, *(change.after for change in self.changes)]
        return f"({local} - {_offset(local, [change.end for change in self.changes], offsets)})"


def clock_of(zone: str, first: int, last: int) -> Clock:
    """The clock of an IANA zone from ``first`` to ``last``, microseconds since 1970 UTC."""
    place = ZoneInfo(zone)

    @cache
    def at(time: int) -> datetime:
        return datetime.fromtimestamp(time // SECOND, UTC).astimezone(place)

    def offset(time: int) -> int:
        return (at(time).utcoffset() or timedelta()) // timedelta(microseconds=1)

    days = range(first, last + 2 * DAY, DAY)
    named: dict[str, set[int]] = {}
    for day in days:
        named.setdefault((at(day).tzname() or "").upper(), set()).add(offset(day))
    changes = []
    for day, next_day in pairwise(days):
        low, high, before, after = day, next_day, offset(day), offset(next_day)
        if before == after:
            continue
        while high - low > SECOND:
            middle = (low + high) // 2 // SECOND * SECOND
            low, high = (middle, high) if offset(middle) == before else (low, middle)
        changes.append(Change(high, before, after))
    names = {name: offsets.pop() for name, offsets in named.items() if name.isalpha() and len(offsets) == 1}
    return Clock(changes, offset(first), names)


def reading_of(column: str, unit: str, settings: LogSettings, clock: Clock | None) -> Reading:
    """How a column is read: numbers of ``unit``, "iso8601", or "format"; ``$formats`` are ``formats_of`` the latter."""
    if unit == "format":
        parsed = f"EPOCH_US(TRY_STRPTIME({column}, $formats))"
        if "%z" in (settings.time_format or "") or clock is None:
            return Reading(f"CAST({parsed} AS HUGEINT)", "NULL", "false")
        return Reading("NULL", parsed, "false")
    if unit != "iso8601":
        return Reading(NUMBERS[unit].format(column=column), "NULL", "false")
    if clock is None:
        return Reading(iso_instant(column), "NULL", unclear_zone(column))
    naive = f"REGEXP_FULL_MATCH({column}, '{NO_ZONE}')"
    name = _abbreviation(column)
    own = f"EPOCH_US(TRY_CAST(REGEXP_REPLACE({_dotted(column)}, ' ?[A-Za-z]+\\s*$', '') AS TIMESTAMP))"
    known = "".join(f" WHEN {name} = '{short}' THEN {own} - {offset}" for short, offset in clock.abbreviations.items())
    return Reading(
        f"CASE WHEN {naive} THEN NULL{known} ELSE {iso_instant(column)} END",
        f"CASE WHEN {naive} THEN EPOCH_US(TRY_CAST({_dotted(column)} AS TIMESTAMP)) END",
        unclear_zone(column, tuple(clock.abbreviations)),
    )


def iso_instant(column: str) -> str:
    """SQL: ISO 8601 text as microseconds since 1970 UTC; UTC where it names no zone, null where it is unclear."""
    return f"CASE WHEN NOT {unclear_zone(column)} THEN EPOCH_US(TRY_CAST({_dotted(column)} AS TIMESTAMPTZ)) END"


def unclear_zone(column: str, known: Sequence[str] = ()) -> str:
    """SQL: whether a text of time ends in letters that are a zone in several places of the world."""
    # Not IN: of many values the engine makes a join, which keeps no order of rows.
    clear = f"REGEXP_FULL_MATCH({_abbreviation(column)}, '(?:{'|'.join((*CLEAR, *known))})?')"
    simple = f"COALESCE(REGEXP_FULL_MATCH({column}, '{NUMERIC_ZONE}'), true)"
    return f"(CASE WHEN {simple} THEN false ELSE NOT {clear} END)"


def formats_of(time_format: str) -> list[str]:
    """What ``time_format`` stands for: seconds may have a fraction, with a point or a comma."""
    whole = time_format.replace("%S.%f", "%S").replace("%S,%f", "%S")
    return [whole, whole.replace("%S", "%S.%f"), whole.replace("%S", "%S,%f")] if "%S" in whole else [whole]


def is_rounded(column: str, unit: str) -> str:
    """SQL: whether a number of time has lost its seconds, as 1.70407E+12 has."""
    exponent = f"CAST(REGEXP_EXTRACT({column}, '\\+([0-9]+)$', 1) AS INTEGER)"
    digits = f"LENGTH(REGEXP_EXTRACT({column}, '[.,]([0-9]+)', 1))"
    return (
        f"CASE WHEN CONTAINS({column}, '+') AND REGEXP_FULL_MATCH({column}, '{ROUNDED}') "
        f"THEN {exponent} - {digits} > {POWERS[unit]} ELSE false END"
    )


def _dotted(column: str) -> str:
    """SQL: a time whose fraction of a second begins with a point, not with a comma."""
    return (
        f"CASE WHEN CONTAINS({column}, ',') THEN REGEXP_REPLACE({column}, '(:[0-9]{{2}}),([0-9])', '\\1.\\2') "
        f"ELSE {column} END"
    )


def _abbreviation(column: str) -> str:
    return f"UPPER(REGEXP_EXTRACT({column}, '{ABBREVIATION}', 1))"


def _offset(local: str, bounds: Sequence[int], offsets: Sequence[int]) -> str:
    """SQL: the offset of the interval that a local time falls into, by halving."""
    if not bounds:
        return str(offsets[0])
    half = len(bounds) // 2
    low = _offset(local, bounds[:half], offsets[: half + 1])
    high = _offset(local, bounds[half + 1 :], offsets[half + 1 :])
    return f"CASE WHEN {local} < {bounds[half]} THEN {low} ELSE {high} END"
