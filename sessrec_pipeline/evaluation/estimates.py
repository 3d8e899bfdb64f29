"""A value with its 95 % interval, and how both are written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; low and high are NaN where there are too few sessions for one."""

    value: float
    low: float
    high: float

    @staticmethod
    def from_row(row: Mapping[Any, Any], column: str) -> "Estimate":
        """From a row of a table with the columns ``column``, ``<column>_low`` and ``<column>_high``."""
        return Estimate.of({"value": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]})

    @staticmethod
    def of(row: Mapping[str, Any]) -> "Estimate":
        """Inverse of ``as_row``."""
        low, high = (math.nan if row[end] is None else float(row[end]) for end in ("low", "high"))
        return Estimate(float(row["value"]), low, high)

    @property
    def has_interval(self) -> bool:
        """Whether there were sessions enough for an interval."""
        return not math.isnan(self.low)

    def as_row(self) -> dict[str, float | None]:
        """The columns value, low and high of a table; null for an interval that there is not."""
        low, high = (self.low, self.high) if self.has_interval else (None, None)
        return {"value": self.value, "low": low, "high": high}

    def __str__(self) -> str:
        """The value alone: 0.6420."""
        return f"{self.value:.4f}"

    @property
    def interval(self) -> str:
        """The interval alone, as a range; a dash where there is none."""
        if not self.has_interval:
            return "–"  # noqa: RUF001 - a dash for nothing
        if self.low < 0:
            return f"{self.low:.4f} … {self.high:.4f}".replace("-", "−")  # noqa: RUF001 - a minus sign
        return f"{self.low:.4f}–{self.high:.4f}"  # noqa: RUF001 - a range is set with an en dash

    @property
    def with_interval(self) -> str:
        """Both in a sentence, the interval in parentheses."""
        return f"{self} ({self.interval})" if self.has_interval else str(self)

    def in_brackets(self, *, signed: bool = False) -> str:
        """Both in a table of text, the interval shorter: 0.6420 [0.614 0.668]; ``signed`` writes a plus, too."""
        sign = "+" if signed else ""
        if not self.has_interval:
            return f"{self.value:{sign}.4f}"
        return f"{self.value:{sign}.4f} [{self.low:{sign}.3f} {self.high:{sign}.3f}]"
