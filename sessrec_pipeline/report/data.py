"""What the report is made from, and how its parts put numbers and names into words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.metrics import ORACLE
from sessrec_pipeline.quality import Finding, Rule
from sessrec_pipeline.quality.rule import percent as quality_percent
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.storage.lineage import Lineage

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrainedModel:
    """How a model was trained: its name, the loss of each epoch, its settings, and on what device."""

    name: str
    losses: Sequence[float]
    settings: Mapping[str, Any]
    device: str


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows, as the assets published it."""

    feed: str
    """Name of the feed, for the title."""
    settings: Settings
    leaderboard: pd.DataFrame
    """The leaderboard table."""
    metrics: pd.DataFrame
    """The metrics table."""
    comparisons: pd.DataFrame
    """The comparisons table."""
    slices: pd.DataFrame
    """The slices table."""
    protocols: pd.DataFrame
    """The protocols table."""
    beyond_accuracy: pd.DataFrame
    """The beyond_accuracy table."""
    costs: pd.DataFrame
    """The costs table."""
    raw: Stats
    """Counts of ``raw_sessions``, summed over the landed logs (see ``summed``)."""
    sessions: Stats
    """Counts of ``sessions``."""
    train: Stats
    """Counts of ``train_split``."""
    test: Stats
    """Counts of ``test_split``."""
    item_events: NDArray[np.int64]
    """Events of each item in ``sessions``, in any order."""
    train_lengths: NDArray[np.int64]
    """Events of each training session."""
    test_lengths: NDArray[np.int64]
    """Events of each test session."""
    times_us: NDArray[np.int64]
    """Time of each event in ``sessions``, microseconds since 1970."""
    boundary_us: int | None
    """The moment from which on sessions test; None where the split is not one in time."""
    drift: pd.DataFrame
    """The drift table."""
    trained: Sequence[TrainedModel]
    """The models that were trained."""
    quarantine: Sequence[Mapping[str, Any]]
    """Some rows of the quarantine: log, line, reason."""
    broken: Sequence[tuple[Rule, Finding]]
    """What is wrong with the data (see ``quality/``)."""
    lineages: Sequence[Lineage]
    """Lineages of what the report rests on; their ancestors are shown too."""

    @property
    def cutoffs(self) -> list[int]:
        """K of the leaderboard's columns, rising."""
        found = (re.fullmatch(r"recall_at_(\d+)", column) for column in self.leaderboard.columns)
        return sorted(int(match[1]) for match in found if match)

    @property
    def primary(self) -> tuple[str, int]:
        """The metric that decides, and its cutoff."""
        return self.settings.evaluation.deciding

    @property
    def k(self) -> int:
        """The cutoff of the metric that decides: all that is measured at one cutoff is shown at this one."""
        return self.primary[1]

    @property
    def column(self) -> str:
        """The leaderboard's column of the metric that decides."""
        return "{}_at_{}".format(*self.primary)

    @property
    def competing(self) -> list[str]:
        """The models in the order of the leaderboard; the oracle does not compete."""
        return [str(model) for model in self.leaderboard["model"] if model != ORACLE]

    @cached_property
    def of_model(self) -> dict[str, dict[str, Any]]:
        """The leaderboard's row of each model, as many sentences need one."""
        return {str(row["model"]): {str(k): v for k, v in row.items()} for row in self.leaderboard.to_dict("records")}

    @property
    def tie_rule(self) -> str:
        """The leaderboard's tie rule."""
        return str(self.leaderboard["tie_rule"].iloc[0])


def summed(counts: Iterable[Stats]) -> Stats:
    """The counts of several logs as those of one."""
    total: Counter[str] = Counter()
    for stats in counts:
        total.update({name: int(n) for name, n in stats.items() if not isinstance(n, str)})
    return {**total}


def count(stats: Stats, name: str) -> int:
    """A count, 0 where it was not taken."""
    return int(stats.get(name, 0))


def percent(share: float) -> str:
    """A share as text, with a no-break space; one that is not all is not shown as 100."""
    return quality_percent(share).replace(" ", "\u00a0")
