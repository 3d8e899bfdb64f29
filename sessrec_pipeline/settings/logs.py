"""What the landed logs look like."""

import difflib
import re
import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from sessrec_pipeline.settings.base import Section


class RowRule(Section):
    """Which rows of a log count as events; the others are counted under ``reason`` and left out."""

    column: str
    """Column that the rule looks at."""
    one_of: list[str] | None = None
    """Keep the rows with one of these values (event types, say)."""
    not_one_of: list[str] | None = None
    """Drop the rows with one of these values (words for nothing, say)."""
    not_prefix: str | None = None
    """Drop the rows whose value starts with this text (cancelled invoices, say)."""
    minimum: float | None = None
    """Drop the rows whose value is no number or less than this one; a decimal comma is read, too."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(x is not None for x in (self.one_of, self.not_one_of, self.not_prefix, self.minimum)) != 1:
            raise ValueError("give exactly one of one_of, not_one_of, not_prefix, minimum")
        return self

    @property
    def reason(self) -> str:
        """Name under which the rows that were left out are counted."""
        if self.one_of is not None:
            return f"{self.column}_not_in_list"
        if self.not_one_of is not None:
            return f"{self.column}_in_list"
        return f"{self.column}_has_prefix" if self.not_prefix is not None else f"{self.column}_below_minimum"


@cache
def log_presets() -> dict[str, dict[str, Any]]:
    """Values of ``[logs]`` for public logs, by name; ``source`` and ``editions`` are no settings, but say which files
    are meant, and how other editions of them spell their columns."""
    return tomllib.loads((files("sessrec_pipeline") / "logs" / "presets.toml").read_text(encoding="utf-8"))


DIRECTIVES = "aAbBdfHIjmMpSyYz%"
"""Of ``time_format``: what strptime of Python and of DuckDB have in common."""


class LogSettings(Section):
    """What the landed logs look like. The default is a TSV ``SessionId  ItemId  Time`` in Unix seconds."""

    preset: str | None = None
    """Name in ``logs/presets.toml``: its values stand for the fields that are not given here."""
    format: Literal["tsv", "csv", "jsonl", "parquet"] = "tsv"
    """Format of every log of this feed; text in a file whose name ends in .gz or .zst is read through gzip or zstd."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Field delimiter; by default a tab for tsv and a comma for csv."""
    columns: list[str] | None = None
    """Names of the columns, in order, of logs that have no header line."""
    events: str | None = None
    """jsonl with a session a line: key of the list of events. The session is the line's, all else the event's."""
    session: str = "SessionId"
    """Column (key, in jsonl) with the session id, any text."""
    item: str = "ItemId"
    """Column with the item id, any text."""
    time: str = "Time"
    """Column with the time of the event."""
    time_unit: Literal["s", "ms", "us", "ns", "iso8601", "order"] = "s"
    """Unit of the time since 1970-01-01 UTC, fractions allowed; or ISO 8601 text, UTC where neither it nor
    ``time_zone`` names a zone; or order: the numbers only say what came first, and stand as so many microseconds after
    the start of ``earliest_year``."""
    time_format: str | None = None
    """Instead of ``time_unit``: how the time is written, in the letters of strptime, such as ``%d/%m/%Y %H:%M:%S`` or
    ``%m/%d/%Y %I:%M %p``. Leading zeros may be missing, and seconds may have a fraction."""
    time_zone: str | None = None
    """IANA name, such as Europe/Berlin, of the zone whose clock wrote the times that name none; by default UTC. In the
    hour that a clock set back shows twice, an event is in the first one, or in the second where its session would go
    back in time; a time that a clock set forward skips is read as if it had not been."""
    time_offset: str | None = None
    """Column with milliseconds to add to the time, where that is a date or the start of a session."""
    earliest_year: Annotated[int, Field(ge=1971, le=2100)] = 2000
    """Times before this year go to quarantine: few logs are older, and a wrong unit is soon seen."""
    extra_columns: list[str] = []
    """Further columns to keep, as text."""
    keep: list[RowRule] = []
    """Rules that say which rows are events at all."""
    session_scope: Literal["feed", "log"] = "feed"
    """Whether the same session id in two logs is one session (feed) or two (log)."""
    max_bad_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A log with more than this share of unreadable rows is refused whole: its settings are likely wrong."""

    @model_validator(mode="before")
    @classmethod
    def _preset_stands_in(cls, given: Any) -> Any:
        name = given.get("preset") if isinstance(given, dict) else None
        if not isinstance(name, str):
            return given
        presets = log_presets()
        if name not in presets:
            raise ValueError(f"no preset {name!r}; there are {', '.join(presets)}")
        values = {key: value for key, value in presets[name].items() if key not in ("source", "editions")}
        if given.get("time_format") is not None:
            values.pop("time_unit", None)
        return values | given

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str | None) -> str | None:
        zones = available_timezones()
        if name is None or name in zones:
            return name
        places = {part.lower(): zone for zone in sorted(zones) for part in (zone, zone.rpartition("/")[2])}
        near = difflib.get_close_matches(name.lower().replace(" ", "_"), places, 1)
        hint = f"did you mean {places[near[0]]!r}?" if near else "give the name of a place, such as Europe/Berlin"
        raise ValueError(f"{name!r} is no time zone of the IANA; {hint}")

    @field_validator("time_format")
    @classmethod
    def _says_a_moment(cls, time_format: str | None) -> str | None:
        if time_format is None:
            return None
        found = re.findall("%(.?)", time_format)
        unknown = [letter for letter in found if letter not in DIRECTIVES or not letter]
        if unknown:
            zone = "; a zone's name is not read: write UTC as it stands, others as time_zone" if "Z" in unknown else ""
            raise ValueError(f"%{unknown[0]} is not read; there are %{' %'.join(DIRECTIVES)}{zone}")
        year, month, day = (bool(set(found) & set(letters)) for letters in ("yY", "bBm", "d"))
        if not year or not ("j" in found or (month and day)):
            raise ValueError("it must say year, month and day, as %d/%m/%Y does")
        if ("I" in found) != ("p" in found):
            raise ValueError("%I, an hour of 12, goes with %p, which is AM or PM; an hour of 24 is %H")
        return time_format

    @field_validator("extra_columns")
    @classmethod
    def _not_ours(cls, names: list[str]) -> list[str]:
        lower = [name.lower() for name in names]
        taken = sorted({"log", "line", "session", "item", "time", "reason"} & set(lower))
        if taken:
            raise ValueError(f"{taken[0]!r} is a column of our own; rename it in the log")
        doubled = sorted({name for name in lower if lower.count(name) > 1})
        if doubled:
            raise ValueError(f"{doubled[0]!r} stands twice (SQL does not tell capitals apart); rename one in the log")
        return names

    @field_validator("delimiter")
    @classmethod
    def _can_part_fields(cls, delimiter: str | None) -> str | None:
        if delimiter in ('"', "\n", "\r", "\0"):
            raise ValueError("a quote, a line end or NUL cannot part fields")
        return delimiter

    @model_validator(mode="after")
    def _fit_the_format(self) -> Self:
        if self.events is not None and self.format != "jsonl":
            raise ValueError(f'events is for format = "jsonl" alone, not for {self.format}')
        for name in ("columns", "delimiter"):
            if getattr(self, name) is not None and self.format not in ("tsv", "csv"):
                raise ValueError(f"{name} is for tsv and csv, not for {self.format}")
        return self

    @model_validator(mode="after")
    def _one_way_to_read_the_time(self) -> Self:
        if self.time_format is not None and "time_unit" in self.model_fields_set:
            raise ValueError("time_format says how the time is written: leave time_unit away")
        numbers = self.time_format is None and self.time_unit != "iso8601" and self.format != "parquet"
        if self.time_zone is not None and numbers:
            raise ValueError(
                f'time_zone is for times that are text, and time_unit is "{self.time_unit}": numbers count from 1970 '
                "in UTC wherever they are written"
            )
        return self

    @property
    def separator(self) -> str:
        """The delimiter in force."""
        return self.delimiter or ("," if self.format == "csv" else "\t")

    @property
    def needed_columns(self) -> tuple[str, ...]:
        """Columns that a log must have, each once."""
        offset = [] if self.time_offset is None else [self.time_offset]
        rules = [rule.column for rule in self.keep]
        return tuple(dict.fromkeys([self.session, self.item, self.time, *offset, *self.extra_columns, *rules]))

    @property
    def earliest(self) -> int:
        """Start of ``earliest_year`` in microseconds since 1970 UTC."""
        return int(datetime(self.earliest_year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
