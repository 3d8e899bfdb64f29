"""``training.worker`` on one folder after the other; what its ranks agree on is noted, and some die where told to.

Started by torchrun. ``FOLDER/die-1-2``: rank 1 removes the file and kills itself once epoch 2 is done and saved.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from sessrec_pipeline.models.ranks import Ranks
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.training import worker
from sessrec_pipeline.training.job import read_job

agree, add_up = Ranks.agree, Ranks.add_up
epoch = 0


def watched_agree(ranks: Ranks, on: str, value: str) -> None:
    global epoch
    agree(ranks, on, value)
    epoch = int(on.rpartition(" ")[2]) if on.startswith("the weights") else 0
    with (folder / f"agreed-{ranks.rank}").open("a") as notes:
        notes.write(f"{on}: {value}\n")


def dying_add_up(ranks: Ranks, tensors: Sequence[Tensor]) -> None:
    # In the midst of the next epoch, so that rank 0 has saved this one: it takes part only then.
    add_up(ranks, tensors)
    order = folder / f"die-{ranks.rank}-{epoch}"
    if order.exists():
        order.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


# One group for all folders: the store of a second one could be looked for where the first one's is about to close.
dist.init_process_group("gloo")
worker.dist.init_process_group = lambda backend: None
leave, worker.dist.destroy_process_group = dist.destroy_process_group, lambda: None
Ranks.agree, Ranks.add_up = watched_agree, dying_add_up  # type: ignore[method-assign]
for folder in map(Path, sys.argv[1:]):
    job = read_job(folder)
    worker.take_part(folder, job, card_of(job.model).trained_by())
leave()
