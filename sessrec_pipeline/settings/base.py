"""What all settings have in common."""

import re

from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails

WORDS = (
    (r"^Input should be a valid (integer|number with no fractional part).*", "must be a whole number"),
    (r"^Input should be a valid (number|decimal).*", "must be a number"),
    (r"^Input should be a valid boolean.*", "must be true or false"),
    (r"^Input should be a valid string.*", "must be text"),
    (r"^Input should be a valid (list|tuple).*", "must be a list"),
    (r"^Input should be a valid (dictionary|object).*", "must be a table"),
    (r"^Input should be", "must be"),
    (r"^String should match pattern", "must look like"),
    (r"^(List|Tuple|Set|String|Dictionary|Value) should have", "must have"),
    (r" after validation", ""),
    (r"^Value error, ", ""),
)
"""Pydantic's wording, and ours."""


class SettingsError(ValueError):
    """A setting that cannot be used. The text names the file, the field and what to write instead."""


class Section(BaseModel):
    """A table of ``sessrec.toml``; unknown names are refused, so a typo cannot pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def in_words(problem: ErrorDetails) -> str:
    """What pydantic says is wrong with a value, as one who wrote the value would say it."""
    text = problem["msg"]
    for theirs, ours in WORDS:
        text = re.sub(theirs, ours, text)
    return text
