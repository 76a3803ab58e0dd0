"""Attention rollout through a transformer that attends within shifted windows and merges patches on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError, OutOfMemory

if TYPE_CHECKING:
    import torch

    from meddl.saliency.options import ExplainOptions


@dataclass(eq=False)
class _Layer:
    """A block that attended, or one that merged neighbors.

    Attributes:
        grid: patches along each axis that came in.
        window: of the attention, in patches; empty: it merged.
        shift: of the windows.
        attention: ``(windows, patches, patches)`` mean over the heads.
    """

    grid: tuple[int, ...]
    window: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()
    attention: Any = None


def is_windowed(network: Any) -> bool:
    """Whether a network is of MONAI's Swin transformers."""
    return any(
        type(each).__name__ == "WindowAttention" and type(each).__module__.startswith("monai.")
        for each in network.modules()
    )


class WindowedRollout:
    """Watches a run of a network and multiplies its attention through.

    The whole matrix is never made. The weight of all patches of the last stage, even at first, is passed back layer by
    layer: within each window by its attention, half of it round it, and from a merged patch evenly to those that it was
    made of. Convolutions beside the transformer are no part of it.

    Args:
        network: a copy that may be changed.
        options: how much memory may be taken.
    """

    def __init__(self, network: torch.nn.Module, options: ExplainOptions) -> None:
        self.layers: list[_Layer] = []
        self._options = options
        self._bytes = 0
        blocks: list[Any] = list(network.modules())
        for module in blocks:
            kind = type(module).__name__
            if kind == "SwinTransformerBlock":
                module.attn.use_flash_attention, module.use_checkpoint = False, False
                module.register_forward_pre_hook(self._begins)
                module.attn.softmax.register_forward_hook(self._attended)
            elif kind in ("PatchMerging", "PatchMergingV2"):
                module.register_forward_pre_hook(self._merges)

    def total(self, step: Callable[[float], None]) -> torch.Tensor:
        """Return the weight of each patch of the first stage ``(i, j, k)`` or ``(i, j)``; it adds up to 1 or less.

        What the network has put on patches beyond the border, which fill up the windows, is left out.
        """
        import torch

        if not any(each.window for each in self.layers):
            raise ModelError("The network's attention could not be watched, so there is nothing to show.")
        last = self.layers[-1]
        grid = last.grid if last.window else tuple(-(-size // 2) for size in last.grid)
        weights = torch.full(grid, 1.0 / torch.Size(grid).numel())
        for number, layer in enumerate(reversed(self.layers)):
            step((number + 1) / (len(self.layers) + 1))
            weights = _through_attention(weights, layer) if layer.window else _through_merging(weights, layer.grid)
        return weights

    def _begins(self, module: Any, inputs: tuple[Any, ...]) -> None:
        from monai.networks.nets.swin_unetr import get_window_size

        grid = tuple(inputs[0].shape[1:-1])
        window, shift = get_window_size(grid, module.window_size, module.shift_size)
        self.layers.append(_Layer(grid, tuple(window), tuple(shift)))

    def _attended(self, module: Any, inputs: Any, answer: torch.Tensor) -> None:
        from meddl.saliency.memory import budget

        attention = answer.detach().mean(dim=1).cpu()
        self._bytes += attention.numel() * attention.element_size()
        if 0 < budget(self._options, "cpu") < self._bytes:
            raise OutOfMemory(
                f"The attention of this network takes more than {self._bytes >> 20} MB. Choose occlusion, which takes "
                "less, or close other programs."
            )
        self.layers[-1].attention = attention

    def _merges(self, module: Any, inputs: tuple[Any, ...]) -> None:
        self.layers.append(_Layer(tuple(inputs[0].shape[1:-1])))


def _through_attention(weights: torch.Tensor, layer: _Layer) -> torch.Tensor:
    import torch
    import torch.nn.functional as functional
    from monai.networks.nets.swin_unetr import window_partition, window_reverse

    axes = tuple(range(1, 1 + len(layer.grid)))
    padding = [-size % window for size, window in zip(layer.grid, layer.window, strict=True)]
    # Axes come last first in torch's padding; the very last one is that of channels.
    filled = functional.pad(weights[None, ..., None], [0, 0, *(n for each in reversed(padding) for n in (0, each))])
    rolled = torch.roll(filled, [-each for each in layer.shift], axes)
    windows = window_partition(rolled, layer.window)[..., 0]  # (windows, patches)
    passed = torch.einsum("wq,wqk->wk", windows, layer.attention.float())
    passed = window_reverse(passed.reshape(-1, *layer.window, 1), layer.window, list(filled.shape[:-1]))
    back = torch.roll(passed, layer.shift, axes)[0, ..., 0]
    kept: torch.Tensor = back[tuple(slice(size) for size in layer.grid)]
    return 0.5 * weights + 0.5 * kept


def _through_merging(weights: torch.Tensor, grid: tuple[int, ...]) -> torch.Tensor:
    for axis in range(len(grid)):
        weights = weights.repeat_interleave(2, dim=axis)
    inside: torch.Tensor = weights[tuple(slice(size) for size in grid)] / 2 ** len(grid)
    return inside
