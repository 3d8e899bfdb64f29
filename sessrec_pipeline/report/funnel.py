"""Where the rows of the logs went: every one is in train, in test, or left on the way for a reason."""

from dataclasses import dataclass

from sessrec_pipeline.report.data import ReportData, count, percent
from sessrec_pipeline.report.translation import gettext
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.text import N_

REASONS = (
    N_("duplicates"),
    N_("consecutive repeats"),
    N_("rare items"),
    N_("sessions too short"),
    N_("sessions too long"),
    N_("after the cutoff"),
    N_("unlabelled"),
    N_("unseen items"),
    N_("session missing"),
    N_("item missing"),
    N_("session too long"),
    N_("item too long"),
    N_("time unreadable"),
    N_("time in the future"),
    N_("broken json"),
    N_("not an object"),
)
"""Why rows leave, as the steps call it; a reason that is not here stands in English on every page."""


@dataclass(frozen=True)
class FunnelRow:
    """A line of the funnel: what is there, or what left."""

    label: str
    count: int
    kind: str
    """total, lost, or missing (what no count explains)."""
    note: str = ""


@dataclass(frozen=True)
class Funnel:
    """From the rows of the landed logs to train and test; rows in = train + test + lost + missing."""

    rows: list[FunnelRow]
    rows_in: int
    train: int
    test: int

    @property
    def lost(self) -> int:
        """Rows that left on the way for a reason."""
        return sum(row.count for row in self.rows if row.kind == "lost")

    @property
    def unaccounted(self) -> bool:
        """Whether rows are missing, or too many, without a reason."""
        return any(row.kind == "missing" for row in self.rows)

    @property
    def sum_text(self) -> str:
        """The sum, in words."""
        missing = self.rows_in - self.train - self.test - self.lost
        tail = gettext(" + {n} that no count explains", n=f"{missing:,}") if self.unaccounted else ""
        return gettext(
            "{rows} rows in = {train} train + {test} test + {lost} that left on the way{tail}.",
            rows=f"{self.rows_in:,}",
            train=f"{self.train:,}",
            test=f"{self.test:,}",
            lost=f"{self.lost:,}",
            tail=tail,
        )

    def width(self, row: FunnelRow) -> str:
        """Length of a row's bar in percent of the rows in."""
        share = abs(row.count) / self.rows_in if self.rows_in else 0.0
        return f"{min(100 * share, 100):.3f}"

    def share(self, row: FunnelRow) -> str:
        """A row's share of the rows in, as text."""
        if not row.count or not self.rows_in:
            return ""
        return percent(row.count / self.rows_in)


def make_funnel(data: ReportData) -> Funnel:
    """The data funnel from the published counts."""
    rows_in = count(data.raw, "rows_in")
    rows = [FunnelRow(gettext("Rows in the landed logs"), rows_in, "total")]

    def step(lost: list[FunnelRow], label: str, into: int, note: str = "") -> None:
        """Lines of one step, which ends with ``into`` events; ``label`` is empty where no total is shown."""
        before = next(row.count for row in reversed(rows) if row.kind == "total")
        rows.extend(row for row in lost if row.count)
        none = ", ".join(row.label for row in lost if not row.count)
        if none:
            rows.append(FunnelRow(none, 0, "lost"))
        missing = before - sum(row.count for row in lost) - into
        if missing:
            rows.append(FunnelRow(gettext("not accounted for"), missing, "missing"))
        if label:
            rows.append(FunnelRow(label, into, "total", note))

    keep = ", ".join(sorted({rule.reason for rule in data.settings.logs.keep})).replace("_", " ")
    reasons = _lost(data.raw, "quarantined: ", gettext("quarantined: "))
    unexplained = count(data.raw, "quarantined") - sum(row.count for row in reasons)
    if unexplained or not reasons:
        reasons.append(FunnelRow(gettext("quarantined"), unexplained, "lost"))
    left_out = FunnelRow(gettext("left out by rule"), count(data.raw, "left_out"), "lost", keep)
    step([left_out, *reasons], gettext("Events read"), count(data.raw, "events"))

    lost = _lost(data.sessions, "dropped: ")
    events = count(data.sessions, "events_in") - sum(row.count for row in lost)
    step(lost, gettext("Events in sessions"), events, _size(data.sessions))

    train, test = count(data.train, "events"), count(data.test, "events")
    left = [*_lost(data.train, "dropped: ", gettext("train: ")), *_lost(data.test, "dropped: ", gettext("test: "))]
    step(left, "", train + test)
    rows.append(FunnelRow(gettext("Train"), train, "total", _size(data.train)))
    predictions = gettext("{n} predictions", n=f"{count(data.test, 'predictions'):,}")
    rows.append(FunnelRow(gettext("Test"), test, "total", f"{_size(data.test)}, {predictions}"))
    return Funnel(rows, rows_in, train, test)


def _lost(stats: Stats, prefix: str, start: str = "") -> list[FunnelRow]:
    """What left, by the counts whose names begin with ``prefix``, for which the lines say ``start``."""
    return [
        FunnelRow(start + gettext(name.removeprefix(prefix).replace("_", " ")), int(rows), "lost")
        for name, rows in sorted(stats.items())
        if name.startswith(prefix)
    ]


def _size(stats: Stats) -> str:
    sessions, items = (f"{count(stats, name):,}" for name in ("sessions", "items"))
    return gettext("{sessions} sessions, {items} items", sessions=sessions, items=items)
