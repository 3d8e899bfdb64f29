"""Training of GRU4Rec: losses with their gradients, the optimiser, negatives, the loop, and resuming it.

In training only the slots' targets and ``n_sample`` negatives are scored; every slot's target is a negative of the
other slots. Gradients stop at one step, so a step is a small feed-forward network; its gradient is written out here.

Why it is fast. Of the tables with a row per item a step reads and writes only the rows that it uses, each once, so its
cost does not grow with the catalogue. Which rows these are is found on the host for a block of steps at a time and sent
to the device with them: a step itself waits for nothing. An item that is drawn n times as a negative is scored once and
counts n times. What is large stays in memory that all steps share.

Names of sizes in comments: b sessions in the mini-batch, u different sampled negatives, c = b + u scored columns
(the targets first), d width of an item vector, h units of a layer.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import (
    GRU4Rec,
    Layer,
    Schedule,
    carry,
    check_items,
    initial_weights,
    previous_rows,
    schedule,
)
from sessrec_pipeline.settings import GRU4RecConfig

ADAGRAD_EPSILON = 1e-6
STEPS_PER_BLOCK = 256  # steps whose items and negatives are drawn and sent to the device together
ROWS_PER_CHUNK = 512  # rows of a table that a CPU updates at a time: what it computes with then stays in its cache


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


class Scratch:
    """Memory that every step uses again: on a CPU, fresh memory of these sizes costs page faults at each step."""

    def __init__(self, like: Tensor):
        self.device, self.dtype = like.device, like.dtype
        self.flat: dict[str, Tensor] = {}

    def __call__(self, name: str, rows: int, columns: int) -> Tensor:
        """Memory of this name as a matrix; it holds whatever it held."""
        size = rows * columns
        if name not in self.flat or len(self.flat[name]) < size:
            self.flat[name] = torch.empty(size, device=self.device, dtype=self.dtype)
        return self.flat[name][:size].view(rows, columns)

    def like(self, name: str, matrix: Tensor) -> Tensor:
        """Memory of this name in the shape of ``matrix``."""
        return self(name, *matrix.shape)


# --- losses: value and gradient, in the memory of the scores --------------------------------------------------------


def cross_entropy(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax cross-entropy of scores (b, c), the target of row i in column i: sum over rows, gradient (b, c).

    The gradient takes the place of the scores.
    """
    scores.sub_(scores.amax(dim=1, keepdim=True))
    target = scores.diagonal().sum()
    total = scores.exp_().sum(dim=1, keepdim=True)
    loss = total.log().sum() - target
    gradient = scores.div_(total)
    gradient.diagonal().sub_(1)
    return loss, gradient


def bpr_max(
    scores: Tensor, log_count: Tensor, elu: float, bpreg: float, scratch: Scratch | None = None
) -> tuple[Tensor, Tensor]:
    """BPR-max of scores (b, c), the target of row i in column i: sum over rows, gradient (b, c).

    With r = ELU(scores) and s the softmax of a row over its negatives, all columns but the target's, a row's loss is
    -log(sum_j s_j sigmoid(r_target - r_j)) + bpreg * sum_j s_j r_j^2. A row without negatives has no loss.

    log_count (c,): column j counts exp(log_count[j]) times. The scores are overwritten.
    """
    scratch = scratch or Scratch(scores)
    if scores.shape[1] == 1:
        return scores.new_zeros(()), torch.zeros_like(scores)
    r, s = scores, scratch.like("s", scores)
    if elu > 0:  # in vectorised pieces: torch's own elu takes three times as long
        negative = torch.clamp(scores, max=0, out=s).exp_()
        r = scores.clamp_(min=0).add_(negative, alpha=elu).sub_(elu)
    target = r.diagonal().clone().unsqueeze(1)  # (b, 1)
    torch.add(r, log_count, out=s)
    s.diagonal().fill_(-math.inf)
    s.sub_(s.amax(dim=1, keepdim=True)).exp_()
    s.div_(s.sum(dim=1, keepdim=True))
    sigma = torch.sub(target, r, out=scratch.like("sigma", s)).sigmoid_()
    s_sigma = torch.mul(s, sigma, out=scratch.like("s_sigma", s))
    s_r = torch.mul(s, r, out=scratch.like("s_r", s))
    # Where p underflows, the gradient below still comes out at its limit: s_j for the negatives, -1 for the target.
    p = s_sigma.sum(dim=1, keepdim=True).clamp_(min=torch.finfo(s.dtype).tiny)
    s_rr = torch.mul(s_r, r, out=scratch.like("s_rr", s))
    penalty = s_rr.sum(dim=1, keepdim=True)
    loss = (bpreg * penalty - p.log()).sum()

    # Of a negative: s_j - s_j sigma_j^2 / p + bpreg s_j (r_j^2 + 2 r_j - penalty). The target takes minus the sum of
    # the first two terms, because p does not change when all of a row's scores shift alike.
    pulled = s_sigma.mul_(sigma).div_(p)
    gradient = s.mul_(1 - bpreg * penalty).add_(s_rr.add_(s_r, alpha=2), alpha=bpreg).sub_(pulled)
    gradient.diagonal().copy_(pulled.sum(dim=1) - 1)
    if elu > 0:
        torch.ops.aten.elu_backward.grad_input(gradient, elu, 1, 1, True, r, grad_input=s)  # True: from ELU's result
    return loss, gradient


# --- optimiser -------------------------------------------------------------------------------------------------------


class Adagrad:
    """Adagrad with momentum for one tensor, epsilon inside the root and accumulators that start at zero."""

    def __init__(self, weight: Tensor, learning_rate: float, momentum: float):
        self.weight = weight
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.squares = torch.full_like(weight, ADAGRAD_EPSILON)  # with epsilon in them no step has to add it
        self.velocity = torch.zeros_like(weight) if momentum > 0 else None
        on_cpu = weight.device.type == "cpu"
        self.chunk = ROWS_PER_CHUNK if on_cpu else max(len(weight), 1)
        self.put = _put_on_cpu if on_cpu else _put
        self.scratch = Scratch(weight)
        self.scale: Tensor | None = None

    def step(self, gradient: Tensor) -> None:
        """Update the whole tensor."""
        if self.scale is None:
            self.scale = torch.empty_like(self.weight)
        torch.rsqrt(self.squares.addcmul_(gradient, gradient), out=self.scale)
        self._update(self.weight, self.scale, gradient, self.velocity)

    def step_rows(self, rows: Tensor, gradient: Tensor, weights: Tensor | None = None) -> None:
        """Update ``rows`` (all different) and touch no other, momentum and accumulators included.

        weights: what these rows hold, where that is at hand; it is overwritten.
        """
        if weights is None:
            weights = self.weight.index_select(0, rows)
        if gradient.dim() == 1:
            return self._step_rows(rows, gradient, weights)
        parts = (torch.split(tensor, self.chunk) for tensor in (rows, gradient, weights))
        for part in zip(*parts, strict=True):
            self._step_rows(*part)
        return None

    def _step_rows(self, rows: Tensor, gradient: Tensor, weights: Tensor) -> None:
        squares = self._take("squares", self.squares, rows, gradient).addcmul_(gradient, gradient)
        self.put(self.squares, rows, squares)
        velocity = None
        if self.velocity is not None:
            velocity = self._take("velocity", self.velocity, rows, gradient)
        self._update(weights, squares.rsqrt_(), gradient, velocity)
        if self.velocity is not None and velocity is not None:
            self.put(self.velocity, rows, velocity)
        self.put(self.weight, rows, weights)

    def _update(self, weights: Tensor, scale: Tensor, gradient: Tensor, velocity: Tensor | None) -> None:
        if velocity is None:
            weights.addcmul_(scale, gradient, value=-self.learning_rate)
        else:
            weights.add_(velocity.mul_(self.momentum).addcmul_(scale, gradient, value=-self.learning_rate))

    def _take(self, name: str, table: Tensor, rows: Tensor, like: Tensor) -> Tensor:
        if table.dim() == 1:
            return table.index_select(0, rows)
        return torch.index_select(table, 0, rows, out=self.scratch.like(name, like))


def _put(table: Tensor, rows: Tensor, values: Tensor) -> None:
    table.index_copy_(0, rows, values)


def _put_on_cpu(table: Tensor, rows: Tensor, values: Tensor) -> None:
    table.numpy()[rows.numpy()] = values.numpy()  # takes 0.4 times as long as index_copy_


# --- negatives and mini-batches --------------------------------------------------------------------------------------


class Negatives:
    """Draws items in proportion to support ** alpha, and knows how likely every scored column was."""

    def __init__(self, support: NDArray[np.int64], alpha: float, rng: np.random.Generator):
        weight = support.astype(np.float64) ** alpha
        self.rng = rng
        self.cumulative = np.cumsum(weight) / weight.sum()
        self.cumulative[np.flatnonzero(weight)[-1] :] = 1  # whatever the sum was rounded to, no draw is beyond it
        # The first item that a number in [i, i + 1) / buckets can mean, so that a draw need not search them all.
        self.buckets = 4 * len(support)
        self.first = np.searchsorted(self.cumulative, np.arange(self.buckets) / self.buckets, side="right")
        self.first = self.first.astype(np.int32)
        # Items that never occur are in no column, but must not put infinities here.
        self.log_target = np.log(np.maximum(support, 1) / support.sum()).astype(np.float32)
        self.log_sampled = np.log(np.maximum(weight, 1) / weight.sum()).astype(np.float32)

    def draw(self, steps: int, n: int) -> NDArray[np.int32]:
        """Items (steps, n), in rising order within a step."""
        number = self.rng.random(steps * n)
        item = self.first[(number * self.buckets).astype(np.int64)]
        behind = np.flatnonzero(self.cumulative[item] <= number)
        while len(behind):
            item[behind] += 1
            behind = behind[self.cumulative[item[behind]] <= number[behind]]
        return np.sort(item.reshape(steps, n), axis=1)


@dataclass(frozen=True)
class Batch:
    """One step, on the device. Rows of tables that it changes are listed once; places say where gradients go.

    inputs, targets (b,): items; rows, kept: how states are carried on, see ``carry``.
    sampled (u,): items, each once; log_count (u,): the log of how often each was drawn, less logQ, which its score
    gains in the softmax; target_gain (b,): the same of the columns of the targets.
    more_targets: targets that were not sampled, each once; more_inputs: inputs that are neither, each once. Inputs with
    a table of their own are all in more_inputs; else a step changes (more_inputs, more_targets, sampled) of the items.
    target_place (b,): where a target is in (more_targets, sampled); input_place (b,): where an input is in
    (more_inputs, more_targets, sampled).
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    kept: Tensor
    target_gain: Tensor
    target_place: Tensor
    input_place: Tensor
    sampled: Tensor
    log_count: Tensor
    more_targets: Tensor
    more_inputs: Tensor


def places(
    keys: NDArray[np.int64], step: NDArray[np.int64], known: Sequence[NDArray[np.int64]], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each key a place among the rows that its step changes: rows of no known set come first, then set by set.

    keys of the steps ``step``; known: sets of keys, sorted; starts: the lowest key of each step, and of one more.
    Returns the keys that are in no set, sorted and each once, and the places.
    """
    place, found = np.empty_like(keys), np.zeros(len(keys), dtype=np.bool_)
    hits = []
    for part in known:
        at = np.searchsorted(part, keys)
        hit = part[np.minimum(at, len(part) - 1)] == keys if len(part) else np.zeros_like(found)
        place[hit] = at[hit]
        found |= hit
        hits.append(hit)
    new, place[~found] = np.unique(keys[~found], return_inverse=True)
    before = np.zeros(len(starts) - 1, dtype=np.int64)  # rows of each step in the sets so far
    for part, hit in zip((new, *known), (~found, *hits), strict=True):
        bounds = np.searchsorted(part, starts)
        place[hit] += (before - bounds[:-1])[step[hit]]
        before += np.diff(bounds)
    return new, place


# --- training --------------------------------------------------------------------------------------------------------


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
        self.shared = config.embedding == "shared"
        self.scratch = Scratch(model.tensors["items"])
        self.gradients = self._join_layers()
        self.optimisers = {
            name: Adagrad(tensor, config.learning_rate, config.momentum)
            for name, tensor in (model.tensors | {"layers": self.layers}).items()
            if not name.startswith("layer") or name == "layers"
        }

    def _join_layers(self) -> dict[str, Tensor]:
        """Put the weights of all layers into one flat tensor, for the optimiser; their gradients in another."""
        names = [name for name in self.model.tensors if name.startswith("layer")]
        sizes = [-(-self.model.tensors[name].numel() // 16) * 16 for name in names]  # all begin at 64 bytes
        self.layers = torch.zeros(sum(sizes), device=self.device)
        self.layer_gradients = torch.zeros_like(self.layers)
        gradients = {}
        parts = zip(names, *(torch.split(flat, sizes) for flat in (self.layers, self.layer_gradients)), strict=True)
        for name, weight, gradient in parts:
            tensor = self.model.tensors[name]
            self.model.tensors[name] = weight[: tensor.numel()].view(tensor.shape).copy_(tensor)
            gradients[name] = gradient[: tensor.numel()].view(tensor.shape)
        return gradients

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
        total = torch.zeros((), dtype=torch.float64, device=self.device)  # stays there: reading it would wait for it
        states = self.model.zero_states(1)
        for batch in self.batches():
            loss, states = self.step(batch, states)
            total += loss
        return total.item() / len(self.plan.events)

    def batches(self) -> Iterator[Batch]:
        """All steps of an epoch."""
        items, plan = self.sessions.items, self.plan
        for first in range(0, plan.steps, STEPS_PER_BLOCK):
            bounds = plan.offsets[first : first + STEPS_PER_BLOCK + 1]
            part = slice(bounds[0], bounds[-1])
            events, sizes = plan.events[part], np.diff(bounds)
            drawn = self.negatives.draw(len(sizes), self.config.n_sample)
            yield from self.block(items[events], items[events + 1], plan.carried[part], sizes, drawn)

    def block(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        carried: NDArray[np.int64],
        sizes: NDArray[np.int64],
        drawn: NDArray[np.integer],
    ) -> Iterator[Batch]:
        """Steps of these ``sizes`` one after the other, each with its row of ``drawn`` (steps, n_sample), sorted."""
        starts = np.arange(len(sizes) + 1) * self.model.n_items
        step = np.repeat(np.arange(len(sizes)), sizes)
        # A key is item + n_items * step: one sorted array then holds a set of items for each step.
        target_key, input_key = targets + starts[step], inputs + starts[step]
        drawn_key = (drawn + starts[:-1, None]).ravel()
        first = np.flatnonzero(np.diff(drawn_key, prepend=-1))
        sampled, count = drawn_key[first], np.diff(first, append=len(drawn_key))
        more_targets, target_place = places(target_key, step, [sampled], starts)
        known = [more_targets, sampled] if self.shared else []
        more_inputs, input_place = places(input_key, step, known, starts)

        log_count, target_gain = np.log(count.astype(np.float32)), np.zeros(len(targets), dtype=np.float32)
        sampled_items = drawn.ravel()[first].astype(np.int64)
        if self.config.loss == "cross-entropy":
            log_count -= self.config.logq * self.negatives.log_sampled[sampled_items]
            target_gain -= self.config.logq * self.negatives.log_target[targets]
        per_event = [inputs, targets, *previous_rows(carried), target_gain, target_place, input_place]
        columns = [self._split(array, np.cumsum(sizes)) for array in per_event]
        for keys, array in (
            (sampled, sampled_items),
            (sampled, log_count),
            (more_targets, more_targets % self.model.n_items),
            (more_inputs, more_inputs % self.model.n_items),
        ):
            columns.append(self._split(array, np.searchsorted(keys, starts[1:])))
        for parts in zip(*columns, strict=True):
            yield Batch(*parts)

    def _split(self, array: NDArray[Any], ends: NDArray[np.int64]) -> Sequence[Tensor]:
        """Send an array of a block to the device, whole, and give each step its part."""
        if array.dtype != np.float32:
            array = array.astype(np.int64, copy=False)
        return torch.split(torch.from_numpy(array).to(self.device), np.diff(ends, prepend=0).tolist())

    @torch.inference_mode()
    def step(self, batch: Batch, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Train on one mini-batch, given the states after the step before: the sum of its losses, the states after."""
        config, items, biases = self.config, self.model.tensors["items"], self.model.tensors["item_bias"]
        b, h = len(batch.inputs), items.shape[1]

        # Rows of the items: inputs if they share the table, targets, sampled. The last two are the columns.
        first = torch.cat((batch.inputs, batch.targets)) if self.shared else batch.targets
        head, n_rows = len(first), len(first) + len(batch.sampled)
        rows = self.scratch("rows", n_rows, h)
        torch.index_select(items, 0, first, out=rows[:head])
        torch.index_select(items, 0, batch.sampled, out=rows[head:])
        columns = rows[head - b :]  # (c, h)
        bias = biases.index_select(0, torch.cat((batch.targets, batch.sampled)))  # (c,)

        x = rows[:b] if self.shared else self.model.tensors["inputs"].index_select(0, batch.inputs)
        passed = self.forward(x, carry(states, batch.rows, batch.kept))
        top = passed[-1].after  # (b, h)
        gain = torch.cat((batch.target_gain, batch.log_count))  # (c,)
        if config.loss == "cross-entropy":
            bias += gain
        scores = torch.addmm(bias, top, columns.T, out=self.scratch("scores", b, len(columns)))
        if config.loss == "cross-entropy":
            loss, gradient = cross_entropy(scores)
        else:
            loss, gradient = bpr_max(scores, gain, config.elu_param, config.bpreg, self.scratch)

        # The mean over the batch is taken of what is small: of (b, h) and (c,), not of (b, c).
        top_gradient = torch.mm(gradient, columns).div_(config.batch_size)
        row_gradients = self.scratch("row_gradients", n_rows, h)
        torch.mm(gradient.T, top / config.batch_size, out=row_gradients[head - b :])
        bias_gradient = gradient.sum(dim=0).div_(config.batch_size)
        x_gradient = self.backward(passed, top_gradient)
        self.optimisers["layers"].step(self.layer_gradients)

        place, n_inputs = batch.target_place, 0
        if self.shared:
            row_gradients[:b] = x_gradient
            n_inputs = len(batch.more_inputs)
            place = torch.cat((batch.input_place, place + n_inputs))
        else:
            changed = x_gradient.new_zeros(len(batch.more_inputs), x_gradient.shape[1])
            changed.index_add_(0, batch.input_place, x_gradient)
            self.optimisers["inputs"].step_rows(batch.more_inputs, changed)

        # Rows that are in the tables once must be changed once. Sampled ones differ; the head's gradients are added to
        # those of their places, for which the end of the head itself has room.
        more = torch.cat((batch.more_inputs, batch.more_targets)) if self.shared else batch.more_targets
        used = torch.cat((more, batch.sampled))
        begin = head - len(more)
        head_gradients = row_gradients[:head].clone()
        row_gradients[begin:head] = 0
        row_gradients[begin:].index_add_(0, place, head_gradients)
        torch.index_select(items, 0, more, out=rows[begin:head])
        self.optimisers["items"].step_rows(used, row_gradients[begin:], rows[begin:])

        scored = used[n_inputs:]
        changed = torch.cat((bias_gradient.new_zeros(len(batch.more_targets)), bias_gradient[b:]))
        changed.index_add_(0, batch.target_place, bias_gradient[:b])
        self.optimisers["item_bias"].step_rows(scored, changed)
        return loss, [layer.after for layer in passed]

    def forward(self, x: Tensor, states: list[Tensor]) -> list["Passed"]:
        """``GRU4Rec.advance`` with dropout, and all that ``backward`` needs of it.

        What is dropped is dropped from the state that is carried on; with one-hot items dropout_embedding drops from
        their rows.
        """
        dropped = self._dropout(x, self.config.dropout_embedding)
        passed: list[Passed] = []
        for i, state in enumerate(states):
            x = x if dropped is None else x * dropped
            layer = self.model.layer(i, x, state)
            out = self._dropout(layer.after, self.config.dropout_hidden)
            after = layer.after if out is None else layer.after * out
            passed.append(Passed(x, dropped, state, layer, out, after))
            x, dropped = after, None
        return passed

    def _dropout(self, x: Tensor, probability: float) -> Tensor | None:
        """What to multiply x by: 0, or what makes up for that; None where nothing is dropped."""
        if probability == 0:
            return None
        return torch.rand(x.shape, generator=self.dropout, device=x.device).ge_(probability).div_(1 - probability)

    def backward(self, passed: list["Passed"], gradient: Tensor) -> Tensor:
        """From the gradient of the top state (b, h): fill ``layer_gradients``, return that of ``forward``'s x.

        Gradients stop at the states from the step before. Written out, because autograd's own work for a graph this
        small takes longer than the arithmetic.
        """
        sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
        for i in reversed(range(len(passed))):
            x, dropped, state, layer, out, _ = passed[i]
            if out is not None:
                gradient = gradient * out
            weights, gradients = self.model.tensors, self.gradients
            candidate = tanh_backward(gradient * layer.update, layer.candidate)
            update = sigmoid_backward((layer.candidate - state).mul_(gradient), layer.update)
            kept = torch.mm(candidate, weights[f"layer{i}.candidate"].T)
            reset = sigmoid_backward(kept.mul_(state), layer.reset)
            inputs = torch.cat((reset, update, candidate), dim=1)  # (b, 3h), the sums in gates and candidate
            torch.sum(inputs, dim=0, out=gradients[f"layer{i}.bias"])
            torch.mm(state.T, inputs[:, : 2 * state.shape[1]], out=gradients[f"layer{i}.state"])
            torch.mm(layer.kept.T, candidate, out=gradients[f"layer{i}.candidate"])
            gradient = inputs
            if (matrix := weights.get(f"layer{i}.input")) is not None:
                torch.mm(x.T, inputs, out=gradients[f"layer{i}.input"])
                gradient = torch.mm(inputs, matrix.T)
            if dropped is not None:
                gradient = gradient * dropped
        return gradient


class Passed(NamedTuple):
    """A layer in training: its input and state, what it computed, the dropout of input and output, its output."""

    x: Tensor
    dropped: Tensor | None
    state: Tensor
    layer: Layer
    out: Tensor | None
    after: Tensor


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
