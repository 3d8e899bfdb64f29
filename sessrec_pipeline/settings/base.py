"""What all settings have in common."""

from pydantic import BaseModel, ConfigDict


class SettingsError(ValueError):
    """A setting that cannot be used. The text names the file, the field and what to write instead."""


class Section(BaseModel):
    """A table of ``sessrec.toml``; unknown names are refused, so a typo cannot pass in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
