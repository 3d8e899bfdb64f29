"""GRU4Rec: a gated recurrent network over the events of the session (Hidasi et al., 2016, 2018, 2023).

``network`` has the model and how it scores, ``trainer`` one step of training; both import torch, so this card imports
them when it is asked to load or to train. ``on_cpu`` scores a few sessions without torch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.models.base import (
    Arrays,
    Card,
    Choice,
    Look,
    Recommender,
    Sessions,
    Share,
    Span,
    Trainer,
    Training,
)
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.models.gru4rec.on_cpu import GRU4RecOnCPU
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.text import N_

if TYPE_CHECKING:
    from sessrec_pipeline.models.ranks import Ranks


def load(arrays: Arrays, settings: GRU4RecSettings, items: Sequence[str], device: str) -> Recommender:
    """The network with the weights of a checkpoint."""
    if device == "cpu":
        return GRU4RecOnCPU(settings, len(items), arrays)
    from sessrec_pipeline.models.gru4rec.network import GRU4Rec  # noqa: PLC0415 - imports torch

    return GRU4Rec.from_weights(settings, len(items), arrays, device)


def trainer(
    sessions: Sessions,
    n_items: int,
    settings: GRU4RecSettings,
    device: str,
    ranks: "Ranks | None",
    initial: Arrays | None,
) -> Trainer:
    """The network before its first epoch."""
    from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer  # noqa: PLC0415 - imports torch

    return GRU4RecTrainer.begin(sessions, n_items, settings, device, ranks, initial)


def extend(settings: GRU4RecSettings, arrays: Arrays, old: Sequence[str], new: Sequence[str]) -> Arrays:
    """See ``network.extend_weights``."""
    from sessrec_pipeline.models.gru4rec.network import extend_weights  # noqa: PLC0415 - imports torch

    return extend_weights(settings, arrays, old, new)


def continues(settings: GRU4RecSettings, earlier: GRU4RecSettings) -> bool:
    """Networks of the same shape."""
    return (settings.layers, settings.embedding) == (earlier.layers, earlier.embedding)


def if_diverged(settings: GRU4RecSettings) -> str:
    """What to lower."""
    return (
        f"try a learning_rate below {settings.learning_rate}"
        + (f", momentum below {settings.momentum}" if settings.momentum > 0 else "")
        + (f" or bpreg below {settings.bpreg}" if settings.loss == "bpr-max" else "")
    )


def if_out_of_memory(settings: GRU4RecSettings, n_items: int) -> str:
    """What to lower."""
    return (
        f"training ran out of memory with batch_size = {settings.batch_size}, n_sample = {settings.n_sample}, layers = "
        f"{settings.layers} and {n_items:,} items: lower one of the first three in [gru4rec], or raise [sessions] "
        "min_item_support"
    )


def softmax(model: Recommender, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """What the exponentials of the scores come to, (n_items,), up to a factor that all share."""
    exponentials: NDArray[np.floating] = np.exp(scores.astype(np.float64) - scores.max())
    return exponentials


BPR_MAX, CROSS_ENTROPY = ("loss", "bpr-max"), ("loss", "cross-entropy")

CARD = Card(
    name="gru4rec",
    title="GRU4Rec",
    summary=N_("a gated recurrent network over the events of the session"),
    source="Hidasi, Karatzoglou: Recurrent neural networks with top-k gains for session-based recommendations. CIKM "
    "2018, arXiv 1706.03847",
    settings=GRU4RecSettings,
    tables=(POPULARITY,),
    load=load,
    training=Training(
        trainer=trainer,
        extend=extend,
        continues=continues,
        if_diverged=if_diverged,
        if_out_of_memory=if_out_of_memory,
    ),
    # The space of Hidasi, Czapp (RecSys 2023, arXiv 2307.14956) for both losses; epochs, samples and seed stay.
    space={
        "loss": Choice(("cross-entropy", "bpr-max")),
        "layers": Span(64, 512, step=32, listed=True),
        "batch_size": Span(32, 256, step=16),
        "learning_rate": Span(0.01, 0.25, step=0.005),
        "momentum": Span(0.0, 0.9, step=0.05),
        "dropout_embedding": Span(0.0, 0.5, step=0.05),
        "dropout_hidden": Span(0.0, 0.7, step=0.05),
        "sample_alpha": Span(0.0, 1.0, step=0.1),
        "bpreg": Span(0.0, 2.0, step=0.05, when=BPR_MAX),
        "elu_param": Choice((0.0, 0.5, 1.0), when=BPR_MAX),
        "logq": Choice((0.0, 1.0), when=CROSS_ENTROPY, otherwise=0.0),
    },
    gpu=True,
    look=Look("#0072B2", "o", "-"),
    share=Share(
        N_('softmax of the network\'s scores, near a probability where loss = "cross-entropy" and logq = 1'), softmax
    ),
)
