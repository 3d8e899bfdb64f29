"""The models: a line for each. The order is that of tables and of the graph."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from sessrec_pipeline.models import gru4rec, oracle
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.counts import (
    association_rules,
    markov,
    popularity,
    recent_popularity,
    sequential_rules,
    session_popularity,
)
from sessrec_pipeline.models.neighbours import item_knn, session_knn
from sessrec_pipeline.settings import Settings

CARDS: tuple[Card[Any], ...] = (
    popularity.CARD,
    recent_popularity.CARD,
    session_popularity.CARD,
    markov.CARD,
    association_rules.CARD,
    sequential_rules.CARD,
    item_knn.CARD,
    session_knn.SKNN,
    session_knn.VSKNN,
    session_knn.STAN,
    session_knn.VSTAN,
    gru4rec.CARD,
    oracle.CARD,
)
ENTRY_POINTS = "sessrec_pipeline.models"
"""Group of entry points under which other packages register cards."""


class ModelNameError(ValueError):
    """A model that cannot be registered, or is not; the text says why."""


@cache
def cards() -> dict[str, Card[Any]]:
    """All models by name: ours, then those of other packages. ModelNameError where one cannot be registered."""
    found = {card.name: card for card in CARDS}
    tables = {table.name: table for card in CARDS for table in card.tables}
    taken = {*Settings.model_fields, *(card.section for card in CARDS)}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        where = f"entry point {entry.name} = {entry.value!r}"
        try:
            card = entry.load()
        except (ImportError, AttributeError) as error:
            raise ModelNameError(f"{where} cannot be imported: {error}; fix or uninstall its package") from error
        if not isinstance(card, Card):
            raise ModelNameError(f"{where} is no Card of sessrec_pipeline.models.base")
        if card.name in found:
            raise ModelNameError(f"{where}: there is a model {card.name!r} already")
        if not card.name.isidentifier() or card.name != card.name.lower():
            raise ModelNameError(f"{where}: {card.name!r} must be a lower-case identifier")
        if card.section in taken:
            raise ModelNameError(f"{where}: the section [{card.section}] of sessrec.toml has another owner")
        taken.add(card.section)
        for table in card.tables:
            if tables.setdefault(table.name, table) is not table:
                raise ModelNameError(f"{where}: there is a fitted table {table.name!r} already, and it is another one")
        found[card.name] = card
    return found


def card_of(name: str) -> Card[Any]:
    """The card of a model; ModelNameError where there is none of this name."""
    if name not in cards():
        raise ModelNameError(f"there is no model {name!r}, but {', '.join(cards())}")
    return cards()[name]
