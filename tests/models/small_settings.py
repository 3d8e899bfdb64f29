"""Settings that make any model small enough for a test, found in its settings class, and the choices that it has."""

from itertools import zip_longest
from typing import Any, Literal, get_args, get_origin

from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import Section

LEAST, PART = 8, 64
"""Whole numbers above LEAST become a 64th, but not less than LEAST, of which heads and groups can be made."""


def variants(card: Card[Any]) -> dict[str, Section]:
    """Small settings of a model by a name that says how they differ from its defaults.

    Together they have every option of every choice, every switch in both positions, and what is off by default, such
    as dropout, momentum or a blend, turned on.
    """
    small = _small(card)
    on = {name: 0.2 for name, value in _defaults(card).items() if type(value) is float and value == 0}
    base = small | on if card.training else small
    changes = [{name: not value} for name, value in _defaults(card).items() if value is True or value is False]
    options = {
        name: [option for option in get_args(field.annotation) if option != field.default]
        for name, field in card.settings.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    for choice in zip_longest(*options.values()):
        changes.append({name: option for name, option in zip(options, choice, strict=True) if option is not None})
    if on and not card.training:
        changes.append(on)
    named = {card.name: base}
    named |= {f"{card.name} {' '.join(f'{k}={v}' for k, v in more.items())}": base | more for more in changes}
    return {name: card.settings.model_validate(values) for name, values in named.items()}


def _defaults(card: Card[Any]) -> dict[str, Any]:
    return card.settings().model_dump()


def _small(card: Card[Any]) -> dict[str, Any]:
    if card.kind == "ceiling":  # its settings are those of the feed that it knows
        return {}
    small = {name: _shrunk(value) for name, value in _defaults(card).items() if name != "seed"}
    return small | ({"n_epochs": 1} if card.training else {})


def _shrunk(value: Any) -> Any:
    if type(value) is int and value > LEAST:
        return max(LEAST, value // PART)
    return [_shrunk(each) for each in value] if isinstance(value, list) else value
