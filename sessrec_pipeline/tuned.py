"""What tuning is about: the settings that are searched for each model, and the best ones put in their place."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessrec_pipeline.fitted import models_of
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.storage.store import Stored

BASELINES, GRU4REC = "baseline_tuning", "gru4rec_tuning"
"""The assets that hold the trials."""


class StudyError(RuntimeError):
    """A database of trials that cannot be used; the text says where and why, without the password."""


@dataclass(frozen=True)
class Span:
    """Numbers from low to high; whole ones where both are. ``log``: equal ratios are equally likely."""

    low: float
    high: float
    log: bool = True


Space = Mapping[str, Span | tuple[str | bool, ...]]
WEIGHTINGS = ("same", "div", "linear", "quadratic", "log")
NEIGHBOURS: Space = {"k": Span(50, 2000), "sample_size": Span(500, 10_000), "repeat_current": (True, False)}
FADING: Space = {"lambda_spw": Span(0.1, 8.0), "lambda_snh": Span(1.0, 100.0), "lambda_inh": Span(0.1, 8.0)}
SPACES: dict[str, Space] = {
    "recent_popularity": {"days": Span(0.1, 30.0)},
    "markov": {"alpha": Span(0.0, 1.0, log=False)},
    "ar": {"pruning": Span(5, 500)},
    "sr": {"steps": Span(1, 20), "weighting": WEIGHTINGS, "pruning": Span(5, 500)},
    "item_knn": {"neighbours": Span(20, 500), "regularisation": Span(0.0, 100.0, log=False)},
    "sknn": NEIGHBOURS,
    "vsknn": {
        **NEIGHBOURS,
        "weighting": WEIGHTINGS,
        "weighting_score": WEIGHTINGS,
        "idf_weighting": Span(0.0, 10.0, log=False),
    },
    "stan": {**NEIGHBOURS, **FADING},
    "vstan": {**NEIGHBOURS, **FADING, "lambda_ipw": Span(0.1, 8.0), "lambda_idf": Span(0.0, 10.0, log=False)},
}
"""What is searched for each baseline, under the names of its settings, which are those of Ludewig et al. (2021) where
the model is among theirs. GRU4Rec's space stands with its search; the other models have nothing to tune."""

Trials = Sequence[Mapping[str, Any]]
"""Rows of one model: trial, value, seconds, config (JSON of its section)."""


def tunable(settings: Settings) -> list[str]:
    """The feed's baselines that have something to tune."""
    return [model for model in models_of(settings) if model in SPACES]


def tuning_assets(settings: Settings) -> list[str]:
    """The assets with the trials of the feed's models; none where ``[training] tuning_trials`` is 0."""
    if not settings.training.tuning_trials:
        return []
    return [BASELINES] * bool(tunable(settings)) + [GRU4REC] * ("gru4rec" in models_of(settings))


def trials_of(stored: Mapping[str, Stored]) -> dict[str, list[dict[str, Any]]]:
    """The trials of each model in the tuning assets that are among ``stored``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in (BASELINES, GRU4REC):
        for row in stored[name].arrow().to_pylist() if name in stored else []:
            found.setdefault(row.get("model", "gru4rec"), []).append(row)
    return found


def best(trials: Trials) -> Mapping[str, Any]:
    """The trial of highest value, the first of equals: what is configured stays where nothing is better."""
    return max(trials, key=lambda trial: (trial["value"], -trial["trial"]))


def with_best(settings: Settings, stored: Mapping[str, Stored]) -> Settings:
    """The settings with the best section of every model that has trials in ``stored``, or as they are."""
    sections: dict[str, Section] = {
        model: type(getattr(settings, model)).model_validate_json(best(trials)["config"])
        for model, trials in trials_of(stored).items()
    }
    return settings.model_copy(update=sections)


def effort(model: str, trials: Mapping[str, Trials]) -> dict[str, Any]:
    """What was done to tune a model: ``tuned`` (text), ``tuned_settings``, ``tuning_trials``, ``tuning_seconds``.

    ``tuned_settings`` names those that differed between the trials.
    """
    if model not in (*SPACES, "gru4rec"):
        return {"tuned": "nothing to tune", "tuned_settings": "", "tuning_trials": 0, "tuning_seconds": 0.0}
    if model not in trials:
        return {"tuned": "not tuned", "tuned_settings": "", "tuning_trials": 0, "tuning_seconds": 0.0}
    own = trials[model]
    configs = [json.loads(trial["config"]) for trial in own]
    varied = [name for name, value in configs[0].items() if any(config[name] != value for config in configs)]
    seconds = sum(float(trial["seconds"]) for trial in own)
    count = f"{len(own):,} trial{'s' if len(own) != 1 else ''}"
    return {
        "tuned": f"{count}, {_lasting(seconds)}, tuning split",
        "tuned_settings": ", ".join(varied),
        "tuning_trials": len(own),
        "tuning_seconds": seconds,
    }


def _lasting(seconds: float) -> str:
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 0.5 else "under 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
