"""One mini-batch of a training shared out among several processes, its ranks.

All ranks hold all weights. They make the same schedule and draw the same negatives and dropout from the same seed, so
each knows every row of the tables that a step uses before it begins. A rank computes the scores, losses and gradients
of its own part of the mini-batch's sessions, against all columns. Then one sum over all ranks brings together what the
whole mini-batch came to: the loss, the layers' gradients, those of the rows that the step used, never of a whole table,
and the states. All ranks then change their weights alike.

So n ranks train what one process trains with the same batch size, but for the order in which float32 sums are taken.
"""

import hashlib
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


class RanksDiffer(RuntimeError):  # noqa: N818 - it names what happened
    """Ranks that must hold the same do not; the text says what and which."""


class Ranks:
    """This process among those that train together, which ``torch.distributed`` has joined unless it is alone."""

    def __init__(self, rank: int = 0, world: int = 1, device: str = "cpu"):
        self.rank, self.world, self.device = rank, world, device

    def share(self, b: int) -> slice:
        """The rows of a mini-batch of b sessions that this rank computes; none where there are more ranks than rows."""
        return slice(b * self.rank // self.world, b * (self.rank + 1) // self.world)

    def whole(self, part: Tensor, b: int) -> Tensor:
        """The rows of this rank among those of the mini-batch (b, h), zeros in the others: ``add_up`` fills them in."""
        if self.world == 1:
            return part
        rows = part.new_zeros(b, part.shape[1])
        rows[self.share(b)] = part
        return rows

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all ranks into each tensor: one message for all of them, the same bits on every rank."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, on: str, value: str) -> None:
        """RanksDiffer, on every rank, unless ``value`` is the same on all; ``on`` says what it is."""
        if self.world == 1:
            return
        own = torch.tensor(list(hashlib.sha256(value.encode()).digest()), dtype=torch.uint8, device=self.device)
        all_ranks = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(all_ranks, own)
        others = [rank for rank, theirs in enumerate(all_ranks) if not torch.equal(theirs, all_ranks[0])]
        if others:
            raise RanksDiffer(f"{on} of process 0 and of {', '.join(map(str, others))} differ")


ALONE = Ranks()
"""Training in one process."""
