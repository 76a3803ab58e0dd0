"""What layers do to tensors that changed in a box: how the box grows, and what of the rest they need.

A rule returns ``NotImplemented`` for what it cannot do in the box; the whole tensor is computed then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from meddl.saliency.incremental.changed import Changed, around

_aten = torch.ops.aten


def _result(base: torch.Tensor, boxes: torch.Tensor, starts: np.ndarray, like: Changed) -> torch.Tensor:
    changed = Changed(base, boxes, starts, like.unchanged)
    return changed.whole() if changed.most_changed else changed


class _Window:
    """The window that a convolution or a pooling moves over the image; of each axis."""

    def __init__(self, kernel: Any, stride: Any, padding: Any, dilation: Any, axes: int) -> None:
        kernel, stride, padding, dilation = (_each(given, axes) for given in (kernel, stride, padding, dilation))
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self._reach = dilation * (kernel - 1) + 1

    def changed(self, given: Changed, full: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return starts ``(B, D)`` and size ``(D,)`` of the boxes outside of which the result ``full`` is as before."""
        end = given.starts + given.size_of_boxes
        first = np.maximum(-(-(given.starts + self.padding - self._reach + 1) // self.stride), 0)
        last = np.minimum((end - 1 + self.padding) // self.stride + 1, np.array(full))
        # Between wide strides nothing may see the box.
        size = np.maximum((last - first).max(axis=0), 1)
        return np.minimum(first, np.array(full) - size), size

    def seen(self, given: Changed, starts: np.ndarray, size: np.ndarray, value: float = 0.0) -> torch.Tensor:
        """Return what lies under the window at all places of the boxes, padded with ``value``."""
        need = (size - 1) * self.stride + self._reach
        return given.cut(starts * self.stride - self.padding, need, self.padding, value)


def _convolution(
    given: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, more: Any,
    groups: int, *_: Any,
) -> Any:  # fmt: skip
    if transposed or not isinstance(given, Changed) or isinstance(weight, Changed):
        return NotImplemented
    axes = weight.ndim - 2
    window = _Window(weight.shape[2:], stride, padding, dilation, axes)
    stride, padding, dilation = window.stride.tolist(), window.padding.tolist(), window.dilation.tolist()
    none = [0] * axes
    base = given.unchanged.of(
        _aten.convolution, given.base, weight, bias, stride, padding, dilation, False, none, groups
    )
    starts, size = window.changed(given, base.shape[2:])
    seen = window.seen(given, starts, size)
    boxes = _aten.convolution(seen, weight, bias, stride, none, dilation, False, none, groups)
    return _result(base, boxes, starts, given)


def _max_pool(
    given: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    axes = given.ndim - 2
    pool = {2: _aten.max_pool2d_with_indices, 3: _aten.max_pool3d_with_indices}.get(axes)
    if pool is None or ceil_mode:
        return NotImplemented
    window = _Window(kernel, stride or kernel, padding, dilation, axes)
    like = window.stride.tolist(), window.padding.tolist(), window.dilation.tolist()
    base = given.unchanged.of(pool, given.base, kernel, *like)
    starts, size = window.changed(given, base.shape[2:])
    boxes, places = pool(window.seen(given, starts, size, -torch.inf), kernel, like[0], [0] * axes, like[2])
    # Places in the boxes are none in the image: who asks for them shall not take them for such.
    return _result(base, boxes, starts, given), places.new_empty(0)


def _average_pool(
    given: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    axes = given.ndim - 2
    pool = {2: _aten.avg_pool2d, 3: _aten.avg_pool3d}.get(axes)
    window = _Window(kernel, stride or kernel, padding, 1, axes)
    if pool is None or ceil_mode or window.padding.any():
        return NotImplemented
    like = window.stride.tolist(), [0] * axes, False, count_include_pad, divisor_override
    base = given.unchanged.of(pool, given.base, kernel, *like)
    starts, size = window.changed(given, base.shape[2:])
    return _result(base, pool(window.seen(given, starts, size), kernel, *like), starts, given)


def _batch_norm(
    given: Any, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, momentum: float, epsilon: float
) -> Any:
    if training:
        return NotImplemented  # of the image itself: all of it changes
    like = weight, bias, mean, variance, False, momentum, epsilon
    base = given.unchanged.of(_aten.native_batch_norm, given.base, *like)
    boxes, *rest = _aten.native_batch_norm(given.boxes, *like)
    return _result(base, boxes, given.starts, given), *rest


def _concatenated(given: Sequence[Any], dim: int = 0) -> Any:
    if dim != 1 or not all(isinstance(each, Changed) for each in given):
        return NotImplemented
    base = given[0].unchanged.of(torch.cat, [each.base for each in given], dim)
    starts, size = around(given)
    return _result(base, torch.cat([each.cut(starts, size) for each in given], dim), starts, given[0])


def _voxelwise(function: Any, in_place: bool = False) -> Callable[..., Any]:
    """Return the rule of a function that works voxel by voxel, on one such tensor or several.

    Args:
        in_place: the rule is for its twin that writes over what it is given first.
    """

    def rule(*given: Any, **how: Any) -> Any:
        changed = [each for each in given if isinstance(each, Changed)]
        if in_place and not isinstance(given[0], Changed):
            return NotImplemented
        if not all(_fits(each, changed[0]) for each in given):
            return NotImplemented
        starts, size = around(changed)
        bases = [each.base if isinstance(each, Changed) else each for each in given]
        parts = [each.cut(starts, size) if isinstance(each, Changed) else each for each in given]
        base, boxes = changed[0].unchanged.of(function, *bases, **how), function(*parts, **how)
        if in_place:
            given[0].into(base, boxes, starts)
            return given[0]
        return _result(base, boxes, starts, changed[0])

    return rule


def _fits(given: Any, like: Changed) -> bool:
    """Say whether an argument changed in the same way, or is the same for all voxels and images."""
    if isinstance(given, Changed):
        return given.base.shape == like.base.shape
    if not isinstance(given, torch.Tensor):
        return True
    axes = like.ndim - 2
    if given.ndim > like.ndim:
        return False
    batch = given.shape[: max(given.ndim - axes - 1, 0)]
    return all(length == 1 for length in (*batch, *given.shape[-axes:]))


_VOXELWISE = (
    "add", "sub", "mul", "div", "relu", "leaky_relu", "_prelu_kernel", "elu", "gelu", "silu", "mish", "sigmoid", "tanh",
    "hardswish", "hardsigmoid", "hardtanh", "softplus", "clamp", "clone", "neg",
)  # fmt: skip

RULES: dict[Any, Callable[..., Any]] = {
    _aten.convolution: _convolution,
    _aten._convolution: _convolution,
    _aten.max_pool2d_with_indices: _max_pool,
    _aten.max_pool3d_with_indices: _max_pool,
    _aten.avg_pool2d: _average_pool,
    _aten.avg_pool3d: _average_pool,
    _aten.native_batch_norm: _batch_norm,
    _aten.cat: _concatenated,
    **{getattr(_aten, name): _voxelwise(getattr(_aten, name)) for name in _VOXELWISE},
    **{
        getattr(_aten, f"{name}_"): _voxelwise(getattr(_aten, name), in_place=True)
        for name in _VOXELWISE
        if hasattr(_aten, f"{name}_")
    },
}
"""By PyTorch's operation."""


def _each(given: Any, axes: int) -> np.ndarray:
    """Return one number for each axis: PyTorch takes one for all, too."""
    return np.broadcast_to(np.array(given, dtype=int), (axes,)) if np.size(given) <= 1 else np.array(given, dtype=int)
