"""A network seen through one number of its answer: what methods of attribution explain."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class Scorer:
    """A network and the number to explain, as a function of a batch of images.

    It works on a copy of the network whose activations do not overwrite their input: hooks and gradients need that.
    Gradients of parameters are off; the network is in evaluation mode.

    Args:
        network: ``(B, C, i, j, k)`` to whatever it answers; a torch module, or for methods without gradients any
            callable.
        pick: from its answer to ``(B,)`` scores.
        slice_axis: for networks that take slices ``(B, C, i, j)``: the axis of images, 0 to 2, that has one voxel and
            that they do not see; None for the others.
        device: where it runs.
        digest: identifies the network in the cache of compiled models; empty: nothing is kept on disk.

    Attributes:
        engine: answers for the network where no gradient is asked for, if it is not None; see
            :func:`meddl.saliency.forward.quicker`.
    """

    def __init__(
        self,
        network: Any,
        pick: Callable[[Any], torch.Tensor],
        *,
        slice_axis: int | None = None,
        device: Any = "cpu",
        digest: str = "",
    ) -> None:
        self.network = _without_in_place(network)
        self.pick = pick
        self.slice_axis = slice_axis
        self.device = device
        self.digest = digest
        self.engine: Any = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(B,)`` scores of ``(B, C, i, j, k)`` images."""
        return self.pick(self._asked(images.to(self.device)))

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``(B,)`` scores without gradients, by the engine where there is one."""
        import torch

        with torch.no_grad():
            return self.pick(self._asked(images.to(self.device), self.engine))

    def answer(self, images: torch.Tensor) -> Any:
        """Return the network's whole answer, without gradients."""
        import torch

        with torch.inference_mode():
            return self._asked(images.to(self.device))

    def module(self) -> torch.nn.Module:
        """Return it as a torch module ``(B, C, i, j, k)`` to ``(B,)``, as captum wants it; its layers are the same."""
        module: torch.nn.Module = _score_of_network()(self)
        return module

    def _asked(self, images: torch.Tensor, engine: Any = None) -> Any:
        network = engine or self.network
        if self.slice_axis is None:
            return network(images)
        answer = network(images.squeeze(2 + self.slice_axis))
        # Maps get the axis back, so that they lie on the image's grid; scores of classes have none.
        return answer.unsqueeze(2 + self.slice_axis) if getattr(answer, "ndim", 0) == 4 else answer

    def with_network(self, network: Any) -> Scorer:
        """Return the same question asked of another network, for instance one with random weights."""
        return Scorer(network, self.pick, slice_axis=self.slice_axis, device=self.device)


@functools.cache
def _score_of_network() -> Any:
    """Return the class of scorers as modules, which PyTorch is needed for."""
    import torch

    class ScoreOfNetwork(torch.nn.Module):
        def __init__(self, scorer: Scorer) -> None:
            super().__init__()
            self.network = scorer.network
            self.scorer = scorer

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.scorer.pick(self.scorer._asked(images, None if torch.is_grad_enabled() else self.scorer.engine))

    return ScoreOfNetwork


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
