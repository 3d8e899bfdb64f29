"""What a study is: a question, the table that answers it, and the sentences and the figure that follow from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from sessrec_pipeline.report.data import listed
from sessrec_pipeline.report.looks import ORACLE, metric_name, model_name
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import Laboratory

SCHEMA = pa.schema(
    [
        ("variation", pa.string()),
        ("x", pa.float64()),
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
        ("train_sessions", pa.int64()),
        ("items", pa.int64()),
        ("left_out", pa.int64()),
    ]
)
COLUMNS = {
    "variation": ("string", "What was changed, in words"),
    "x": ("double", "The same as a number"),
    "model": ("string", "Model"),
    "metric": ("string", "recall or mrr"),
    "k": ("int64", "Cutoff"),
    "tie_rule": ("string", "standard, median or conservative"),
    "value": ("double", "Mean over predictions"),
    "low": ("double", "2.5 % quantile over resampled test sessions"),
    "high": ("double", "97.5 % quantile over resampled test sessions"),
    "predictions": ("int64", "Predictions behind the value"),
    "sessions": ("int64", "Test sessions behind the value"),
    "train_sessions": ("int64", "Sessions that the model was fitted on, where the study changes them"),
    "items": ("int64", "Items that were ranked, where the study changes them"),
    "left_out": ("int64", "Test events that the variation leaves out, where it does"),
}
"""Columns of every study's table."""


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
    """The table (SCHEMA), from the inputs by name."""
    finding: Callable[[pd.DataFrame], str]
    """About two sentences."""
    figure: Callable[[pd.DataFrame], str]
    """SVG."""

    @property
    def asset(self) -> str:
        """Name of its asset and of its table."""
        return f"study_{self.name}"


@dataclass(frozen=True)
class Cell:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.3f} {self.high:.3f}]"

    def apart(self, other: "Cell") -> bool:
        """Whether the two intervals have nothing in common: less than that is not called a difference."""
        return self.low > other.high or self.high < other.low


def cells(frame: pd.DataFrame, variation: str, metric: str = "recall") -> dict[str, Cell]:
    """The models' values under one variation, the best first, the oracle last: it does not compete."""
    own = frame[(frame["variation"] == variation) & (frame["metric"] == metric)]
    own = own.sort_values(["value", "model"], ascending=[False, True], kind="stable")
    found = {str(r["model"]): Cell(r["value"], r["low"], r["high"]) for r in own.to_dict("records")}
    oracle = {ORACLE: found.pop(ORACLE)} if ORACLE in found else {}
    return found | oracle


def variations(frame: pd.DataFrame) -> list[str]:
    """The variations in their order."""
    return [str(name) for name in frame["variation"].unique()]


def recall_at(frame: pd.DataFrame) -> str:
    """``Recall@20``, with the table's cutoff."""
    return f"{metric_name('recall')}@{int(frame['k'].iloc[0])}"


def changes(frame: pd.DataFrame, first: str, last: str) -> str:
    """Which models rise and fall in recall from one variation to another by more than their intervals, as a clause."""
    before, after = cells(frame, first), cells(frame, last)
    groups: dict[str, list[str]] = {"rises": [], "falls": [], "none": []}
    for model in before.keys() & after.keys():
        moved = before[model].apart(after[model])
        kind = "none" if not moved else "rises" if after[model].value > before[model].value else "falls"
        groups[kind].append(model)
    texts = []
    for kind in ("rises", "falls"):
        named = [
            f"{model_name(m)} ({before[m].value:.4f} to {after[m].value:.4f})"
            for m in sorted(groups[kind], key=lambda m: -abs(after[m].value - before[m].value))
        ]
        texts += [f"{recall_at(frame)} {kind} for {listed(named)}"] if named else []
    same = [model_name(m) for m in sorted(groups["none"])]
    if same:
        texts.append(f"there is no difference beyond the intervals for {listed(same)}")
    return "; ".join(texts)


def order(frame: pd.DataFrame, first: str, last: str) -> str:
    """Whether two variations name the same best model and order, as a sentence."""
    before, after = ([m for m in cells(frame, name) if m != ORACLE] for name in (first, last))
    common = [m for m in before if m in after]
    after = [m for m in after if m in common]
    if len(common) < 2:
        return ""
    if common == after:
        return f" The order of the models stays {listed([model_name(m) for m in after])}."
    ends = cells(frame, last)
    swapped = [(a, b) for i, a in enumerate(common) for b in common[i + 1 :] if after.index(a) > after.index(b)]
    sure = [pair for pair in swapped if ends[pair[0]].apart(ends[pair[1]])]
    how = "by more than the intervals" if sure else "but within the intervals"
    return f" The order of the models becomes {listed([model_name(m) for m in after])}, {how}."
