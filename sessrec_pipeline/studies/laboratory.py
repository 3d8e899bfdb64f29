"""A home of its own in the feed's scratch space, in which variations are split, fitted and ranked.

What works there is the pipeline itself: its split, its way to fit a model, its evaluator and its metrics. Only the
store stands elsewhere, so nothing of the feed is touched, and all of it goes when the laboratory is closed.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.engine import DuckDBEngine, open_engine
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.settings import Settings, SplitSettings, TieRule
from sessrec_pipeline.storage.files import temporary_prefix
from sessrec_pipeline.storage.lake import Rows, Table
from sessrec_pipeline.storage.store import Store, Stored
from sessrec_pipeline.studies.results import RULE, Results, Row
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import fit_of, fit_table, load_checkpoint, recommender_of

Model = tuple[Recommender, list[str]]
"""A fitted model and the id of each item index."""


def studied_models(settings: Settings) -> list[str]:
    """The models that studies fit anew; ValueError where the settings name one that the feed lacks."""
    known = {card.name: card for card in cards_of(settings)}
    choices = [card for card in known.values() if card.kind == "model"]
    trained = [card.name for card in choices if card.training]
    chosen = settings.studies.models
    if chosen is None:
        chosen = [card.name for card in choices if not card.training]
    if strange := [name for name in chosen if name not in known]:
        raise ValueError(f"[studies] models names {strange[0]!r}; this feed has {', '.join(known)}")
    return chosen + [name for name in trained if settings.studies.trained and name not in chosen]


class ScratchStore(Store):
    """A store without a catalogue: what it holds is gone when the study ends."""

    def _entered(self, *published: Stored) -> Stored:
        return published[-1]


@dataclass
class Laboratory:
    """Where a study works; a context manager.

    settings: the feed's own, but for the home, which is the laboratory's and is gone after the block.
    """

    feed: Settings
    compute: Compute
    settings: Settings = field(init=False)
    store: ScratchStore = field(init=False)
    models: list[str] = field(init=False)
    results: Results = field(init=False)

    def __enter__(self) -> Self:
        self.feed.scratch.mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(dir=self.feed.scratch, prefix=temporary_prefix()))
        self.settings = self.feed.model_copy(update={"home": home})
        self.store = ScratchStore(self.settings)
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
        self, train: Stored, models: Sequence[str] | None = None, settings: Settings | None = None
    ) -> dict[str, Model]:
        """The models (default: those of the study) fitted on training events that are here, without tuning.

        settings: in place of the laboratory's own.
        """
        settings, tables = settings or self.settings, dict[str, pa.Table]()
        fitted = {}
        for card in map(card_of, self.models if models is None else models):
            for table in card.tables:
                if table.name not in tables:
                    with open_engine(settings) as engine:
                        tables[table.name] = fit_table(table, engine, train.path, settings).arrow()
            section, device = settings.section(card.section), self.compute.device_for(card)
            made = fit_of(card)(card, section, tables, train.arrow, device)
            fitted[card.name] = recommender_of(card, section, made, device), made.items
        return fitted

    def load(self, model: str, stored: Mapping[str, Stored], **changes: Any) -> Model:
        """The feed's own model from its checkpoint among ``stored``, with ``changes`` to its settings."""
        card = card_of(model)
        checkpoint = stored[card.checkpoint].checkpoint()
        return load_checkpoint(card, checkpoint, self.compute.device_for(card), **changes), checkpoint.items

    def rank(self, model: Model, test: pa.Table) -> pa.Table:
        """The rankings of the test events by a model."""
        return rank(*model, test, batch_size=self.feed.evaluation.batch_size, top=1)

    def run(self, train: Stored, test: pa.Table, models: Sequence[str] | None = None, **about: Any) -> list[Row]:
        """Fit the models, rank the test events, measure: rows of a study's table; ``about`` is put into each."""
        fitted = self.fit(train, models)
        about = {"train_sessions": pc.count_distinct(train.arrow(["session_number"])["session_number"]).as_py()} | about
        return self.measure({name: self.rank(model, test) for name, model in fitted.items()}, **about)

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
