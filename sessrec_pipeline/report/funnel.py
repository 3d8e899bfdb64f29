"""Where the rows of the logs went: every one is in train, in test, or left on the way for a reason."""

from dataclasses import dataclass

from sessrec_pipeline.report.data import ReportData, count, percent
from sessrec_pipeline.storage.lake import Stats


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
        tail = f" + {missing:,} that no count explains" if self.unaccounted else ""
        return (
            f"{self.rows_in:,} rows in = {self.train:,} train + {self.test:,} test + {self.lost:,} that left on the "
            f"way{tail}."
        )

    def width(self, row: FunnelRow) -> str:
        """Length of a row's bar in percent of the rows in."""
        share = abs(row.count) / self.rows_in if self.rows_in else 0.0
        return f"{min(100 * share, 100):.3f}"

    def share(self, row: FunnelRow) -> str:
        """A row's share of the rows in, as text."""
        if not row.count or not self.rows_in:
            return ""
        share = row.count / self.rows_in
        return percent(share) if abs(share) >= 0.0005 else f"< {percent(0.001)}"


def make_funnel(data: ReportData) -> Funnel:
    """The data funnel from the published counts."""
    rows_in = count(data.raw, "rows_in")
    rows = [FunnelRow("Rows in the landed logs", rows_in, "total")]

    def step(lost: list[FunnelRow], label: str, into: int, note: str = "") -> None:
        """Lines of one step, which ends with ``into`` events; ``label`` is empty where no total is shown."""
        before = next(row.count for row in reversed(rows) if row.kind == "total")
        rows.extend(row for row in lost if row.count)
        none = ", ".join(row.label for row in lost if not row.count)
        if none:
            rows.append(FunnelRow(none, 0, "lost"))
        missing = before - sum(row.count for row in lost) - into
        if missing:
            rows.append(FunnelRow("not accounted for", missing, "missing"))
        if label:
            rows.append(FunnelRow(label, into, "total", note))

    keep = ", ".join(sorted({rule.reason for rule in data.settings.logs.keep})).replace("_", " ")
    reasons = _lost(data.raw, "quarantined: ", "quarantined: ")
    unexplained = count(data.raw, "quarantined") - sum(row.count for row in reasons)
    if unexplained or not reasons:
        reasons.append(FunnelRow("quarantined", unexplained, "lost"))
    left_out = FunnelRow("left out by rule", count(data.raw, "left_out"), "lost", keep)
    step([left_out, *reasons], "Events read", count(data.raw, "events"))

    lost = _lost(data.sessions, "dropped: ")
    events = count(data.sessions, "events_in") - sum(row.count for row in lost)
    step(lost, "Events in sessions", events, _size(data.sessions))

    train, test = count(data.train, "events"), count(data.test, "events")
    step([*_lost(data.train, "dropped: ", "train: "), *_lost(data.test, "dropped: ", "test: ")], "", train + test)
    rows.append(FunnelRow("Train", train, "total", _size(data.train)))
    predictions = count(data.test, "predictions")
    rows.append(FunnelRow("Test", test, "total", f"{_size(data.test)}, {predictions:,} predictions"))
    return Funnel(rows, rows_in, train, test)


def _lost(stats: Stats, prefix: str, start: str = "") -> list[FunnelRow]:
    """What left, by the counts whose names begin with ``prefix``, for which the lines say ``start``."""
    return [
        FunnelRow(start + name.removeprefix(prefix).replace("_", " "), int(rows), "lost")
        for name, rows in sorted(stats.items())
        if name.startswith(prefix)
    ]


def _size(stats: Stats) -> str:
    return f"{count(stats, 'sessions'):,} sessions, {count(stats, 'items'):,} items"
