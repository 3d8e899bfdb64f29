"""Mini-batches of GRU4Rec's training: which rows of the tables a step uses, and its sampled negatives.

All of it is found on the host for a block of steps at a time and sent to the device whole: a step itself waits for
nothing. An item that is a target of n slots or drawn n times as a negative is one column that counts n times.

So a step uses now more, now fewer rows, but what a GPU replays has shapes that never change. For it full steps are
padded with a spare item, number ``n_items``: its columns count exp(-inf) times, and its row gets no gradient.

Names of sizes in comments: b sessions in the mini-batch, c scored columns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import Schedule, previous_rows
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings

STEPS_PER_BLOCK = 256


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
    columns (c,): targets and sampled items, each once; log_count (c,): the log of how often each counts, that is as a
    target and as a sample, or with logQ of the sum of what these weigh; target_gain (b,): the log of what a target
    weighs by itself.
    more_inputs: inputs that are no columns, each once, or with a table of their own all of them, each once. Of the
    items a step changes (more_inputs, columns), or columns alone where inputs have a table of their own.
    target_place (b,): where a target is in columns; input_place (b,): where an input is in (more_inputs, columns).
    packed: only of a padded step, in which c is b + n_sample, and more_inputs is (b,): its integers (7 b + n_sample,)
    and its floats (3 b + n_sample,), of which the fields above are views.
    """

    inputs: Tensor
    targets: Tensor
    rows: Tensor
    kept: Tensor
    target_gain: Tensor
    target_place: Tensor
    input_place: Tensor
    columns: Tensor
    log_count: Tensor
    more_inputs: Tensor
    packed: tuple[Tensor, Tensor] | None = None


class Batches:
    """Makes the mini-batches of every epoch: the same events in the same order, with negatives drawn anew.

    fixed_shapes: pad the steps that have ``batch_size`` sessions.
    """

    def __init__(
        self,
        sessions: Sessions,
        plan: Schedule,
        n_items: int,
        config: GRU4RecSettings,
        rng: np.random.Generator,
        device: torch.device,
        fixed_shapes: bool,
    ):
        self.sessions, self.plan, self.n_items, self.config, self.device = sessions, plan, n_items, config, device
        self.shared, self.fixed_shapes = config.embedding == "shared", fixed_shapes
        self.negatives = Negatives(np.bincount(sessions.items, minlength=n_items), config.sample_alpha, rng)

    def epoch(self) -> Iterator[list[Batch]]:
        """All steps of an epoch, a block at a time; the full steps, which come first, share no block with others."""
        items, plan = self.sessions.items, self.plan
        full = np.count_nonzero(np.diff(plan.offsets) == self.config.batch_size)
        edges = np.union1d(np.arange(0, plan.steps, STEPS_PER_BLOCK), [full, plan.steps])
        for first, last in pairwise(edges.tolist()):
            bounds = plan.offsets[first : last + 1]
            part = slice(bounds[0], bounds[-1])
            events, sizes = plan.events[part], np.diff(bounds)
            drawn = self.negatives.draw(len(sizes), self.config.n_sample)
            yield self.block(items[events], items[events + 1], plan.carried[part], sizes, drawn)

    def block(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        carried: NDArray[np.int64],
        sizes: NDArray[np.int64],
        drawn: NDArray[np.integer],
    ) -> list[Batch]:
        """Steps of these ``sizes`` one after the other, each with its row of ``drawn`` (steps, n_sample), sorted."""
        b, n = self.config.batch_size, self.config.n_sample
        padded = self.fixed_shapes and bool((sizes == b).all())
        starts = np.arange(len(sizes) + 1) * self.n_items
        step = np.repeat(np.arange(len(sizes)), sizes)
        # A key is item + n_items * step: one sorted array then holds a set of items for each step.
        target_key, input_key = targets + starts[step], inputs + starts[step]
        drawn_key = (drawn + starts[:-1, None]).ravel()
        first = np.flatnonzero(np.diff(drawn_key, prepend=-1))
        sampled, count = drawn_key[first], np.diff(first, append=len(drawn_key))
        merged = np.sort(np.concatenate((sampled, target_key)), kind="stable")  # merges what is sorted, or nearly so
        columns = merged[np.diff(merged, prepend=-1) > 0]
        target_at = np.searchsorted(columns, target_key)
        target_place = target_at - np.searchsorted(columns, starts)[step]
        known = columns if self.shared else columns[:0]
        more_inputs, input_place = places(input_key, step, known, starts, b if padded else None)

        logq = self.config.logq if self.config.loss == "cross-entropy" else 0.0
        target_gain = -logq * self.negatives.log_target[targets]
        weight = np.bincount(target_at, np.exp(target_gain), len(columns))
        log_sampled = self.negatives.log_sampled[sampled % self.n_items]
        weight[np.searchsorted(columns, sampled)] += count * np.exp(-logq * log_sampled)
        rows, kept = previous_rows(carried)
        per_event = {
            "inputs": inputs,
            "targets": targets,
            "rows": rows,
            "kept": kept,
            "target_gain": target_gain,
            "target_place": target_place,
            "input_place": input_place,
        }
        per_item = {
            "columns": (columns, columns % self.n_items),
            "log_count": (columns, np.log(weight).astype(np.float32)),
            "more_inputs": (more_inputs, more_inputs % self.n_items),
        }
        if padded:
            tables = {name: array.reshape(-1, b) for name, array in per_event.items()}
            for name, (keys, array) in per_item.items():
                counts = np.diff(np.searchsorted(keys, starts))
                tables[name] = pad(array, counts, b if name == "more_inputs" else b + n, self.n_items)
            ints, floats = (self._send(np.hstack([tables[name] for name in names])) for names in (INTS, FLOATS))
            return [unpack(*packed, b) for packed in zip(ints, floats, strict=True)]
        fields = {name: self._split(array, np.cumsum(sizes)) for name, array in per_event.items()}
        for name, (keys, array) in per_item.items():
            fields[name] = self._split(array, np.searchsorted(keys, starts[1:]))
        return [Batch(**dict(zip(fields, parts, strict=True))) for parts in zip(*fields.values(), strict=True)]

    def _split(self, array: NDArray[Any], ends: NDArray[np.int64]) -> Sequence[Tensor]:
        """Send an array of a block to the device, whole, and give each step its part."""
        return torch.split(self._send(array), np.diff(ends, prepend=0).tolist())

    def _send(self, array: NDArray[Any]) -> Tensor:
        if array.dtype != np.float32:
            array = array.astype(np.int64, copy=False)
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()  # else the copy would wait until the device is done with the steps before
        return tensor.to(self.device, non_blocking=True)


# What ``Batch.packed`` holds, in this order: (b,) each, but for the last ones, which are (b + n_sample,).
INTS = ("inputs", "targets", "rows", "target_place", "input_place", "more_inputs", "columns")
FLOATS = ("kept", "target_gain", "log_count")


def unpack(ints: Tensor, floats: Tensor, b: int) -> Batch:
    """The padded step of b sessions whose numbers these are."""
    parts: dict[str, Tensor] = {}
    for names, packed in ((INTS, ints), (FLOATS, floats)):
        before = b * (len(names) - 1)
        parts |= zip(names, (*torch.split(packed[:before], b), packed[before:]), strict=True)
    parts["kept"] = parts["kept"].unsqueeze(1)
    return Batch(**parts, packed=(ints, floats))


def pad(values: NDArray[Any], counts: NDArray[np.int64], width: int, spare: int) -> NDArray[Any]:
    """Values of steps one after the other as a table with a row for each step, filled up with ``spare`` or -inf."""
    table = np.full((len(counts), width), -np.inf if values.dtype == np.float32 else spare, dtype=values.dtype)
    table[np.arange(width) < counts[:, None]] = values
    return table


def places(
    keys: NDArray[np.int64],
    step: NDArray[np.int64],
    known: NDArray[np.int64],
    starts: NDArray[np.int64],
    width: int | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give each key a place among the rows that its step changes: those that are not known first, then the known ones.

    keys of the steps ``step``; known: keys, sorted; starts: the lowest key of each step, and of one more. width: rows
    that are not known in every step, where they are padded.
    Returns the keys that are not known, sorted and each once, and the places.
    """
    place = np.searchsorted(known, keys)
    hit = np.append(known, -1)[place] == keys
    new, place[~hit] = np.unique(keys[~hit], return_inverse=True)
    begin = np.searchsorted(new, starts)
    before = np.diff(begin) if width is None else width
    place[hit] += (before - np.searchsorted(known, starts)[:-1])[step[hit]]
    place[~hit] -= begin[step[~hit]]
    return new, place
