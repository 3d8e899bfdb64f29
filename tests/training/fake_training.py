"""A model in training without a network: a weight that walks at random, and losses that can be scripted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Arrays, Block, Recommender, Sessions, TrainedSettings, Training
from sessrec_pipeline.models.rng import pack, unpack

N_ITEMS = 6
SESSIONS = Sessions.from_lists([[0, 1, 2], [3, 4], [5]])
EVENTS = 3
"""Events of SESSIONS that have a next one."""


class WalkSettings(TrainedSettings):
    """Settings of the walk."""

    stride: float = 0.5
    """How far a step goes."""


@dataclass
class Walk:
    """``models.base.Trainer``: its loss is how far the weight has come."""

    settings: WalkSettings
    weight: float = 0.0
    losses: Sequence[float] = ()
    rankings: Sequence[Recommender] = ()
    events: int = EVENTS
    epochs: int = 0
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.settings.seed)

    def epoch(self, progress: Callable[[int], None]) -> float:
        for done in range(1, EVENTS + 1):
            self.weight += self.settings.stride * self.rng.random()
            progress(done)
        self.epochs += 1
        return self.losses[self.epochs - 1] if self.losses else self.weight

    def state(self) -> Arrays:
        return {**self.arrays(), "rng": pack(self.rng), "epochs": np.array([self.epochs])}

    def restore(self, state: Arrays) -> None:
        if "rng" not in state:
            raise ValueError("training cannot go on from a state without rng")
        self.weight, self.epochs = float(state["weight"][0]), int(state["epochs"][0])
        unpack(state["rng"], self.rng)

    def arrays(self) -> Arrays:
        return {"weight": np.array([self.weight])}

    def recommender(self) -> Recommender:
        return self.rankings[self.epochs - 1]


@dataclass
class Begun:
    """How a trainer was asked for, and the trainer."""

    sessions: Sessions
    n_items: int
    device: str
    ranks: Any
    initial: Arrays | None
    trainer: Walk


def walk(begun: list[Begun] | None = None, **scripted: Any) -> Training[WalkSettings]:
    """The training of a ``Walk``; ``begun`` is told of each that begins."""

    def trainer(
        sessions: Sessions, n_items: int, settings: WalkSettings, device: str, ranks: Any, initial: Arrays | None
    ) -> Walk:
        made = Walk(settings, float(initial["weight"][0]) if initial else 0.0, **scripted)
        if begun is not None:
            begun.append(Begun(sessions, n_items, device, ranks, initial, made))
        return made

    return Training(
        trainer=trainer,
        extend=lambda settings, arrays, old, new: {"weight": arrays["weight"] * len(new) / len(old)},
        continues=lambda settings, earlier: settings.stride == earlier.stride,
        if_diverged=lambda settings: f"try a stride below {settings.stride}",
        if_out_of_memory=lambda settings, n_items: f"too many items: {n_items}",
    )


class Placed(Recommender):
    """Puts item 0, which is every target, at the given rank (1 the best) after the first event of each session."""

    def __init__(self, places: Sequence[int]) -> None:
        self.n_items, self.places = N_ITEMS, np.array(places)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        yield np.arange(len(sessions.items)), self.score_last(sessions)

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        scores = np.tile(-np.arange(N_ITEMS, dtype=np.float64), (len(self.places), 1))
        scores[:, 0] = 0.5 - self.places
        return scores
