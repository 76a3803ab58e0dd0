"""Attention rollout: which patches of the image a transformer's answer was gathered from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from meddl.saliency.methods.method import Method, RawAttribution, Work
from meddl.saliency.methods.rollout_windows import WindowedRollout, is_windowed
from meddl.saliency.methods.running import finished, plain, running

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer


class AttentionRollout(Method):
    """Attention of all layers, multiplied through (Abnar and Zuidema 2020, arXiv:2005.00928).

    Heads are averaged, and half of each layer's weight goes to the way round it. The map is that of the token that the
    class is read from, or the mean over all patches. In Swin transformers it goes through windows and merged patches,
    from the mean over the last stage; what their convolutions do is not in it. It tells where the network looked,
    whatever it was asked: it is the same for all classes, and says nothing of for or against.
    """

    id: ClassVar[str] = "attention_rollout"
    title: ClassVar[str] = "Attention rollout"
    source: ClassVar[str] = "Abnar and Zuidema 2020, arXiv:2005.00928"
    signed: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False

    def unfit(self, scorer: Scorer, image: torch.Tensor | None) -> str:
        import torch

        network = scorer.network
        if isinstance(network, torch.jit.ScriptModule) or not isinstance(network, torch.nn.Module):
            return "The attention inside of this model cannot be watched."
        if is_windowed(network):
            return ""
        parts = _parts(network)
        if parts is None:
            return "The network is no vision or Swin transformer of MONAI's kind, so it has no attention to show."
        patches, attention = parts
        if any(each.causal or not hasattr(each, "save_attn") for each in attention):
            return "The network's attention is of a kind that is not known here."
        if image is not None and _grid(patches, _seen(list(image.shape[2:]), scorer)) is None:
            return "How the network cuts this image into patches is not known."
        return ""

    def attribute(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import torch

        image = plain(image, scorer)
        scorer = scorer.with_network(scorer.network)  # a copy: its attention is kept
        if is_windowed(scorer.network):
            return self._windowed(scorer, image, work)
        parts = _parts(scorer.network)
        assert parts is not None
        patches, attention = parts
        for each in attention:
            each.use_flash_attention, each.save_attn = False, True
        with running(scorer, work, 1, self.title) as module, torch.no_grad():
            module(image)
        size = list(image.shape[2:])
        grid = _grid(patches, _seen(size, scorer))
        assert grid is not None
        total: torch.Tensor | None = None
        for number, each in enumerate(attention):
            work.step((number + 1) / (len(attention) + 1), self.title)
            mixed = each.att_mat[0].mean(dim=0)
            mixed = 0.5 * mixed + 0.5 * torch.eye(len(mixed), device=mixed.device, dtype=mixed.dtype)
            mixed = mixed / mixed.sum(dim=1, keepdim=True)
            total = mixed if total is None else mixed @ total
        assert total is not None
        count = math.prod(grid)
        extra = len(total) - count
        row = total[0, extra:] if extra else total.mean(dim=0)
        return self._shown(row.reshape(grid), scorer, image, len(attention), "class" if extra else "")

    def _windowed(self, scorer: Scorer, image: torch.Tensor, work: Work) -> RawAttribution:
        import torch

        rollout = WindowedRollout(scorer.network, work.options)
        with running(scorer, work, 2, self.title) as module, torch.no_grad():
            module(image)
        coarse = rollout.total(lambda share: work.step(0.5 + 0.5 * share, self.title))
        return self._shown(coarse, scorer, image, sum(bool(each.window) for each in rollout.layers), "")

    def _shown(
        self, coarse: torch.Tensor, scorer: Scorer, image: torch.Tensor, layers: int, token: str
    ) -> RawAttribution:
        import torch.nn.functional as functional

        if scorer.slice_axis is not None:
            coarse = coarse.unsqueeze(scorer.slice_axis)
        values = functional.interpolate(coarse[None, None].float(), size=list(image.shape[2:]), mode="trilinear")
        facts: dict[str, Any] = {"grid": list(coarse.shape), "layers": layers, "token": token}
        note = "It shows where the network looked, which is the same for every class and neither for nor against."
        return RawAttribution(finished(values, self.title), facts, (note,))


def _seen(size: list[int], scorer: Scorer) -> list[int]:
    return [extent for axis, extent in enumerate(size) if axis != scorer.slice_axis]


def _parts(network: Any) -> tuple[Any, list[Any]] | None:
    """Return what cuts the image into patches, and the attention of each layer in order; None if there is no such."""
    patches = [each for each in network.modules() if type(each).__name__ == "PatchEmbeddingBlock"]
    attention = [each for each in network.modules() if type(each).__name__ == "SABlock"]
    if len(patches) != 1 or not attention:
        return None
    return patches[0], attention


def _grid(patches: Any, size: list[int]) -> list[int] | None:
    """Return how many patches lie along each axis of an image; None where they do not cover it."""
    import torch

    cut = patches.patch_embeddings
    if isinstance(cut, torch.nn.Conv2d | torch.nn.Conv3d):
        edges = list(cut.stride)
    else:
        # The block keeps only their number: patches of equal edges are the usual ones.
        edges = [round((math.prod(size) / patches.n_patches) ** (1 / len(size)))] * len(size)
    if len(edges) != len(size) or min(edges) < 1:
        return None
    grid = [extent // edge for extent, edge in zip(size, edges, strict=True)]
    return grid if math.prod(grid) == patches.n_patches else None
