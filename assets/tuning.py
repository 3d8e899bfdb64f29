"""Every model that has something to tune is tuned alike: as many trials, inside train; its checkpoint has the best."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa

from assets.code_version import code_digest
from assets.compute import gpu
from assets.retries import retried
from assets.stage import stage, uses
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import Fit
from sessrec_pipeline.tuning.trials import best

if TYPE_CHECKING:  # imports optuna, an extra
    from sessrec_pipeline.tuning.search import Trial


def tuning_asset(card: Card[Any], fit: Fit) -> dg.AssetsDefinition:
    """The asset with the trials of a model's search; ``fit`` is how the model is fitted."""

    @dg.asset(
        name=card.tuning,
        description=f"Trials of a search through the settings of {card.title} on the tuning split, as many as every "
        "other model gets. It never sees test. The configured settings are the first trial. A search that was "
        "interrupted goes on where it was, and `sessrec search` in other processes shares the work.",
        **stage(
            "models",
            ["optuna"],
            reads=[
                *{name.partition(".")[0]: None for table in card.tables for name in table.reads},
                card.section,
                "training.tuning_trials",
                "training.metric",
                "evaluation.cutoffs",
                "evaluation.seed",
            ],
            columns={
                "trial": ("int64", "Number of the trial; 0 is what is configured"),
                "value": ("double", "Metric on the tuning test split"),
                "seconds": ("double", "What the trial took"),
                "config": ("string", "The model's settings, JSON"),
            },
        ),
        **(gpu() if card.gpu else {}),
    )
    @retried
    @uses(*card.code)
    def tuning(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        tuning_train_split: Stored,
        tuning_test_split: Stored,
    ) -> Table:
        done = 0

        with progress_bar(f"tuning {card.name}", "trial") as progress:

            def on_trial(trial: "Trial[Any]") -> None:
                nonlocal done
                done += 1
                progress(done, settings.training.tuning_trials)
                context.log.info(describe(settings, trial))
                metadata = {
                    "trial": trial.number,
                    "value": trial.value,
                    "config": trial.settings.model_dump(mode="json"),
                }
                context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))

            trials = search_card(card, fit, settings, compute, tuning_train_split, tuning_test_split, on_trial)
        rows = [trial.row() for trial in trials]
        chosen = best(rows)
        stats: Stats = {"best_trial": chosen["trial"], "best_value": chosen["value"], "config": chosen["config"]}
        return Table(pa.Table.from_pylist(rows), stats)

    return tuning


def search_card(
    card: Card[Any],
    fit: Fit,
    settings: Settings,
    compute: Compute,
    train: Stored,
    test: Stored,
    on_trial: Callable[["Trial[Any]"], None] = lambda trial: None,
) -> list["Trial[Any]"]:
    """The trials of a model's search on the tuning splits ``train`` and ``test``, once all of them are finished.

    Everyone with the same splits, settings and code works on the same study.
    """
    from sessrec_pipeline.tuning.search import TuningSplit, search  # noqa: PLC0415 - imports optuna, an extra

    file = settings.training_states / f"tuning-{card.name}-{_key(card, fit, settings, train, test)[:16]}.sqlite"
    split = TuningSplit(train.path, test.arrow())
    return search(card, fit, settings, split, file, compute.device_for(card), on_trial)


def describe(settings: Settings, trial: "Trial[Any]") -> str:
    """A trial in a line."""
    measured = f"{settings.training.metric}@{max(settings.evaluation.cutoffs)}"
    return f"trial {trial.number}: {measured} {trial.value:.4f} in {trial.seconds:.0f} s"


def _key(card: Card[Any], fit: Fit, settings: Settings, train: Stored, test: Stored) -> str:
    """What a search under way rests on: it may go on only where all of it is the same."""
    parts = [
        settings.section(card.section).model_dump_json(),
        settings.training.metric,
        str(max(settings.evaluation.cutoffs)),
        str(settings.evaluation.seed),
        code_digest([*card.code, fit, search_card]),
        train.node.data_version,
        test.node.data_version,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
