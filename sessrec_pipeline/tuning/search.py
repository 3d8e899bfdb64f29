"""A search through a model's settings with Optuna, on the tuning split alone.

What is searched is on the model's card. The trials are in a database (``storage``): a search that was killed goes
on where it was, and several processes can share the work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import optuna
import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.models.base import Card, Choice, FittedTable, Space
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.training.fit import Fit, fit_table, recommender_of
from sessrec_pipeline.training.loop import TrainingDiverged
from sessrec_pipeline.tuning.storage import finished, is_configured, open_study, work

DIVERGED = 0.0
"""Value of a trial whose training diverged: worse than any model that ranks. A fault of code ends the search."""
C = TypeVar("C", bound=Section)


@dataclass(frozen=True)
class Trial(Generic[C]):
    """One configuration and its metric on the tuning test split."""

    number: int
    value: float
    settings: C
    seconds: float

    def row(self) -> dict[str, int | float | str]:
        """Of the table of trials: number, value, seconds, settings as JSON."""
        return {
            "trial": self.number,
            "value": self.value,
            "seconds": self.seconds,
            "config": self.settings.model_dump_json(),
        }


def suggest(trial: optuna.Trial, base: C, space: Space) -> C:
    """Settings from ``space``; what is not in it stays that of ``base``."""
    chosen: dict[str, Any] = {}
    for name, choice in space.items():
        if choice.when is not None and chosen.get(choice.when[0]) != choice.when[1]:
            if isinstance(choice, Choice) and choice.otherwise is not None:
                chosen[name] = choice.otherwise
        elif isinstance(choice, Choice):
            chosen[name] = trial.suggest_categorical(name, choice.options)
        else:
            value: float
            if isinstance(choice.low, int) and isinstance(choice.high, int):
                value = trial.suggest_int(name, choice.low, choice.high, step=int(choice.step or 1), log=choice.log)
            else:
                value = trial.suggest_float(name, choice.low, choice.high, step=choice.step, log=choice.log)
            chosen[name] = [value] if choice.listed else value
    return type(base).model_validate(base.model_dump() | chosen)


@dataclass
class TuningSplit:
    """The tuning split, on which settings are compared: the Parquet of its training events, and its test events."""

    train: Path
    test: pa.Table
    tables: dict[str, pa.Table] = field(default_factory=dict)
    """The fitted tables that depend on no setting, by name: they are the same in all trials."""

    def fitted(self, table: FittedTable, settings: Settings) -> pa.Table:
        """A fitted table of the training events, in memory."""
        if table.name in self.tables:
            return self.tables[table.name]
        with open_engine(settings) as engine:
            made = fit_table(table, engine, self.train, settings).arrow()
        if not table.reads:
            self.tables[table.name] = made
        return made

    def value(self, card: Card[Any], fit: Fit, settings: Settings, section: Section, device: str) -> float:
        """The metric that ``[training] metric`` names, at the largest cutoff, of a model with these settings.

        DIVERGED where its training diverged.
        """
        own, evaluation = settings.model_copy(update={card.section: section}), settings.evaluation
        tables = {table.name: self.fitted(table, own) for table in card.tables}
        try:
            fitted = fit(card, section, tables, lambda: pq.read_table(self.train), device)
        except TrainingDiverged:
            return DIVERGED
        recommender = recommender_of(card, section, fitted, device)
        rankings = rank(recommender, fitted.items, self.test, batch_size=evaluation.batch_size, top=1)
        return recall_and_mrr(rankings, max(evaluation.cutoffs))[settings.training.metric]


def search(
    card: Card[Any],
    fit: Fit,
    settings: Settings,
    split: TuningSplit,
    file: Path,
    device: str,
    on_trial: Callable[[Trial[Any]], None] = lambda trial: None,
) -> list[Trial[Any]]:
    """The first ``[training] tuning_trials`` finished trials of a model's search, once there are so many.

    The trials are in the SQLite file ``file``, or under its name in the database that ``[training] study`` names;
    whoever searches there at the same time shares the work. The configured settings are the first trial, so the search
    can only improve on them. ``fit`` is how the model is fitted; ``on_trial`` is called for the trials done here.
    """
    study, base = open_study(file, settings.training.study), settings.section(card.section)
    trials = settings.training.tuning_trials

    def objective(trial: optuna.Trial) -> float:
        section = base if is_configured(trial) else suggest(trial, base, card.space)
        trial.set_user_attr("config", section.model_dump(mode="json"))
        return split.value(card, fit, settings, section, device)

    def read(frozen: optuna.trial.FrozenTrial, number: int) -> Trial[Any]:
        return Trial(
            number=number,
            value=float(frozen.value or DIVERGED),
            settings=card.settings.model_validate(frozen.user_attrs["config"]),
            seconds=frozen.duration.total_seconds() if frozen.duration else 0.0,
        )

    for number in work(study, objective, file.parent, trials=trials, seed=settings.evaluation.seed):
        on_trial(read(study.get_trials(deepcopy=False)[number], number))
    return [read(frozen, number) for number, frozen in enumerate(finished(study, trials))]
