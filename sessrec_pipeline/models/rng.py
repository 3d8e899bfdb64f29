"""A random generator as an array, so that a training can be written to disk and gone on from."""

import numpy as np
from numpy.typing import NDArray


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
