"""Which model to take: the cheapest of those that are surely as good as the best one, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sessrec_pipeline.evaluation.comparisons import between, difference_in, verdict
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.evaluation.metrics import ORACLE
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

TIMES, MICROSECONDS = 2.0, 100.0
"""What counts as cheaper: a model that holds less than half of the other's numbers, or one whose prediction takes less
than half of the other's time and is this much shorter, too, for times differ from run to run."""
Reason = Literal["only", "too few sessions", "cheaper", "best", "cheapest"]
Saving = Literal["training", "time", "tables", "memory"]
"""In what a model can be cheaper than another one."""


@dataclass(frozen=True)
class Price:
    """What makes a model cheap or dear."""

    trained: bool
    """Whether it is trained, epoch after epoch, rather than counted."""
    tables: int
    """Fitted tables that it is made from; popularity, the catalogue, is one of them for every model."""
    bytes_held: float
    """Bytes of its numbers; infinite where it is not known."""
    microseconds: float | None = None
    """Of a prediction; None where it was not timed."""

    def faster_than(self, other: Price) -> bool:
        """Whether a prediction is faster by more than what times differ from run to run."""
        if self.microseconds is None or other.microseconds is None:
            return False
        saved = other.microseconds - self.microseconds
        return saved >= MICROSECONDS and other.microseconds >= TIMES * self.microseconds

    def saving(self, other: Price) -> Saving | None:
        """In what it is cheaper than the other one; None where it is not.

        No training beats training; then the faster one is cheaper, then fewer tables are, then fewer numbers.
        """
        if self.trained != other.trained:
            return "training" if other.trained else None
        if self.faster_than(other) or other.faster_than(self):
            return "time" if self.faster_than(other) else None
        if self.tables != other.tables:
            return "tables" if self.tables < other.tables else None
        return "memory" if TIMES * self.bytes_held <= other.bytes_held < float("inf") else None


@dataclass(frozen=True)
class Recommendation:
    """A model to take, and why."""

    model: str
    reason: Reason
    """only: there is no other; too few sessions: it has the highest value, and nothing surer can be said; cheaper: it
    is equivalent to the best and cheaper; best: no cheaper model is equivalent to it; cheapest: none is cheaper."""
    best: str
    """The model with the highest value of the primary metric."""
    metric: str
    """recall, mrr or ndcg"""
    k: int
    difference: Estimate | None
    """The best less it; None where it is the best."""
    saving: Saving | None
    """In what it is cheaper than the best; None where it is the best."""
    margin: float
    """What a difference must be to matter, as a share of the best one's value."""


def prices(costs: pd.DataFrame | None, models: list[str]) -> dict[str, Price]:
    """The price of each model: from its card, and from the costs table where there is one."""
    rows = {} if costs is None else {str(row["model"]): row for row in costs.to_dict("records")}
    return {model: _price(model, rows.get(model, {})) for model in models}


def _price(model: str, row: Mapping[Any, Any]) -> Price:
    card = cards().get(model)
    held, time = row.get("bytes_in_memory"), row.get("predict_microseconds")
    return Price(
        trained=card is not None and card.training is not None,
        tables=len(card.tables) if card is not None else 0,
        bytes_held=float(held) if held is not None and held > 0 else float("inf"),
        microseconds=float(time) if time is not None and time > 0 else None,
    )


def recommended(
    leaderboard: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame | None, settings: EvaluationSettings
) -> Recommendation:
    """The cheapest model that is equivalent to the best one in the primary metric; the oracle is no one's to take.

    From the tables of these names; without ``costs`` times do not count. LookupError where no model was ranked.
    """
    models = [str(model) for model in leaderboard["model"] if model != ORACLE]
    if not models:
        raise LookupError("no model has been ranked yet; materialize the rankings of one")
    metric, k = settings.deciding
    best, *others = models
    rows = {model: between(comparisons, best, model, metric, k) for model in others}
    verdicts = {model: verdict(row) for model, row in rows.items()}
    price = prices(costs, models)
    chosen = best
    for model in others:
        near = verdicts[model] in ("equivalent", "differs within margin")
        if near and price[model].saving(price[best]) and price[model].saving(price[chosen]):
            chosen = model
    reason: Reason = (
        "only"
        if not others
        else "too few sessions"
        if "too few sessions" in verdicts.values()
        else "cheaper"
        if chosen != best
        else "best"
        if any(price[model].saving(price[best]) for model in others)
        else "cheapest"
    )
    row = rows.get(chosen)
    difference = None if row is None else difference_in(row)
    saving = price[chosen].saving(price[best])
    return Recommendation(chosen, reason, best, metric, k, difference, saving, settings.equivalence_margin)


def recommended_by(store: Store, settings: EvaluationSettings) -> Recommendation:
    """``recommended`` from a feed's published tables; NotMaterializedError where there is none."""
    leaderboard, comparisons, costs = (
        store.find(name).arrow().to_pandas() for name in ("leaderboard", "comparisons", "costs")
    )
    return recommended(leaderboard, comparisons, costs, settings)


SAVED: dict[Saving, str] = {
    "training": "needs no training, unlike",
    "time": "answers in less than half the time of",
    "tables": "is made from fewer tables than",
    "memory": "holds less than half the numbers of",
}
"""What is said of a cheaper model, before the name of the other one."""


def sentence(found: Recommendation) -> str:
    """The model to take and why, as the end of a sentence for a terminal."""
    metric = f"{found.metric}@{found.k}"
    saved = "" if found.saving is None else SAVED[found.saving]
    why = {
        "only": "the only model",
        "too few sessions": f"highest in {metric}, which may be chance: too few sessions test for a verdict",
        "cheaper": f"{saved} {found.best}, the highest in {metric}, and is within {found.margin:.0%} of it",
        "best": f"highest in {metric}; no cheaper model is within {found.margin:.0%} of it",
        "cheapest": f"highest in {metric}; no model is cheaper",
    }
    return f"{found.model}: {why[found.reason]}"
