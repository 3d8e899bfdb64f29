"""What the pipeline asks of a model: the sessions that it is given, what a recommender offers, the model's card.

Nothing here imports torch, storage or Dagster. A model is declared by a ``Card`` in its own file;
``registry`` has one line for each, and everything else in the project reads what it needs from the cards.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from sessrec_pipeline.engine import Engine, Table
from sessrec_pipeline.settings import Section

if TYPE_CHECKING:  # imports torch
    from sessrec_pipeline.models.ranks import Ranks

# --- what a model is given -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sessions:
    """Sessions as flat arrays.

    items: int32 (events,), item indices 0 .. n_items-1 in the order they happened.
    offsets: int64 (sessions + 1,), session s is ``items[offsets[s] : offsets[s + 1]]``.
    times: int64 (events,), microseconds since 1970-01-01 UTC; None where they are not known.
    columns: further arrays (events,) by name.
    Sessions are ordered by their first event.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

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

    @property
    def last(self) -> NDArray[np.int64]:
        """The last event of each session, int64 (sessions,); every session has one."""
        return self.offsets[1:] - 1

    @classmethod
    def from_table(cls, events: pa.Table, vocabulary: Sequence[str]) -> "Sessions":
        """From the columns session_number, item and, if there, time of a split; every item is in the vocabulary."""
        items = pc.index_in(events["item"], pa.array(vocabulary, pa.string())).to_numpy().astype(np.int32)
        lengths = np.bincount(events["session_number"].to_numpy())
        times = events["time"].to_numpy() if "time" in events.column_names else None
        return cls(items, _offsets(lengths), times)

    @classmethod
    def from_lists(cls, sessions: Sequence[Sequence[int]]) -> "Sessions":
        """Sessions from nested lists of item indices."""
        lengths = [len(session) for session in sessions]
        return cls(np.array([item for session in sessions for item in session], dtype=np.int32), _offsets(lengths))


def _offsets(lengths: Any) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


# --- what a model can be asked ---------------------------------------------------------------------------------------

Block = tuple[NDArray[np.int64], NDArray[np.floating]]
"""Events int64 (b,), as positions in ``Sessions.items``, and the scores float (b, n_items) after each."""


class Recommender(ABC):
    """A fitted model. It scores items and never computes a metric; higher is better.

    Every one can score the whole catalogue, score given candidates and list the best items of a session. One that also
    knows which items are alike overrides ``item_vectors`` or ``similar``.
    """

    n_items: int
    """Size of the catalogue."""
    fast_rows: int = 32
    """Events that ``score`` is best asked for at once, however large the catalogue, as far as there is memory."""

    @abstractmethod
    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """Score every item as the next one after each event, given the session up to that event.

        Each event of ``sessions`` is in exactly one block; blocks hold at most ``batch_size`` events and
        come in any order. The scores must not depend on ``batch_size``. A block may be overwritten once the next one is
        asked for.
        """

    @abstractmethod
    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """Score every item after the last event of each session, float (sessions, n_items): the rows of ``score``."""

    def score_candidates(self, sessions: Sessions, candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """Score ``candidates`` (sessions, c), item indices, after the last event of each session: float (sessions, c).

        Models that can do so without scoring the whole catalogue override it.
        """
        found: NDArray[np.floating] = np.take_along_axis(self.score_last(sessions), candidates.astype(np.int64), axis=1)
        return found

    def top(
        self, session: Sequence[int], k: int, excluded: NDArray[np.integer] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
        """The ``k`` best items after the session, best first, the lower index among equals; and their scores.

        excluded: item indices that are not listed. Fewer than ``k`` where the catalogue has no more.
        """
        scores = self.score_last(Sessions.from_lists([session]))[0]
        if excluded is None or not len(excluded):
            best = best_of(scores, k)
        else:
            allowed = np.ones(self.n_items, dtype=bool)
            allowed[excluded] = False
            indices = np.flatnonzero(allowed)
            best = indices[best_of(scores[indices], k)]
        return best, scores[best]

    def item_vectors(self) -> NDArray[np.floating] | None:
        """A vector for each item, float (n_items, d), alike where items are; None for a model that has none."""
        return None

    def similar(self, item: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.floating]] | None:
        """The ``k`` items most like one, and how much; None for a model that has no idea of it.

        By the cosine of ``item_vectors`` where there are some.
        """
        vectors = self.item_vectors()
        if vectors is None:
            return None
        lengths = np.linalg.norm(vectors, axis=1)
        cosines = vectors @ vectors[item] / np.maximum(lengths * lengths[item], 1e-12)
        others = np.flatnonzero(np.arange(len(cosines)) != item)
        best = others[best_of(cosines[others], k)]
        return best, cosines[best]


def best_of(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Indices of the ``k`` highest of ``scores`` (n,), best first, the lower index among equals."""
    k = min(k, len(scores))
    if k == 0:
        return np.empty(0, np.int64)
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, level = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    found = np.concatenate([above, level[: k - len(above)]])
    order: NDArray[np.int64] = found[np.lexsort((found, -scores[found]))]
    return order


# --- how a model is fitted -------------------------------------------------------------------------------------------

Arrays = dict[str, NDArray[Any]]
S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class FittedTable:
    """A table that is fitted in SQL on the training events. It is an asset of its own; models can share it."""

    name: str
    description: str
    columns: Mapping[str, tuple[str, str]]
    """Type and description of each column."""
    fit: Callable[[Engine, Path, Mapping[str, Any]], Table]
    """From the engine, the Parquet of the training events and the values of ``reads`` by their dotted names."""
    reads: tuple[str, ...] = ()
    """Dotted names of the settings that the table depends on; ``fit`` gets these and no others."""


@dataclass(frozen=True)
class Fitted:
    """What fitting comes to, and all that a checkpoint holds beside the settings: arrays, and the id of each item."""

    arrays: Arrays
    items: list[str]
    losses: tuple[float, ...] = ()
    """Training loss of each epoch of a model that is trained."""


class TrainedSettings(Section):
    """What the settings of every trained model have."""

    n_epochs: Annotated[int, Field(ge=1)] = 5
    """Passes over the training sessions."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of all that is drawn in training."""


class Trainer(Protocol):
    """A model in training; ``training.loop`` calls it."""

    events: int
    """Training events of an epoch."""

    def epoch(self, progress: Callable[[int], None]) -> float:
        """Pass once over the training sessions: the mean loss. ``progress`` is called with the events done so far."""
        ...

    def state(self) -> Arrays:
        """Copies of all that the next epoch depends on: weights, optimiser, random generators."""
        ...

    def restore(self, state: Arrays) -> None:
        """Go on from ``state()`` of a trainer with the same sessions and settings; ValueError where it does not fit."""
        ...

    def arrays(self) -> Arrays:
        """Copies of what a checkpoint holds."""
        ...

    def recommender(self) -> Recommender:
        """The model as it is now, to score with; the next epoch may go on changing it."""
        ...


T = TypeVar("T", bound=TrainedSettings)


@dataclass(frozen=True)
class Training(Generic[T]):
    """How a network is trained. The functions import torch when they are called."""

    trainer: "Callable[[Sessions, int, T, str, Ranks | None, Arrays | None], Trainer]"
    """From sessions, size of the catalogue, settings, device, the processes that share the work, and the arrays to
    begin with instead of random ones."""
    extend: Callable[[T, Arrays, Sequence[str], Sequence[str]], Arrays]
    """Arrays of a model of one catalogue for another one, to train on from (warm start)."""
    continues: Callable[[T, T], bool]
    """Whether training under the first settings can go on from a model of the second."""
    if_diverged: Callable[[T], str]
    """What to try when the loss is no number, as the end of a sentence."""
    if_out_of_memory: Callable[[T, int], str]
    """What to say when memory ran out, with this many items."""


# --- what is searched ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """Numbers from low to high; whole ones where both are.

    log: equal ratios are equally likely. step: only low + n * step. when: only where another setting has this value.
    listed: the number is the one element of a list.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: tuple[str, object] | None = None
    listed: bool = False


@dataclass(frozen=True)
class Choice:
    """One of ``options``; ``when`` as for ``Span``, and where it does not hold, the setting is ``otherwise``."""

    options: tuple[str | bool | float, ...]
    when: tuple[str, object] | None = None
    otherwise: object = None


Space = Mapping[str, Span | Choice]
"""What is searched, under the names of the settings; a setting may depend on those before it."""


# --- what an answer says beside the order -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """What a model goes by, shared out among the items: what ``sessrec recommend`` prints beside each."""

    meaning: str
    """What a share is a share of, such as: of what followed the current item in training."""
    of: Callable[[Any, Sequence[int], NDArray[np.floating]], NDArray[np.floating]]
    """From the recommender, the session's item indices and the scores (n_items,) after it: what speaks for each item,
    (n_items,), at least 0 and highest where the score is; 0 where nothing does, and popularity alone ranks it."""

    def __call__(
        self, recommender: Recommender, session: Sequence[int], scores: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """The shares, float64 (n_items,): their sum is 1, or 0 where the model has nothing to go by."""
        weights = np.asarray(self.of(recommender, session, scores), np.float64)
        total = float(weights.sum())
        return weights / total if total > 0 else weights


# --- the card --------------------------------------------------------------------------------------------------------

Kind = Literal["model", "ceiling"]


@dataclass(frozen=True)
class Look:
    """How a model is drawn in figures: the colour never carries the difference alone."""

    colour: str
    marker: str
    line: str


@dataclass(frozen=True)
class Card(Generic[S]):
    """All that the pipeline asks about a model."""

    name: str
    """Plain identifier: the model's section in sessrec.toml, and the stem of its assets."""
    title: str
    """Name for people."""
    summary: str
    """What it ranks by, in a sentence."""
    source: str
    """The paper that it is written from."""
    settings: type[S]
    tables: tuple[FittedTable, ...]
    """The fitted tables that it is made from; the first one is always popularity, the catalogue."""
    load: Callable[[Arrays, S, Sequence[str], str], Recommender]
    """The recommender from a checkpoint: arrays, settings, item ids, device."""
    fit: Callable[[Mapping[str, pa.Table], S], Fitted] | None = None
    """From the fitted tables by name; None for a model that is trained."""
    training: Training[Any] | None = None
    """For a model that is trained on the sessions."""
    space: Space = field(default_factory=dict)
    """What tuning searches; empty where there is nothing to tune."""
    section: str = ""
    """Name of its settings, where that is not the model's own."""
    gpu: bool = False
    """Whether fitting and scoring run on a GPU where there is one."""
    kind: Kind = "model"
    """ceiling: no model that one could choose, but the best that any could do, on feeds whose law is known."""
    look: Look | None = None
    """How it is drawn; by default it gets one that is free."""
    share: Share | None = None
    """What is behind its scores; None where they are an order and no more."""

    def __post_init__(self) -> None:
        if not self.section:
            object.__setattr__(self, "section", self.name)

    def trained_by(self) -> Training[Any]:
        """``training``; TypeError for a model that is made from its tables."""
        if self.training is None:
            raise TypeError(f"{self.name} is not trained")
        return self.training

    @property
    def code(self) -> tuple[Callable[..., Any], ...]:
        """The functions that fit and load it: an asset that does both has them in its code version."""
        fit = self.fit or self.trained_by().trainer
        return *(table.fit for table in self.tables), fit, self.load

    @property
    def checkpoint(self) -> str:
        """The asset that holds the fitted model."""
        return f"{self.name}_checkpoint"

    @property
    def rankings(self) -> str:
        """The asset with one row per prediction."""
        return f"{self.name}_rankings"

    @property
    def tuning(self) -> str:
        """The asset with the trials of its search."""
        return f"{self.name}_tuning"

    @property
    def validation(self) -> str:
        """The asset with the metrics after each epoch."""
        return f"{self.name}_validation"
