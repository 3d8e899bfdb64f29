"""Drift of the landed logs: each day (UTC, by event time) against the weeks before it.

The counting is SQL over Parquet; what it leaves, a row a day, is judged here. A measure has a value per day, and a day
has drifted where the value is above its threshold. A threshold is fixed by settings or learned: the 99th percentile of
the measure's values on the days of the reference weeks, each of which was compared with the weeks before it, too, and
at least the measure's floor above their median. Days that drifted are not learned from, or one of them would hide the
next for four weeks; they do join the reference, so that a change that stays is the rule once it is four weeks old.

A feed of many items moves by chance alone from day to day, the more the fewer its events: what is usual for it is
learned, not known beforehand. By chance one value in thirty is the highest of four weeks; the floor keeps those that
are hardly higher from being told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.preparation.sessions import cut_sessions
from sessrec_pipeline.settings import DriftSettings, Settings
from sessrec_pipeline.storage.sql import sql_text

LAST_HOUR = DAY - DAY // 24
"""The last day is under way until it has an event at or after this time of day."""
FLOOR = 0.01
"""A known item without an event on the day counts as this part of its reference share in the PSI."""
PERCENTILE = 99.0

DRIFT, STEADY = "drift", "steady"
NOT_ENOUGH, NOTHING, UNDER_WAY = "not enough days", "nothing to compare", "under way"
"""Verdicts."""

SCHEMA = pa.schema(
    [
        ("day", pa.string()),
        ("measure", pa.string()),
        ("observed", pa.float64()),
        ("reference", pa.float64()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("verdict", pa.string()),
    ]
)


@dataclass(frozen=True)
class Day:
    """What is counted on one day; zeros and None where it has no events."""

    number: int
    """Days since 1970-01-01."""
    events: int = 0
    new_events: int = 0
    """Events on items without an event in the reference."""
    psi: float | None = None
    js_distance: float | None = None
    sessions: int = 0
    """Sessions that start on the day."""
    session_events: int = 0
    singles: int = 0
    """Sessions of one event."""

    @property
    def name(self) -> str:
        """ISO 8601."""
        return datetime.fromtimestamp(self.number * 86_400, UTC).date().isoformat()


@dataclass(frozen=True)
class Row:
    """One day under one measure."""

    day: str
    measure: str
    observed: float | None
    """What the day has; None where there is nothing to observe."""
    reference: float | None
    """What the reference has; None for measures that compare by themselves (new_item_share, psi, js_distance)."""
    value: float | None
    """How far they are apart."""
    threshold: float | None
    verdict: str

    @property
    def sentence(self) -> str:
        """What was seen, for people."""
        name = self.measure.replace("_", " ")
        if self.value is None or self.threshold is None:
            return f"{self.day}: {name}: {self.verdict}"
        side = "above" if self.verdict == DRIFT else "not above"
        seen = "" if self.reference is None else f" ({self.observed:.4g} against {self.reference:.4g})"
        return f"{self.day}: {name} {self.value:.4g}{seen} is {side} its threshold {self.threshold:.4g}"


@dataclass(frozen=True)
class Measure:
    """How a day is compared with its reference."""

    floor: float
    """A learned threshold is at least so far above the median of the values that it is learned from."""
    observe: Callable[[Sequence[Day]], float | None]
    """What one day, or the days of a reference together, have; None where they have nothing to observe."""
    apart: Callable[[float, float], float] | None = None
    """How far a day is from its reference; without it what is observed is a comparison already."""
    weekly: bool = False
    """Whether the reference is the same weekdays alone, for what has a rhythm of weeks."""


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _change(observed: float, reference: float) -> float:
    """0 for no change, 0.5 for half or twice as many, 1 where one of the two is nothing."""
    larger = max(observed, reference)
    return abs(observed - reference) / larger if larger else 0.0


def _difference(observed: float, reference: float) -> float:
    return abs(observed - reference)


MEASURES: Mapping[str, Measure] = {
    "new_item_share": Measure(0.05, lambda days: _ratio(days[0].new_events, days[0].events)),
    "psi": Measure(0.1, lambda days: days[0].psi),
    "js_distance": Measure(0.05, lambda days: days[0].js_distance),
    "mean_session_length": Measure(
        0.1, lambda days: _ratio(sum(d.session_events for d in days), sum(d.sessions for d in days)), _change
    ),
    "single_event_sessions": Measure(
        0.05, lambda days: _ratio(sum(d.singles for d in days), sum(d.sessions for d in days)), _difference
    ),
    "events": Measure(0.5, lambda days: _ratio(sum(d.events for d in days), len(days)), _change, weekly=True),
    "sessions": Measure(0.5, lambda days: _ratio(sum(d.sessions for d in days), len(days)), _change, weekly=True),
}
"""By name, which is also the name of the threshold in settings."""


def measure_drift(engine: DuckDBEngine, settings: Settings, raw: Sequence[Path]) -> list[Row]:
    """All measures of the last days of the landed events, the oldest day first; none where no log has events."""
    drift = settings.drift
    engine.register("raw", raw)
    last = engine.scalar("SELECT MAX(time) FROM raw")
    if not isinstance(last, int):
        return []
    # The first day that is shown needs a threshold, learned from days that need a reference of their own.
    first = last // DAY - drift.history_days + 1 - 2 * 7 * drift.reference_weeks
    rows = judge(_count(engine, settings, first), drift, last_is_under_way=last % DAY < LAST_HOUR)
    return rows[-drift.history_days * len(MEASURES) :]


def as_table(rows: Sequence[Row]) -> pa.Table:
    """``rows`` under ``SCHEMA``."""
    return pa.Table.from_pylist([asdict(row) for row in rows], SCHEMA)


def _count(engine: DuckDBEngine, settings: Settings, first: int) -> list[Day]:
    """Every day from ``first``, or the first event after it, to the last event; days without events too."""
    cut_sessions(engine, settings, since=first * DAY)
    reference = 7 * settings.drift.reference_weeks
    engine.write("item_days", sql_text("monitoring", "item_days"))
    engine.write("in_reference", sql_text("monitoring", "in_reference"), reference=reference)
    engine.write("reference_totals", sql_text("monitoring", "reference_totals"), reference=reference)
    engine.write("popularity_shift", sql_text("monitoring", "popularity_shift"), floor=FLOOR)
    engine.write("session_days", sql_text("monitoring", "session_days"))
    counted = engine.connection.execute(
        "SELECT i.day, i.events, i.new_events, i.psi, i.js_distance, COALESCE(s.sessions, 0), "
        "COALESCE(s.session_events, 0), COALESCE(s.singles, 0) "
        "FROM popularity_shift AS i LEFT JOIN session_days AS s ON s.day = i.day"
    ).fetchall()
    found = {row[0]: Day(*row) for row in counted}
    return [found.get(number, Day(number)) for number in range(min(found), max(found) + 1)]


def judge(days: Sequence[Day], settings: DriftSettings, *, last_is_under_way: bool = False) -> list[Row]:
    """All measures of all days, which follow one another without a gap.

    A last day that is under way is compared, but not judged: half a day is no drift.
    """
    rows: list[Row] = []
    usual: dict[str, list[float | None]] = {name: [] for name in MEASURES}
    span = 7 * settings.reference_weeks
    for n, day in enumerate(days):
        reference = days[max(n - span, 0) : n]
        enough = sum(d.events > 0 for d in reference) >= settings.min_days
        for name, measure in MEASURES.items():
            alike = [d for d in reference if not measure.weekly or (day.number - d.number) % 7 == 0]
            observed = measure.observe([day])
            referred = measure.observe(alike) if measure.apart and enough else None
            value = None
            if enough and observed is not None and measure.apart is None:
                value = observed
            elif observed is not None and referred is not None and measure.apart is not None:
                value = measure.apart(observed, referred)
            learned_from = [v for v in usual[name][-span:] if v is not None]
            threshold = getattr(settings, name)
            if threshold is None and len(learned_from) >= settings.min_days:
                median, rare = np.percentile(learned_from, [50, PERCENTILE])
                threshold = float(max(rare, median + measure.floor))
            if not enough or (value is not None and threshold is None):
                verdict, threshold = NOT_ENOUGH, None
            elif value is None:
                verdict = NOTHING
            elif last_is_under_way and n == len(days) - 1:
                verdict = UNDER_WAY
            else:
                verdict = DRIFT if value > threshold else STEADY
            usual[name].append(None if verdict == DRIFT else value)
            rows.append(Row(day.name, name, observed, referred, value, threshold, verdict))
    return rows


def seen(rows: Sequence[Row], measures: Sequence[str], days: int) -> tuple[bool, str]:
    """Whether none of ``measures`` drifted on the last ``days`` that were judged, and what was seen, in words."""
    judged = [row for row in rows if row.measure in measures and row.verdict in (DRIFT, STEADY)]
    last = sorted({row.day for row in judged})[-days:]
    looked_at = [row for row in judged if row.day in last]
    drifted = [row for row in looked_at if row.verdict == DRIFT]
    if not looked_at:
        return True, f"not enough days: none of {len({row.day for row in rows})} has been judged yet"
    return not drifted, "; ".join(row.sentence for row in drifted or looked_at)
