"""GRU4Rec: a gated recurrent network that predicts the next item of a session.

Written from the papers, not from the authors' code:

- Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks. ICLR 2016,
  arXiv 1511.06939 (the network, session-parallel mini-batches).
- Hidasi, Karatzoglou: Recurrent neural networks with top-k gains for session-based recommendations. CIKM 2018,
  arXiv 1706.03847 (sampled negatives, cross-entropy, BPR-max, the shared table).
- Hidasi, Czapp: The effect of third party implementations on reproducibility. RecSys 2023, arXiv 2307.14956 (what
  other versions got wrong: ``tests/models/test_gru4rec.py`` has a test for each fault).

How it works. ``batch_size`` slots walk through sessions side by side, one event a step (``schedule``). A step turns
each slot's item into a vector, moves the slot's GRU state on (``GRU4Rec.advance``) and scores items as the dot product
of the top state with their rows of the output table. In training only the slots' targets and ``n_sample`` negatives are
scored; every slot's target is a negative of the other slots. Gradients stop at one step, so a step is a small
feed-forward network whose largest part, scores and loss, has its gradient written out here (``cross_entropy``,
``bpr_max``); autograd does the GRU. Of the tables with a row per item a step reads and writes only the rows that it
uses, so its cost does not grow with the catalogue.

Names of sizes in comments: b sessions in the mini-batch, c scored columns (b targets, then the sampled negatives),
d width of an item vector, h units of a layer.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.settings import GRU4RecConfig

ADAGRAD_EPSILON = 1e-6
STEPS_PER_BLOCK = 256  # steps whose items and negatives are drawn and sent to the device together
SCORE_ROWS = 32  # scoring pads mini-batches to a multiple: few or odd rows take other kernels, which round otherwise


class TrainingDiverged(RuntimeError):  # noqa: N818 - it names what happened
    """The loss of an epoch is no number; the text says which epoch and what to try."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training sessions came to; the first is epoch 1, the loss is the mean per event."""

    epoch: int
    loss: float
    events: int
    seconds: float


# --- session-parallel mini-batches ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """Which events make up which step, the same in every epoch; step t is ``offsets[t]:offsets[t + 1]``.

    events: positions in ``Sessions.items``, by step and within a step by slot.
    carried: for each of them the row of the step before that holds its state; -1 where a session starts from zero.
    """

    events: NDArray[np.int64]
    carried: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.offsets) - 1


def schedule(sessions: Sessions, slots: int, *, with_last: bool) -> Schedule:
    """Let ``slots`` slots walk the sessions in order, the next session going to the slot that is free first.

    Once no session is left, slots that are done drop out and the steps shrink, until every event was visited.
    ``with_last`` includes the last event of each session, which has no target to train on.
    """
    lengths = sessions.lengths if with_last else sessions.lengths - 1
    walked = np.flatnonzero(lengths > 0)
    lengths = lengths[walked]
    free = [(0, slot) for slot in range(slots)]  # heap of (step, slot)
    begin = np.empty(len(walked), dtype=np.int64)
    slot_of = np.empty(len(walked), dtype=np.int64)
    for i, length in enumerate(lengths.tolist()):
        step, slot = free[0]
        begin[i], slot_of[i] = step, slot
        heapq.heapreplace(free, (step + length, slot))

    session = np.repeat(np.arange(len(walked)), lengths)
    position = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    step_of = begin[session] + position
    order = np.lexsort((slot_of[session], step_of))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(step_of))]).astype(np.int64)

    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.arange(len(order)) - np.repeat(offsets[:-1], np.diff(offsets))
    carried = np.where(position > 0, np.roll(row, 1), -1)
    events = sessions.offsets[walked][session] + position
    return Schedule(events[order], carried[order], offsets)


# --- losses: value and gradient --------------------------------------------------------------------------------------


def cross_entropy(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of scores (b, c), the target of row i in column i: sum over rows, gradient (b, c)."""
    log_p = torch.log_softmax(scores, dim=1)
    loss = -log_p.diagonal().sum()
    gradient = log_p.exp_()
    gradient.diagonal().sub_(1)
    return loss, gradient


def bpr_max(scores: Tensor, elu: float, bpreg: float) -> tuple[Tensor, Tensor]:
    """BPR-max of scores (b, c), the target of row i in column i: sum over rows, gradient (b, c).

    With r = ELU(scores) and s the softmax of a row over its negatives, all columns but the target's, a row's loss is
    -log(sum_j s_j sigmoid(r_target - r_j)) + bpreg * sum_j s_j r_j^2. A row without negatives has no loss.
    """
    if scores.shape[1] == 1:
        return scores.new_zeros(()), torch.zeros_like(scores)
    r = scores
    if elu > 0:  # in vectorised pieces: torch's own elu takes twice as long
        r = scores.clamp(min=0).add_(scores.clamp(max=0).exp_(), alpha=elu).sub_(elu)
    target = r.diagonal().unsqueeze(1)  # (b, 1)
    s = r.clone()
    s.diagonal().fill_(-math.inf)
    s = torch.softmax(s, dim=1)
    sigma = torch.sigmoid(target - r)
    s_sigma = s * sigma
    s_r = s * r
    s_rr = s_r * r
    # Where p underflows, the gradient below still comes out at its limit: s_j for the negatives, -1 for the target.
    p = s_sigma.sum(dim=1, keepdim=True).clamp_(min=torch.finfo(s.dtype).tiny)
    penalty = s_rr.sum(dim=1, keepdim=True)
    loss = (bpreg * penalty - p.log()).sum()

    # Of a negative: s_j - s_j sigma_j^2 / p + bpreg s_j (r_j^2 + 2 r_j - penalty). The target takes minus the sum of
    # the first two terms, because p does not change when all of a row's scores shift alike.
    pulled = s_sigma.mul_(sigma).div_(p)
    gradient = s.mul_(1 - bpreg * penalty).add_(s_rr.add_(s_r, alpha=2), alpha=bpreg).sub_(pulled)
    gradient.diagonal().copy_(pulled.sum(dim=1) - 1)
    if elu > 0:
        gradient = torch.ops.aten.elu_backward(gradient, elu, 1, 1, True, r)  # True: from ELU's result
    return loss, gradient


# --- optimiser -------------------------------------------------------------------------------------------------------


class Adagrad:
    """Adagrad with momentum for one tensor, epsilon inside the root and accumulators that start at zero."""

    def __init__(self, weight: Tensor, learning_rate: float, momentum: float):
        self.weight = weight
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.squares = torch.zeros_like(weight)
        self.velocity = torch.zeros_like(weight) if momentum > 0 else None

    def step(self, gradient: Tensor) -> None:
        """Update the whole tensor."""
        change = self._change(self.squares.addcmul_(gradient, gradient), gradient)
        if self.velocity is not None:
            change = self.velocity.mul_(self.momentum).add_(change)
        self.weight.add_(change)

    def step_rows(self, rows: Tensor, gradient: Tensor) -> None:
        """Update ``rows`` (all different) and touch no other, momentum and accumulators included."""
        self.squares.index_add_(0, rows, gradient * gradient)
        change = self._change(self.squares.index_select(0, rows), gradient)
        if self.velocity is not None:
            change.add_(self.velocity.index_select(0, rows), alpha=self.momentum)
            self.velocity.index_copy_(0, rows, change)
        self.weight.index_add_(0, rows, change)

    def _change(self, squares: Tensor, gradient: Tensor) -> Tensor:
        return (squares + ADAGRAD_EPSILON).rsqrt_().mul_(gradient).mul_(-self.learning_rate)


# --- the model -------------------------------------------------------------------------------------------------------


def weight_shapes(config: GRU4RecConfig, n_items: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights. Blocks of the gates (reset, update, candidate) stand side by side."""
    shapes: dict[str, tuple[int, ...]] = {"items": (n_items, config.layers[-1]), "item_bias": (n_items,)}
    width = config.layers[-1]
    if config.embedding == "separate":
        width = config.layers[0]
        shapes["inputs"] = (n_items, width)
    elif config.embedding == "none":
        shapes["inputs"] = (n_items, 3 * config.layers[0])
    for i, units in enumerate(config.layers):
        if i > 0 or config.embedding != "none":  # one-hot items: the table of inputs is the first layer's matrix
            shapes[f"layer{i}.input"] = (width, 3 * units)
        shapes[f"layer{i}.state"] = (units, 2 * units)
        shapes[f"layer{i}.candidate"] = (units, units)
        shapes[f"layer{i}.bias"] = (3 * units,)
        width = units
    return shapes


def initial_weights(config: GRU4RecConfig, n_items: int) -> dict[str, Tensor]:
    """Weights before training: uniform in ±sqrt(6 / (rows + columns)) of each gate's block, biases zero."""
    generator = torch.Generator().manual_seed(config.seed)
    weights = {}
    for name, shape in weight_shapes(config, n_items).items():
        weights[name] = torch.zeros(shape)
        if len(shape) == 2:
            blocks = 2 if name.endswith(".state") else 3 if name.endswith(".input") else 1
            if name == "inputs" and config.embedding == "none":
                blocks = 3
            bound = math.sqrt(6 / (shape[0] + shape[1] // blocks))
            weights[name].uniform_(-bound, bound, generator=generator)
    return weights


class GRU4Rec:
    """A trained network: the weights and how they score. ``fit`` makes one, ``from_weights`` brings one back."""

    def __init__(self, config: GRU4RecConfig, n_items: int, tensors: dict[str, Tensor]):
        self.config = config
        self.n_items = n_items
        self.tensors = tensors
        self.losses: list[float] = []
        """Loss of each epoch of training; not part of the weights."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tensors["items"].device

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all weights, float32, and nothing else."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.tensors.items()}

    @classmethod
    def from_weights(
        cls, config: GRU4RecConfig, n_items: int, weights: dict[str, NDArray[np.float32]], device: str = "cpu"
    ) -> "GRU4Rec":
        """The model that ``weights()`` was called on."""
        shapes = weight_shapes(config, n_items)
        if set(weights) != set(shapes):
            raise ValueError(f"these settings need the weights {sorted(shapes)}, not {sorted(weights)}")
        for name, shape in shapes.items():
            if weights[name].shape != shape:
                raise ValueError(f"weight {name} must have shape {shape}, not {weights[name].shape}")
        tensors = {name: torch.tensor(weights[name], dtype=torch.float32, device=device) for name in shapes}
        return cls(config, n_items, tensors)

    def zero_states(self, rows: int) -> list[Tensor]:
        """States of sessions that have not begun, (rows, h) for each layer."""
        return [torch.zeros(rows, units, device=self.device) for units in self.config.layers]

    def advance(self, x: Tensor, states: list[Tensor], generator: torch.Generator | None = None) -> list[Tensor]:
        """The states after one more event, (b, h) for each layer; the last one is scored.

        x: item vectors (b, d), or with one-hot items their rows (b, 3h) of the first layer's matrix.
        generator: source of dropout in training, None leaves dropout out. What is dropped is dropped from the state
        that is carried on; with one-hot items dropout_embedding drops from the rows.
        """
        if generator is not None:
            x = _dropout(x, self.config.dropout_embedding, generator)
        after = []
        for i, (state, units) in enumerate(zip(states, self.config.layers, strict=True)):
            bias = self.tensors[f"layer{i}.bias"]
            matrix = self.tensors.get(f"layer{i}.input")
            inputs = x + bias if matrix is None else torch.addmm(bias, x, matrix)  # (b, 3h)
            gates = torch.addmm(inputs[:, : 2 * units], state, self.tensors[f"layer{i}.state"]).sigmoid()
            reset, update = gates.chunk(2, dim=1)
            candidate = torch.addmm(inputs[:, 2 * units :], reset * state, self.tensors[f"layer{i}.candidate"]).tanh()
            x = torch.lerp(state, candidate, update)
            if generator is not None:
                x = _dropout(x, self.config.dropout_hidden, generator)
            after.append(x)
        return after

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """Scores of all items after each event, a block a step of ``batch_size`` sessions side by side.

        The activation of BPR-max is left out: it changes no order, but saturates and so would tie items. On a CPU with
        MKL the scores are the same to the bit whatever ``batch_size``; elsewhere kernels chosen by shape may round.
        """
        _check_items(sessions, self.n_items)
        plan = schedule(sessions, min(batch_size, max(len(sessions), 1)), with_last=True)
        states = self.zero_states(1)
        for step in range(plan.steps):
            part = slice(plan.offsets[step], plan.offsets[step + 1])
            events, carried = plan.events[part], plan.carried[part]
            padding = np.full(-len(events) % SCORE_ROWS, -1)
            items = np.concatenate([sessions.items[events], np.zeros_like(padding)])
            with torch.inference_mode():
                states = _carry(states, torch.from_numpy(np.concatenate([carried, padding])).to(self.device))
                x = self.input_table.index_select(0, torch.from_numpy(items).to(self.device))
                states = self.advance(x, states)
                scores = torch.addmm(self.tensors["item_bias"], states[-1], self.tensors["items"].T)
            yield events, scores[: len(events)].cpu().numpy()

    @property
    def input_table(self) -> Tensor:
        """The table that items enter through: that of the outputs unless there is one of its own."""
        return self.tensors.get("inputs", self.tensors["items"])


def _dropout(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    if probability == 0:
        return x
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= probability
    return x * kept.to(x.dtype).div_(1 - probability)


def _carry(states: list[Tensor], carried: Tensor) -> list[Tensor]:
    """States at the start of a step: those of the rows of the step before, or zero for sessions that start."""
    keep = (carried >= 0).to(torch.float32).unsqueeze(1)
    rows = carried.clamp(min=0)
    return [state.index_select(0, rows).mul_(keep) for state in states]


def _check_items(sessions: Sessions, n_items: int) -> None:
    if len(sessions.items):
        low, high = sessions.items.min(), sessions.items.max()
        if low < 0 or high >= n_items:
            raise ValueError(f"item indices must be 0 .. {n_items - 1}, found {low} .. {high}")


# --- training --------------------------------------------------------------------------------------------------------


class Negatives:
    """Draws items in proportion to support ** alpha, and knows how likely every scored column was."""

    def __init__(self, support: NDArray[np.int64], alpha: float, rng: np.random.Generator):
        weight = support.astype(np.float64) ** alpha
        self.rng = rng
        self.cumulative = np.cumsum(weight) / weight.sum()
        # Items that never occur are in no column, but must not put infinities here.
        self.log_target = np.log(np.maximum(support, 1) / support.sum()).astype(np.float32)
        self.log_sampled = np.log(np.maximum(weight, 1) / weight.sum()).astype(np.float32)

    def draw(self, steps: int, n: int) -> NDArray[np.int64]:
        """Items (steps, n). The order within a step means nothing, and sorted numbers are found much faster."""
        return np.searchsorted(self.cumulative, np.sort(self.rng.random((steps, n)), axis=1), side="right")


def fit(
    sessions: Sessions,
    n_items: int,
    config: GRU4RecConfig,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> GRU4Rec:
    """Train on sessions; those of one event have nothing to predict and are skipped.

    All randomness comes from ``config.seed``; on a CPU the same seed gives the same weights to the bit.
    """
    _check_items(sessions, n_items)
    plan = schedule(sessions, config.batch_size, with_last=False)
    if plan.steps == 0:
        raise ValueError("there is nothing to train on: no session has two events or more")
    tensors = {name: tensor.to(device) for name, tensor in initial_weights(config, n_items).items()}
    trainer = Trainer(GRU4Rec(config, n_items, tensors), sessions, plan)
    for epoch in range(1, config.n_epochs + 1):
        begin = time.perf_counter()
        loss = trainer.epoch()
        trainer.model.losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss of epoch {epoch} is {loss}: try a learning_rate below {config.learning_rate}"
                + (f", momentum below {config.momentum}" if config.momentum > 0 else "")
                + (f" or bpreg below {config.bpreg}" if config.loss == "bpr-max" else "")
            )
        if on_epoch is not None:
            on_epoch(Epoch(epoch, loss, len(plan.events), time.perf_counter() - begin))
    return trainer.model


class Trainer:
    """A model in training: its optimisers, its sources of randomness and its data."""

    def __init__(self, model: GRU4Rec, sessions: Sessions, plan: Schedule):
        config, self.device = model.config, model.device
        self.model, self.config, self.sessions, self.plan = model, config, sessions, plan
        rng = np.random.default_rng(config.seed)
        self.dropout = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        support = np.bincount(sessions.items, minlength=model.n_items)
        self.negatives = Negatives(support, config.sample_alpha, rng)
        self.log_target = torch.from_numpy(self.negatives.log_target).to(self.device) * config.logq
        self.log_sampled = torch.from_numpy(self.negatives.log_sampled).to(self.device) * config.logq
        self.optimisers = {
            name: Adagrad(tensor, config.learning_rate, config.momentum) for name, tensor in model.tensors.items()
        }
        self.dense = [name for name in model.tensors if name.startswith("layer")]

    def epoch(self) -> float:
        """Pass over all training events; the mean loss per event."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        states = self.model.zero_states(1)
        for inputs, targets, sampled, carried in self.batches():
            loss, states = self.step(inputs, targets, sampled, _carry(states, carried))
            total += loss
        return total.item() / len(self.plan.events)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Inputs, targets (b,), sampled negatives (n_sample,) and carried rows (b,) of each step, on the device."""
        items, plan = self.sessions.items, self.plan
        for first in range(0, plan.steps, STEPS_PER_BLOCK):
            bounds = plan.offsets[first : first + STEPS_PER_BLOCK + 1]
            part = slice(bounds[0], bounds[-1])
            events, sizes = plan.events[part], np.diff(bounds).tolist()
            arrays = items[events].astype(np.int64), items[events + 1].astype(np.int64), plan.carried[part]
            inputs, targets, carried = (torch.split(torch.from_numpy(a).to(self.device), sizes) for a in arrays)
            sampled = torch.from_numpy(self.negatives.draw(len(sizes), self.config.n_sample)).to(self.device)
            yield from zip(inputs, targets, sampled, carried, strict=True)

    def step(
        self, inputs: Tensor, targets: Tensor, sampled: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Train on one mini-batch: the sum of its losses and the states after it."""
        model, config, tensors = self.model, self.config, self.model.tensors
        columns = torch.cat((targets, sampled))  # (c,)
        x = model.input_table.index_select(0, inputs).requires_grad_()  # (b, d)
        dense = [tensors[name].requires_grad_() for name in self.dense]
        states = model.advance(x, states, self.dropout)
        top = states[-1]  # (b, h)

        with torch.no_grad():
            rows = tensors["items"].index_select(0, columns)  # (c, h)
            bias = tensors["item_bias"].index_select(0, columns)  # (c,)
            if config.logq > 0 and config.loss == "cross-entropy":
                bias -= torch.cat((self.log_target.index_select(0, targets), self.log_sampled.index_select(0, sampled)))
            scores = torch.addmm(bias, top, rows.T)  # (b, c), the target of row i in column i
            if config.loss == "cross-entropy":
                loss, gradient = cross_entropy(scores)
            else:
                loss, gradient = bpr_max(scores, config.elu_param, config.bpreg)
            gradient /= config.batch_size
        x_gradient, *dense_gradients = torch.autograd.grad(top, [x, *dense], gradient @ rows)

        with torch.no_grad():
            for name, dense_gradient in zip(self.dense, dense_gradients, strict=True):
                self.optimisers[name].step(dense_gradient)
            self.optimisers["item_bias"].step_rows(*_coalesce(columns, gradient.sum(dim=0)))
            row_gradient = gradient.T @ top
            if config.embedding == "shared":
                columns, row_gradient = torch.cat((columns, inputs)), torch.cat((row_gradient, x_gradient))
            else:
                self.optimisers["inputs"].step_rows(*_coalesce(inputs, x_gradient))
            self.optimisers["items"].step_rows(*_coalesce(columns, row_gradient))
        return loss, [state.detach() for state in states]


def _coalesce(rows: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Each row once, with the sum of its gradients."""
    unique, place = torch.unique(rows, return_inverse=True)
    return unique, gradient.new_zeros(len(unique), *gradient.shape[1:]).index_add_(0, place, gradient)
