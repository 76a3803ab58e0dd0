"""The layers of a network that a map of class activation can be made from."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

    from meddl.saliency.scorer import Scorer

logger = logging.getLogger(__name__)

LEAST_GRID = 6
"""Voxels along the longest axis of the coarsest grid that still shows a place."""

_AFTER = ("Norm", "ReLU", "ELU", "GELU", "SiLU", "Swish", "Mish", "Dropout", "Sigmoid", "Tanh")
"""In the names of layers that belong to the convolution before them."""


@dataclass(frozen=True)
class Layer:
    """A layer whose answer lies on a grid over the image.

    Attributes:
        name: in the network, as ``network.get_submodule(name)`` takes it.
        type: its class.
        channels: it answers.
        grid: voxels along i, j, k of the image that the network sees.
        by_slice: the network looks at the slices along the last axis one by one.
    """

    name: str
    type: str
    channels: int
    grid: tuple[int, int, int]
    by_slice: bool = False


def no_layers(scorer: Scorer) -> str:
    """Return why nobody can look at a network's convolutions, in a sentence; "" if one can."""
    import torch

    from meddl.networks import OnnxNetwork

    network = scorer.network
    if isinstance(network, torch.jit.ScriptModule):
        return "The layers of a TorchScript program cannot be watched, which this method needs."
    if isinstance(network, OnnxNetwork) or not isinstance(network, torch.nn.Module):
        return "The layers of this model cannot be watched, which this method needs."
    if not any(_is_convolution(each) for each in network.modules()):
        return "The network has no convolutions, whose answers this method shows."
    if _is_transformer(network):
        return "The network is a transformer: its one convolution only cuts the image into patches."
    return ""


def no_layer_ever(scorer: Scorer, channels: int, shape: tuple[int, int, int]) -> str:
    """Return why the network has no layer to show for any image of a size, in a sentence; "" if it has, or who knows.

    Only sizes go through a copy of the network, no numbers, so that it takes no time and no memory.

    Args:
        channels: of the image.
        shape: of the image that the network sees, or about the largest there is where it takes any.
    """
    import torch

    from meddl.saliency.scorer import Scorer

    network = scorer.network
    if no_layers(scorer):
        return ""  # told elsewhere
    try:
        sizes = copy.deepcopy(network).to("meta")
        image = torch.empty((1, channels, *shape), device="meta")
        choose_layer(Scorer(sizes, scorer.pick, slice_axis=scorer.slice_axis, device="meta"), image)
    except ModelError as error:
        return error.message
    except Exception as error:
        # It takes other sizes, or looks at numbers: that is told when there is an image.
        logger.debug("no layer was looked for: %s", type(error).__name__)
    return ""


def find_layers(scorer: Scorer, image: torch.Tensor) -> tuple[Layer, ...]:
    """Return the layers that can be chosen, in the order in which the network comes to them.

    Those that it uses several times are left out, those that answer no grid of at least two voxels, and those that the
    score does not go through.

    Args:
        image: ``(1, C, i, j, k)``; the network runs once.
    """
    return tuple(each for each, _ in _watched(scorer, image).found)


def choose_layer(scorer: Scorer, image: torch.Tensor, name: str = "") -> Layer:
    """Return the layer to make a map from.

    Where none is named, it is the last one on the coarsest grid of at least :data:`LEAST_GRID` voxels: in a classifier
    that is as deep as a map can still show a place; in a U-Net, whose last layers answer the segmentation itself, it is
    its bottom (Vinogradova et al. 2020, arXiv:2002.11434). Of a detector whose heads are shared by all levels of a
    pyramid it is the last one before the heads, on the level that the box came from. What follows a convolution there
    (normalization, activation, the block round it) belongs to it.

    Raises:
        UsageError: there is no layer of that name that could be shown.
        ModelError: the network has no layer that could be shown.
    """
    watched = _watched(scorer, image)
    found = watched.found
    if name:
        named = {layer.name: layer for layer, _ in found}
        if name not in named:
            some = ", ".join(list(named)[-12:]) or "none"
            raise UsageError(f"The network has no layer {name!r} that could be shown. Some that can be: {some}.")
        return named[name]
    if not found:
        raise ModelError("The network has no layer whose answer lies on a grid, so there is nothing to show.")
    convolutions = [number for number, (_, module) in enumerate(found) if _is_convolution(module)]
    if not convolutions:
        raise ModelError(
            "The network has no convolution whose answer could be shown. Name a layer, or use another way."
        )
    if watched.shared_end:
        return found[_end_of_block(found, convolutions[-1])][0]
    if watched.answers_map and len(convolutions) > 1:
        # The last one's answer is the segmentation itself.
        convolutions.pop()
    longest = {number: max(found[number][0].grid) for number in convolutions}
    fine = [size for size in longest.values() if size >= LEAST_GRID]
    wanted = min(fine) if fine else max(longest.values())
    last = [number for number in convolutions if longest[number] == wanted][-1]
    return found[_end_of_block(found, last)][0]


def _end_of_block(found: list[tuple[Layer, Any]], start: int) -> int:
    """Return the number of the last layer that only finishes what the convolution ``start`` has begun."""
    end = start
    for number in range(start + 1, len(found)):
        layer, module = found[number]
        belongs = any(_is_convolution(each) for each in module.modules()) or any(
            word in type(module).__name__ for word in _AFTER
        )
        fits = layer.grid == found[start][0].grid and layer.channels == found[start][0].channels
        if _is_convolution(module) or not belongs or not fits:
            break
        end = number
    return end


@dataclass(frozen=True, eq=False)
class _Watched:
    """What was seen of a network at work.

    Attributes:
        found: the layers with their modules, in the order in which the network comes to them.
        answers_map: it answers a value for each voxel, or for each cell of a grid.
        shared_end: it ends with convolutions that it uses several times, as the heads of a detector are used on each
            level of a pyramid.
    """

    found: list[tuple[Layer, Any]]
    answers_map: bool
    shared_end: bool


def _watched(scorer: Scorer, image: torch.Tensor) -> _Watched:
    """Return the layers that the score goes through, and what kind of network it is; the network runs once."""
    import torch

    network = scorer.network
    names = {module: name for name, module in network.named_modules() if name}
    order: list[tuple[Any, tuple[int, ...], Any]] = []
    calls: dict[Any, int] = {}
    answers: list[Any] = []

    def note(module: Any, _: Any, answer: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(answer, torch.Tensor):
            order.append((module, tuple(answer.shape), answer.grad_fn))

    hooks = [module.register_forward_hook(note) for module in names]
    hooks.append(network.register_forward_hook(lambda module, given, answer: answers.append(answer)))
    try:
        # Only which results are made of which is of interest, so that nothing is kept for the way back.
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda _: torch.empty(0), lambda _: _):
            score = scorer(image.detach().clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    reached = _ancestors(score)
    layers = []
    for module, shape, origin in order:
        grid = _grid_of(shape, scorer, image)
        if grid is None or calls[module] > 1 or isinstance(module, torch.nn.Identity):
            continue
        if reached and origin is not None and origin not in reached:
            continue  # another level of a pyramid, or an answer beside
        by_slice = len(shape) == 4 and scorer.slice_axis is None
        layers.append((Layer(names[module], type(module).__name__, shape[1], grid, by_slice), module))
    last = next((module for module, _, _ in reversed(order) if _is_convolution(module)), None)
    return _Watched(layers, _is_map(answers[-1]), last is not None and calls[last] > 1)


def _ancestors(score: Any) -> set[Any]:
    """Return all results that a score was made of; none where that cannot be told."""
    import torch

    first = score.grad_fn if isinstance(score, torch.Tensor) else None
    seen: set[Any] = set()
    to_come = [first] if first is not None else []
    while to_come:
        node = to_come.pop()
        if node not in seen:
            seen.add(node)
            to_come += [each for each, _ in node.next_functions if each is not None]
    return seen


def _is_map(answer: Any) -> bool:
    while isinstance(answer, tuple | list | Mapping):
        answer = next(iter(answer.values())) if isinstance(answer, Mapping) else answer[0]
    return getattr(answer, "ndim", 0) >= 4


def _grid_of(shape: tuple[int, ...], scorer: Scorer, image: torch.Tensor) -> tuple[int, int, int] | None:
    size = tuple(image.shape[2:])
    if len(shape) == 5 and shape[0] == 1 and scorer.slice_axis is None:
        grid = list(shape[2:])
    elif len(shape) == 4 and shape[0] == 1 and scorer.slice_axis is not None:
        grid = list(shape[2:])
        grid.insert(scorer.slice_axis, 1)
    elif len(shape) == 4 and shape[0] == size[2] and scorer.slice_axis is None:
        grid = [*shape[2:], size[2]]
    else:
        return None
    if max(grid[:2] if len(shape) == 4 and scorer.slice_axis is None else grid) < 2:
        return None
    return grid[0], grid[1], grid[2]


def _is_convolution(module: Any) -> bool:
    import torch

    return isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d)


def _is_transformer(network: Any) -> bool:
    """Whether the only convolutions are those that cut the image into patches."""
    convolutions = [each for each in network.modules() if _is_convolution(each)]
    blocks = any("Transformer" in type(each).__name__ for each in network.modules())
    return blocks and all(each.kernel_size == each.stride and max(each.stride) > 1 for each in convolutions)
