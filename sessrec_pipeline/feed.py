"""A feed: its settings, which are the core sections and one for each registered model, and the models that it has."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import create_model, field_validator

from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import Settings, read_settings

CHOICES = [card.name for card in cards().values() if card.kind == "model"]


def _models_are_known(cls: type[Settings], names: list[str]) -> list[str]:
    for name in names:
        if name not in CHOICES:
            near = difflib.get_close_matches(name, CHOICES, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no model {name!r}, but {', '.join(CHOICES)}{hint}")
    return names


_SECTIONS: dict[str, Any] = {
    card.section: (card.settings, card.settings())
    for card in cards().values()
    if card.section not in Settings.model_fields
}
FeedSettings: type[Settings] = create_model(
    "FeedSettings",
    __base__=Settings,
    __module__=__name__,
    __doc__="All settings of one feed.",
    __validators__={"models_are_known": field_validator("models")(_models_are_known)},
    models=(list[str], CHOICES),
    **_SECTIONS,
)


def load_settings(home: Path | None = None) -> Settings:
    """The settings of the feed in ``home``, by default that of the environment; SettingsError names what is wrong."""
    return read_settings(FeedSettings, home)


def cards_of(settings: Settings) -> list[Card[Any]]:
    """The models of a feed: those that its settings name, popularity, and the ceiling where its law is known."""
    chosen = {"popularity", *settings.models}
    return [
        card
        for card in cards().values()
        if (card.name in chosen if card.kind == "model" else getattr(settings, card.section) is not None)
    ]
