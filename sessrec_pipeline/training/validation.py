"""The number of epochs, chosen inside train: fit on the tuning train split, rank the tuning test split."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.models.base import Sessions, T, Training
from sessrec_pipeline.training.loop import Epoch, train


@dataclass(frozen=True)
class TuningData:
    """The tuning split as a model and the evaluator want it."""

    train: Sessions
    test: pa.Table
    items: list[str]
    """Items of the tuning train split, the most popular first."""


@dataclass(frozen=True)
class ValidatedEpoch:
    """One epoch and its metrics."""

    epoch: int
    loss: float
    recall: float
    mrr: float
    seconds: float


def validate_epochs(
    training: Training[T],
    data: TuningData,
    settings: T,
    *,
    device: str,
    k: int,
    batch_size: int,
    metric: Literal["recall", "mrr"],
    patience: int,
    on_epoch: Callable[[ValidatedEpoch], None] = lambda epoch: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ValidatedEpoch]:
    """Metrics after each epoch, until ``patience`` epochs in a row were no better than the best one before them.

    progress: called every few hundred steps with the training events that are done, and with all there are.
    """
    epochs: list[ValidatedEpoch] = []

    def measure(epoch: Epoch) -> bool:
        rankings = rank(epoch.trainer.recommender(), data.items, data.test, batch_size=batch_size, top=1)
        epochs.append(ValidatedEpoch(epoch.epoch, epoch.loss, **recall_and_mrr(rankings, k), seconds=epoch.seconds))
        on_epoch(epochs[-1])
        return epochs[-1].epoch - best_epoch(epochs, metric).epoch < patience

    train(training, data.train, len(data.items), settings, device, measure, progress=progress)
    return epochs


def best_epoch(epochs: list[ValidatedEpoch], metric: Literal["recall", "mrr"]) -> ValidatedEpoch:
    """The first of the best epochs."""
    return max(epochs, key=lambda epoch: (getattr(epoch, metric), -epoch.epoch))
