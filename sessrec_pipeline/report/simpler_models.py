"""When a simpler model is enough: what cheaper models reach, and for what share of the best one's time."""

from dataclasses import dataclass

import numpy as np

from sessrec_pipeline.evaluation.comparisons import between
from sessrec_pipeline.report.data import ReportData, percent
from sessrec_pipeline.report.looks import ORACLE, model_name
from sessrec_pipeline.report.translation import gettext


@dataclass(frozen=True)
class Choice:
    """A model beside the best one; the shares are of the best one's values."""

    name: str
    share: float
    """Of Recall at the largest cutoff."""
    predict_share: float
    """Of the time that a prediction takes."""
    fit_share: float
    """Of the time to fit; NaN where one was not timed."""
    level: bool
    """Whether the paired test finds no difference; true for the best itself."""


def choices(data: ReportData) -> list[Choice]:
    """All timed models beside the best, which comes first, in the order of the leaderboard; the oracle is no choice.

    Empty where the best model was not timed or finds nothing.
    """
    board = data.leaderboard[data.leaderboard["model"] != ORACLE]
    recall = {str(row["model"]): float(row[f"recall_at_{data.k}"]) for _, row in board.iterrows()}
    predict, fit = (
        {str(row["model"]): float(row[name]) for row in data.costs.to_dict("records") if row[name] > 0}
        for name in ("predict_microseconds", "fit_seconds")
    )
    best = next(iter(recall), "")
    if best not in predict or not recall[best]:
        return []
    found = []
    for model, value in recall.items():
        if model in predict:
            level = model == best or not between(data.comparisons, best, model, "recall", data.k)["significant"]
            fit_share = fit.get(model, np.nan) / fit.get(best, np.nan)
            found.append(
                Choice(model_name(model), value / recall[best], predict[model] / predict[best], fit_share, level)
            )
    return found


def simpler_models(data: ReportData) -> list[str]:
    """Sentences: the fastest model that is level with the best, and what faster ones give up for what time.

    Empty where there is no choice to make: one model, or no times.
    """
    found = choices(data)
    if len(found) < 2:
        return []
    best, *others = found
    level = min([best, *(c for c in others if c.level)], key=lambda choice: choice.predict_share)
    faster: list[Choice] = []  # each the best of all that answer as fast or faster
    for choice in others:
        if choice.predict_share < (faster[-1] if faster else level).predict_share:
            faster.append(choice)
    if level is not best:
        sentences = [
            gettext(
                "{name} is enough: the paired test finds no difference in Recall@{k} from {best}, and a prediction "
                "takes {time} of its time.",
                name=level.name,
                k=data.k,
                best=best.name,
                time=percent(level.predict_share),
            )
        ]
    elif faster:
        sentences = [
            gettext(
                "No faster model is enough: all of them are below {best} in Recall@{k} by more than chance.",
                best=best.name,
                k=data.k,
            )
        ]
    else:
        sentences = [gettext("{best} is both the best and the fastest.", best=best.name)]
    sentences += [
        gettext(
            "{name} is level with {best} and takes {fit} of its time to fit, but a prediction takes {times} times as "
            "long.",
            name=choice.name,
            best=best.name,
            fit=percent(choice.fit_share),
            times=f"{choice.predict_share:.1f}",
        )
        for choice in others
        if choice.level and choice.predict_share >= 1 and choice.fit_share < 1
    ]
    sentences += [
        gettext(
            "{name} reaches {share} of {best}'s Recall@{k} in {time} of its time.",
            name=choice.name,
            share=percent(choice.share),
            best=best.name,
            k=data.k,
            time=percent(choice.predict_share),
        )
        for choice in faster
    ]
    return sentences
