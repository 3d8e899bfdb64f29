"""A process that only searches: it takes trials of the searches of the tuning assets, whoever else works on them."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assets.tuning import describe, search_card
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import fit_of

if TYPE_CHECKING:  # imports optuna, an extra
    from sessrec_pipeline.tuning.search import Trial


def take_part(settings: Settings, models: Sequence[str], report: Callable[[str], None]) -> Iterator[str]:
    """Work on the searches of ``models``, one after the other, until all their trials are finished; yields those done.

    NotMaterializedError where there are no tuning splits yet.
    """
    store, compute = Store(settings), Compute(settings.compute)
    train, test = (store.find(f"tuning_{name}_split").verified() for name in ("train", "test"))
    for card in map(card_of, models):

        def on_trial(trial: "Trial[Any]", name: str = card.name) -> None:
            report(f"{name}, {describe(settings, trial)}")

        search_card(card, fit_of(card), settings, compute, train, test, on_trial)
        yield card.name
