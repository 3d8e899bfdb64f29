"""The names of the package for type checkers and editors: ``python -m sessrec_pipeline.api.stub`` writes them.

The classes are made from the cards at run time, so nothing but this file can say what their settings are.
"""

import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from sessrec_pipeline import api
from sessrec_pipeline.api.documentation import class_name, documentation, signature, spelled
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.registry import CARDS

STUB = Path(__file__).parents[1] / "__init__.pyi"
HEAD = '''\
"""Made from the models' cards by ``python -m sessrec_pipeline.api.stub``; do not edit."""

from typing import Literal

{imports}

__version__: str
'''


def stub() -> str:
    """The text of ``__init__.pyi``."""
    imports = "\n".join(f"from sessrec_pipeline.api import {name} as {name}" for name in api.__all__)
    return "\n".join([HEAD.format(imports=imports), *map(_class, CARDS)])


def _class(card: Card[Any]) -> str:
    keywords = [f"    {_keyword(parameter)}," for parameter in signature(card).parameters.values()]
    body = [f'"""{documentation(card)}\n"""', "", "def __init__(", "    self,", "    *,", *keywords, ") -> None: ..."]
    text = textwrap.indent("\n".join(body), "    ")
    return f"class {class_name(card)}(Model):\n{text}\n"


def _keyword(parameter: inspect.Parameter) -> str:
    value = json.dumps(parameter.default) if isinstance(parameter.default, str) else repr(parameter.default)
    return f"{parameter.name}: {spelled(parameter.annotation)} = {value}"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
