"""When a simpler model is enough: what cheaper models reach, and for what share of the best one's time."""

from dataclasses import dataclass

import numpy as np

from sessrec_pipeline.evaluation.comparisons import between
from sessrec_pipeline.report.data import ReportData, percent
from sessrec_pipeline.report.looks import ORACLE, model_name
from sessrec_pipeline.report.words import t


@dataclass(frozen=True)
class Choice:
    """A model beside the best one."""

    name: str
    recall: float
    share: float
    """Of the best model's Recall."""
    time_share: float
    """Of the best model's time per prediction."""
    level: bool
    """Whether the paired test finds no difference from the best model; true for the best itself."""


def choices(data: ReportData) -> list[Choice]:
    """The models worth a choice, best first: each is the best of all that answer as fast or faster.

    Empty where the best model was not timed or finds nothing. The oracle is no one's to run.
    """
    board = data.leaderboard[data.leaderboard["model"] != ORACLE]
    recall = {str(row["model"]): float(row[f"recall_at_{data.k}"]) for _, row in board.iterrows()}
    costs = data.costs.set_index("model")["predict_microseconds"].astype(float)
    best = next(iter(recall), "")
    if not recall or not recall[best] or not costs.get(best, np.nan) > 0:
        return []
    found: list[Choice] = []
    fastest = np.inf
    for model, value in recall.items():
        if costs.get(model, np.inf) < fastest:
            fastest = float(costs[model])
            level = model == best or not between(data.comparisons, best, model, "recall", data.k)["significant"]
            found.append(Choice(model_name(model), value, value / recall[best], fastest / costs[best], level))
    return found


def enough(data: ReportData) -> list[str]:
    """Sentences: the fastest model that is level with the best, and what the faster ones give up for what time.

    Empty where there is no choice to make: one model, or no times.
    """
    found = choices(data)
    if not found or len(data.leaderboard[data.leaderboard["model"] != ORACLE]) < 2:
        return []
    best, values = found[0], {"k": data.k}
    level = [choice for choice in found if choice.level][-1]
    if level.name != best.name:
        sentences = [
            t(
                "{name} is enough: the paired test finds no difference in Recall@{k} from {best}, and a prediction "
                "takes {time} of its time.",
                name=level.name,
                best=best.name,
                time=percent(level.time_share),
                **values,
            )
        ]
    elif len(found) == 1:
        return [t("{best} is both the best and the fastest: no simpler model is worth a choice.", best=best.name)]
    else:
        sentences = [
            t(
                "No simpler model is enough: every faster one is below {best} in Recall@{k} by more than chance.",
                best=best.name,
                **values,
            )
        ]
    sentences += [
        t(
            "{name} reaches {share} of {best}'s Recall@{k} in {time} of its time.",
            name=choice.name,
            share=percent(choice.share),
            best=best.name,
            time=percent(choice.time_share),
            **values,
        )
        for choice in found
        if not choice.level
    ]
    return sentences
