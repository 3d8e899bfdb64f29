"""Ranks that share out mini-batches train what one process trains. Here they are threads of this process.

``tests/training/test_torchrun.py`` has the same with real processes.
"""

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.distributed as dist
from chained_sessions import N_ITEMS, some_sessions
from gru4rec_fit import fit
from numpy.typing import NDArray
from torch import Tensor

from sessrec_pipeline.models.gru4rec.losses import bpr_max, cross_entropy
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights, schedule
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.models.ranks import ALONE, Ranks, RanksDiffer
from sessrec_pipeline.training.loop import Epoch
from sessrec_pipeline.training.state import TrainingState

CONFIGS = {
    "bpr-max, both dropouts": {"momentum": 0.3, "dropout_embedding": 0.4, "dropout_hidden": 0.2},
    "cross-entropy": {"loss": "cross-entropy", "logq": 1, "dropout_hidden": 0.4},
    "stacked, separate": {"layers": [6, 9], "embedding": "separate", "momentum": 0.2, "dropout_hidden": 0.1},
    "stacked, one-hot": {"layers": [7, 5], "embedding": "none", "loss": "cross-entropy", "dropout_embedding": 0.3},
    "no samples": {"n_sample": 0},
}
each_config = pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())


def config(**changes: object) -> GRU4RecSettings:
    return GRU4RecSettings.model_validate(
        {"layers": [8], "batch_size": 7, "n_epochs": 3, "n_sample": 5, "learning_rate": 0.1} | changes
    )


class Threads:
    """As many ranks as there are threads, in the place of ``torch.distributed``."""

    def __init__(self, world: int):
        self.barrier = threading.Barrier(world)
        self.given: list[Tensor] = []

    def all_reduce(self, tensor: Tensor) -> None:
        # Whoever comes first is added first, so the order is not that of the ranks: it need not be.
        self.given.append(tensor.clone())
        self.barrier.wait(60)
        tensor.copy_(torch.stack(self.given).sum(dim=0))
        if self.barrier.wait(60) == 0:
            self.given.clear()
        self.barrier.wait(60)

    def all_gather(self, out: list[Tensor], own: Tensor) -> None:
        self.given.append(own)
        self.barrier.wait(60)
        for mine, theirs in zip(out, self.given, strict=True):
            mine.copy_(theirs)
        if self.barrier.wait(60) == 0:
            self.given.clear()
        self.barrier.wait(60)


def train(
    monkeypatch: pytest.MonkeyPatch, world: int, conf: GRU4RecSettings, resume: TrainingState | None = None
) -> list[list[TrainingState]]:
    """The states after each epoch, of each rank."""
    threads = Threads(world)
    monkeypatch.setattr(dist, "all_reduce", threads.all_reduce)
    monkeypatch.setattr(dist, "all_gather", threads.all_gather)
    states: list[list[TrainingState]] = [[] for _ in range(world)]
    errors: list[BaseException] = []

    def work(rank: int) -> None:
        def on_epoch(epoch: Epoch) -> None:
            states[rank].append(epoch.state())

        try:
            torch.set_num_threads(1)
            fit(some_sessions(), N_ITEMS, conf, on_epoch=on_epoch, resume=resume, ranks=Ranks(rank, world))
        except BaseException as error:
            errors.append(error)
            threads.barrier.abort()

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return states


def bits(arrays: dict[str, NDArray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("world", [2, 9])  # of nine ranks two at least have no row of seven
@each_config
def test_ranks_train_what_one_process_trains(monkeypatch: pytest.MonkeyPatch, changes: dict, world: int) -> None:
    conf = config(**changes)
    alone: list[TrainingState] = []
    fit(some_sessions(), N_ITEMS, conf, on_epoch=lambda epoch: alone.append(epoch.state()))
    states = train(monkeypatch, world, conf)
    for rank in range(1, world):
        for ours, theirs in zip(states[0], states[rank], strict=True):
            assert bits(ours.arrays) == bits(theirs.arrays), f"rank {rank} after epoch {ours.epoch}"
            assert ours.losses == theirs.losses
    for ours, expected in zip(states[0], alone, strict=True):
        np.testing.assert_allclose(ours.losses, expected.losses, rtol=1e-5)
        for name, array in expected.arrays.items():
            if name in ("negatives", "dropout", "settings"):
                np.testing.assert_array_equal(ours.arrays[name], array, err_msg=name)
            else:
                np.testing.assert_allclose(ours.arrays[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert alone[-1].losses[-1] < alone[0].losses[0]


def test_ranks_go_on_from_a_state_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = config(**CONFIGS["bpr-max, both dropouts"])
    whole = train(monkeypatch, 2, conf)[0]
    rest = train(monkeypatch, 2, conf, resume=whole[0])[1]
    assert [state.epoch for state in rest] == [2, 3]
    assert bits(rest[-1].arrays) == bits(whole[-1].arrays)


def test_a_message_holds_the_rows_of_a_step_and_never_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is that of the rows, biases, layers and states, whatever the catalogue."""
    sizes: dict[int, list[int]] = {}
    for n_items in (100, 10_000):
        conf, sessions = config(n_sample=0, dropout_hidden=0.1), some_sessions()
        sizes[n_items] = []

        def note(flat: Tensor, noted: Sequence[int] = sizes[n_items]) -> None:
            noted.append(flat.numel())  # type: ignore[attr-defined]

        monkeypatch.setattr(dist, "all_reduce", note)
        plan = schedule(sessions, conf.batch_size, with_last=False)
        model = GRU4Rec(conf, n_items, initial_weights(conf, n_items))
        training = GRU4RecTrainer(model, sessions, plan, ranks=Ranks(0, 2))
        training.epoch()
        layers = len(training.layer_gradients)
        for size, b in zip(sizes[n_items], np.diff(plan.offsets).tolist(), strict=True):
            assert layers + b * 8 + 1 < size <= layers + 2 * b * (8 + 1) + b * 8 + 1
    assert sizes[100] == sizes[10_000]


def test_shares_are_all_rows_once() -> None:
    for world in (1, 2, 3, 7):
        for b in range(20):
            shares = [range(b)[Ranks(rank, world).share(b)] for rank in range(world)]
            assert [row for share in shares for row in share] == list(range(b))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ALONE.share(5) == slice(0, 5)


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
def test_losses_of_shares_are_those_of_the_rows(loss: str) -> None:
    scores = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    counts = torch.rand(10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def of(first: int, last: int) -> tuple[Tensor, Tensor]:
        own, place = scores[first:last].clone(), torch.arange(first, last)
        return cross_entropy(own, place) if loss == "cross-entropy" else bpr_max(own, place, counts, 0.5, 1.3)

    whole, gradient = of(0, 6)
    parts = [of(0, 2), of(2, 2), of(2, 5), of(5, 6)]
    torch.testing.assert_close(sum(part[0] for part in parts), whole)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), gradient)


def test_ranks_that_differ_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(out: list[Tensor], own: Tensor) -> None:
        for rank, theirs in enumerate(out):
            theirs.copy_(own + (rank == 2))

    monkeypatch.setattr(dist, "all_gather", gathered)
    with pytest.raises(RanksDiffer, match="the weights of process 0 and of 2 differ"):
        Ranks(1, 3).agree("the weights", "abc")
    monkeypatch.setattr(dist, "all_gather", lambda out, own: [theirs.copy_(own) for theirs in out])
    Ranks(1, 3).agree("the weights", "abc")
