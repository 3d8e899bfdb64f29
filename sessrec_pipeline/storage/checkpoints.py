"""Fitted models: one safetensors file with the arrays, and all else that the model needs in its JSON header.

Nothing is unpickled: a safetensors file is a JSON header and flat arrays, and reading one runs no code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from sessrec_pipeline.storage.files import DamagedFileError, undamaged
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage

FORMAT = "2"
"""Of the file; a file of format 1, which did not say so, is read too."""


class UnfitModelError(ValueError):
    """A model that is not to be published; the text says which, why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """A fitted model, whole: whoever loads it looks at no settings of today.

    model: name of its card; arrays: weights, or what else it scores with, by name; config: the settings that it was
    fitted with; items: the id of each item index.
    """

    model: str
    arrays: dict[str, NDArray[Any]]
    config: dict[str, Any]
    items: list[str]
    stats: Stats = field(default_factory=dict)
    origins: tuple[Lineage, ...] = ()
    """Lineages beyond the upstream assets': the checkpoint that training went on from."""

    def content_hash(self) -> str:
        """sha256 over arrays, config and vocabulary."""
        digest = hashlib.sha256(json.dumps([self.config, self.items], sort_keys=True).encode())
        for name in sorted(self.arrays):
            array = np.asarray(self.arrays[name], order="C")
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def not_finite(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """The first array that holds a NaN or an infinity, and how many, as a clause; None where all are numbers."""
    for name, array in sorted(arrays.items()):
        if array.dtype.kind == "f" and (bad := array.size - int(np.isfinite(array).sum())):
            return f"{bad:,} of the {array.size:,} numbers in {name} are NaN or infinite"
    return None


def write_checkpoint(path: Path, checkpoint: Checkpoint, lineage: Lineage) -> None:
    """Write ``checkpoint`` to ``path``."""
    header = {
        "format": FORMAT,
        "model": checkpoint.model,
        "config": json.dumps(checkpoint.config, sort_keys=True),
        "items": json.dumps(checkpoint.items),
        METADATA_KEY: lineage.to_json(),
    }
    save_file({name: np.asarray(array, order="C") for name, array in checkpoint.arrays.items()}, path, header)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read and verify; DamagedFileError where a byte is not what was written."""
    with undamaged(path):
        with safe_open(path, framework="numpy") as file:
            header = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        lineage = Lineage.from_json(header[METADATA_KEY])
        asset = lineage.node.asset
        model = header.get("model", asset.removesuffix("_checkpoint"))  # files of before FORMAT name none
        checkpoint = Checkpoint(model, arrays, json.loads(header["config"]), json.loads(header["items"]))
    if checkpoint.content_hash() != lineage.node.data_version:
        raise DamagedFileError(path, "its content differs from its own hash")
    if problem := not_finite(arrays):
        raise DamagedFileError(path, problem)
    if asset.endswith("_checkpoint") and asset != f"{model}_checkpoint":
        raise DamagedFileError(path, f"it says that it is a model {model!r} and that it is {asset}")
    return checkpoint


def read_lineage(path: Path) -> Lineage | None:
    """The lineage in the header, None where there is none; DamagedFileError where it is not what was written."""
    with undamaged(path), safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
        return None if text is None else Lineage.from_json(text)
