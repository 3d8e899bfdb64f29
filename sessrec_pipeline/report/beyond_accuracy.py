"""The tables beside the leaderboard: other protocols, and what the lists are like."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.data import ReportData, percent
from sessrec_pipeline.report.looks import ORACLE, model_name
from sessrec_pipeline.report.standings import Value
from sessrec_pipeline.report.translation import gettext
from sessrec_pipeline.text import N_

PROTOCOL_COLUMNS = [
    (N_("Next item"), "next_item", "recall", "Recall"),
    (N_("Next item"), "next_item", "mrr", "MRR"),
    (N_("Last item only"), "last_item", "recall", "Recall"),
    (N_("Last item only"), "last_item", "mrr", "MRR"),
    (N_("All remaining items"), "remaining_items", "precision", N_("Precision")),
    (N_("All remaining items"), "remaining_items", "recall", "Recall"),
    (N_("All remaining items"), "remaining_items", "map", "MAP"),
]
"""Heading, protocol, metric and its name."""
Column = tuple[str, str, Callable[[float], str]]
LIST_COLUMNS: list[Column] = [
    ("coverage", N_("Coverage"), lambda v: f"{100 * v:.1f}\u00a0%"),
    ("gini", N_("Gini"), lambda v: f"{v:.3f}"),
    ("popularity_lift", N_("Popularity lift"), lambda v: f"{100 * v:+.0f}\u00a0%".replace("-", "\u2212")),
    ("novelty", N_("Novelty, bits"), lambda v: f"{v:.2f}"),
    ("diversity", N_("Diversity"), lambda v: f"{v:.3f}"),
]
"""Measure, heading, and how its values are written."""


@dataclass(frozen=True)
class Row:
    """A model's row of one of the tables."""

    name: str
    competes: bool
    values: list[Value | str]


def protocol_rows(data: ReportData) -> list[Row]:
    """Each model under each protocol, in the order of the leaderboard."""
    table = data.protocols[data.protocols["k"] == data.k]
    found = {
        (row["protocol"], row["metric"], row["model"]): Value(row["value"], row["low"], row["high"])
        for row in table.to_dict("records")
    }
    rows = []
    for model in _models(data):
        values: list[Value | str] = [found[protocol, metric, model] for _, protocol, metric, _ in PROTOCOL_COLUMNS]
        rows.append(Row(model_name(model), model != ORACLE, values))
    return rows


def protocol_notes(data: ReportData) -> list[str]:
    """Whether the model with the highest recall is another one under another protocol, and whether it may be chance."""
    table = data.protocols[(data.protocols["k"] == data.k) & (data.protocols["model"] != ORACLE)]
    found: dict[str, dict[str, Estimate]] = {}
    for heading, protocol, metric, _ in PROTOCOL_COLUMNS:
        own = table[(table["protocol"] == protocol) & (table["metric"] == metric)]
        if metric == "recall" and len(own):
            rows = own.sort_values("value", ascending=False, kind="stable").to_dict("records")
            found[heading] = {str(row["model"]): Estimate(row["value"], row["low"], row["high"]) for row in rows}
    first = next((next(iter(values)) for values in found.values()), "")
    notes = []
    for heading, values in found.items():
        model = next(iter(values))
        if model != first:
            apart = values[model].low > values[first].high
            template = (
                N_(
                    "{heading}: {name} has the highest recall, {value}; {other} has {second}, and the intervals are "
                    "apart."
                )
                if apart
                else N_("{heading}: {name} has the highest recall, {value}; {other} has {second}, so it may be chance.")
            )
            notes.append(
                gettext(
                    template,
                    heading=gettext(heading),
                    name=model_name(model),
                    value=values[model].with_interval,
                    other=model_name(first),
                    second=values[first].with_interval,
                )
            )
    return notes or [gettext("The same model has the highest recall under all three.")]


def list_rows(data: ReportData) -> list[Row]:
    """What each model's lists are like, in the order of the leaderboard."""
    table = data.beyond_accuracy[data.beyond_accuracy["k"] == data.k].set_index(["metric", "model"])["value"]
    rows = []
    for model in _models(data):
        values: list[Value | str] = []
        for measure, _, text in LIST_COLUMNS:
            value = float(table.get((measure, model), np.nan))
            values.append("–" if np.isnan(value) else text(value))  # noqa: RUF001 - a dash for nothing
        rows.append(Row(model_name(model), model != ORACLE, values))
    return rows


def lists_note(data: ReportData) -> str:
    """How much of the catalogue the lists of the best model hold; empty where that was not measured."""
    table = data.beyond_accuracy[(data.beyond_accuracy["k"] == data.k) & (data.beyond_accuracy["metric"] == "coverage")]
    coverage = table.set_index("model")["value"]
    found = [model for model in data.competing if model in coverage.index and not np.isnan(coverage[model])]
    if not found:
        return ""
    return gettext(
        "{name}'s lists hold {share} of the catalogue.", name=model_name(found[0]), share=percent(coverage[found[0]])
    )


def _models(data: ReportData) -> list[str]:
    return [str(model) for model in data.leaderboard["model"]]
