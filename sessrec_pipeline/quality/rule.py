"""What a rule is, what it looks at, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb

from sessrec_pipeline.clock import lasting
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.text import N_, Said

Asset = Literal["raw_sessions", "sessions", "test_split"]
EXAMPLES = 3
SHOWN = 40
"""Characters of an example."""


@dataclass(frozen=True)
class Evidence:
    """What a rule is asked of: tables in DuckDB, and what the steps that made them counted.

    The tables by asset: raw_sessions has ``events`` (log, line, session, item, time); sessions has ``sessions``
    (session, position, item, time, session_start); test_split has ``train`` and ``test``, with the same columns.
    """

    connection: duckdb.DuckDBPyConnection
    settings: Settings
    stats: Mapping[str, Stats] = field(default_factory=dict)
    """By table, of those that a step made."""

    def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        """All rows of a query, of which there must be few."""
        return self.connection.execute(sql, values or None).fetchall()

    def row(self, sql: str, **values: object) -> tuple[Any, ...]:
        """The one row of a query."""
        return self.rows(sql, **values)[0]

    def count(self, table: str, name: str) -> int:
        """What a step counted; 0 where it counted no such thing."""
        return int(self.stats.get(table, {}).get(name, 0))


@dataclass(frozen=True)
class Finding:
    """What a rule found."""

    broken: bool
    seen: str
    """The numbers, as a clause: ``372 of 930 events (40.0 %) belong to one session``."""
    examples: Sequence[str] = ()
    advice: str = ""
    """What to do where the rule is broken: the setting that helps, by its name."""
    too_few: bool = False
    """Of a rule that is not broken, whether it would be if this were seen in more data."""
    worthless: bool = False
    """Whether results would be worth nothing, so that nothing may be built on the data."""

    @property
    def sentence(self) -> str:
        """All of it."""
        if not self.broken:
            return Said(N_("{seen}; of so few it says nothing"), seen=self.seen) if self.too_few else self.seen
        found = (
            Said(N_("{seen}, such as {examples}"), seen=self.seen, examples=_listed(self.examples))
            if self.examples
            else self.seen
        )
        return Said(N_("{seen}: {advice}"), seen=found, advice=self.advice) if self.advice else found


@dataclass(frozen=True)
class Rule:
    """Something that holds for healthy data."""

    name: str
    asset: Asset
    """Whose check it is."""
    expected: str
    """A sentence."""
    threshold: float
    """Above this the rule is broken: a share, unless ``expected`` names another unit."""
    measure: Callable[[Evidence, float], Finding]
    clock: bool = False
    """Whether it judges times, which say nothing where ``time_unit = "order"``."""
    blocking: bool = False
    """Whether nothing may be built on data whose finding is ``worthless``."""


def _listed(texts: Sequence[str]) -> str:
    """The first examples, by commas."""
    few = {f"example_{n}": text for n, text in enumerate(texts[:EXAMPLES])}
    return Said(", ".join(f"{{{name}}}" for name in few), **few)


EVENTS = N_("events")


def part(count: int, total: int, what: str = EVENTS) -> str:
    """A count as part of another one: ``372 of 930 events (40.0 %)``."""
    share = percent(count / total if total else 0)
    return Said(N_("{n} of {all} {what} ({share})"), n=f"{count:,}", all=f"{total:,}", what=Said(what), share=share)


def percent(share: float) -> str:
    """A share as text; neither is a small one shown as zero nor one that is not all as 100."""
    return "< 0.1 %" if 0 < share < 0.001 else "> 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


_LASTING = {
    "day": N_("{n} day"),
    "days": N_("{n} days"),
    "hour": N_("{n} hour"),
    "hours": N_("{n} hours"),
    "minute": N_("{n} minute"),
    "minutes": N_("{n} minutes"),
    "second": N_("{n} second"),
    "seconds": N_("{n} seconds"),
}


def duration(microseconds: float) -> str:
    """``lasting``, as a text that can be translated."""
    number, unit = lasting(microseconds).split(" ")
    return Said(_LASTING[unit], n=number)


def shown(value: str) -> str:
    """An id as an example, with what cannot be seen in it spelled out."""
    text = ascii(value) if not value.isprintable() or not value.isascii() else repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]}...'"


def in_session(session: str) -> str:
    """A session as the example of what happens inside it."""
    return Said(N_("in session {session}"), session=shown(session))
