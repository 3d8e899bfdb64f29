"""Figures of others on the same data and split, beside ours."""

from dataclasses import dataclass

from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.looks import METRIC_NAMES, ORACLE, model_name


@dataclass(frozen=True)
class Beside:
    """A row of the comparison: a model of ours, or one of others with its source."""

    name: str
    values: list[float | None]
    """In the order of ``compared``; None where no source says."""
    source: str
    """Where it is printed; empty for ours."""
    note: str = ""

    @property
    def ours(self) -> bool:
        """Whether it was measured here."""
        return not self.source


def compared(data: ReportData) -> list[tuple[str, int]]:
    """The metrics and cutoffs that were published, in the order of the leaderboard."""
    found = {(figure.metric, figure.k) for figure in data.settings.published}
    return sorted(found, key=lambda key: (list(METRIC_NAMES).index(key[0]), key[1]))


def published_rows(data: ReportData) -> list[Beside]:
    """Our models and those of others, the highest first value on top; empty where nothing was published."""
    columns = compared(data)
    theirs: dict[tuple[str, str, str], dict[tuple[str, int], float]] = {}
    for figure in data.settings.published:
        theirs.setdefault((figure.model, figure.source, figure.note), {})[figure.metric, figure.k] = figure.value
    rows = [
        Beside(model, [values.get(column) for column in columns], source, note)
        for (model, source, note), values in theirs.items()
    ]
    measured = data.metrics[data.metrics["tie_rule"] == data.tie_rule]
    for model, own in measured[measured["model"] != ORACLE].groupby("model", sort=False) if rows else ():
        ours = {(str(r["metric"]), int(r["k"])): float(r["value"]) for r in own.to_dict("records")}
        rows.append(Beside(model_name(str(model)), [ours.get(column) for column in columns], ""))
    return sorted(rows, key=lambda row: (-(row.values[0] or 0.0), row.name))


def column_names(data: ReportData) -> list[str]:
    """Headings of the columns of values."""
    return [f"{METRIC_NAMES[metric]}@{k}" for metric, k in compared(data)]


def as_printed(value: float) -> str:
    """A published figure with the digits that its source gives: papers print three or four."""
    return f"{value:.3f}" if round(value, 3) == value else f"{value:.4f}"
