"""PyTorch as it is, or in half precision where the processor has it."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from meddl.inference.engines.engine import first_output

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class TorchEngine:
    """Runs a network by torch.

    Args:
        network: in evaluation mode; moved to the device.
        device: where it runs.
        precision: other than ``float32`` by autocast.
        compiled: through ``torch.compile``, which takes half a minute at first.
    """

    def __init__(
        self, network: Any, device: torch.device, precision: str = "float32", *, compiled: bool = False
    ) -> None:
        import torch

        # Networks out of ONNX files are computed by something else behind torch's face, and say what it is.
        own = getattr(network, "engine", None)
        self.name = "torch (compiled)" if compiled else own if isinstance(own, str) else "torch"
        self.precision = precision
        self._device = device
        self._network = network.to(device) if hasattr(network, "to") else network
        self._memory_format: torch.memory_format | None = None
        if device.type == "cuda" and precision != "float32":
            # Tensor cores want the channels last; on a CPU that was measured to help some networks and to hurt others.
            self._memory_format = torch.channels_last_3d
            _channels_last(network)
        if compiled:
            self._network = torch.compile(self._network)

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        batch = batch.to(self._device)
        if self._memory_format is not None and batch.ndim == 5:
            batch = batch.contiguous(memory_format=self._memory_format)
        cast: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self.precision != "float32":
            cast = torch.autocast(self._device.type, getattr(torch, self.precision))
        with torch.inference_mode(), cast:
            return first_output(self._network(batch))


def cpu_has_bfloat16() -> bool:
    """Say whether the processor computes in bfloat16 faster than in float32."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _channels_last(network: Any) -> None:
    import torch

    try:
        network.to(memory_format=torch.channels_last_3d)
    except (RuntimeError, AttributeError) as error:
        logger.debug("channels last refused: %s", error)
