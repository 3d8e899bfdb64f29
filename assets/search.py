"""A process that only searches: it takes trials of the searches of the tuning assets, whoever else works on them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from assets.gru4rec import search_gru4rec, told
from assets.tuning import search_baselines
from sessrec_pipeline.compute import Compute
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.tuned import tunable


def searchable(settings: Settings) -> list[str]:
    """The models of the feed that are searched, in the order of the assets."""
    trained = ["gru4rec"] if "gru4rec" in settings.models else []
    return [*tunable(settings), *trained] if settings.training.tuning_trials else []


def take_part(settings: Settings, models: Sequence[str], say: Callable[[str], None]) -> Iterator[str]:
    """Work on the searches of ``models``, one after the other, until all their trials are finished; yields those done.

    NotMaterializedError where there are no tuning splits yet.
    """
    store, compute = Store(settings), Compute(settings.compute)
    train, test = (store.find(f"tuning_{name}_split").verified() for name in ("train", "test"))

    def done(model: str, trial: Any) -> None:
        say(f"{model}, {told(settings, trial)}")

    baselines = [model for model in models if model != "gru4rec"]
    for model, _ in search_baselines(settings, compute, baselines, train, test, done):
        yield model
    if "gru4rec" in models:
        search_gru4rec(settings, compute, train, test, partial(done, "gru4rec"))
        yield "gru4rec"
