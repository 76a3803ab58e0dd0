"""One step of learning: what the ways to teach a generator have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch

from meddl.networks.generation import GeneratorNetwork
from meddl.synthesis.config import SynthesisConfig

CLIP = {"gan": 10.0, "rectified_flow": 1.0, "ddpm": 1.0}
"""How long the gradient of a step may be."""
_AVERAGED = {"gan": 0.99, "rectified_flow": 0.995, "ddpm": 0.995}
"""How slowly the weights that are kept follow those that learn."""


class Trainer(ABC):
    """Teaches one generator; chance comes from torch's own numbers, which the caller seeds before each step.

    Args:
        config: of the training.
        network: to be taught; on its device already.

    Attributes:
        columns: what the losses of a step are called.
    """

    columns: tuple[str, ...]

    def __init__(self, config: SynthesisConfig, network: GeneratorNetwork) -> None:
        self._config = config
        self._network = network
        self._steps = 0
        self._averaged = {name: value.detach().clone() for name, value in network.network.state_dict().items()}

    def step(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]:
        """Learn from images ``(B, 1, *size)`` in -1..1 and one channel for each of their labels; return the losses."""
        self._network.train()
        losses = self._learn(images, conditions)
        self._steps += 1
        self._follow()
        return losses

    def averaged(self) -> dict[str, torch.Tensor]:
        """Return the weights that a bundle gets, as the generator's state: the mean of those of the last steps."""
        return {f"network.{name}": value.detach().cpu().contiguous() for name, value in self._kept().items()}

    def state(self) -> dict[str, Any]:
        """Return all that the next steps depend on."""
        return {
            "steps": self._steps,
            "averaged": dict(self._averaged),
            "network": self._network.network.state_dict(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on where :meth:`state` was taken.

        Raises:
            RuntimeError, LookupError, TypeError, ValueError, AttributeError: it is that of another training, or none.
        """
        self._steps = int(state["steps"])
        device = next(self._network.parameters()).device
        self._network.network.load_state_dict(state["averaged"])  # complains of what does not fit
        self._averaged = {name: value.to(device) for name, value in state["averaged"].items()}
        self._network.network.load_state_dict(state["network"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    @abstractmethod
    def _learn(self, images: torch.Tensor, conditions: torch.Tensor | None) -> dict[str, float]: ...

    @abstractmethod
    def _parts(self) -> dict[str, Any]: ...

    def _kept(self) -> Mapping[str, torch.Tensor]:
        return self._averaged

    def _follow(self) -> None:
        # Early weights are forgotten quickly: they know nothing.
        kept = min(_AVERAGED[self._config.kind], self._steps / (self._steps + 10))
        for name, value in self._network.network.state_dict().items():
            if value.is_floating_point():
                self._averaged[name].lerp_(value.detach(), 1 - kept)
            else:
                self._averaged[name].copy_(value)
