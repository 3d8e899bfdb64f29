"""One of the processes that train a model together; torchrun starts as many as there are to be:

    torchrun --standalone --nproc-per-node 2 -m sessrec_pipeline.training.worker FOLDER

FOLDER holds the job (``job``), and all processes see it. Rank 0 writes the state after each epoch, so
processes that are started again go on after the last finished one. The process that Dagster's environment has reached,
the first one beside the asset, reports each epoch through Dagster Pipes.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, PipesContext, open_dagster_pipes

from sessrec_pipeline.models.base import Training
from sessrec_pipeline.models.ranks import Ranks, RanksDiffer
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.storage.files import replacing
from sessrec_pipeline.storage.owners import LONG, locked
from sessrec_pipeline.training.device import Compute, DeviceError
from sessrec_pipeline.training.job import FAILED, STATE, STATE_LOCK, TRAINED, TrainingJob, read_job
from sessrec_pipeline.training.loop import Epoch, TrainingDiverged, train
from sessrec_pipeline.training.state import TrainingState, content_hash, load_state, save_state


def main(folder: Path) -> None:
    """Do this process's part of the job in the folder.

    What would happen again is written to ``failed.txt``, and processes that are started again end at once.
    """
    if (folder / FAILED).exists():
        return
    job = read_job(folder)
    training = card_of(job.model).trained_by()
    try:
        take_part(folder, job, training)
    except (torch.OutOfMemoryError, MemoryError):
        _fail(folder, training.if_out_of_memory(job.settings, job.n_items))
    except (DeviceError, RanksDiffer, TrainingDiverged) as error:
        _fail(folder, str(error))


def take_part(folder: Path, job: TrainingJob, training: Training[Any]) -> None:
    """Train on all ranks; rank 0 leaves the weights and losses in ``trained.safetensors``."""
    device, local_rank = Compute(job.compute).device_for(card_of(job.model)), int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise DeviceError(f"this node has {torch.cuda.device_count()} GPUs: set [training] processes to that")
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), device)
    pipes = _pipes(local_rank)
    with locked(folder / STATE_LOCK, LONG) if ranks.rank == 0 else nullcontext():
        _train(folder, job, training, device, ranks, pipes)
    dist.destroy_process_group()
    if pipes:
        pipes.close()


def _train(
    folder: Path, job: TrainingJob, training: Training[Any], device: str, ranks: Ranks, pipes: PipesContext | None
) -> None:
    # Sums are taken in another order where there are more ranks, so the state of others is not gone on from.
    key = f"{job.key} {device} {ranks.world}"
    resume = load_state(folder / STATE, key)
    begun = content_hash(TrainingState(0, (), {"items": job.sessions.items, "offsets": job.sessions.offsets}), key)
    ranks.agree("the jobs, which the folder shows them,", begun + (content_hash(resume, key) if resume else ""))
    if resume and pipes:
        pipes.log.info(f"going on after epoch {resume.epoch} of a training that was interrupted")

    def on_epoch(epoch: Epoch) -> None:
        state = epoch.state()
        ranks.agree(f"the weights after epoch {epoch.epoch}", content_hash(state, key))
        if ranks.rank == 0:
            save_state(folder / STATE, state, key)
        if pipes:
            pipes.log.info(epoch.describe(f"{device}, {ranks.world} processes"))
            pipes.report_custom_message(epoch.metadata())

    trained = train(
        training,
        job.sessions,
        job.n_items,
        job.settings,
        device,
        on_epoch,
        resume=resume,
        initial=job.initial,
        ranks=ranks,
    )
    if ranks.rank == 0:
        result = TrainingState(len(trained.losses), trained.losses, trained.trainer.arrays())
        save_state(folder / TRAINED, result, job.key)


def _pipes(local_rank: int) -> PipesContext | None:
    """The way to the asset, in the one process that has it. Not closed by errors: one that is started again goes on."""
    return open_dagster_pipes() if local_rank == 0 and DAGSTER_PIPES_CONTEXT_ENV_VAR in os.environ else None


def _fail(folder: Path, sentence: str) -> None:
    """Leave the reason, and end so that torchrun ends the other processes too."""
    with replacing(folder / FAILED) as path:
        path.write_text(sentence)
    sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
