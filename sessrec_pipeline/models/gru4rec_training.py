"""Training of GRU4Rec: losses with their gradients, the optimiser, negatives, the loop, and resuming it.

In training only the slots' targets and ``n_sample`` negatives are scored; every slot's target is a negative of the
other slots. Gradients stop at one step, so a step is a small feed-forward network whose largest part, scores and loss,
has its gradient written out here (``cross_entropy``, ``bpr_max``); autograd does the GRU. Of the tables with a row per
item a step reads and writes only the rows that it uses, so its cost does not grow with the catalogue.

Names of sizes in comments: b sessions in the mini-batch, c scored columns (b targets, then the sampled negatives),
d width of an item vector, h units of a layer.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import GRU4Rec, Schedule, carry, check_items, initial_weights, schedule
from sessrec_pipeline.settings import GRU4RecConfig

ADAGRAD_EPSILON = 1e-6
STEPS_PER_BLOCK = 256  # steps whose items and negatives are drawn and sent to the device together


class TrainingDiverged(RuntimeError):  # noqa: N818 - it names what happened
    """The loss of an epoch is no number; the text says which epoch and what to try."""


@dataclass(frozen=True)
class TrainingState:
    """All that training needs to go on after an epoch; on a CPU it then ends as if it had never stopped, to the bit.

    epoch: epochs done; losses: of each of them.
    arrays: ``weights.*`` and Adagrad's ``squares.*`` and ``velocity.*`` by name of the weight; the random generators
    ``negatives`` and ``dropout``; ``settings``, the JSON text of the config without n_epochs, which may be raised.
    """

    epoch: int
    losses: tuple[float, ...]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training sessions came to; the first is epoch 1, the loss is the mean per event.

    model: the model in training, to score with: the next epoch goes on changing it.
    state: copies what a later ``fit`` needs to go on from here; to be called before the next epoch begins.
    """

    epoch: int
    loss: float
    events: int
    seconds: float
    model: GRU4Rec = field(repr=False)
    state: Callable[[], TrainingState] = field(repr=False)


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
    on_epoch: Callable[[Epoch], bool | None] | None = None,
    *,
    resume: TrainingState | None = None,
    initial: Mapping[str, NDArray[np.float32]] | None = None,
) -> GRU4Rec:
    """Train on sessions; those of one event have nothing to predict and are skipped.

    All randomness comes from ``config.seed``; on a CPU the same seed gives the same weights to the bit.

    on_epoch: called after each epoch; where it returns False, that epoch is the last.
    resume: go on after the epoch of this state, which came from the same sessions and config; on_epoch is called for
    the epochs that are left, which may be none. ``initial`` has then done its part and is not looked at.
    initial: weights to begin with instead of random ones, from ``extend_weights``.
    """
    check_items(sessions, n_items)
    plan = schedule(sessions, config.batch_size, with_last=False)
    if plan.steps == 0:
        raise ValueError("there is nothing to train on: no session has two events or more")
    if initial is None or resume is not None:
        tensors = {name: tensor.to(device) for name, tensor in initial_weights(config, n_items).items()}
        model = GRU4Rec(config, n_items, tensors)
    else:
        model = GRU4Rec.from_weights(config, n_items, initial, device)
    trainer = Trainer(model, sessions, plan)
    if resume is not None:
        trainer.restore(resume)
    for epoch in range(len(model.losses) + 1, config.n_epochs + 1):
        begin = time.perf_counter()
        loss = trainer.epoch()
        model.losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss of epoch {epoch} is {loss}: try a learning_rate below {config.learning_rate}"
                + (f", momentum below {config.momentum}" if config.momentum > 0 else "")
                + (f" or bpreg below {config.bpreg}" if config.loss == "bpr-max" else "")
            )
        seconds = time.perf_counter() - begin
        if on_epoch is not None:
            done = Epoch(epoch, loss, len(plan.events), seconds, model, trainer.state)
            if on_epoch(done) is False:
                break
    return model


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

    def state(self) -> TrainingState:
        """A copy of all that changes from epoch to epoch."""
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._tensors().items()}
        arrays["negatives"] = _pack(self.negatives.rng)
        arrays["settings"] = _settings(self.config)
        losses = tuple(self.model.losses)
        return TrainingState(len(losses), losses, arrays)

    def restore(self, state: TrainingState) -> None:
        """Go on where ``state`` was taken; ValueError where it is not one of these settings and this catalogue."""
        tensors = self._tensors()
        _check_state(state, self.config, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(state.arrays[name]))
        self.dropout.set_state(torch.from_numpy(state.arrays["dropout"].copy()))
        _unpack(state.arrays["negatives"], self.negatives.rng)
        self.model.losses = list(state.losses)

    def _tensors(self) -> dict[str, Tensor]:
        """What training changes, by name in TrainingState; that of the generator is a copy."""
        tensors = {"dropout": self.dropout.get_state()}
        for name, optimiser in self.optimisers.items():
            tensors[f"weights.{name}"] = optimiser.weight
            tensors[f"squares.{name}"] = optimiser.squares
            if optimiser.velocity is not None:
                tensors[f"velocity.{name}"] = optimiser.velocity
        return tensors

    def epoch(self) -> float:
        """Pass over all training events; the mean loss per event."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        states = self.model.zero_states(1)
        for inputs, targets, sampled, carried in self.batches():
            loss, states = self.step(inputs, targets, sampled, carry(states, carried))
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


# --- the state of training as arrays ---------------------------------------------------------------------------------


def _settings(config: GRU4RecConfig) -> NDArray[np.uint8]:
    text = json.dumps(config.model_dump(mode="json", exclude={"n_epochs"}), sort_keys=True)
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _check_state(state: TrainingState, config: GRU4RecConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError with a sentence unless the state is of this config and has arrays of these shapes."""
    arrays = state.arrays
    missing = {*shapes, "negatives", "settings"} - set(arrays)
    if "settings" in arrays and not np.array_equal(arrays["settings"], _settings(config)):
        theirs, ours = (json.loads(array.tobytes()) for array in (arrays["settings"], _settings(config)))
        other = [
            f"{name} {theirs.get(name)} instead of {value}" for name, value in ours.items() if theirs.get(name) != value
        ]
        raise ValueError(f"training cannot go on from a state of other settings: {', '.join(other)}")
    if missing:
        raise ValueError(f"training cannot go on from a state without {', '.join(sorted(missing))}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            what = "kind of device" if name == "dropout" else "catalogue"
            raise ValueError(
                f"training cannot go on from a state of another {what}: "
                f"{name} must have shape {shape}, not {arrays[name].shape}"
            )
    if state.epoch != len(state.losses) or state.epoch > config.n_epochs:
        raise ValueError(
            f"training of {config.n_epochs} epochs cannot go on from a state "
            f"after epoch {state.epoch} that has {len(state.losses)} losses"
        )


def _pack(rng: np.random.Generator) -> NDArray[np.uint64]:
    """The state of numpy's PCG64: two numbers of 128 bits, each as high and low half, and half a draw kept back."""
    state = rng.bit_generator.state
    numbers = [part for key in ("state", "inc") for part in divmod(state["state"][key], 2**64)]
    return np.array([*numbers, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def _unpack(packed: NDArray[np.uint64], rng: np.random.Generator) -> None:
    a, b, c, d, has_uint32, uinteger = packed.tolist()
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (a << 64) + b, "inc": (c << 64) + d},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
