"""Training of GRU4Rec: the steps of an epoch; ``training.loop`` runs the epochs.

In training only the slots' targets and ``n_sample`` negatives are scored; every slot's target is a negative of the
other slots. Gradients stop at one step, so a step is a small feed-forward network; its gradient is written out here.

Why it is fast. Of the tables with a row per item a step reads and writes only the rows that it uses, each once, so its
cost does not grow with the catalogue (``adagrad``). Which rows these are is known before the step begins
(``batches``). What is large stays in memory that all steps share (``scratch``). On a GPU nothing is read back
before the end of an epoch, and full steps are replayed from one captured graph (``cuda_graphs``).

Several processes may share out each mini-batch (``models.ranks``): a step computes its own rows of it, adds up what
is needed of all of them, and then changes the weights.

Names of sizes in comments: b sessions in the mini-batch, own those that this process computes, c scored columns, d
width of an item vector, h units of a layer.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sessrec_pipeline.models.base import Arrays, Sessions
from sessrec_pipeline.models.gru4rec.adagrad import Adagrad
from sessrec_pipeline.models.gru4rec.batches import Batch, Batches
from sessrec_pipeline.models.gru4rec.cuda_graphs import CudaGraph, StepGraph
from sessrec_pipeline.models.gru4rec.losses import bpr_max, cross_entropy
from sessrec_pipeline.models.gru4rec.network import (
    PER_ITEM,
    GRU4Rec,
    Layer,
    Schedule,
    carry,
    initial_weights,
    schedule,
)
from sessrec_pipeline.models.gru4rec.scratch import Scratch
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.weights import check_items
from sessrec_pipeline.models.ranks import ALONE, Ranks
from sessrec_pipeline.models.rng import pack, unpack


class GRU4RecTrainer:
    """A model in training: its optimisers, its sources of randomness and its data.

    fixed_shapes: pad full steps to one shape, which on a GPU are then replayed from a graph; by default on a GPU only,
    and not where ranks share out the steps.
    """

    def __init__(
        self,
        model: GRU4Rec,
        sessions: Sessions,
        plan: Schedule,
        *,
        fixed_shapes: bool | None = None,
        ranks: Ranks = ALONE,
    ):
        config, self.device = model.config, model.device
        on_gpu = self.device.type == "cuda"
        fixed_shapes = on_gpu and ranks.world == 1 if fixed_shapes is None else fixed_shapes
        self.model, self.config, self.ranks, self.events = model, config, ranks, len(plan.events)
        rng = np.random.default_rng(config.seed)
        self.dropout = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        self.batches = Batches(sessions, plan, model.n_items, config, rng, self.device, fixed_shapes)
        self.graph = StepGraph(CudaGraph(self.dropout)) if fixed_shapes and on_gpu else None
        self.shared = config.embedding == "shared"
        self.scratch = Scratch(model.tensors["items"])
        self.gradients = self._join_layers()
        self.tables = {name: tensor for name, tensor in model.tensors.items() if name in PER_ITEM}
        if fixed_shapes:  # the spare item needs a row
            self.tables = {name: torch.cat((table, torch.zeros_like(table[:1]))) for name, table in self.tables.items()}
            model.tensors |= {name: table[:-1] for name, table in self.tables.items()}
        self.optimisers = {
            name: Adagrad(tensor, config.learning_rate, config.momentum)
            for name, tensor in (self.tables | {"layers": self.layers}).items()
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

    @classmethod
    def begin(
        cls,
        sessions: Sessions,
        n_items: int,
        settings: GRU4RecSettings,
        device: str,
        ranks: Ranks | None = None,
        initial: Arrays | None = None,
    ) -> "GRU4RecTrainer":
        """A training before its first epoch; sessions of one event have nothing to predict and are skipped.

        initial: weights to begin with instead of random ones, from ``extend_weights``. ValueError where there is
        nothing to train on.
        """
        check_items(sessions, n_items)
        plan = schedule(sessions, settings.batch_size, with_last=False)
        if plan.steps == 0:
            raise ValueError("there is nothing to train on: no session has two events or more")
        if initial is None:
            tensors = {name: tensor.to(device) for name, tensor in initial_weights(settings, n_items).items()}
            model = GRU4Rec(settings, n_items, tensors)
        else:
            model = GRU4Rec.from_weights(settings, n_items, initial, device)
        return cls(model, sessions, plan, ranks=ranks or ALONE)

    def arrays(self) -> Arrays:
        """Copies of the weights."""
        return dict(self.model.weights())

    def recommender(self) -> GRU4Rec:
        """The model in training, to score with: the next epoch goes on changing it."""
        return self.model

    def state(self) -> Arrays:
        """A copy of all that changes from epoch to epoch.

        ``weights.*`` and Adagrad's ``squares.*`` and ``velocity.*`` by name of the weight; the random generators
        ``negatives`` and ``dropout``.
        """
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._tensors().items()}
        return {**arrays, "negatives": pack(self.batches.negatives.rng)}

    def restore(self, state: Arrays) -> None:
        """Go on where ``state`` was taken; ValueError where it is not of this device and catalogue."""
        tensors = self._tensors()
        if missing := {*tensors, "negatives"} - set(state):
            raise ValueError(f"training cannot go on from a state without {', '.join(sorted(missing))}")
        for name, tensor in tensors.items():
            if state[name].shape != tuple(tensor.shape):
                what = "kind of device" if name == "dropout" else "catalogue"
                raise ValueError(
                    f"training cannot go on from a state of another {what}: "
                    f"{name} must have shape {tuple(tensor.shape)}, not {state[name].shape}"
                )
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(state[name]))
        self.dropout.set_state(torch.from_numpy(state["dropout"].copy()))
        unpack(state["negatives"], self.batches.negatives.rng)

    def _tensors(self) -> dict[str, Tensor]:
        """What training changes, by name; that of the generator is a copy."""
        tensors = {"dropout": self.dropout.get_state()}
        for name, optimiser in self.optimisers.items():
            own = slice(self.model.n_items) if name in PER_ITEM else slice(None)  # without the row of the spare item
            tensors[f"weights.{name}"] = optimiser.weight[own]
            tensors[f"squares.{name}"] = optimiser.squares[own]
            if optimiser.velocity is not None:
                tensors[f"velocity.{name}"] = optimiser.velocity[own]
        return tensors

    def epoch(self, progress: Callable[[int], None] = lambda events: None) -> float:
        """Pass over all training events: the mean loss of one. ``progress`` is called with the events done so far."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)  # stays there: reading it would wait for it
        states, done = self.model.zero_states(1), 0
        step = self.step if self.graph is None else partial(self.graph, self.step)
        for block in self.batches.epoch():
            for batch in block:
                loss, states = step(batch, states)
                total += loss
                done += len(batch.inputs)
            progress(done)
        return total.item() / done

    @torch.inference_mode()
    def step(self, batch: Batch, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Train on one mini-batch, given the states after the step before: the sum of its losses, the states after."""
        config, items, biases = self.config, self.tables["items"], self.tables["item_bias"]
        b, h = len(batch.inputs), items.shape[1]
        own = self.ranks.share(b)

        # Rows of the items that the step changes: inputs, if they share the table, then columns.
        more = len(batch.more_inputs) if self.shared else 0
        used = torch.cat((batch.more_inputs, batch.columns)) if self.shared else batch.columns
        rows = torch.index_select(items, 0, used, out=self.scratch("rows", len(used), h))
        columns, bias = rows[more:], biases.index_select(0, batch.columns)  # (c, h), (c,)

        if self.shared:
            x = rows.index_select(0, batch.input_place[own])
        else:
            x = self.tables["inputs"].index_select(0, batch.inputs[own])
        passed = self.forward(x, carry(states, batch.rows[own], batch.kept[own]), b)
        top = passed[-1].after  # (own, h)
        if config.loss == "cross-entropy":
            bias += batch.log_count
        scores = torch.addmm(bias, top, columns.T, out=self.scratch("scores", len(top), len(columns)))
        place = batch.target_place[own]
        if config.loss == "cross-entropy":
            loss, gradient = cross_entropy(scores, place, self.scratch)
            loss += (batch.log_count[place] - batch.target_gain[own]).sum()  # of the target alone, not its column's
        else:
            loss, gradient = bpr_max(scores, place, batch.log_count, config.elu_param, config.bpreg, self.scratch)

        # The mean over the batch is taken of what is small: of (own, h) and (c,), not of (own, c).
        top_gradient = torch.mm(gradient, columns).div_(config.batch_size)
        row_gradients = self.scratch("row_gradients", len(used), h)
        torch.mm(gradient.T, top / config.batch_size, out=row_gradients[more:])
        gradients = {"items": row_gradients, "item_bias": gradient.sum(dim=0).div_(config.batch_size)}
        x_gradient = self.backward(passed, top_gradient)
        if self.shared:
            row_gradients[:more].zero_()
            inputs = row_gradients
        else:
            inputs = gradients["inputs"] = x_gradient.new_zeros(len(batch.more_inputs), x_gradient.shape[1])
        inputs.index_add_(0, batch.input_place[own], x_gradient)

        after = [self.ranks.whole(layer.after, b) for layer in passed]
        self.ranks.add_up([self.layer_gradients, *gradients.values(), *after, loss])
        self.optimisers["items"].step_rows(used, gradients["items"])
        self.optimisers["item_bias"].step_rows(batch.columns, gradients["item_bias"])
        if not self.shared:
            self.optimisers["inputs"].step_rows(batch.more_inputs, gradients["inputs"])
        self.optimisers["layers"].step(self.layer_gradients)
        return loss, after

    def forward(self, x: Tensor, states: list[Tensor], b: int) -> list["Passed"]:
        """``GRU4Rec.advance`` with dropout, and all that ``backward`` needs of it, for this rank's share of b sessions.

        What is dropped is dropped from the state that is carried on; with one-hot items dropout_embedding drops from
        their rows.
        """
        dropped = self._dropout(x, self.config.dropout_embedding, b)
        passed: list[Passed] = []
        for i, state in enumerate(states):
            x = x if dropped is None else x * dropped
            layer = self.model.layer(i, x, state)
            out = self._dropout(layer.after, self.config.dropout_hidden, b)
            after = layer.after if out is None else layer.after * out
            passed.append(Passed(x, dropped, state, layer, out, after))
            x, dropped = after, None
        return passed

    def _dropout(self, x: Tensor, probability: float, b: int) -> Tensor | None:
        """What to multiply x by: 0, or what makes up for that; None where nothing is dropped.

        Drawn for all b sessions of the mini-batch, so that what is dropped does not depend on the ranks.
        """
        if probability == 0:
            return None
        drawn = torch.rand(b, x.shape[1], generator=self.dropout, device=x.device)
        return drawn[self.ranks.share(b)].ge_(probability).div_(1 - probability)

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
