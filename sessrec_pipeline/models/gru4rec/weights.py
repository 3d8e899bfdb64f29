"""Names and shapes of GRU4Rec's weights, and what is checked of arrays that come from elsewhere; without torch."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings

FAST_ROWS = 256
"""Events whose scores are one product: of fewer, it takes longer for each, with 32 and 50,000 items twice as long."""


def weight_shapes(config: GRU4RecSettings, n_items: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights. Blocks of the gates (reset, update, candidate) stand side by side."""
    shapes: dict[str, tuple[int, ...]] = {"items": (n_items, config.layers[-1]), "item_bias": (n_items,)}
    width = config.layers[-1]
    if config.embedding == "separate":
        width = config.layers[0]
        shapes["inputs"] = (n_items, width)
    elif config.embedding == "none":
        shapes["inputs"] = (n_items, 3 * config.layers[0])
    for i, units in enumerate(config.layers):
        if i > 0 or config.embedding != "none":  # one-hot items: the table of inputs is the first layer's matrix
            shapes[f"layer{i}.input"] = (width, 3 * units)
        shapes[f"layer{i}.state"] = (units, 2 * units)
        shapes[f"layer{i}.candidate"] = (units, units)
        shapes[f"layer{i}.bias"] = (3 * units,)
        width = units
    return shapes


def check_items(sessions: Sessions, n_items: int) -> None:
    """ValueError where a session holds an item that is not in the catalogue."""
    if len(sessions.items):
        low, high = sessions.items.min(), sessions.items.max()
        if low < 0 or high >= n_items:
            raise ValueError(f"item indices must be 0 .. {n_items - 1}, found {low} .. {high}")


def check_shapes(weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError where ``weights`` are not of these names and shapes."""
    if set(weights) != set(shapes):
        raise ValueError(f"these settings need the weights {sorted(shapes)}, not {sorted(weights)}")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise ValueError(f"weight {name} must have shape {shape}, not {weights[name].shape}")
