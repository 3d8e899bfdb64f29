"""The checkpoint of a model that is trained, and before it the validation that chooses its number of epochs.

The step itself trains, or several processes that torchrun starts, which report through Dagster Pipes.
"""

import hashlib
import json
import os
import shlex
import socket
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.code_version import Root, code_digest
from assets.compute import gpu
from assets.retries import retried
from assets.stage import stage, uses
from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.models.base import Card, Sessions, TrainedSettings, Training
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.report import figures
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import make_folder, temporary_folder
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.owners import LONG, locked
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import fit_table
from sessrec_pipeline.training.job import FAILED, STATE_LOCK, TRAINED, TrainingJob, write_job
from sessrec_pipeline.training.loop import Epoch, TrainingDiverged, train
from sessrec_pipeline.training.state import TrainingState, load_state, save_state
from sessrec_pipeline.training.validation import TuningData, ValidatedEpoch, best_epoch, validate_epochs
from sessrec_pipeline.tuning.trials import with_best

RESTARTS = 3
"""How often torchrun starts all processes again, after the last finished epoch, when one of them has died."""
WORKER = "sessrec_pipeline.training.worker"
"""The module that torchrun's processes run."""
TORCHRUN = "import os; os.setsid(); from torch.distributed.run import main; main()"
"""torchrun, out of reach of Ctrl-C, at which it would print tracebacks; ``stopping`` ends it with this process."""
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Every node's torchrun needs it: in a store that outlived them, processes that are started again would find the
addresses of the dead ones (pytorch issue 135712)."""


def validation(card: Card[Any], choices: Sequence[str]) -> dg.AssetsDefinition:
    """The asset with the metrics after each epoch; ``choices`` are the assets with the trials of its search."""
    training = card.trained_by()

    @dg.asset(
        name=card.validation,
        ins={name: dg.AssetIn(name) for name in choices},
        description=f"Metrics of {card.title} after each epoch on the tuning split, stopped early; the best epoch is "
        "what the checkpoint trains.",
        **stage(
            "models",
            ["torch", "parquet"],
            reads=[card.section, "training.patience", "training.metric", "evaluation.cutoffs"],
            columns={
                "epoch": ("int64", "1 for the first"),
                "loss": ("double", "Mean training loss"),
                "recall": ("double", "Recall at the largest cutoff on the tuning test split, conservative ties"),
                "mrr": ("double", "MRR likewise"),
                "seconds": ("double", "Training time of the epoch"),
            },
        ),
        **(gpu() if card.gpu else {}),
    )
    @retried
    @uses(training.trainer, card.load, POPULARITY.fit)
    def validated(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        tuning_train_split: Stored,
        tuning_test_split: Stored,
        **choices: Stored,
    ) -> Table:
        asked, k = settings.training, max(settings.evaluation.cutoffs)
        with open_engine(settings) as engine:
            catalogue = fit_table(POPULARITY, engine, tuning_train_split.path, settings).arrow()
        items: list[str] = catalogue["item"].to_pylist()
        sessions = Sessions.from_table(tuning_train_split.arrow(["session_number", "item", "time"]), items)

        def on_epoch(epoch: ValidatedEpoch) -> None:
            context.log.info(f"epoch {epoch.epoch}: loss {epoch.loss:.4f}, recall@{k} {epoch.recall:.4f}, "
                             f"mrr@{k} {epoch.mrr:.4f}")  # fmt: skip
            context.log_event(dg.AssetObservation(context.asset_key, metadata=asdict(epoch)))

        with progress_bar(f"validating {card.name}", "event") as progress:
            epochs = validate_epochs(
                training,
                TuningData(sessions, tuning_test_split.arrow(), items),
                _chosen(card, settings, choices),
                device=compute.device_for(card),
                k=k,
                batch_size=settings.evaluation.batch_size,
                metric=asked.metric,
                patience=asked.patience,
                on_epoch=on_epoch,
                progress=progress,
            )
        best = best_epoch(epochs, asked.metric)
        rows = [asdict(epoch) for epoch in epochs]
        return Table(pa.Table.from_pylist(rows), {"best_epoch": best.epoch, asked.metric: getattr(best, asked.metric)})

    return validated


def trained_checkpoint(card: Card[Any], choices: Sequence[str], settings: Settings) -> dg.AssetsDefinition:
    """The asset of a trained model; ``choices`` are the assets with its trials and its validation, if there are any."""
    training = card.trained_by()
    code: list[Root] = [training.trainer, training.extend, training.continues, f"{WORKER}:main"]

    @dg.asset(
        name=card.checkpoint,
        ins={name: dg.AssetIn(name) for name in choices},
        description=f"{card.title} trained on the train split: weights, settings and item vocabulary in one "
        "safetensors file. Runs on a GPU where there is one, in one process or in several (`launcher`); the log shows "
        "the loss of each epoch while it trains. A run that was killed goes on after its last finished epoch. With "
        "`warm_start` training goes on from the last checkpoint with the sessions that came since.",
        **stage("models", ["torch", "safetensors"], reads=[card.section, "training.warm_start"]),
        **(gpu(settings.training.processes) if card.gpu else {}),
    )
    @retried
    @uses(*code)
    def checkpoint(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        store: dg.ResourceParam[Store],
        train_split: Stored,
        popularity: Stored,
        **choices: Stored,
    ) -> dg.Output[Checkpoint]:
        device, section = compute.device_for(card), _chosen(card, settings, choices)
        items: list[str] = popularity.arrow(["item"])["item"].to_pylist()
        events = train_split.arrow(["session_number", "item", "time", "session_start"])
        trained_until = pc.max(events["session_start"]).as_py()
        before, initial = None, None
        if settings.training.warm_start and (found := _last_checkpoint(store, card, section)):
            before, last = found
            events = _since(events, int(before.stats["trained_until"]))
            if not events.num_rows:
                context.log.info("no session came since the last checkpoint, which stays as it is")
                same = Checkpoint(card.name, last.arrays, last.config, last.items, before.stats, (before.lineage,))
                return dg.Output(same)
            context.log.info(f"going on from {before.node.id} with {events.num_rows:,} new events")
            initial = training.extend(section, last.arrays, last.items, items)

        parts = [section.model_dump_json(), before.node.id if before else ""]
        parts += [train_split.node.data_version, popularity.node.data_version]
        parts.append(code_digest(code))  # other code reads another state, or goes on with it to another model
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        sessions = Sessions.from_table(events, items)
        job = TrainingJob(card.name, sessions, len(items), section, initial, settings.compute, key)
        asked = settings.training
        if asked.launcher == "torchrun":
            trained = train_with_torchrun(context, settings, job)
        else:
            trained = train_here(context, settings, training, job, device)
        curve = figures.as_markdown(figures.loss_curve(trained.losses), "loss per epoch")
        context.add_output_metadata({"loss curve": dg.MarkdownMetadataValue(curve)})
        stats: Stats = {
            "device": device,
            "launcher": asked.launcher,
            "processes": asked.processes * asked.nodes,
            "loss": trained.losses[-1],
            "losses": json.dumps(trained.losses),
            "trained_until": trained_until,
        }
        origins = (before.lineage,) if before else ()
        model = Checkpoint(card.name, trained.arrays, section.model_dump(mode="json"), items, stats, origins)
        return dg.Output(model)  # a step that has used Pipes must wrap it

    return checkpoint


def train_here(
    context: dg.AssetExecutionContext, settings: Settings, training: Training[Any], job: TrainingJob, device: str
) -> TrainingState:
    """Train in this process: losses and weights. A training that was interrupted goes on after its last epoch.

    Where another process trains the model, it is waited for: of the same training this one then has the result.
    """
    state_file = settings.training_states / f"{job.model}.safetensors"
    make_folder(state_file.parent)
    with locked(state_file.with_suffix(".lock"), LONG):
        return _train_here(context, training, job, device, state_file)


def _train_here(
    context: dg.AssetExecutionContext, training: Training[Any], job: TrainingJob, device: str, state_file: Path
) -> TrainingState:
    import torch  # noqa: PLC0415 - every step process imports this module, few need torch

    key = f"{job.key} {device}"
    resume = load_state(state_file, key)
    if resume is not None:
        finished = (
            f"these {resume.epoch} epochs were trained already, on the same events with the same settings and code"
        )
        going_on = f"going on after epoch {resume.epoch} of a training that was interrupted"
        context.log.info(finished if resume.epoch == job.settings.n_epochs else going_on)

    def on_epoch(epoch: Epoch) -> None:
        save_state(state_file, epoch.state(), key)
        context.log.info(epoch.describe(device))
        context.log_event(dg.AssetObservation(context.asset_key, metadata=epoch.metadata()))

    try:
        with progress_bar(f"training {job.model}", "event") as progress:
            trained = train(
                training,
                job.sessions,
                job.n_items,
                job.settings,
                device,
                on_epoch,
                resume=resume,
                initial=job.initial,
                progress=progress,
            )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise failure(training.if_out_of_memory(job.settings, job.n_items)) from error
    except TrainingDiverged as error:
        raise failure(str(error)) from error
    return TrainingState(len(trained.losses), trained.losses, trained.trainer.arrays())


def train_with_torchrun(context: dg.AssetExecutionContext, settings: Settings, job: TrainingJob) -> TrainingState:
    """Train in ``[training] processes`` processes on each of ``nodes`` nodes: losses and weights."""
    folder = settings.training_states / "torchrun" / job.model
    make_folder(folder)
    with locked(folder.with_name(f"{job.model}.lock"), LONG):
        return _train_with_torchrun(context, settings, job, folder)


def _train_with_torchrun(
    context: dg.AssetExecutionContext, settings: Settings, job: TrainingJob, folder: Path
) -> TrainingState:
    with locked(folder / STATE_LOCK, LONG):  # which torchrun still holds where only its parent was killed
        write_job(folder, job)
    if settings.training.nodes > 1:
        words = [*(f"{name}={value}" for name, value in OWN_STORE.items()), "torchrun"]
        context.log.info(f"run on each other node: {shlex.join([*words, *torchrun_arguments(settings, folder)])}")
    try:
        epochs = launch(context, settings, folder)
    except Exception as error:  # torchrun's exit code, for which Dagster has a class without a public name
        raise failure(_why(folder)) from error
    for metadata in epochs:
        context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))
    trained = load_state(folder / TRAINED, job.key)
    if trained is None:
        raise failure(_why(folder))
    return trained


def launch(context: dg.AssetExecutionContext, settings: Settings, folder: Path) -> Sequence[dict[str, Any]]:
    """Start this node's processes and wait for them: the metadata of each epoch, whose lines are logged at once.

    To start them elsewhere, put another Pipes client here (Kubernetes', Ray's, …) that runs the same command in a place
    which sees the feed's home.
    """
    environment = {"OMP_NUM_THREADS": str(settings.compute.threads), **OWN_STORE}
    if settings.training.nodes == 1:  # nobody else need see the ports
        environment["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    # What it and Dagster write into /tmp otherwise would stay there when they are killed.
    with warnings.catch_warnings(), temporary_folder(folder) as own:
        command = [sys.executable, "-c", TORCHRUN, "--log-dir", os.fspath(own), *torchrun_arguments(settings, folder)]
        warnings.simplefilter("ignore", dg.PreviewWarning)  # Dagster's own use of what is new in it
        client = dg.PipesSubprocessClient(
            context_injector=dg.PipesFileContextInjector(f"{own}/context"),
            message_reader=dg.PipesFileMessageReader(f"{own}/messages"),
        )
        done = client.run(context=context, command=command, env=environment)
    return done.get_custom_messages()


def torchrun_arguments(settings: Settings, folder: Path) -> list[str]:
    """What follows ``torchrun``, the same on every node; the rendezvous is named after the model, as the folder is."""
    training = settings.training
    if training.rendezvous is None:
        meeting = ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        endpoint = ["--rdzv-backend", "c10d", "--rdzv-id", folder.name, "--rdzv-endpoint", training.rendezvous]
        meeting = ["--nnodes", str(training.nodes), *endpoint]
    shape = ["--nproc-per-node", str(training.processes), "--max-restarts", str(RESTARTS)]
    return [*meeting, *shape, "-m", WORKER, os.fspath(folder)]


def failure(sentence: str) -> dg.Failure:
    """A training that ended without a model, and would again."""
    return dg.Failure(f"{sentence}; the last checkpoint stays as it was", allow_retries=False)


def _why(folder: Path) -> str:
    if (folder / FAILED).exists():
        return (folder / FAILED).read_text()
    return (
        f"a training process died, and again after each of {RESTARTS} restarts (torchrun's report on stderr says which "
        "and how): fix that, and the next run goes on after the last finished epoch"
    )


def _chosen(card: Card[Any], settings: Settings, choices: Mapping[str, Stored]) -> TrainedSettings:
    """The configured settings, or the tuned ones, with the validated number of epochs."""
    section = with_best(settings, choices).section(card.section)
    if card.validation in choices:
        section = section.model_copy(update={"n_epochs": int(choices[card.validation].stats["best_epoch"])})
    return cast(TrainedSettings, section)


def _last_checkpoint(store: Store, card: Card[Any], section: TrainedSettings) -> tuple[Stored, Checkpoint] | None:
    """The checkpoint on disk, if training with these settings can go on from it."""
    try:
        stored = store.find(card.checkpoint)
    except NotMaterializedError:
        return None
    checkpoint = stored.checkpoint()
    before = card.settings.model_validate(checkpoint.config)
    continues = card.trained_by().continues(section, before)
    return (stored, checkpoint) if continues and "trained_until" in stored.stats else None


def _since(events: pa.Table, moment: int) -> pa.Table:
    """Sessions that started after ``moment``, numbered from 0."""
    late = events.filter(pc.greater(events["session_start"], moment))
    numbers = np.unique(late["session_number"].to_numpy(), return_inverse=True)[1]
    return late.set_column(late.schema.get_field_index("session_number"), "session_number", pa.array(numbers))
