"""The memory of a loaded model: the bytes of the arrays that it holds."""

from typing import Any

import numpy as np

BYTES_HELD = "bytes_held"
"""Name of ``bytes_held`` among the stats of rankings."""


def bytes_held(model: object) -> int:
    """Bytes of all numpy arrays and torch tensors that ``model`` reaches through attributes, lists and dictionaries.

    Memory that several of them share counts once. It is what every process that answers with the model has to hold,
    on a GPU or off it; what one call needs beside it is not counted.
    """
    return sum(_buffers(model, {}, set()).values())


def _buffers(value: Any, found: dict[int, int], visited: set[int]) -> dict[int, int]:
    """Address to bytes of the memory behind ``value``."""
    if id(value) in visited:
        return found
    visited.add(id(value))
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        found[value.__array_interface__["data"][0]] = value.nbytes
    elif hasattr(value, "untyped_storage"):  # a tensor, without importing torch
        storage = value.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, dict):
        for inner in value.values():
            _buffers(inner, found, visited)
    elif isinstance(value, list | tuple):
        for inner in value:
            _buffers(inner, found, visited)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        _buffers(vars(value), found, visited)
    return found
