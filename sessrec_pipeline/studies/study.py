"""What a study is: a question, the table that answers it, and the sentences and the figure that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.report.looks import ORACLE, metric_name, model_name
from sessrec_pipeline.report.translation import join_names
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import Laboratory

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "variation": ("string", "What was changed, in words"),
    "x": ("double", "The same as a number"),
    "model": ("string", "Model"),
    "metric": ("string", "recall or mrr"),
    "k": ("int64", "Cutoff"),
    "tie_rule": ("string", "standard, median or conservative"),
    "value": ("double", "Mean over predictions"),
    "low": (
        "double",
        "2.5 % quantile over resampled test sessions (mean of windows: less a standard deviation of them)",
    ),
    "high": ("double", "97.5 % quantile over resampled test sessions (mean of windows: plus a standard deviation)"),
    "difference": ("double", "From the same model under the first variation (null feed: from the oracle)"),
    "difference_low": ("double", "2.5 % quantile over resampled test sessions, both sides the same"),
    "difference_high": ("double", "97.5 % quantile likewise"),
    "predictions": ("int64", "Predictions behind the value"),
    "sessions": ("int64", "Test sessions behind the value"),
    "train_sessions": ("int64", "Sessions that the model was fitted on, where the study changes them"),
    "items": ("int64", "Items that were ranked, where the study changes them"),
    "left_out": ("int64", "Test events that the variation leaves out, where it does"),
}
"""Columns of every study's table."""


MANY = 4
"""Of more models a finding names some."""


@dataclass(frozen=True)
class Study:
    """One experiment. The finding and the figure are functions of the published table, and of nothing else."""

    name: str
    """Also its asset's name and its table's in the warehouse, with ``study_`` before it."""
    title: str
    question: str
    inputs: Callable[[Settings], Sequence[str]]
    """Assets of the feed that it reads."""
    measure: Callable[[Laboratory, Mapping[str, Stored]], pa.Table]
    """The table (COLUMNS), from the inputs by name."""
    finding: Callable[[pd.DataFrame], str]
    """About two sentences."""
    figure: Callable[[pd.DataFrame], str]
    """SVG."""
    reads: tuple[str, ...] = ()
    """Settings that it reads beside those of the studies, the evaluation and the models."""
    needs: tuple[str, ...] = ()
    """Models without which a feed has no such study."""

    @property
    def asset(self) -> str:
        """Name of its asset and of its table."""
        return f"study_{self.name}"


@dataclass(frozen=True)
class Cell(Estimate):
    """A value of a study's table."""

    moved: int
    """1 or -1 where it differs from its counterpart by more than the interval of the difference, else 0."""


def cells(frame: pd.DataFrame, variation: str, metric: str = "recall") -> dict[str, Cell]:
    """The models' values under one variation, the best first, the oracle last: it does not compete."""
    own = frame[(frame["variation"] == variation) & (frame["metric"] == metric)]
    own = own.sort_values(["value", "model"], ascending=[False, True], kind="stable")
    found = {
        str(r["model"]): Cell(
            r["value"], r["low"], r["high"], int(r["difference_low"] > 0) - int(r["difference_high"] < 0)
        )
        for r in own.to_dict("records")
    }
    oracle = {ORACLE: found.pop(ORACLE)} if ORACLE in found else {}
    return found | oracle


def shown(model: str) -> str:
    """A model's name for people; one that is a study's own has no other."""
    name = model_name(model)
    return name.replace("_", " ").capitalize() if name == model else name


def variations(frame: pd.DataFrame) -> list[str]:
    """The variations in their order."""
    return [str(name) for name in frame["variation"].unique()]


def measured(frame: pd.DataFrame, metric: str = "recall") -> str:
    """``Recall@20``, with the table's cutoff."""
    return f"{metric_name(metric)}@{int(frame['k'].iloc[0])}"


def few(names: Sequence[str]) -> str:
    """Names as a sentence lists them, of many the first ones and how many more."""
    return join_names(names if len(names) <= MANY else [*names[: MANY - 1], f"{len(names) - MANY + 1} others"])


def changes(frame: pd.DataFrame, to: str, metric: str = "recall") -> str:
    """For which models a metric rises or falls from the first variation to another, as a clause; most first.

    A change is called one where the interval of the paired difference leaves 0 out.
    """
    before, after = cells(frame, variations(frame)[0], metric), cells(frame, to, metric)
    texts = []
    for moved, verb in ((1, "rises"), (-1, "falls")):
        models = [m for m in after if m in before and after[m].moved == moved]
        models.sort(key=lambda m: -abs(after[m].value - before[m].value))
        named = [f"{shown(m)} ({before[m].value:.4f} to {after[m].value:.4f})" for m in models]
        texts += [f"{measured(frame, metric)} {verb} for {few(named)}"] if named else []
    same = sorted(shown(m) for m in after if m in before and not after[m].moved)
    if same and texts:
        texts.append(f"there is no difference beyond the intervals for {few(same)}")
    elif same:
        texts.append(f"{measured(frame, metric)} shows no difference beyond the intervals for {few(same)}")
    return "; ".join(texts)


def order(frame: pd.DataFrame, to: str) -> str:
    """Whether the models come in the same order as under the first variation, as a sentence with a space before it."""
    before, after = ([m for m in cells(frame, name) if m != ORACLE] for name in (variations(frame)[0], to))
    before, after = [m for m in before if m in after], [m for m in after if m in before]
    if len(after) < 2:
        return ""
    places = sum(a != b for a, b in zip(before, after, strict=True))
    if len(after) <= MANY:
        verb = "becomes" if places else "stays"
        return f" The order of the models {verb} {join_names([shown(m) for m in after])}."
    first = f"{shown(after[0])} {'stays' if after[0] == before[0] else 'becomes'} first"
    moved = f"{places} of the {len(after)} models change places" if places else "the order of the models stays"
    return f" {first}, and {moved}."
