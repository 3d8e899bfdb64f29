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
import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.compute import Compute
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.fitted import ARTEFACTS, load_model, models_of
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.report.looks import ORACLE
from sessrec_pipeline.settings import Settings, SplitSettings, TieRule
from sessrec_pipeline.storage.files import temporary_prefix
from sessrec_pipeline.storage.lake import Rows, Table
from sessrec_pipeline.storage.store import Publishable, Store, Stored
from sessrec_pipeline.studies.results import RULE, Results, Row

TRAINED = ("gru4rec",)
"""Models whose fitting takes long: a study fits them only where the settings say so."""


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
    results: Results = field(init=False)

    def __enter__(self) -> Self:
        self.feed.scratch.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(dir=self.feed.scratch, prefix=temporary_prefix()))
        self.settings = self.feed.model_copy(update={"home": home})
        self.store = Shelf(self.settings)
        self.models = studied_models(self.feed)
        self.results = Results(self.k, self.feed.evaluation)
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
        return self.results.from_rankings(stored, rule, **about)


def renumbered(events: pa.Table) -> pa.Table:
    """Events of a split with its sessions numbered from 0 again, after some were taken out."""
    numbers = np.unique(events["session_number"].to_numpy(), return_inverse=True)[1]
    return events.set_column(events.schema.get_field_index("session_number"), "session_number", pa.array(numbers))


def of_two_or_more(events: pa.Table) -> pa.Table:
    """Events of the sessions that have two or more, numbered from 0."""
    numbers = renumbered(events)["session_number"].to_numpy()
    return renumbered(events.filter(pa.array((np.bincount(numbers) >= 2)[numbers]))) if len(numbers) else events
