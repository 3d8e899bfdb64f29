"""The device that training and scoring run on."""

from typing import Any

from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import ComputeSettings


class DeviceError(RuntimeError):
    """The device that the settings ask for is not there."""


class Compute:
    """Resource of the assets that use torch."""

    def __init__(self, settings: ComputeSettings) -> None:
        self.settings = settings

    def device_for(self, card: Card[Any]) -> str:
        """The device of a model: ``cpu``, without torch, for one that is made from its tables and wants no GPU."""
        return self.device(card.gpu) if card.gpu or card.training else "cpu"

    def device(self, gpu: bool = True) -> str:
        """``cpu`` or ``cuda``, after setting torch's thread count. DeviceError where cuda is asked for but missing."""
        import torch  # noqa: PLC0415 - every step process imports this module, few need torch

        torch.set_num_threads(self.settings.threads)
        if not gpu:
            return "cpu"
        has_gpu = torch.cuda.is_available()
        if self.settings.device == "cuda" and not has_gpu:
            raise DeviceError(
                '[compute] device = "cuda", but torch sees no GPU: fix the driver, or set device = "auto" or "cpu"'
            )
        return "cuda" if has_gpu and self.settings.device != "cpu" else "cpu"
