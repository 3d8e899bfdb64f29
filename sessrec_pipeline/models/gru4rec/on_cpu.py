"""GRU4Rec where there is no GPU: numpy scores a few sessions, and torch, which is slow to import, scores many."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Arrays, Block, Recommender, Sessions
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.weights import FAST_ROWS, check_items, check_shapes, weight_shapes

if TYPE_CHECKING:
    from sessrec_pipeline.models.gru4rec.network import GRU4Rec

FEW = 8
"""Most sessions that numpy scores; it takes them one by one."""


class GRU4RecOnCPU(Recommender):
    """The network of a checkpoint. What numpy scores equals what torch scores up to the rounding of float32."""

    fast_rows = FAST_ROWS

    def __init__(self, config: GRU4RecSettings, n_items: int, arrays: Arrays) -> None:
        shapes = weight_shapes(config, n_items)
        check_shapes(arrays, shapes)
        self.config, self.n_items = config, n_items
        self.arrays = {name: np.asarray(arrays[name], np.float32) for name in shapes}

    @cached_property
    def network(self) -> "GRU4Rec":
        """The network that torch runs."""
        from sessrec_pipeline.models.gru4rec.network import GRU4Rec  # noqa: PLC0415 - imports torch

        network = GRU4Rec.from_weights(self.config, self.n_items, self.arrays)
        self.arrays = {name: tensor.numpy() for name, tensor in network.tensors.items()}  # memory is held once
        return network

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``GRU4Rec.score``."""
        return self.network.score(sessions, batch_size)

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        if len(sessions) > FEW:
            return self.network.score_last(sessions)
        scores: NDArray[np.float32] = self._last_states(sessions) @ self.arrays["items"].T + self.arrays["item_bias"]
        return scores

    def score_candidates(self, sessions: Sessions, candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """See ``Recommender.score_candidates``: the rows of the candidates alone are read."""
        if len(sessions) > FEW:
            return self.network.score_candidates(sessions, candidates)
        vectors = self.arrays["items"][candidates]  # (sessions, c, h)
        products = np.matmul(vectors, self._last_states(sessions)[:, :, None])[:, :, 0]
        scores: NDArray[np.float32] = products + self.arrays["item_bias"][candidates]
        return scores

    def item_vectors(self) -> NDArray[np.floating]:
        """The rows of the output table, float32 (n_items, h)."""
        return self.arrays["items"]

    def _last_states(self, sessions: Sessions) -> NDArray[np.float32]:
        """The top state after the last event of each session, (sessions, h); as ``GRU4Rec.layer``, event by event."""
        check_items(sessions, self.n_items)
        arrays, table = self.arrays, self.arrays.get("inputs", self.arrays["items"])
        top = np.zeros((len(sessions), self.config.layers[-1]), np.float32)
        for session, (begin, end) in enumerate(zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)):
            states = [np.zeros(units, np.float32) for units in self.config.layers]
            for item in sessions.items[begin:end]:
                x = table[item]
                for i, units in enumerate(self.config.layers):
                    matrix = arrays.get(f"layer{i}.input")  # none for one-hot items, whose row is the product
                    inputs = (x if matrix is None else x @ matrix) + arrays[f"layer{i}.bias"]
                    gates = _sigmoid(inputs[: 2 * units] + states[i] @ arrays[f"layer{i}.state"])
                    reset, update = gates[:units], gates[units:]
                    candidate = np.tanh(inputs[2 * units :] + (reset * states[i]) @ arrays[f"layer{i}.candidate"])
                    x = states[i] = states[i] + update * (candidate - states[i])
            top[session] = states[-1]
        return top


def _sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    halves: NDArray[np.floating] = np.tanh(x / 2) / 2 + 0.5  # no overflow, wherever x is
    return halves
