"""What a model's class is called, and how help and type checkers know its settings: all of it from the card."""

import inspect
import json
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sessrec_pipeline.api.options import Device
from sessrec_pipeline.models.base import Card


def class_name(card: Card[Any]) -> str:
    """The title as a name: RecentPopularity, ItemKNN; the card's own name where the title gives none."""
    words = "".join(c if c.isalnum() else " " for c in card.title).split()
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name.isidentifier() else card.name


def signature(card: Card[Any]) -> inspect.Signature:
    """Every setting as a keyword with its default, and the device."""
    defaults = card.settings()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(name, keyword, default=getattr(defaults, name), annotation=field.annotation)
        for name, field in card.settings.model_fields.items()
    ]
    return inspect.Signature([*parameters, inspect.Parameter("device", keyword, default="auto", annotation=Device)])


def documentation(card: Card[Any]) -> str:
    """The docstring of a model's class: what it ranks by, its source, every setting."""
    defaults = card.settings()
    text = [f"{card.title}: {card.summary}.", ""]
    if card.source:
        text += [*textwrap.wrap(f"Source: {card.source}.", 110), ""]
    text += ["Settings", "--------"]
    for name, field in card.settings.model_fields.items():
        text.append(f"{name} : {spelled(field.annotation)}, default {getattr(defaults, name)!r}")
        text += textwrap.wrap(" ".join((field.description or "").split()), 106, initial_indent="    ",
                              subsequent_indent="    ")  # fmt: skip
    text += [f"device : {spelled(Device)}, default 'auto'"]
    text += ["    Where it is fitted and asked: auto takes a GPU where there is one."
             if card.gpu else "    No effect: this model runs on the CPU."]  # fmt: skip
    return "\n".join(text)


def spelled(kind: Any) -> str:
    """A type as one writes it, without the limits that the settings check."""
    origin = get_origin(kind)
    if origin is Annotated:
        return spelled(get_args(kind)[0])
    if origin is Literal:
        return f"Literal[{', '.join(json.dumps(value) for value in get_args(kind))}]"
    if origin in (Union, types.UnionType):
        return " | ".join(spelled(part) for part in get_args(kind))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(spelled(part) for part in get_args(kind))}]"
    return "None" if kind is types.NoneType else str(getattr(kind, "__name__", kind))
