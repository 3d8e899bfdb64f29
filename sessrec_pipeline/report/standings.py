"""The order of the models: the ceiling, the leaderboard, and what the tie rule decides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.data import ReportData, percent
from sessrec_pipeline.report.looks import METRIC_NAMES, ORACLE, looks, model_name, swatch
from sessrec_pipeline.report.recommendation import metric_text, p_text, recommendation
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


# --- the ceiling -----------------------------------------------------------------------------------------------------


def ranked(data: ReportData) -> tuple[list[tuple[str, Estimate]], Estimate | None]:
    """Name and primary metric of every model, best first, and the oracle's."""
    rows = data.leaderboard.to_dict("records")
    values = {str(row["model"]): Estimate.from_row(row, data.column) for row in rows}
    oracle = values.pop(ORACLE, None)
    models = sorted(values.items(), key=lambda found: (-found[1].value, found[0]))
    return [(model_name(model), value) for model, value in models], oracle


def ceiling(data: ReportData) -> str:
    """What the oracle is and how far the best model is below it; empty where there is none."""
    models, oracle = ranked(data)
    if oracle is None:
        return ""
    sentences = [
        gettext(
            "The oracle ranks by the true probabilities of the generator that drew these sessions, so no model can be "
            "expected to do better: {metric} {value}.",
            metric=metric_text(data),
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
            else gettext("{name} has exactly this value", name=name)
        )
        share = gettext(", {share} of it", share=percent(best.value / oracle.value)) if oracle.value > 0 else ""
        sentences.append(f"{side}{share}.")
        if gap < 0 and best.low <= oracle.high:
            sentences.append(gettext("The intervals overlap: on a finite test set chance can do that."))
    return " ".join(sentences)


# --- the leaderboard -------------------------------------------------------------------------------------------------


MARKS = {
    "differs": N_("yes"),
    "differs within margin": N_("yes, but equivalent"),
    "equivalent": N_("no, equivalent"),
    "not told apart": N_("no"),
    "too few sessions": N_("too few sessions"),
}
"""Verdicts, as answers to whether two models can be told apart."""


@dataclass(frozen=True)
class Mark:
    """Whether a model differs from another one."""

    verdict: str
    """One of VERDICTS."""
    p: float

    def __str__(self) -> str:
        return gettext(MARKS[self.verdict])

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance."""
        return self.verdict.startswith("differs")

    @property
    def text(self) -> str:
        """The p-value, as text; none where too few sessions test for a verdict."""
        return "" if self.verdict == "too few sessions" else f"p {p_text(self.p)}"


@dataclass(frozen=True)
class ModelRow:
    """A row of the leaderboard."""

    competes: bool
    """Whether it is a model, not the oracle."""
    taken: bool
    """Whether it is the one to take."""
    name: str
    look: Markup
    """Its line and marker in the figures."""
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
    found = recommendation(data)
    taken = None if found is None or found.reason == "too few sessions" else found.model
    rows = []
    for row in table.to_dict("records"):
        model = str(row["model"])
        competes = model != ORACLE
        values = [_value(row, column, best[column] if competes else np.inf) for column in columns]
        marks = [
            None if pd.isna(row[f"vs_{other}"]) else Mark(str(row[f"vs_{other}"]), float(row[f"p_{other}"] or np.nan))
            for other in ("best", "next")
        ]
        tuned = _tuned(str(row["tuned"])), str(row["tuned_settings"])
        look = Markup(swatch(look_of[model]))  # noqa: S704 - made of a card's look alone
        rows.append(ModelRow(competes, model == taken, model_name(model), look, values, marks, *tuned))
    return rows


UNTUNED = (N_("settings as given"), N_("nothing to tune"))


def _tuned(text: str) -> str:
    """What the leaderboard says of a model's tuning, in the current language."""
    if text in UNTUNED:
        return gettext(text)
    trials, lasting, _ = text.rsplit(", ", 2)
    n = int(trials.split()[0].replace(",", ""))
    return ngettext("{n} trial, {time}, tuning split", "{n} trials, {time}, tuning split", n, time=lasting)


def smallest_p(data: ReportData) -> str:
    """What the smallest p-value on the board means; empty where none is as small as the permutations allow."""
    metric, k = data.primary
    table = data.comparisons
    own = table[(table["metric"] == metric) & (table["k"] == k)]
    least = len(own) / (data.settings.evaluation.permutations + 1)  # Holm takes the smallest times the number of pairs
    judged = data.leaderboard["sessions"].iloc[0] >= VERDICT_SESSIONS
    if not judged or least >= 1 or not (own["p_holm"] <= least * (1 + 1e-9)).any():
        return ""
    return ngettext(
        "p = {p} is the smallest that {swaps} random swaps and {n} pair allow.",
        "p = {p} is the smallest that {swaps} random swaps and {n} pairs allow.",
        len(own),
        p=f"{least:.2g}",
        swaps=f"{data.settings.evaluation.permutations:,}",
    )


# --- ties ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TieRow:
    """A model's primary metric under each tie rule."""

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
    metric, k = data.primary
    table = data.metrics[(data.metrics["metric"] == metric) & (data.metrics["k"] == k)]
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
                "The rules differ for {names}, by at most {gap} ({widest}).",
                names=join_names(differing),
                gap=f"{widest.gap:.4f}",
                widest=widest.name,
            )
        )
    competing = [row for row in rows if row.name != model_name(ORACLE)]
    first = {rule: max(competing, key=lambda row: row.rules[rule].value).name for rule in TIE_TEXTS if competing}
    notes += [
        gettext("Under the {rule} rule {name} would have the highest value.", rule=gettext(rule), name=name)
        for rule, name in first.items()
        if name != first[leaderboard_rule]
    ]
    return notes
