"""A home of its own in the feed's scratch space, in which variations are split, fitted and ranked.

What works there is the pipeline itself: its split, its fitted assets, its evaluator and its metrics. Only the store
stands elsewhere, so nothing of the feed is touched, and all of it goes when the laboratory is closed.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.compute import Compute
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.metrics import session_sums
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.fitted import ARTEFACTS, load_model, models_of
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.report.looks import ORACLE
from sessrec_pipeline.settings import Settings, SplitSettings, TieRule
from sessrec_pipeline.storage.files import temporary_prefix
from sessrec_pipeline.storage.lake import Rows, Table
from sessrec_pipeline.storage.store import Publishable, Store, Stored

RULE: TieRule = "conservative"
"""The tie rule of every study but that of the tie rules."""
TRAINED = ("gru4rec",)
"""Models whose fitting takes long: a study fits them only where the settings say so."""
METRICS = ("recall", "mrr")

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("variation", pa.string()),
        ("x", pa.float64()),
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
        ("train_sessions", pa.int64()),
        ("items", pa.int64()),
        ("left_out", pa.int64()),
    ]
)
"""Columns of a study's table; what they mean stands in ``study.COLUMNS``."""


@dataclass(frozen=True)
class Fit:
    """How the pipeline makes one fitted artefact: the assets that it reads, and the asset's own function."""

    inputs: tuple[str, ...]
    reads: tuple[str, ...]
    """Dotted names of the settings that it reads."""
    make: Callable[[Settings, Store, Mapping[str, Stored]], Publishable]

    def depends_on(self, section: str) -> bool:
        """Whether it reads any setting of a section."""
        return any(name.split(".")[0] == section for name in self.reads)


def studied_models(settings: Settings) -> list[str]:
    """The models that studies fit anew; ValueError where the settings name one that the feed lacks."""
    known = models_of(settings)
    trained = [name for name in known if name in TRAINED]
    chosen = settings.studies.models
    if chosen is None:
        chosen = [name for name in known if name not in (ORACLE, *trained)]
    if strange := [name for name in chosen if name not in known]:
        raise ValueError(f"[studies] models names {strange[0]!r}; this feed has {', '.join(known)}")
    return chosen + [name for name in trained if settings.studies.gru4rec and name not in chosen]


class Shelf(Store):
    """A store without a catalogue: nobody asks for the lineage of what is gone when the study ends."""

    def _entered(self, stored: Stored) -> Stored:
        return stored


@dataclass
class Laboratory:
    """Where a study works; a context manager.

    settings: the feed's own; fits: by artefact. ``home`` is the laboratory's, and is gone after the block.
    """

    feed: Settings
    fits: Mapping[str, Fit]
    compute: Compute
    settings: Settings = field(init=False)
    store: Shelf = field(init=False)
    models: list[str] = field(init=False)
    sums: dict[tuple[str, str], pd.DataFrame] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        self.feed.scratch.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(dir=self.feed.scratch, prefix=temporary_prefix()))
        self.settings = self.feed.model_copy(update={"home": home})
        self.store = Shelf(self.settings)
        self.models = studied_models(self.feed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.settings.home)

    @property
    def k(self) -> int:
        """The cutoff of the studies: the feed's largest."""
        return max(self.feed.evaluation.cutoffs)

    def rng(self, purpose: str) -> np.random.Generator:
        """A seeded stream for each purpose."""
        return np.random.default_rng([self.feed.studies.seed, *purpose.encode()])

    def put(self, name: str, rows: Rows) -> Stored:
        """Publish rows here, in the place of the last ones of that name.

        An artefact of the feed must be brought in so before an engine may read it.
        """
        return self.store.publish(name, Table(rows))

    def split(self, sessions: Stored, split: SplitSettings) -> tuple[Stored, Stored]:
        """Train and test of sessions that are here."""
        with DuckDBEngine(self.settings) as engine:
            train = self.store.publish("train_split", train_split(engine, split, sessions.path))
        with DuckDBEngine(self.settings) as engine:
            test = self.store.publish("test_split", test_split(engine, split, sessions.path, train.path))
        return train, test

    def fit(
        self,
        train: Stored,
        models: Sequence[str] | None = None,
        settings: Settings | None = None,
        fitted: Mapping[str, Stored] | None = None,
    ) -> dict[str, Stored]:
        """The artefacts of the models (default: those of the study), fitted on training events that are here.

        settings: in place of the laboratory's own; fitted: artefacts on the same events that need no fitting.
        """
        stored = {"train_split": train, **(fitted or {})}
        for model in self.models if models is None else models:
            for artefact in ARTEFACTS[model]:
                self._fit(artefact, stored, settings or self.settings)
        return stored

    def _fit(self, artefact: str, stored: dict[str, Stored], settings: Settings) -> None:
        if artefact in stored:
            return
        fit = self.fits[artefact]
        for name in fit.inputs:
            self._fit(name, stored, settings)
        made = fit.make(settings, self.store, {name: stored[name] for name in fit.inputs})
        stored[artefact] = self.store.publish(artefact, made)

    def load(
        self, model: str, stored: Mapping[str, Stored], settings: Settings | None = None
    ) -> tuple[Recommender, list[str]]:
        """The model that artefacts make, and its vocabulary."""
        own = {name: stored[name] for name in ARTEFACTS[model]}
        return load_model(model, own, settings or self.settings, self.compute)

    def rank(
        self, model: str, stored: Mapping[str, Stored], test: pa.Table, settings: Settings | None = None
    ) -> pa.Table:
        """A row of evidence for each prediction of ``test``, its counts alone."""
        recommender, vocabulary = self.load(model, stored, settings)
        return rank(recommender, vocabulary, test, batch_size=self.feed.evaluation.batch_size, top=1)

    def run(self, train: Stored, test: pa.Table, models: Sequence[str] | None = None, **about: Any) -> list[Row]:
        """Fit the models, rank the test events, measure: rows of a study's table; ``about`` is put into each."""
        models = self.models if models is None else models
        stored = self.fit(train, models)
        about = {"train_sessions": pc.count_distinct(train.arrow(["session_number"])["session_number"]).as_py()} | about
        return self.measure({model: self.rank(model, stored, test) for model in models}, **about)

    def measure(self, rankings: Mapping[str, pa.Table], rule: TieRule = RULE, **about: Any) -> list[Row]:
        """Rows of a study's table from rankings by model: recall and MRR at the cutoff, with 95 % intervals."""
        stored = {model: self.put(f"{model}_rankings", table).path for model, table in rankings.items()}
        sums = session_sums(stored, [self.k])
        return [
            row
            for model, own in sums[sums["tie_rule"] == rule].groupby("model", sort=True)
            for row in self.rows(str(model), own.set_index("session"), tie_rule=rule, **about)
        ]

    def rows(self, model: str, sums: pd.DataFrame, variation: str, **about: Any) -> list[Row]:
        """The rows of one model: ``sums`` has for each session the predictions and the sums of METRICS over them."""
        values, counts = _arrays(sums)
        evaluation = self.feed.evaluation
        low, high = interval(resampled([sums], evaluation.bootstrap_samples, evaluation.seed)[0])
        self.sums[variation, model] = sums
        common = {"variation": variation, "model": model, "k": self.k, **about}
        common |= {"predictions": int(counts.sum()), "sessions": len(counts)}
        return [
            {"metric": metric, "value": values[:, i].sum() / counts.sum(), "low": low[i], "high": high[i], **common}
            for i, metric in enumerate(METRICS)
        ]

    def compared(self, rows: list[Row], model: str | None = None) -> pa.Table:
        """The study's table (SCHEMA): each row with its difference from the first variation, and that one's interval.

        With ``model``, from that model under the same variation. Both sides see the same resamples of the sessions.
        """
        first = rows[0]["variation"] if rows else ""
        evaluation = self.feed.evaluation
        found: dict[tuple[str, str], NDArray[np.float64]] = {}
        for variation, name in self.sums:
            other = (first, name) if model is None else (variation, model)
            if other in self.sums and other != (variation, name):
                pair = self.sums[variation, name], self.sums[other]
                found[variation, name] = difference(*pair, evaluation.bootstrap_samples, evaluation.seed)
        for row in rows:
            key = row["variation"], row["model"]
            if key in found:
                value, low, high = found[key][:, METRICS.index(row["metric"])].tolist()
                row |= {"difference": value, "difference_low": low, "difference_high": high}
        return pa.Table.from_pylist(rows, SCHEMA)


def difference(ours: pd.DataFrame, other: pd.DataFrame, samples: int, seed: int) -> NDArray[np.float64]:
    """Difference of the means of METRICS and its 95 % interval, float (3, metrics): value, low, high.

    Sums by session, as for ``Laboratory.rows``.
    """
    means = [values.sum(axis=0) / counts.sum() for values, counts in (_arrays(ours), _arrays(other))]
    draws = resampled([ours, other], samples, seed)
    return np.stack([means[0] - means[1], *interval(draws[0] - draws[1])])


def resampled(sides: Sequence[pd.DataFrame], samples: int, seed: int) -> NDArray[np.float64]:
    """Means of METRICS, float (sides, samples, metrics), each sample over the same sessions of all sides.

    Sessions of all sides are drawn together, so what two sides have in common does not widen their difference. NaN
    where a sample has no session of a side.
    """
    sessions = sides[0].index
    for side in sides[1:]:
        sessions = sessions.union(side.index)
    arrays = [_arrays(side[[*METRICS, "predictions"]].reindex(sessions, fill_value=0)) for side in sides]
    rng, n = np.random.default_rng(seed), len(sessions)
    means = np.empty((len(sides), samples, len(METRICS)))
    for i in range(samples):
        weights = np.bincount(rng.integers(n, size=n), minlength=n)
        with np.errstate(invalid="ignore"):
            means[:, i] = [weights @ values / (weights @ counts) for values, counts in arrays]
    return means


def interval(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percentile interval (2.5 %, 97.5 %) of resampled values (samples, metrics): float (2, metrics)."""
    found: NDArray[np.float64] = np.nanquantile(means, [0.025, 0.975], axis=0)
    return found


def _arrays(sums: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return sums[list(METRICS)].to_numpy(np.float64), sums["predictions"].to_numpy(np.float64)


def renumbered(events: pa.Table) -> pa.Table:
    """Events of a split with its sessions numbered from 0 again, after some were taken out."""
    numbers = np.unique(events["session_number"].to_numpy(), return_inverse=True)[1]
    return events.set_column(events.schema.get_field_index("session_number"), "session_number", pa.array(numbers))


def of_two_or_more(events: pa.Table) -> pa.Table:
    """Events of the sessions that have two or more, numbered from 0."""
    numbers = renumbered(events)["session_number"].to_numpy()
    return renumbered(events.filter(pa.array((np.bincount(numbers) >= 2)[numbers]))) if len(numbers) else events
