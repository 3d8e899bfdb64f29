"""A search through a model's settings with Optuna, on the tuning split alone.

What is searched is on the model's card. The trials are in a database (``storage``): a search that was killed goes
on where it was, and several processes can share the work.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.models.base import Card, Choice, FittedTable, Space
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.training.fit import Fit, fit_table, recommender_of
from sessrec_pipeline.training.loop import TrainingDiverged
from sessrec_pipeline.tuning.storage import finished, is_configured, open_study, work
from sessrec_pipeline.tuning.trials import TuningDatabaseError

DIVERGED = 0.0
"""Value of a trial whose training diverged: worse than any model that ranks. A fault of code ends the search."""
SEAL = "sha256"
"""Attribute of a trial: what ``_seal`` makes of it."""
ANEW = "delete the search's database (training/tuning-*.sqlite in the feed's home, or [training] study) to search anew"
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
        config = section.model_dump(mode="json")
        trial.set_user_attr("config", config)
        value = split.value(card, fit, settings, section, device)
        with suppress(UpdateFinishedTrialError):  # others gave it up, and did it again
            trial.set_user_attr(SEAL, _seal(config, value))
        return value

    def read(frozen: optuna.trial.FrozenTrial, number: int) -> Trial[Any]:
        check_seal(frozen)
        return Trial(
            number=number,
            value=float(frozen.value or DIVERGED),
            settings=card.settings.model_validate(frozen.user_attrs["config"]),
            seconds=frozen.duration.total_seconds() if frozen.duration else 0.0,
        )

    try:
        for number in work(study, objective, file.parent, trials=trials, seed=settings.evaluation.seed):
            on_trial(read(study.get_trials(deepcopy=False)[number], number))
        return [read(frozen, number) for number, frozen in enumerate(finished(study, trials))]
    except (OptunaError, SQLAlchemyError, json.JSONDecodeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise TuningDatabaseError(f"the trials of {file.stem} cannot be read ({reason}); {ANEW}") from error


def _seal(config: Any, value: float) -> str:
    """sha256 of a trial's settings and value, which a database that was damaged does not fit."""
    return hashlib.sha256(json.dumps([config, float(value)], sort_keys=True).encode()).hexdigest()


def check_seal(trial: optuna.trial.FrozenTrial) -> None:
    """TuningDatabaseError where a finished trial is not what was measured; trials of before there was a seal pass."""
    written = trial.user_attrs.get(SEAL)
    if written is not None and written != _seal(trial.user_attrs.get("config"), float(trial.value or DIVERGED)):
        raise TuningDatabaseError(f"trial {trial.number} of a search differs from its own hash; {ANEW}")
