"""Epochs and hyper-parameters chosen inside train: fit on the tuning train split, rank the tuning test split."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.settings import GRU4RecConfig


@dataclass(frozen=True)
class TuningData:
    """The tuning split as a model and the evaluator want it."""

    train: Sessions
    test: pa.Table
    vocabulary: list[str]
    """Items of the tuning train split, the most popular first."""


@dataclass(frozen=True)
class ValidatedEpoch:
    """One epoch of a training, measured on the tuning test split."""

    epoch: int
    loss: float
    recall: float
    mrr: float
    seconds: float


def validate_epochs(
    data: TuningData,
    config: GRU4RecConfig,
    *,
    device: str,
    k: int,
    batch_size: int,
    metric: Literal["recall", "mrr"],
    patience: int,
    report: Callable[[ValidatedEpoch], None] = lambda epoch: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ValidatedEpoch]:
    """Metrics after each epoch, until ``patience`` epochs in a row were no better than the best one before them.

    report: called after each epoch; progress: called every few hundred steps with the training events done and all.
    """
    from sessrec_pipeline.models.gru4rec_training import Epoch, fit  # noqa: PLC0415 - imports torch

    epochs: list[ValidatedEpoch] = []

    def on_epoch(epoch: Epoch) -> bool:
        rankings = rank(epoch.model, data.vocabulary, data.test, batch_size=batch_size, top=1)
        epochs.append(ValidatedEpoch(epoch.epoch, epoch.loss, **recall_and_mrr(rankings, k), seconds=epoch.seconds))
        report(epochs[-1])
        return epochs[-1].epoch - best_epoch(epochs, metric).epoch < patience

    fit(data.train, len(data.vocabulary), config, device, on_epoch, say=progress)
    return epochs


def best_epoch(epochs: list[ValidatedEpoch], metric: Literal["recall", "mrr"]) -> ValidatedEpoch:
    """The first of the best epochs."""
    return max(epochs, key=lambda epoch: (getattr(epoch, metric), -epoch.epoch))
