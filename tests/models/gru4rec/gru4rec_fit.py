"""GRU4Rec trained by the loop in one call, for the tests of its network and its trainer."""

from collections.abc import Sequence
from typing import Any

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import CARD
from sessrec_pipeline.models.gru4rec.network import GRU4Rec
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.training.loop import train


class TrainedGRU4Rec(GRU4Rec):
    """The network after its training, and the loss of each epoch."""

    def __init__(self, network: GRU4Rec, losses: Sequence[float]) -> None:
        super().__init__(network.config, network.n_items, network.tensors)
        self.losses = list(losses)


def fit(
    sessions: Sessions, n_items: int, settings: GRU4RecSettings, device: str = "cpu", on_epoch: Any = None, **more: Any
) -> TrainedGRU4Rec:
    """``training.loop.train`` with GRU4Rec's card; ``more`` are its keyword arguments."""
    trained = train(CARD.trained_by(), sessions, n_items, settings, device, on_epoch, **more)
    network = trained.trainer.recommender()
    assert isinstance(network, GRU4Rec)
    return TrainedGRU4Rec(network, trained.losses)
