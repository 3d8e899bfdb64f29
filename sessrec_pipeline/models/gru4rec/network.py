"""GRU4Rec: a gated recurrent network that predicts the next item of a session.

Written from the papers, not from the authors' code:

- Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural networks. ICLR 2016,
  arXiv 1511.06939 (the network, session-parallel mini-batches).
- Hidasi, Karatzoglou: Recurrent neural networks with top-k gains for session-based recommendations. CIKM 2018,
  arXiv 1706.03847 (sampled negatives, cross-entropy, BPR-max, the shared table).
- Hidasi, Czapp: The effect of third party implementations on reproducibility. RecSys 2023, arXiv 2307.14956 (what
  other versions got wrong: ``tests/models/gru4rec/test_gru4rec.py`` has a test for each fault).

How it works. ``batch_size`` slots walk through sessions side by side, one event a step (``schedule``). A step turns
each slot's item into a vector, moves the slot's GRU state on (``GRU4Rec.advance``) and scores items as the dot product
of the top state with their rows of the output table. This module has the network, its weights and its scores;
``trainer`` has what is needed only to train one.

Names of sizes in comments: b sessions in the mini-batch, d width of an item vector, h units of a layer.
"""

import hashlib
import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sessrec_pipeline.models.base import Block, Recommender, Sessions
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.weights import FAST_ROWS, check_items, check_shapes, weight_shapes

PER_ITEM = ("items", "item_bias", "inputs")  # the weights with a row for each item
SCORE_ROWS = 32  # scoring pads mini-batches to a multiple: few or odd rows take other kernels, which round otherwise
SLOTS = 512  # sessions that walk side by side when they are scored: the fixed price of a step is paid for all of them
SMALL = 10_000  # items of a catalogue for which the first layer's product with every item is kept while it scores
ALIGNED = 16  # float32 of 64 bytes: where rows of scores begin anywhere else, products take up to half as long again


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


# --- the model -------------------------------------------------------------------------------------------------------


def initial_weights(config: GRU4RecSettings, n_items: int) -> dict[str, Tensor]:
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


def extend_weights(
    config: GRU4RecSettings,
    weights: Mapping[str, NDArray[np.float32]],
    old_items: Sequence[str],
    new_items: Sequence[str],
) -> dict[str, NDArray[np.float32]]:
    """Weights for the catalogue ``new_items``, from those of a model of ``old_items``, to train on from.

    Rows of items in both move to their new index, rows of items that are gone are dropped, and items that are new get
    rows as before any training. Those rows depend on ``config.seed`` and on which items are new: drawn by the seed
    alone, items that come on different days would begin with the same row.
    """
    check_shapes(weights, weight_shapes(config, len(old_items)))
    index = {item: i for i, item in enumerate(old_items)}
    known = np.array([index.get(item, -1) for item in new_items], dtype=np.int64)
    fresh = known < 0
    named = "\n".join([str(config.seed), *(item for item, new in zip(new_items, fresh.tolist(), strict=True) if new)])
    seed = int.from_bytes(hashlib.sha256(named.encode()).digest()[:7], "big")
    start = initial_weights(config.model_copy(update={"seed": seed}), len(new_items))
    extended = {}
    for name, array in weights.items():
        if name in PER_ITEM:
            extended[name] = start[name].numpy()
            extended[name][~fresh] = array[known[~fresh]]
        else:
            extended[name] = array.copy()
    return extended


class GRU4Rec(Recommender):
    """A trained network: the weights and how they score. training makes one, ``from_weights`` brings one back."""

    fast_rows = FAST_ROWS

    def __init__(self, config: GRU4RecSettings, n_items: int, tensors: dict[str, Tensor]):
        self.config = config
        self.n_items = n_items
        self.tensors = tensors

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.tensors["items"].device

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Copies of all weights, float32, and nothing else."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.tensors.items()}

    @classmethod
    def from_weights(
        cls, config: GRU4RecSettings, n_items: int, weights: Mapping[str, NDArray[np.float32]], device: str = "cpu"
    ) -> "GRU4Rec":
        """The model that ``weights()`` was called on."""
        shapes = weight_shapes(config, n_items)
        check_shapes(weights, shapes)
        tensors = {name: torch.tensor(weights[name], dtype=torch.float32, device=device) for name in shapes}
        return cls(config, n_items, tensors)

    def zero_states(self, rows: int) -> list[Tensor]:
        """States of sessions that have not begun, (rows, h) for each layer."""
        return [torch.zeros(rows, units, device=self.device) for units in self.config.layers]

    def advance(self, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        """The states after one more event, (b, h) for each layer; the last one is scored.

        x: item vectors (b, d), or with one-hot items their rows (b, 3h) of the first layer's matrix.
        """
        after = []
        for i, state in enumerate(states):
            x = self.layer(i, x, state).after
            after.append(x)
        return after

    def layer(self, i: int, x: Tensor, state: Tensor) -> "Layer":
        """Layer i with the input x (b, width of the layer below) and the state (b, h) from the event before."""
        units, tensors = self.config.layers[i], self.tensors
        bias, matrix = tensors[f"layer{i}.bias"], tensors.get(f"layer{i}.input")
        inputs = x + bias if matrix is None else torch.addmm(bias, x, matrix)  # (b, 3h)
        gates = torch.addmm(inputs[:, : 2 * units], state, tensors[f"layer{i}.state"]).sigmoid_()
        reset, update = gates.chunk(2, dim=1)
        kept = reset * state
        candidate = torch.addmm(inputs[:, 2 * units :], kept, tensors[f"layer{i}.candidate"]).tanh_()
        return Layer(reset, update, kept, candidate, torch.lerp(state, candidate, update))

    @torch.inference_mode()
    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """Scores of all items after each event: sessions walk ``SLOTS`` at a time, a block has events of several steps.

        A block's scores are overwritten by those of the next one: fresh memory of their size costs more than they do.

        The activation of BPR-max is left out: it changes no order, but saturates and so would tie items. On a CPU with
        MKL the scores are the same to the bit whatever ``batch_size``; elsewhere kernels chosen by shape may round.
        """
        check_items(sessions, self.n_items)
        # The products are a fifth faster with the table on its side, and with the bias as one more unit of it.
        table = torch.cat((self.tensors["items"].T, self.tensors["item_bias"][None]))  # (h + 1, n_items)
        most = min(batch_size, len(sessions.items))
        shape = (most + -most % SCORE_ROWS, self.n_items + -self.n_items % ALIGNED)
        memory = torch.empty(shape, device=self.device)[:, : self.n_items]
        top = torch.ones(len(memory), len(table), device=self.device)
        network = self.multiplied_out() if self.n_items < min(SMALL, len(sessions.items)) else self
        for events in network.walk(sessions, top[:most, :-1]):
            rows = len(events) + -len(events) % SCORE_ROWS
            scores = torch.mm(top[:rows], table, out=memory[:rows])
            yield events, scores[: len(events)].cpu().numpy()

    def multiplied_out(self) -> "GRU4Rec":
        """The same network with its first layer's product made once for each item, and not once for each event."""
        tensors = dict(self.tensors)
        if (matrix := tensors.pop("layer0.input", None)) is not None:
            table = functional.pad(self.input_table, (0, 0, 0, -self.n_items % SCORE_ROWS))
            tensors["inputs"] = torch.addmm(tensors["layer0.bias"], table, matrix)
            tensors["layer0.bias"] = torch.zeros_like(tensors["layer0.bias"])
        return GRU4Rec(self.config, self.n_items, tensors)

    def walk(self, sessions: Sessions, top: Tensor) -> Iterator[NDArray[np.int64]]:
        """Fill ``top`` (b, h) with the top states after events, again and again until there are none left.

        Each time the events are returned, as positions in ``Sessions.items``: b of them, and at last what is left.
        The longest sessions walk first, for so those of a group that go on are always its first ones.
        """
        longest = np.argsort(-sessions.lengths, kind="stable")
        filled: list[NDArray[np.int64]] = []
        room = len(top)
        for group in np.split(longest, range(SLOTS, len(longest), SLOTS)):
            begin, length = sessions.offsets[group], sessions.lengths[group]
            states = self.zero_states(len(group) + -len(group) % SCORE_ROWS)
            for step in range(length.max(initial=0)):
                events = begin[length > step] + step
                items = np.zeros(len(events) + -len(events) % SCORE_ROWS, np.int64)
                items[: len(events)] = sessions.items[events]
                x = self.input_table.index_select(0, torch.from_numpy(items).to(self.device))
                states = self.advance(x, [state[: len(items)] for state in states])
                done = 0
                while done < len(events):
                    part = events[done : done + room]
                    at = len(top) - room
                    top[at : at + len(part)] = states[-1][done : done + len(part)]
                    filled.append(part)
                    done, room = done + len(part), room - len(part)
                    if room == 0:
                        yield np.concatenate(filled)
                        filled, room = [], len(top)
        if filled:
            yield np.concatenate(filled)

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``: one product for all sessions, none for the events before their last."""
        table = torch.cat((self.tensors["items"].T, self.tensors["item_bias"][None]))  # (h + 1, n_items)
        top = functional.pad(self.last_states(sessions), (0, 1), value=1)  # (sessions, h + 1)
        with torch.inference_mode():
            return torch.mm(top, table)[: len(sessions)].cpu().numpy()

    def score_candidates(self, sessions: Sessions, candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """See ``Recommender.score_candidates``: the rows of the candidates alone are read."""
        with torch.inference_mode():
            rows = torch.from_numpy(candidates.astype(np.int64)).to(self.device)
            top = self.last_states(sessions)[: len(sessions)]
            scores = torch.einsum("sch,sh->sc", self.tensors["items"][rows], top) + self.tensors["item_bias"][rows]
            return scores.cpu().numpy()

    def last_states(self, sessions: Sessions) -> Tensor:
        """The top state after the last event of each session, (sessions, h), and rows of padding."""
        check_items(sessions, self.n_items)
        longest, n = int(sessions.lengths.max(initial=0)), len(sessions)
        rows = n + -n % SCORE_ROWS
        states = self.zero_states(rows)
        with torch.inference_mode():
            for step in range(longest):
                going = sessions.lengths > step
                items = np.zeros(rows, np.int64)
                items[:n][going] = sessions.items[sessions.offsets[:-1][going] + step]
                x = self.input_table.index_select(0, torch.from_numpy(items).to(self.device))
                kept = torch.zeros(rows, 1, dtype=torch.bool)
                kept[:n, 0] = torch.from_numpy(going)
                after = self.advance(x, states)
                states = [torch.where(kept.to(self.device), new, old) for new, old in zip(after, states, strict=True)]
        return states[-1]

    def item_vectors(self) -> NDArray[np.floating]:
        """The rows of the output table, float32 (n_items, h)."""
        return self.tensors["items"].cpu().numpy()

    @property
    def input_table(self) -> Tensor:
        """The table that items enter through: that of the outputs unless there is one of its own."""
        return self.tensors.get("inputs", self.tensors["items"])


class Layer(NamedTuple):
    """What a GRU layer computed, each (b, h): gates, reset gate times state, proposed state, state after the event."""

    reset: Tensor
    update: Tensor
    kept: Tensor
    candidate: Tensor
    after: Tensor


def previous_rows(carried: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """``Schedule.carried`` as rows (b,) to take and what to multiply them by (b, 1): 0 where a session begins."""
    return np.maximum(carried, 0), (carried >= 0).astype(np.float32)[:, None]


def carry(states: list[Tensor], rows: Tensor, kept: Tensor) -> list[Tensor]:
    """States at the start of a step: those of the rows of the step before, or zero for sessions that begin."""
    return [state.index_select(0, rows).mul_(kept) for state in states]
