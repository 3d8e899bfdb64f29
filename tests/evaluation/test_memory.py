"""The bytes that a model holds."""

from dataclasses import dataclass

import numpy as np
import torch

from sessrec_pipeline.evaluation.memory import bytes_held
from sessrec_pipeline.models.counts.popularity import Popularity
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.sparse import SparseRows


@dataclass
class Inner:
    rows: np.ndarray


class Model:
    def __init__(self) -> None:
        whole = np.zeros(100, np.int64)
        self.inner = Inner(whole)
        self.parts = [whole[:50], whole[50:]]
        self.tables = {"a": torch.zeros(10, 4), "b": None}
        self.name = "model"
        self.itself = self


def test_memory_that_is_shared_counts_once() -> None:
    assert bytes_held(Model()) == 100 * 8 + 10 * 4 * 4


def test_gru4rec_holds_its_weights() -> None:
    config = GRU4RecSettings(layers=[8])
    tensors = initial_weights(config, 50)
    held = bytes_held(GRU4Rec(config, 50, tensors))
    assert held == sum(tensor.untyped_storage().nbytes() for tensor in tensors.values()) > 0


def test_rules_hold_their_sparse_rows() -> None:
    rest = np.ones(3)
    offsets, columns, values = np.array([0, 1, 2, 2]), np.array([1, 0], np.int32), np.ones(2)
    model = SparseRows(offsets, columns, values, rest, rest)
    assert bytes_held(model) == 4 * 8 + 2 * 4 + 2 * 8 + 3 * 8
    assert bytes_held(Popularity(3)) == 0, "its scores follow from the order of the catalogue"
