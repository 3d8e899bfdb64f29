"""Epochs are chosen on the tuning split, and validation stops early; the metrics here are scripted."""

from typing import Literal

import pyarrow as pa
import pytest
from fake_training import EVENTS, N_ITEMS, SESSIONS, Begun, Placed, WalkSettings, walk

from sessrec_pipeline.training.validation import TuningData, ValidatedEpoch, best_epoch, validate_epochs

Metric = Literal["recall", "mrr"]
K = 2


def tuning(n: int) -> TuningData:
    """Test sessions of two events; item 0 is what comes."""
    test = pa.table(
        {
            "session": [f"s{s}" for s in range(n) for _ in range(2)],
            "session_number": [s for s in range(n) for _ in range(2)],
            "position": [0, 1] * n,
            "item": ["1", "0"] * n,
        }
    )
    return TuningData(SESSIONS, test, [str(i) for i in range(N_ITEMS)])


def validated(places: list[list[int]], patience: int, metric: Metric = "mrr") -> list[ValidatedEpoch]:
    """``places`` are the ranks of the targets after each epoch."""
    told: list[ValidatedEpoch] = []
    training = walk(rankings=[Placed(ranks) for ranks in places])
    epochs = validate_epochs(
        training,
        tuning(len(places[0])),
        WalkSettings(n_epochs=len(places)),
        device="cpu",
        k=K,
        batch_size=512,
        metric=metric,
        patience=patience,
        on_epoch=told.append,
    )
    assert told == epochs
    return epochs


def test_each_epoch_has_the_metrics_of_the_model_as_it_is_then() -> None:
    epochs = validated([[1, 2, 3, 6], [1, 1, 1, 2]], patience=9)
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert [epoch.recall for epoch in epochs] == [0.5, 1.0]
    assert [epoch.mrr for epoch in epochs] == pytest.approx([(1 + 1 / 2) / 4, (3 + 1 / 2) / 4])
    assert all(epoch.seconds > 0 for epoch in epochs) and epochs[0].loss < epochs[1].loss


GOOD, FAIR, POOR = [1, 1], [2, 2], [3, 3]


@pytest.mark.parametrize(
    ("places", "patience", "expected", "best"),
    [
        ([POOR, GOOD, FAIR, FAIR, GOOD, GOOD], 1, 3, 2),
        ([POOR, GOOD, FAIR, FAIR, GOOD, GOOD], 2, 4, 2),
        ([POOR, FAIR, POOR, GOOD, FAIR, FAIR], 2, 6, 4),
        ([POOR, FAIR, GOOD], 1, 3, 3),
        ([GOOD, GOOD, GOOD, GOOD], 2, 3, 1),
        ([POOR, POOR, GOOD], 1, 2, 1),
    ],
)
def test_it_stops_after_so_many_epochs_without_a_better_one(
    places: list[list[int]], patience: int, expected: int, best: int
) -> None:
    """As good as the best is not better."""
    epochs = validated(places, patience)
    assert len(epochs) == expected
    assert best_epoch(epochs, "mrr").epoch == best


@pytest.mark.parametrize(("metric", "expected"), [("recall", 2), ("mrr", 1)])
def test_the_metric_that_the_settings_name_decides(metric: Metric, expected: int) -> None:
    epochs = validated([[1, 1, 3], [2, 2, 2], [3, 3, 3]], 1, metric)  # two at the top, then all three on the list
    assert len(epochs) == expected + 1
    assert best_epoch(epochs, metric).epoch == expected


def test_training_sees_the_tuning_train_split_alone() -> None:
    begun: list[Begun] = []
    told: list[tuple[int, int]] = []
    validate_epochs(
        walk(begun, rankings=[Placed([1]), Placed([1])]),
        tuning(1),
        WalkSettings(n_epochs=2),
        device="cuda",
        k=K,
        batch_size=512,
        metric="mrr",
        patience=9,
        progress=lambda done, total: told.append((done, total)),
    )
    (asked,) = begun
    assert asked.sessions is SESSIONS and (asked.n_items, asked.device, asked.initial) == (N_ITEMS, "cuda", None)
    assert told[-1] == (2 * EVENTS, 2 * EVENTS)
