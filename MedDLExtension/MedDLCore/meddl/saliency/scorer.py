"""A network seen through one number of its answer: what methods of attribution explain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Scorer:
    """A network and the number to explain, as a function of a batch of images.

    It works on a copy of the network whose activations do not overwrite their input: hooks and gradients need that.
    Gradients of parameters are off; the network is in evaluation mode.

    Args:
        network: ``(B, C, i, j, k)`` to whatever it answers; for flat networks ``k`` is 1 and taken away.
        pick: from its answer to ``(B,)`` scores.
        flat: the network takes ``(B, C, i, j)``.
        device: where it runs.
    """

    def __init__(
        self, network: Any, pick: Callable[[Any], torch.Tensor], *, flat: bool = False, device: Any = "cpu"
    ) -> None:
        self.network = _without_in_place(network)
        self.pick = pick
        self.flat = flat
        self.device = device

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(B,)`` scores of ``(B, C, i, j, k)`` images."""
        images = images.to(self.device)
        return self.pick(self.network(images[..., 0] if self.flat else images))

    def answer(self, images: torch.Tensor) -> Any:
        """Return the network's whole answer, without gradients."""
        import torch

        with torch.inference_mode():
            images = images.to(self.device)
            return self.network(images[..., 0] if self.flat else images)

    def module(self) -> torch.nn.Module:
        """Return it as a torch module ``(B, C, i, j, k)`` to ``(B,)``, as captum wants it; its layers are the same."""
        import torch

        scorer = self

        class ScoreOfNetwork(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = scorer.network

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                return scorer.pick(self.network(images[..., 0] if scorer.flat else images))

        return ScoreOfNetwork()

    def with_network(self, network: Any) -> Scorer:
        """Return the same question asked of another network, for instance one with random weights."""
        return Scorer(network, self.pick, flat=self.flat, device=self.device)


def _without_in_place(network: Any) -> Any:
    import torch

    if not isinstance(network, torch.nn.Module) or isinstance(network, torch.jit.ScriptModule):
        return network
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network
