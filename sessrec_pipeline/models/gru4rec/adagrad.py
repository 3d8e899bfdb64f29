"""Adagrad (Duchi, Hazan, Singer, JMLR 2011) that reads and writes only the rows of a table that a step used."""

import numpy as np
import torch
from torch import Tensor

EPSILON = 1e-6


class Adagrad:
    """Adagrad with momentum for one tensor, epsilon inside the root and accumulators that start at zero."""

    def __init__(self, weight: Tensor, learning_rate: float, momentum: float):
        self.weight = weight
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.squares = torch.full_like(weight, EPSILON)  # with epsilon in them no step has to add it
        self.velocity = torch.zeros_like(weight) if momentum > 0 else None
        self.scale: Tensor | None = None

    def step(self, gradient: Tensor) -> None:
        """Update the whole tensor."""
        if self.scale is None:
            self.scale = torch.empty_like(self.weight)
        torch.rsqrt(self.squares.addcmul_(gradient, gradient), out=self.scale)
        self._update(self.weight, self.scale, gradient, self.velocity)

    def step_rows(self, rows: Tensor, gradient: Tensor) -> None:
        """Update ``rows``, all different but for a spare one without gradient; momentum too moves no other."""
        if self.weight.device.type == "cpu":
            self._step_rows_on_cpu(rows, gradient)
        else:
            self._step_rows(rows, gradient)

    def _step_rows(self, rows: Tensor, gradient: Tensor) -> None:
        squares = self.squares.index_select(0, rows).addcmul_(gradient, gradient)
        self.squares.index_copy_(0, rows, squares)
        weights = self.weight.index_select(0, rows)
        velocity = None if self.velocity is None else self.velocity.index_select(0, rows)
        self._update(weights, squares.rsqrt_(), gradient, velocity)
        if self.velocity is not None and velocity is not None:
            self.velocity.index_copy_(0, rows, velocity)
        self.weight.index_copy_(0, rows, weights)

    def _step_rows_on_cpu(self, rows: Tensor, gradient: Tensor) -> None:
        """The same in one pass, which takes a fifth as long."""
        from sessrec_pipeline.models.gru4rec import kernels  # noqa: PLC0415 - imports numba

        width = gradient.shape[1] if gradient.dim() > 1 else 1
        velocity = self.weight[:0] if self.velocity is None else self.velocity
        kernels.adagrad_rows(
            self.weight.numpy().reshape(-1, width),
            self.squares.numpy().reshape(-1, width),
            velocity.numpy().reshape(-1, width),
            gradient.numpy().reshape(-1, width),
            rows.numpy(),
            np.float32(self.learning_rate),
            np.float32(self.momentum),
        )

    def _update(self, weights: Tensor, scale: Tensor, gradient: Tensor, velocity: Tensor | None) -> None:
        if velocity is None:
            weights.addcmul_(scale, gradient, value=-self.learning_rate)
        else:
            weights.add_(velocity.mul_(self.momentum).addcmul_(scale, gradient, value=-self.learning_rate))
