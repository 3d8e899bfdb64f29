"""The state of an unfinished training on disk, so that a killed run loses at most the epoch it was in.

One safetensors file: nothing is unpickled. It is scratch: whatever is wrong with it, training begins anew.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from sessrec_pipeline.models.gru4rec_state import TrainingState
from sessrec_pipeline.storage.checkpoints import UNREADABLE
from sessrec_pipeline.storage.files import replacing


def save_state(path: Path, state: TrainingState, key: str) -> None:
    """Put ``state`` in the place of what ``path`` held; ``key`` names the data and the config that it belongs to."""
    header = {
        "key": key,
        "epoch": json.dumps(state.epoch),
        "losses": json.dumps(state.losses),  # the shortest text of a float reads back as the same float
        "sha256": content_hash(state, key),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, header)


def load_state(path: Path, key: str) -> TrainingState | None:
    """The state saved under ``key``; None where there is no file, or it has another key, or is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata()
            if header["key"] != key:
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = TrainingState(json.loads(header["epoch"]), tuple(json.loads(header["losses"])), arrays)
        return state if header["sha256"] == content_hash(state, key) else None
    except UNREADABLE:  # missing, cut short, not safetensors, headers of another version: all mean to begin anew
        return None


def content_hash(state: TrainingState, key: str) -> str:
    """sha256 over the key, the losses and the arrays."""
    digest = hashlib.sha256(json.dumps([key, state.epoch, state.losses]).encode())
    for name in sorted(state.arrays):
        array = np.ascontiguousarray(state.arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
