"""The state of a training of GRU4Rec as arrays, so that it can be written to disk and gone on from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.settings import GRU4RecConfig


@dataclass(frozen=True)
class TrainingState:
    """All that training needs to go on after an epoch; on a CPU it then ends as if it had never stopped, to the bit.

    epoch: epochs done; losses: of each of them.
    arrays: ``weights.*`` and Adagrad's ``squares.*`` and ``velocity.*`` by name of the weight; the random generators
    ``negatives`` and ``dropout``; ``settings``, the JSON text of the config without n_epochs, which may be raised.
    """

    epoch: int
    losses: tuple[float, ...]
    arrays: dict[str, NDArray[Any]]


def settings_text(config: GRU4RecConfig) -> NDArray[np.uint8]:
    """The config without n_epochs, JSON, as bytes."""
    text = json.dumps(config.model_dump(mode="json", exclude={"n_epochs"}), sort_keys=True)
    return np.frombuffer(text.encode(), dtype=np.uint8)


def check_state(state: TrainingState, config: GRU4RecConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError with a sentence unless the state is of this config and has arrays of these shapes."""
    arrays = state.arrays
    missing = {*shapes, "negatives", "settings"} - set(arrays)
    if "settings" in arrays and not np.array_equal(arrays["settings"], settings_text(config)):
        theirs, ours = (json.loads(array.tobytes()) for array in (arrays["settings"], settings_text(config)))
        other = [
            f"{name} {theirs.get(name)} instead of {value}" for name, value in ours.items() if theirs.get(name) != value
        ]
        raise ValueError(f"training cannot go on from a state of other settings: {', '.join(other)}")
    if missing:
        raise ValueError(f"training cannot go on from a state without {', '.join(sorted(missing))}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            what = "kind of device" if name == "dropout" else "catalogue"
            raise ValueError(
                f"training cannot go on from a state of another {what}: "
                f"{name} must have shape {shape}, not {arrays[name].shape}"
            )
    if state.epoch != len(state.losses) or state.epoch > config.n_epochs:
        raise ValueError(
            f"training of {config.n_epochs} epochs cannot go on from a state "
            f"after epoch {state.epoch} that has {len(state.losses)} losses"
        )


def pack(rng: np.random.Generator) -> NDArray[np.uint64]:
    """The state of numpy's PCG64: two numbers of 128 bits, each as high and low half, and half a draw kept back."""
    state = rng.bit_generator.state
    numbers = [part for key in ("state", "inc") for part in divmod(state["state"][key], 2**64)]
    return np.array([*numbers, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def unpack(packed: NDArray[np.uint64], rng: np.random.Generator) -> None:
    """Inverse of ``pack``: ``rng`` goes on where the packed one was."""
    a, b, c, d, has_uint32, uinteger = packed.tolist()
    rng.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (a << 64) + b, "inc": (c << 64) + d},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
