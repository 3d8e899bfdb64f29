"""From raw session logs to ranked next-item recommenders that can be trusted.

In Python::

    from sessrec_pipeline import GRU4Rec, VSTAN, evaluate, load, temporal_split

A class for each model, and the functions of ``sessrec_pipeline.api``, are imported when they are first asked for:
``import sessrec_pipeline`` alone loads nothing else. Type checkers read their names from ``__init__.pyi``.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

API = ("Events", "FrameError", "Model", "compare", "evaluate", "load", "model", "temporal_split")
"""Names of ``sessrec_pipeline.api``; beside them stands a class for each model, which is told by its capital."""


def __getattr__(name: str) -> Any:
    if name in API:
        found = getattr(import_module("sessrec_pipeline.api"), name)
    elif name[:1].isupper():
        found = import_module("sessrec_pipeline.api.models").classes().get(name)
    else:
        found = None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    own = {name for name in globals() if name.startswith("__")}
    return sorted({*own, *API, *import_module("sessrec_pipeline.api.models").classes()})
