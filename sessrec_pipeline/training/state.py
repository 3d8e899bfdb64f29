"""The state of an unfinished training on disk, so that a killed run loses at most the epoch it was in.

One safetensors file: nothing is unpickled. It is scratch: whatever is wrong with it, training begins anew.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from sessrec_pipeline.models.base import Arrays, TrainedSettings
from sessrec_pipeline.storage.files import DamagedFileError, replacing, undamaged


@dataclass(frozen=True)
class TrainingState:
    """All that training needs to go on after an epoch; on a CPU it then ends as if it had never stopped, to the bit.

    epoch: epochs done; losses: of each of them. arrays: the trainer's state, and ``settings``, the JSON text of the
    settings without n_epochs, which may be raised.
    """

    epoch: int
    losses: tuple[float, ...]
    arrays: Arrays


def settings_text(settings: TrainedSettings) -> NDArray[np.uint8]:
    """The settings without n_epochs, JSON, as bytes."""
    text = json.dumps(settings.model_dump(mode="json", exclude={"n_epochs"}), sort_keys=True)
    return np.frombuffer(text.encode(), dtype=np.uint8)


def check_state(state: TrainingState, settings: TrainedSettings) -> None:
    """ValueError with a sentence unless a training with these settings can go on from the state."""
    ours = settings_text(settings)
    theirs = state.arrays.get("settings")
    if theirs is None:
        raise ValueError("training cannot go on from a state without settings")
    if not np.array_equal(theirs, ours):
        before, now = (json.loads(array.tobytes()) for array in (theirs, ours))
        other = [
            f"{name} {before.get(name)} instead of {value}" for name, value in now.items() if before.get(name) != value
        ]
        raise ValueError(f"training cannot go on from a state of other settings: {', '.join(other)}")
    if state.epoch != len(state.losses) or state.epoch > settings.n_epochs:
        raise ValueError(
            f"training of {settings.n_epochs} epochs cannot go on from a state "
            f"after epoch {state.epoch} that has {len(state.losses)} losses"
        )


def save_state(path: Path, state: TrainingState, key: str) -> None:
    """Put ``state`` in the place of what ``path`` held; ``key`` names the data and the config that it belongs to."""
    header = {
        "key": key,
        "epoch": json.dumps(state.epoch),
        "losses": json.dumps(state.losses),  # the shortest text of a float reads back as the same float
        "sha256": content_hash(state, key),
    }
    arrays = {name: np.asarray(array, order="C") for name, array in state.arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, header)


def load_state(path: Path, key: str) -> TrainingState | None:
    """The state saved under ``key``; None where there is no file, or it has another key, or is damaged."""
    try:
        with undamaged(path), safe_open(path, framework="numpy") as file:
            header = file.metadata()
            if header["key"] != key:
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            state = TrainingState(json.loads(header["epoch"]), tuple(json.loads(header["losses"])), arrays)
            return state if header["sha256"] == content_hash(state, key) else None
    except DamagedFileError:  # missing, cut short, not safetensors, headers of another version: all mean to begin anew
        return None


def content_hash(state: TrainingState, key: str) -> str:
    """sha256 over the key, the losses and the arrays."""
    digest = hashlib.sha256(json.dumps([key, state.epoch, state.losses]).encode())
    for name in sorted(state.arrays):
        array = np.asarray(state.arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
