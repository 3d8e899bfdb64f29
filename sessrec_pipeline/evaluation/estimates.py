"""A value with its 95 % interval, and how both are written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def from_row(row: Mapping[Any, Any], column: str) -> "Estimate":
        """From a row of a table with the columns ``column``, ``<column>_low`` and ``<column>_high``."""
        return Estimate(float(row[column]), float(row[f"{column}_low"]), float(row[f"{column}_high"]))

    def __str__(self) -> str:
        """The value alone: 0.6420."""
        return f"{self.value:.4f}"

    @property
    def interval(self) -> str:
        """The interval alone, as a range."""
        return f"{self.low:.4f}–{self.high:.4f}"  # noqa: RUF001 - a range is set with an en dash

    @property
    def with_interval(self) -> str:
        """Both in a sentence, the interval in parentheses."""
        return f"{self} ({self.interval})"

    def in_brackets(self, *, signed: bool = False) -> str:
        """Both in a table of text, the interval shorter: 0.6420 [0.614 0.668]; ``signed`` writes a plus, too."""
        sign = "+" if signed else ""
        return f"{self.value:{sign}.4f} [{self.low:{sign}.3f} {self.high:{sign}.3f}]"
