"""The trials of searches, and the best settings in the place of those that are configured."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.storage.store import Stored


class TuningDatabaseError(RuntimeError):
    """A database of trials that cannot be used; the text says where and why, without the password."""


Trials = Sequence[Mapping[str, Any]]
"""Rows of one model: trial, value, seconds, config (JSON of its section)."""


def tuned_cards(settings: Settings) -> list[Card[Any]]:
    """The feed's models that are tuned; none where ``[training] tuning_trials`` is 0."""
    return [card for card in cards_of(settings) if card.space] if settings.training.tuning_trials else []


def tuning_assets(settings: Settings) -> list[str]:
    """The assets with the trials of the feed's models."""
    return [card.tuning for card in tuned_cards(settings)]


def trials_of(settings: Settings, stored: Mapping[str, Stored]) -> dict[str, list[dict[str, Any]]]:
    """The trials of each tuned model whose asset is among ``stored``."""
    return {
        card.name: stored[card.tuning].arrow().to_pylist() for card in tuned_cards(settings) if card.tuning in stored
    }


def best(trials: Trials) -> Mapping[str, Any]:
    """The trial of highest value, the first of equals: what is configured stays where nothing is better."""
    return max(trials, key=lambda trial: (trial["value"], -trial["trial"]))


def with_best(settings: Settings, stored: Mapping[str, Stored]) -> Settings:
    """The settings with the best section of every model that has trials in ``stored``, or as they are."""
    sections: dict[str, Section] = {
        card.section: card.settings.model_validate_json(best(stored[card.tuning].arrow().to_pylist())["config"])
        for card in tuned_cards(settings)
        if card.tuning in stored
    }
    return settings.model_copy(update=sections)


def effort(card: Card[Any], trials: Mapping[str, Trials]) -> dict[str, Any]:
    """What was done to tune a model: ``tuned`` (text), ``tuned_settings``, ``tuning_trials``, ``tuning_seconds``.

    ``tuned_settings`` names those that differed between the trials.
    """
    if not card.space:
        return {"tuned": "nothing to tune", "tuned_settings": "", "tuning_trials": 0, "tuning_seconds": 0.0}
    if card.name not in trials:
        return {"tuned": "settings as given", "tuned_settings": "", "tuning_trials": 0, "tuning_seconds": 0.0}
    own = trials[card.name]
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
