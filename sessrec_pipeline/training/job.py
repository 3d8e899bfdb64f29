"""A training as a folder: what other processes need to do it, and what they leave there.

``job.json``, ``sessions.parquet`` and, where training does not begin from nothing, ``initial.safetensors`` go in;
``state.safetensors`` is kept up after each epoch (``state``), and ``trained.safetensors`` or ``failed.txt``
comes out. Nothing is unpickled. All of it is scratch, like the states.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from sessrec_pipeline.models.base import Arrays, Sessions, TrainedSettings
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.settings import ComputeSettings
from sessrec_pipeline.storage.files import replacing

JOB, SESSIONS, INITIAL = "job.json", "sessions.parquet", "initial.safetensors"
STATE, TRAINED, FAILED = "state.safetensors", "trained.safetensors", "failed.txt"
STATE_LOCK = "state.lock"
"""Held by rank 0 as long as it may write the state."""


@dataclass(frozen=True)
class TrainingJob:
    """The model, the arguments of ``loop.train``, where to run it, and ``key``, which names what they rest on."""

    model: str
    sessions: Sessions
    n_items: int
    settings: TrainedSettings
    initial: Arrays | None
    compute: ComputeSettings
    key: str


def write_job(folder: Path, job: TrainingJob) -> None:
    """Put the job into the folder; what an earlier one came to is removed, its state stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (JOB, INITIAL, TRAINED, FAILED):
        (folder / name).unlink(missing_ok=True)
    session = np.repeat(np.arange(len(job.sessions)), job.sessions.lengths)
    columns = {"session": session, "item": job.sessions.items}
    if job.sessions.times is not None:
        columns["time"] = job.sessions.times
    with replacing(folder / SESSIONS) as path:
        pq.write_table(pa.table(columns), path)
    if job.initial is not None:
        with replacing(folder / INITIAL) as path:
            save_file({name: np.asarray(array, order="C") for name, array in job.initial.items()}, path)
    about = {
        "model": job.model,
        "n_items": job.n_items,
        "settings": job.settings.model_dump(mode="json"),
        "compute": job.compute.model_dump(mode="json"),
        "key": job.key,
    }
    with replacing(folder / JOB) as path:
        path.write_text(json.dumps(about, indent=2))


def read_job(folder: Path) -> TrainingJob:
    """The job that was written; FileNotFoundError where none was, or its files are not to be seen from here."""
    about = json.loads((folder / JOB).read_text())
    events = pq.read_table(folder / SESSIONS)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(events["session"].to_numpy()))]).astype(np.int64)
    times = events["time"].to_numpy() if "time" in events.column_names else None
    return TrainingJob(
        about["model"],
        Sessions(events["item"].to_numpy(), offsets, times),
        about["n_items"],
        card_of(about["model"]).settings.model_validate(about["settings"]),
        load_file(folder / INITIAL) if (folder / INITIAL).exists() else None,
        ComputeSettings.model_validate(about["compute"]),
        about["key"],
    )
