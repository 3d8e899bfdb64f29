"""A search through a model's settings with Optuna, on the tuning split alone.

GRU4Rec's space is that of Hidasi & Czapp (RecSys 2023, arXiv 2307.14956): sizes, dropouts, learning rate, momentum and
sampling for both losses; 2,048 samples as configured. Those of the baselines stand in ``tuned.SPACES``. A study lives
in a journal file or a database (``shared_study.py``): a search that was killed goes on where it was, trials are never
done twice, and several processes can share the work.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import optuna
from pydantic import SecretStr

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.evaluation.shared_study import finished, is_configured, open_study, work
from sessrec_pipeline.evaluation.validation import TuningData
from sessrec_pipeline.settings import GRU4RecConfig, Section
from sessrec_pipeline.tuned import Space

BROKEN = 0.0
"""Value of a trial whose training diverged: worse than any model that ranks."""
C = TypeVar("C", bound=Section)


@dataclass(frozen=True)
class Trial(Generic[C]):
    """One configuration and its metric on the tuning test split."""

    number: int
    value: float
    config: C
    seconds: float

    def row(self) -> dict[str, int | float | str]:
        """Of the table of trials: number, value, seconds, settings as JSON."""
        return {
            "trial": self.number,
            "value": self.value,
            "seconds": self.seconds,
            "config": self.config.model_dump_json(),
        }


def suggest(trial: optuna.Trial, base: C, space: Space) -> C:
    """A configuration from ``space``; what is not in it stays that of ``base``."""
    changes: dict[str, object] = {}
    for name, choice in space.items():
        if isinstance(choice, tuple):
            changes[name] = trial.suggest_categorical(name, choice)
        elif isinstance(choice.low, int) and isinstance(choice.high, int):
            changes[name] = trial.suggest_int(name, choice.low, choice.high, log=choice.log)
        else:
            changes[name] = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
    return type(base).model_validate(base.model_dump() | changes)


def suggest_gru4rec(trial: optuna.Trial, base: GRU4RecConfig) -> GRU4RecConfig:
    """A configuration from the published space; epochs, samples and seed stay those of ``base``."""
    loss = trial.suggest_categorical("loss", ["cross-entropy", "bpr-max"])
    changes: dict[str, object] = {
        "loss": loss,
        "layers": [trial.suggest_int("units", 64, 512, step=32)],
        "batch_size": trial.suggest_int("batch_size", 32, 256, step=16),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.25, step=0.005),
        "momentum": trial.suggest_float("momentum", 0.0, 0.9, step=0.05),
        "dropout_embedding": trial.suggest_float("dropout_embedding", 0.0, 0.5, step=0.05),
        "dropout_hidden": trial.suggest_float("dropout_hidden", 0.0, 0.7, step=0.05),
        "sample_alpha": trial.suggest_float("sample_alpha", 0.0, 1.0, step=0.1),
    }
    if loss == "bpr-max":
        changes["bpreg"] = trial.suggest_float("bpreg", 0.0, 2.0, step=0.05)
        changes["elu_param"] = trial.suggest_categorical("elu_param", [0.0, 0.5, 1.0])
        changes["logq"] = 0.0
    else:
        changes["logq"] = trial.suggest_categorical("logq", [0.0, 1.0])
    return GRU4RecConfig.model_validate(base.model_dump() | changes)


def gru4rec_objective(
    data: TuningData, *, device: str, k: int, batch_size: int, metric: Literal["recall", "mrr"]
) -> Callable[[GRU4RecConfig], float]:
    """The metric of a configuration of GRU4Rec: trained on the tuning train split, measured on its test split."""
    from sessrec_pipeline.models.gru4rec_training import TrainingDiverged, fit  # noqa: PLC0415 - imports torch

    def objective(config: GRU4RecConfig) -> float:
        try:
            model = fit(data.train, len(data.vocabulary), config, device)
            rankings = rank(model, data.vocabulary, data.test, batch_size=batch_size, top=1)
        except (TrainingDiverged, ValueError):
            return BROKEN
        return recall_and_mrr(rankings, k)[metric]

    return objective


def search(
    base: C,
    suggested: Callable[[optuna.Trial, C], C],
    objective: Callable[[C], float],
    journal: Path,
    *,
    trials: int,
    seed: int,
    url: SecretStr | None = None,
    report: Callable[[Trial[C]], None] = lambda trial: None,
) -> list[Trial[C]]:
    """The first ``trials`` finished trials of the study, numbered from 0, once there are so many.

    The study stands in ``journal``, or in the database at ``url`` under the journal's name; whoever searches it at the
    same time shares the work. ``base`` is the first trial, so the search can only improve on what is configured.
    ``report`` is called with each trial that was done here.
    """
    study = open_study(journal, url)

    def run(trial: optuna.Trial) -> float:
        config = base if is_configured(trial) else suggested(trial, base)
        trial.set_user_attr("config", config.model_dump(mode="json"))
        return objective(config)

    def read(frozen: optuna.trial.FrozenTrial, number: int) -> Trial[C]:
        return Trial(
            number=number,
            value=float(frozen.value or BROKEN),
            config=type(base).model_validate(frozen.user_attrs["config"]),
            seconds=frozen.duration.total_seconds() if frozen.duration else 0.0,
        )

    for number in work(study, run, trials=trials, seed=seed):
        report(read(study.get_trials(deepcopy=False)[number], number))
    return [read(frozen, number) for number, frozen in enumerate(finished(study, trials))]
