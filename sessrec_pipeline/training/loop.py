"""The loop of every trained model: epochs, resuming, divergence, progress. A model brings its ``Trainer``."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessrec_pipeline.models.base import Arrays, Sessions, T, Trainer, Training
from sessrec_pipeline.training.state import TrainingState, check_state, settings_text

if TYPE_CHECKING:  # imports torch
    from sessrec_pipeline.models.ranks import Ranks


class TrainingDiverged(RuntimeError):  # noqa: N818 - it names what happened
    """The loss of an epoch is no number; the text says which epoch and what to try."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training sessions came to; the first is epoch 1, the loss is the mean per event.

    trainer: in the middle of its training; the next epoch goes on changing its recommender.
    state: copies what a later training needs to go on from here; to be called before the next epoch begins.
    """

    epoch: int
    n_epochs: int
    loss: float
    events: int
    seconds: float
    trainer: Trainer = field(repr=False)
    state: Callable[[], TrainingState] = field(repr=False)

    def describe(self, where: str) -> str:
        """A line for people."""
        speed = self.events / self.seconds
        return f"epoch {self.epoch} of {self.n_epochs}: loss {self.loss:.4f}, {speed:,.0f} events/s on {where}"

    def metadata(self) -> dict[str, float]:
        """Its numbers by name."""
        return {"epoch": self.epoch, "loss": self.loss, "events per second": self.events / self.seconds}


@dataclass(frozen=True)
class Trained:
    """A training that has ended: the trainer, and the loss of each epoch."""

    trainer: Trainer
    losses: tuple[float, ...]


def train(
    training: Training[T],
    sessions: Sessions,
    n_items: int,
    settings: T,
    device: str = "cpu",
    on_epoch: Callable[[Epoch], bool | None] | None = None,
    *,
    resume: TrainingState | None = None,
    initial: Arrays | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    ranks: "Ranks | None" = None,
) -> Trained:
    """Train a model on sessions.

    All randomness comes from ``settings.seed``; on a CPU the same seed gives the same weights to the bit.

    on_epoch: called after each epoch; where it returns False, that epoch is the last.
    resume: go on after the epoch of this state, which came from the same sessions and settings; on_epoch is called for
    the epochs that are left, which may be none. ``initial`` has then done its part and is not looked at.
    initial: arrays to begin with instead of random ones, from ``Training.extend``.
    progress: called now and then with the events of all epochs that are done, and with all there are.
    ranks: the processes that share out each mini-batch; all call this with the same arguments.

    Raises TrainingDiverged, and ValueError where there is nothing to train on or ``resume`` is of something else.
    """
    trainer = training.trainer(sessions, n_items, settings, device, ranks, None if resume else initial)
    losses: list[float] = []
    if resume is not None:
        check_state(resume, settings)
        trainer.restore(resume.arrays)
        losses = list(resume.losses)
    total = settings.n_epochs * trainer.events

    def state() -> TrainingState:
        arrays = {**trainer.state(), "settings": settings_text(settings)}
        return TrainingState(len(losses), tuple(losses), arrays)

    for epoch in range(len(losses) + 1, settings.n_epochs + 1):
        begin, before = time.perf_counter(), (epoch - 1) * trainer.events

        def of_all(events: int, before: int = before) -> None:
            progress(before + events, total)

        loss = trainer.epoch(of_all)
        losses.append(loss)
        if not math.isfinite(loss):
            raise TrainingDiverged(f"the loss of epoch {epoch} is {loss}: {training.if_diverged(settings)}")
        seconds = time.perf_counter() - begin
        done = Epoch(epoch, settings.n_epochs, loss, trainer.events, seconds, trainer, state)
        if on_epoch is not None and on_epoch(done) is False:
            break
    return Trained(trainer, tuple(losses))
