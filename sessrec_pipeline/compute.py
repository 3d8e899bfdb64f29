"""Where training and scoring run: the device, and the keyword arguments that make an asset a GPU asset."""

from typing import Any

from sessrec_pipeline.settings import ComputeSettings

GPU_POOL = "gpu"


class DeviceError(RuntimeError):
    """The device that the settings ask for is not there."""


class Compute:
    """Resource of the assets that use torch."""

    def __init__(self, settings: ComputeSettings) -> None:
        self.settings = settings

    def device(self) -> str:
        """``cpu`` or ``cuda``, torch's thread count set on the way. DeviceError where cuda is asked for in vain."""
        import torch  # noqa: PLC0415 - every step process imports this module, few need torch

        torch.set_num_threads(self.settings.threads)
        has_gpu = torch.cuda.is_available()
        if self.settings.device == "cuda" and not has_gpu:
            raise DeviceError(
                '[compute] device = "cuda", but torch sees no GPU: mend the driver, or set device = "auto" or "cpu"'
            )
        return "cuda" if has_gpu and self.settings.device != "cpu" else "cpu"


def gpu(count: int = 1) -> dict[str, Any]:
    """Keyword arguments of ``@dg.asset`` for a step that wants ``count`` GPUs where there are any.

    The pool lets one such step run at a time on one box (``dagster.yaml`` limits it); the op tags ask Kubernetes for
    a GPU node. On a laptop both cost nothing.
    """
    return {
        "pool": GPU_POOL,
        "op_tags": {
            "dagster-k8s/config": {"container_config": {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}}
        },
    }
