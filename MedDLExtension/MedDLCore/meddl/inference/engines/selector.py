"""Which engine runs a network: the fastest that pays on this run and agrees with torch on the case's own window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meddl.inference.engines.engine import Engine
from meddl.inference.engines.torch_engine import TorchEngine

if TYPE_CHECKING:
    import torch

    from meddl.inference.memory import Settings

logger = logging.getLogger(__name__)


class EngineSelector:
    """Chooses and keeps engines for one network.

    Args:
        network: in evaluation mode.
        engine: ``auto``, ``torch`` or ``openvino``.
        digest: identifies the network in the cache of compiled models; empty: nothing is kept on disk.
        cases: how many images are to come; ``torch.compile`` pays only for many.
    """

    def __init__(self, network: Any, engine: str = "auto", digest: str = "", cases: int = 1) -> None:
        self.notes: list[str] = []
        self._network = network
        self._wanted = engine
        self._digest = digest
        self._cases = cases
        self._chosen: dict[tuple[Any, ...], Engine] = {}

    def select(
        self, settings: Settings, device: torch.device, window: Callable[[], torch.Tensor], shape: tuple[int, ...],
        windows: int,
    ) -> tuple[Engine, torch.Tensor | None]:  # fmt: skip
        """Return the engine to go on with, and torch's answer to ``window()`` if it was needed.

        Args:
            settings: precision and device by name.
            device: the torch device.
            window: gives a typical window ``(1, C, ...)`` of the case.
            shape: of that window.
            windows: how many forward passes are to come in this run.
        """
        if self.random:
            return TorchEngine(self._network, device, settings.precision), None
        key = (settings.device, settings.precision, shape)
        if key in self._chosen:
            return self._chosen[key], None
        engine: Engine = TorchEngine(self._network, device, settings.precision)
        self._chosen[key] = engine
        return engine, None

    @property
    def random(self) -> bool:
        """Whether some layer is in training mode, as dropout is for an uncertainty: only torch draws by chance."""
        modules = getattr(self._network, "modules", None)
        return modules is not None and any(module.training for module in modules())

    def forget(self) -> None:
        """Let go of all engines, and of the memory they hold."""
        self._chosen.clear()
