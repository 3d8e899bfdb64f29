"""What the landed logs look like."""

import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from sessrec_pipeline.settings.base import Section


class RowRule(Section):
    """Which rows of a log count as events; the others are counted under ``reason`` and left out."""

    column: str
    """Column that the rule looks at."""
    one_of: list[str] | None = None
    """Keep the rows with one of these values (event types, say)."""
    not_prefix: str | None = None
    """Drop the rows whose value starts with this text (cancelled invoices, say)."""
    minimum: float | None = None
    """Drop the rows whose value is no number or less than this one."""

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(x is not None for x in (self.one_of, self.not_prefix, self.minimum)) != 1:
            raise ValueError("give exactly one of one_of, not_prefix, minimum")
        return self

    @property
    def reason(self) -> str:
        """Name under which the rows that were left out are counted."""
        if self.one_of is not None:
            return f"{self.column}_not_in_list"
        return f"{self.column}_has_prefix" if self.not_prefix is not None else f"{self.column}_below_minimum"


@cache
def log_presets() -> dict[str, dict[str, Any]]:
    """Values of ``[logs]`` for public logs, by name; ``source``, which is no setting, says which files are meant."""
    return tomllib.loads((files("sessrec_pipeline") / "logs" / "presets.toml").read_text(encoding="utf-8"))


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
    time_unit: Literal["s", "ms", "us", "iso8601", "order"] = "s"
    """Unit of the time since 1970-01-01 UTC, fractions allowed; or ISO 8601 text, UTC where it names no zone; or order:
    the numbers only say what came first, and stand as so many microseconds after the start of ``earliest_year``."""
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
        return {key: value for key, value in presets[name].items() if key != "source"} | given

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
