"""Who is best: the headline, the leaderboard, and what the tie rule decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sessrec_pipeline.evaluation.comparisons import between
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.data import ReportData, percent
from sessrec_pipeline.report.looks import METRIC_NAMES, ORACLE, looks, model_name
from sessrec_pipeline.report.translation import gettext, join_names, ngettext
from sessrec_pipeline.text import N_

TIE_TEXTS = {
    "standard": N_("among items with the same score the target counts as first"),
    "median": N_("among items with the same score the target counts as the middle one"),
    "conservative": N_("among items with the same score the target counts as last"),
}
"""The tie rules."""
RULE_WORDS = (N_("standard"), N_("median"), N_("conservative"))
"""Their names, for the catalogue."""


@dataclass(frozen=True)
class Value(Estimate):
    """A metric in a table of the report."""

    best: bool = False
    """Whether no model but the oracle is higher."""


def _value(row: Mapping[Any, Any], column: str, best: float) -> Value:
    found = Estimate.from_row(row, column)
    return Value(found.value, found.low, found.high, found.value >= best)


# --- the headline ----------------------------------------------------------------------------------------------------


def ranked(data: ReportData) -> tuple[list[tuple[str, Estimate]], Estimate | None]:
    """Name and Recall at the largest cutoff of every model, best first, and the oracle's Recall."""
    rows = data.leaderboard.to_dict("records")
    values = {str(row["model"]): Estimate.from_row(row, f"recall_at_{data.k}") for row in rows}
    oracle = values.pop(ORACLE, None)
    models = sorted(values.items(), key=lambda found: (-found[1].value, found[0]))
    return [(model_name(model), value) for model, value in models], oracle


def headline(data: ReportData) -> str:
    """One sentence: which model is best, and whether a paired test finds it different from the next one."""
    models, oracle = ranked(data)
    metric = f"Recall@{data.k}"
    if not models:
        return gettext(
            "No model has been ranked yet, only the oracle: {metric} {value}.",
            metric=metric,
            value=oracle.with_interval if oracle else "-",
        )
    name, best = models[0]
    start = gettext("{metric} {value} (95 % interval {interval})", metric=metric, value=best, interval=best.interval)
    if len(models) == 1:
        return gettext("{name} is the only model: {value}.", name=name, value=start)
    second, value = models[1]
    if best.value == value.value:
        return gettext("{name} and {second} are level: both have {value}.", name=name, second=second, value=start)
    return gettext(
        "{name} is best with {value}, ahead of {second} with {other}; {verdict}.",
        name=name,
        value=start,
        second=second,
        other=value.with_interval,
        verdict=_verdict(data),
    )


def _verdict(data: ReportData) -> str:
    """What the paired test says of the two best models."""
    first, second = (str(model) for model in data.leaderboard.loc[data.leaderboard["model"] != ORACLE, "model"][:2])
    pair = between(data.comparisons, first, second, "recall", data.k)
    apart = Estimate(pair["difference"], pair["low"], pair["high"])
    p = p_text(pair["p_holm"])
    if pair["significant"]:
        return gettext(
            "the difference of {value} is more than chance (paired test, p {p})", value=apart.with_interval, p=p
        )
    return gettext(
        "chance alone can make the difference of {value} (paired test, p {p})", value=apart.with_interval, p=p
    )


def p_text(p: float) -> str:
    """A p-value as text, with its relation."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def ceiling(data: ReportData) -> str:
    """What the oracle is and how far the best model is below it; empty where there is none."""
    models, oracle = ranked(data)
    if oracle is None:
        return ""
    sentences = [
        gettext(
            "The oracle ranks by the true probabilities of the generator that drew these sessions, so no model can be "
            "expected to do better: Recall@{k} {value}.",
            k=data.k,
            value=oracle.with_interval,
        )
    ]
    synthetic = data.settings.synthetic
    if synthetic is not None and synthetic.kind == "null":
        sentences.append(gettext("This feed is made of independent draws: nothing in a session tells what comes next."))
    if models:
        name, best = models[0]
        gap = oracle.value - best.value
        values = {"name": name, "gap": f"{abs(gap):.4f}"}
        side = (
            gettext("{name} is {gap} below this ceiling", **values)
            if gap > 0
            else gettext("{name} is {gap} above this ceiling", **values)
            if gap < 0
            else gettext("{name} is level with this ceiling", name=name)
        )
        share = gettext(", {share} of it", share=percent(best.value / oracle.value)) if oracle.value > 0 else ""
        sentences.append(f"{side}{share}.")
        if gap < 0 and best.low <= oracle.high:
            sentences.append(gettext("The intervals overlap: on a finite test set chance can do that."))
    return " ".join(sentences)


# --- the leaderboard -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """Whether a model differs from another one."""

    level: bool
    p: float

    def __str__(self) -> str:
        return gettext("no") if self.level else gettext("yes")

    @property
    def text(self) -> str:
        """The p-value, as text."""
        return f"p {p_text(self.p)}"


@dataclass(frozen=True)
class ModelRow:
    """A row of the leaderboard."""

    competes: bool
    """Whether it is a model, not the oracle."""
    name: str
    colour: str
    values: list[Value]
    """In the order of METRIC_NAMES and, inside, of the cutoffs."""
    marks: list[Mark | None]
    """From the best model and from the one in the next row; None where there is none."""
    tuned: str
    """What was done to tune it."""
    tuned_settings: str
    """The settings that were searched; empty where none was."""


def leaderboard_rows(data: ReportData) -> list[ModelRow]:
    """The leaderboard in its own order."""
    import pandas as pd

    table = data.leaderboard
    columns = [f"{metric}_at_{k}" for metric in METRIC_NAMES for k in data.cutoffs]
    best = table.loc[table["model"] != ORACLE, columns].max()
    look_of = looks([str(model) for model in table["model"]])
    rows = []
    for row in table.to_dict("records"):
        model = str(row["model"])
        competes = model != ORACLE
        values = [_value(row, column, best[column] if competes else np.inf) for column in columns]
        marks = [
            None if pd.isna(row[f"p_{other}"]) else Mark(bool(row[f"level_with_{other}"]), float(row[f"p_{other}"]))
            for other in ("best", "next")
        ]
        tuned = _tuned(str(row["tuned"])), str(row["tuned_settings"])
        rows.append(ModelRow(competes, model_name(model), look_of[model].colour, values, marks, *tuned))
    return rows


UNTUNED = (N_("not tuned"), N_("nothing to tune"))


def _tuned(text: str) -> str:
    """What the leaderboard says of a model's tuning, in the current language."""
    if text in UNTUNED:
        return gettext(text)
    trials, lasting, _ = text.rsplit(", ", 2)
    n = int(trials.split()[0].replace(",", ""))
    return ngettext("{n} trial, {time}, tuning split", "{n} trials, {time}, tuning split", n, time=lasting)


# --- ties ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TieRow:
    """A model's Recall under each tie rule."""

    name: str
    rules: dict[str, Value]
    """In the order of TIE_TEXTS."""

    @property
    def gap(self) -> float:
        """How much of the standard value rests on ties."""
        return self.rules["standard"].value - self.rules["conservative"].value

    @property
    def saturated(self) -> bool:
        """Whether the standard value is beyond what chance explains of the conservative one."""
        return self.rules["standard"].value > self.rules["conservative"].high


def tie_rows(data: ReportData) -> list[TieRow]:
    """A row per model of which the metrics table holds all tie rules."""
    table = data.metrics[(data.metrics["metric"] == "recall") & (data.metrics["k"] == data.k)]
    rows = []
    for model in data.leaderboard["model"]:
        own = table[table["model"] == model].set_index("tie_rule")[["value", "low", "high"]]
        if set(TIE_TEXTS) <= set(own.index):
            rows.append(TieRow(model_name(str(model)), {rule: Value(*own.loc[rule]) for rule in TIE_TEXTS}))
    return rows


def tie_notes(rows: list[TieRow], leaderboard_rule: str) -> list[str]:
    """Whether the tie rule matters, in words."""
    if not rows:
        return [gettext("The metrics table does not hold all tie rules.")]
    notes = [
        gettext(
            "{name}'s scores are saturated: {standard} under the standard rule is only {conservative} under the "
            "conservative one, because many targets share their score with other items. Its standard value is not to "
            "be trusted.",
            name=row.name,
            standard=row.rules["standard"],
            conservative=row.rules["conservative"],
        )
        for row in rows
        if row.saturated
    ]
    differing = [row.name for row in rows if f"{row.gap:.4f}" != "0.0000"]
    if not differing:
        notes.append(gettext("All tie rules give every model the same value: equal scores play no part here."))
    elif not notes:
        widest = max(rows, key=lambda row: row.gap)
        notes.append(
            gettext(
                "The rules differ for {names}, by at most {gap} ({widest}); in every case the standard value is inside "
                "the 95 % interval of the conservative one.",
                names=join_names(differing),
                gap=f"{widest.gap:.4f}",
                widest=widest.name,
            )
        )
    competing = [row for row in rows if row.name != model_name(ORACLE)]
    orders = {
        rule: [r.name for r in sorted(competing, key=lambda r: -r.rules[rule].value)] for rule in TIE_TEXTS
    }  # sorted is stable, so models that are level keep the leaderboard's order
    for rule, order in orders.items():
        if order != orders[leaderboard_rule]:
            notes.append(
                gettext("Under the {rule} rule the order would be {names}.", rule=gettext(rule), names=", ".join(order))
            )
    return notes
