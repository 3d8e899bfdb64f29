"""Where GRU4Rec trains: in the step's own process, or in several that torchrun starts, told of by Dagster Pipes."""

import os
import shlex
import socket
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from sessrec_pipeline.models.gru4rec_state import TrainingState
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.training_job import FAILED, TRAINED, TrainingJob, write_job
from sessrec_pipeline.storage.training_state import load_state, save_state

RESTARTS = 3
"""How often torchrun starts all processes again, after the last finished epoch, when one of them has died."""
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
"""Every node's torchrun needs it: in a store that outlived them, processes that are started again would find the
addresses of the dead ones (pytorch issue 135712)."""


def train_here(context: dg.AssetExecutionContext, settings: Settings, job: TrainingJob, device: str) -> TrainingState:
    """Train in this process: losses and weights. A training that was interrupted goes on after its last epoch."""
    import torch  # noqa: PLC0415 - every step process imports this module, few need torch

    from sessrec_pipeline.models.gru4rec_training import (  # noqa: PLC0415
        Epoch,
        TrainingDiverged,
        fit,
        out_of_memory,
    )

    state_file, key = settings.training_states / "gru4rec.safetensors", f"{job.key} {device}"
    resume = load_state(state_file, key)
    if resume is not None:
        context.log.info(f"going on after epoch {resume.epoch} of a training that was interrupted")

    def on_epoch(epoch: Epoch) -> None:
        save_state(state_file, epoch.state(), key)
        context.log.info(epoch.told(job.config, device))
        context.log_event(dg.AssetObservation(context.asset_key, metadata=epoch.metadata()))

    try:
        with progress_bar("training gru4rec", "event") as progress:
            model = fit(
                job.sessions,
                job.n_items,
                job.config,
                device,
                on_epoch,
                resume=resume,
                initial=job.initial,
                say=progress,
            )
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise failure(out_of_memory(job.config, job.n_items)) from error
    except TrainingDiverged as error:
        raise failure(str(error)) from error
    return TrainingState(len(model.losses), tuple(model.losses), dict(model.weights()))


def train_with_torchrun(context: dg.AssetExecutionContext, settings: Settings, job: TrainingJob) -> TrainingState:
    """Train in ``[training] processes`` processes on each of ``nodes`` nodes: losses and weights."""
    folder = settings.training_states / "torchrun"
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
    command = [sys.executable, "-m", "torch.distributed.run", *torchrun_arguments(settings, folder)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # Dagster's own use of what is new in it
        done = dg.PipesSubprocessClient().run(context=context, command=command, env=environment)
    return done.get_custom_messages()


def torchrun_arguments(settings: Settings, folder: Path) -> list[str]:
    """What follows ``torchrun``, the same on every node."""
    training = settings.training
    if training.rendezvous is None:
        meeting = ["--standalone", "--local-addr", "127.0.0.1"]
    else:
        endpoint = ["--rdzv-backend", "c10d", "--rdzv-id", "gru4rec", "--rdzv-endpoint", training.rendezvous]
        meeting = ["--nnodes", str(training.nodes), *endpoint]
    shape = ["--nproc-per-node", str(training.processes), "--max-restarts", str(RESTARTS)]
    return [*meeting, *shape, "-m", "sessrec_pipeline.training_worker", os.fspath(folder)]


def failure(sentence: str) -> dg.Failure:
    """A training that ended without a model, and would again."""
    return dg.Failure(f"{sentence}; the last checkpoint stays as it was", allow_retries=False)


def _why(folder: Path) -> str:
    if (folder / FAILED).exists():
        return (folder / FAILED).read_text()
    return (
        f"a training process died, and again after each of {RESTARTS} restarts (torchrun's report on stderr says which "
        "and how): mend that, and the next run goes on after the last finished epoch"
    )
