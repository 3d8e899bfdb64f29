"""A training step captured once as a CUDA graph and replayed.

A step is some hundred small kernels, and Python takes longer to start them than a GPU to run them. A graph starts them
all at once, but always with the same memory: what changes from step to step is copied to where the graph reads it, and
the states stay where it writes them. Memory that it shares with the steps outside of it (``scratch``) may not move, and
does not, for those are smaller.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from sessrec_pipeline.models.gru4rec.batches import Batch, unpack

WARM_UP = 3  # steps before the capture, in which libraries make what they need and memory is reserved

Step = Callable[[Batch, list[Tensor]], tuple[Tensor, list[Tensor]]]


class CudaGraph:
    """What torch wants for a graph: first runs on another stream, a generator that is registered, a capture."""

    def __init__(self, dropout: torch.Generator):
        self.stream = torch.cuda.Stream(dropout.device)  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(dropout)

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work as it is."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            work()
        current.wait_stream(self.stream)

    def capture(self, work: Callable[[], None]) -> None:
        """Note down the work without running it."""
        with torch.cuda.graph(self.graph):
            work()

    def replay(self) -> None:
        """Run what was noted down."""
        self.graph.replay()


class StepGraph:
    """Runs padded steps: the first ones as they are, all others from the graph. None of them is run twice."""

    def __init__(self, graph: CudaGraph):
        self.graph = graph
        self.steps = 0

    @torch.inference_mode()
    def __call__(self, step: Step, batch: Batch, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """What ``step(batch, states)`` does and returns; the next call overwrites what a padded step returned."""
        if batch.packed is None:
            return step(batch, states)
        if self.steps == 0:
            self._reserve(batch.packed, states, len(batch.inputs))
        for own, given in zip(self.packed, batch.packed, strict=True):
            own.copy_(given)
        if states is not self.states:
            for own, given in zip(self.states, states, strict=True):
                own[: len(given)].copy_(given)
        work = partial(self._work, step)
        if self.steps < WARM_UP:
            self.graph.warm_up(work)
        else:
            if self.steps == WARM_UP:
                self.graph.capture(work)
            self.graph.replay()
        self.steps += 1
        return self.loss, self.states

    def _reserve(self, packed: tuple[Tensor, Tensor], states: list[Tensor], b: int) -> None:
        ints, floats = (torch.empty_like(part) for part in packed)
        self.packed = ints, floats
        self.batch = unpack(ints, floats, b)
        self.states = [state.new_zeros(b, state.shape[1]) for state in states]
        self.loss = states[0].new_zeros(())

    def _work(self, step: Step) -> None:
        loss, after = step(self.batch, self.states)
        self.loss.copy_(loss)
        for state, new in zip(self.states, after, strict=True):
            state.copy_(new)
