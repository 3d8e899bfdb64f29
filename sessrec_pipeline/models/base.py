"""What the pipeline asks of a model, and the arrays that it hands to one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sessions:
    """Sessions as two flat arrays.

    items: int32 (events,), item indices 0 .. n_items-1 in the order they happened.
    offsets: int64 (sessions + 1,), session s is ``items[offsets[s] : offsets[s + 1]]``.
    Sessions are ordered by their first event.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each session, int64 (sessions,)."""
        return np.diff(self.offsets)

    @property
    def starts(self) -> NDArray[np.int64]:
        """For each event the first one of its session, int64 (events,)."""
        return np.repeat(self.offsets[:-1], self.lengths)

    @classmethod
    def from_table(cls, events: pa.Table, vocabulary: list[str]) -> "Sessions":
        """From the columns session_number and item of a split, in its order; every item is in the vocabulary."""
        items = pc.index_in(events["item"], pa.array(vocabulary, pa.string())).to_numpy().astype(np.int32)
        lengths = np.bincount(events["session_number"].to_numpy())
        return cls(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def from_lists(cls, sessions: list[list[int]]) -> "Sessions":
        """Sessions from nested Python lists of item indices."""
        lengths = [len(session) for session in sessions]
        flat = [item for session in sessions for item in session]
        return cls(np.array(flat, dtype=np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


Block = tuple[NDArray[np.int64], NDArray[np.floating]]
"""Events int64 (b,), as positions in ``Sessions.items``, and the scores float (b, n_items) after each."""


class Recommender(Protocol):
    """A fitted model. It scores items; it never ranks them and never computes a metric."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        ...

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """Score every item as the next one after each event, given the session up to that event.

        Each event of ``sessions`` is in exactly one block; blocks hold at most ``batch_size`` events and
        come in any order. The scores must not depend on ``batch_size``. Higher is better. A block may be overwritten
        once the next one is asked for.
        """
        ...
