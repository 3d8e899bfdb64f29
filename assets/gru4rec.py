"""GRU4Rec: chosen inside train where settings ask for it, then trained on the whole of it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.stage import stage
from assets.training import train_here, train_with_torchrun
from sessrec_pipeline.compute import Compute, gpu
from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.evaluation.validation import TuningData, ValidatedEpoch, best_epoch, validate_epochs
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.popularity import fit_popularity
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.report import figures
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import GRU4RecConfig, Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored
from sessrec_pipeline.storage.training_job import TrainingJob
from sessrec_pipeline.tuned import best
from sessrec_pipeline.versions import source_digest

if TYPE_CHECKING:  # imports optuna, an extra
    from sessrec_pipeline.evaluation.tuning import Trial

MODEL = [
    "models/base.py",
    "models/gru4rec.py",
    "models/gru4rec_batches.py",
    "models/gru4rec_graphs.py",
    "models/gru4rec_losses.py",
    "models/gru4rec_parallel.py",
    "models/gru4rec_state.py",
    "models/gru4rec_training.py",
    "models/adagrad.py",
    "models/scratch.py",
]
CHOSEN = [*MODEL, *[f"evaluation/{name}.py" for name in ("kernels", "ranking", "ranks", "validation")]]
SEARCHED = [*CHOSEN, "evaluation/tuning.py", "evaluation/shared_study.py"]


def gru4rec_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The checkpoint, and before it the tuning and the validation that ``[training]`` asks for."""
    choices: list[dg.AssetsDefinition] = []
    if settings.training.tuning_trials:
        choices.append(gru4rec_tuning)
    if settings.training.validate_epochs:
        choices.append(_validation([asset.key.to_user_string() for asset in choices]))
    return [*choices, _checkpoint([asset.key.to_user_string() for asset in choices], settings.training.processes)]


@dg.asset(
    **stage(
        "models",
        ["torch", "optuna"],
        sources=[*SEARCHED, "tuned.py"],
        reads=["gru4rec", "training.tuning_trials", "training.metric", "evaluation.cutoffs"],
        columns={
            "trial": ("int64", "Number of the trial; 0 is what is configured"),
            "value": ("double", "Metric on the tuning test split"),
            "seconds": ("double", "What the trial took"),
            "config": ("string", "GRU4Rec's settings, JSON"),
        },
    ),
    **gpu(),
)
@retried
def gru4rec_tuning(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    compute: dg.ResourceParam[Compute],
    tuning_train_split: Stored,
    tuning_test_split: Stored,
) -> Table:
    """Trials of a search through GRU4Rec's published parameter space on the tuning split; it never sees test.

    A search that was interrupted goes on where it was, and ``sessrec search`` in other processes shares the work. The
    configured settings are the first trial.
    """

    def say(trial: "Trial[GRU4RecConfig]") -> None:
        context.log.info(told(settings, trial))
        metadata: dict[str, Any] = {
            "trial": trial.number,
            "value": trial.value,
            "config": trial.config.model_dump(mode="json"),
        }
        context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))

    trials = search_gru4rec(settings, compute, tuning_train_split, tuning_test_split, say)
    rows = [trial.row() for trial in trials]
    chosen = best(rows)
    stats: Stats = {"best_trial": chosen["trial"], "best_value": chosen["value"], "config": chosen["config"]}
    return Table(pa.Table.from_pylist(rows), stats)


def search_gru4rec(
    settings: Settings, compute: Compute, train: Stored, test: Stored, say: Callable[["Trial[GRU4RecConfig]"], None]
) -> list["Trial[GRU4RecConfig]"]:
    """The trials of GRU4Rec's search on the tuning splits ``train`` and ``test``, once all of them are finished.

    Everyone with the same splits, settings and code works on the same study.
    """
    from sessrec_pipeline.evaluation.tuning import gru4rec_objective, search, suggest_gru4rec  # noqa: PLC0415 - an extra

    training, k = settings.training, max(settings.evaluation.cutoffs)
    key = _key(settings.gru4rec, training.metric, k, source_digest(SEARCHED), train, test)
    data, batch_size = _tuning_data(settings, train, test), settings.evaluation.batch_size
    return search(
        settings.gru4rec,
        suggest_gru4rec,
        gru4rec_objective(data, device=compute.device(), k=k, batch_size=batch_size, metric=training.metric),
        settings.training_states / f"tuning-{key[:16]}.journal",
        trials=training.tuning_trials,
        seed=settings.gru4rec.seed,
        url=training.study,
        report=say,
    )


def told(settings: Settings, trial: "Trial[Any]") -> str:
    """A trial in a line."""
    measured = f"{settings.training.metric}@{max(settings.evaluation.cutoffs)}"
    return f"trial {trial.number}: {measured} {trial.value:.4f} in {trial.seconds:.0f} s"


def _validation(choices: list[str]) -> dg.AssetsDefinition:
    @dg.asset(
        name="gru4rec_validation",
        ins={name: dg.AssetIn(name) for name in choices},
        **stage(
            "models",
            ["torch", "parquet"],
            sources=CHOSEN,
            reads=["gru4rec", "training.patience", "training.metric", "evaluation.cutoffs"],
            columns={
                "epoch": ("int64", "1 for the first"),
                "loss": ("double", "Mean training loss"),
                "recall": ("double", "Recall at the largest cutoff on the tuning test split, conservative ties"),
                "mrr": ("double", "MRR likewise"),
                "seconds": ("double", "Training time of the epoch"),
            },
        ),
        **gpu(),
    )
    @retried
    def gru4rec_validation(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        tuning_train_split: Stored,
        tuning_test_split: Stored,
        **choices: Stored,
    ) -> Table:
        """Metrics after each epoch on the tuning split, stopped early; the best epoch is what the checkpoint trains."""
        training, k = settings.training, max(settings.evaluation.cutoffs)

        def say(epoch: ValidatedEpoch) -> None:
            context.log.info(f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, recall@{k} {epoch.recall:.4f}, "
                             f"mrr@{k} {epoch.mrr:.4f}")  # fmt: skip
            context.log_event(dg.AssetObservation(context.asset_key, metadata=asdict(epoch)))

        with progress_bar("validating gru4rec", "event") as progress:
            epochs = validate_epochs(
                _tuning_data(settings, tuning_train_split, tuning_test_split),
                _chosen(settings, choices),
                device=compute.device(),
                k=k,
                batch_size=settings.evaluation.batch_size,
                metric=training.metric,
                patience=training.patience,
                report=say,
                progress=progress,
            )
        best = best_epoch(epochs, training.metric)
        rows = [asdict(epoch) for epoch in epochs]
        return Table(
            pa.Table.from_pylist(rows), {"best_epoch": best.epoch, training.metric: getattr(best, training.metric)}
        )

    return gru4rec_validation


def _checkpoint(choices: list[str], processes: int) -> dg.AssetsDefinition:
    @dg.asset(
        name="gru4rec_checkpoint",
        ins={name: dg.AssetIn(name) for name in choices},
        **stage(
            "models",
            ["torch", "safetensors"],
            sources=[*MODEL, "training_worker.py"],
            reads=["gru4rec", "training.warm_start"],
        ),
        **gpu(processes),
    )
    @retried
    def gru4rec_checkpoint(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        store: dg.ResourceParam[Store],
        train_split: Stored,
        popularity: Stored,
        **choices: Stored,
    ) -> dg.Output[Checkpoint]:
        """GRU4Rec trained on the train split: weights, config and item vocabulary in one safetensors file.

        Runs on a GPU where there is one, in one process or in several (``launcher``); the log shows the loss of each
        epoch while it trains. A run that was killed goes on after its last finished epoch. With ``warm_start`` training
        goes on from the last checkpoint with the sessions that came since; new items get rows of their own.
        """
        from sessrec_pipeline.models.gru4rec import extend_weights  # noqa: PLC0415 - imports torch

        device, config = compute.device(), _chosen(settings, choices)
        vocabulary: list[str] = popularity.arrow(["item"])["item"].to_pylist()
        events = train_split.arrow(["session_number", "item", "session_start"])
        trained_until = pc.max(events["session_start"]).as_py()
        before, initial = None, None
        if settings.training.warm_start and (found := _last_checkpoint(store, config)):
            before, last = found
            events = _since(events, int(before.stats["trained_until"]))
            if not events.num_rows:
                context.log.info("no session came since the last checkpoint, which stays as it is")
                return dg.Output(Checkpoint(last.weights, last.config, last.items, before.stats, (before.lineage,)))
            context.log.info(f"going on from {before.node.id} with {events.num_rows:,} new events")
            initial = extend_weights(config, last.weights, last.items, vocabulary)

        key = _key(config, before.node.id if before else "", train_split, popularity)
        sessions = Sessions.from_table(events, vocabulary)
        job = TrainingJob(sessions, len(vocabulary), config, initial, settings.compute, key)
        training = settings.training
        if training.launcher == "torchrun":
            trained = train_with_torchrun(context, settings, job)
        else:
            trained = train_here(context, settings, job, device)
        curve = figures.as_markdown(figures.loss_curve(trained.losses), "loss per epoch")
        context.add_output_metadata({"loss curve": dg.MarkdownMetadataValue(curve)})
        stats: Stats = {
            "device": device,
            "launcher": training.launcher,
            "processes": training.processes * training.nodes,
            "loss": trained.losses[-1],
            "losses": json.dumps(trained.losses),
            "trained_until": trained_until,
        }
        origins = (before.lineage,) if before else ()
        model = Checkpoint(trained.arrays, config.model_dump(mode="json"), vocabulary, stats, origins)
        return dg.Output(model)  # a step that has used Pipes must wrap it

    return gru4rec_checkpoint


def _chosen(settings: Settings, choices: Mapping[str, Stored]) -> GRU4RecConfig:
    """The configured settings, or the tuned ones, with the validated number of epochs."""
    config = settings.gru4rec
    if "gru4rec_tuning" in choices:
        config = GRU4RecConfig.model_validate_json(str(choices["gru4rec_tuning"].stats["config"]))
    if "gru4rec_validation" in choices:
        config = config.model_copy(update={"n_epochs": int(choices["gru4rec_validation"].stats["best_epoch"])})
    return config


def _tuning_data(settings: Settings, train: Stored, test: Stored) -> TuningData:
    with open_engine(settings) as engine:
        items: list[str] = fit_popularity(engine, train.path).arrow()["item"].to_pylist()
    return TuningData(Sessions.from_table(train.arrow(["session_number", "item"]), items), test.arrow(), items)


def _last_checkpoint(store: Store, config: GRU4RecConfig) -> tuple[Stored, Checkpoint] | None:
    """The checkpoint on disk, if its network has the shape that ``config`` asks for."""
    try:
        stored = store.find("gru4rec_checkpoint")
    except NotMaterializedError:
        return None
    checkpoint = stored.checkpoint()
    before = GRU4RecConfig.model_validate(checkpoint.config)
    same = (before.layers, before.embedding) == (config.layers, config.embedding)
    return (stored, checkpoint) if same and "trained_until" in stored.stats else None


def _since(events: pa.Table, moment: int) -> pa.Table:
    """Sessions that started after ``moment``, numbered from 0."""
    late = events.filter(pc.greater(events["session_start"], moment))
    numbers = np.unique(late["session_number"].to_numpy(), return_inverse=True)[1]
    return late.set_column(late.schema.get_field_index("session_number"), "session_number", pa.array(numbers))


def _key(*parts: Any) -> str:
    """What a training or a search under way rests on: it may go on only where all of it is the same."""
    texts = [
        part.node.data_version if isinstance(part, Stored) else part.model_dump_json()
        if isinstance(part, GRU4RecConfig) else str(part)
        for part in parts
    ]  # fmt: skip
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
