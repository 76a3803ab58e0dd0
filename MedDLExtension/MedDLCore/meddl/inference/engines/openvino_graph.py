"""What is changed in a network converted for OpenVINO: it answers as exactly as torch in float32, and faster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

VERSION = 3
"""Of what is done here: models converted by another version are not taken from the cache."""

EXACT_FROM = 4096
"""Voxels from which on a mean is taken in parts; of fewer ones, OpenVINO's own sums are exact enough."""

_PART = 8
"""Voxels along each axis of one part."""


def take_means_exactly(model: Any) -> int:
    """Change a model in place: means over all voxels of a channel are taken as means of means of blocks.

    OpenVINO adds up the voxels of a channel one after the other in float32, and the more there are, the more is rounded
    away: the brain model's probabilities at 256 x 256 x 256 voxels were off by up to 0.21 (torch's by 0.00002, as
    float64 tells), and are by 0.00004 with means of blocks of 8 x 8 x 8 voxels, and of blocks of those. That takes up
    to a twentieth of the time more or, of models out of torch.export, less than before.

    Args:
        model: an ``openvino.Model`` for windows of a known shape ``(1, C, ...)``, to be computed in float32.

    Returns:
        How many normalizations and means were changed.
    """
    means: dict[tuple[str, int], Any] = {}
    changed = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("MVN", "ReduceMean") or not _is_over_many_voxels(node):
            continue
        source = node.input_value(0)
        # torch.export takes the mean of the same voxels twice.
        key = (source.get_node().get_name(), source.get_index())
        if key not in means:
            means[key] = _mean(source)
            means[key].set_friendly_name(mean_name(source.get_node()))
        made = _normalized(node, means[key]) if kind == "MVN" else _shaped(means[key], node)
        if made is not None:
            node.output(0).replace(made.output(0))
            changed += 1
    if changed:
        model.validate_nodes_and_infer_types()
    return changed


def _is_over_many_voxels(node: Any) -> bool:
    source, axes = node.input_value(0), node.input_value(1).get_node()
    if source.get_partial_shape().is_dynamic or source.get_element_type().get_type_name() != "f32":
        return False
    shape = list(source.get_shape())
    if len(shape) not in (4, 5) or axes.get_type_name() != "Constant" or math.prod(shape[2:]) < EXACT_FROM:
        return False
    over = {int(axis) % len(shape) for axis in axes.data.flatten()}
    return over == set(range(2, len(shape))) or (shape[0] == 1 and over == {0, *range(2, len(shape))})


def mean_name(node: Any) -> str:
    """Return the name of the node that takes the mean of another one's answer."""
    return f"{node.get_friendly_name()}/exact_mean"


def _mean(values: Any) -> Any:
    """Return a node with the means ``(B, C, 1, ...)`` of ``(B, C, ...)``."""
    import numpy as np
    from openvino import opset13 as ops

    shape = list(values.get_shape())[2:]
    none, voxels, node, counted = [0] * len(shape), math.prod(shape), values, 1
    while max(shape) > 1:
        part = [min(_PART, size) for size in shape]
        # What is missing in the last parts counts as zeros, which a sum does not mind.
        missing = [-size % along for size, along in zip(shape, part, strict=True)]
        node = ops.avg_pool(node, part, none, missing, part, exclude_pad=False)
        shape = [-(-size // along) for size, along in zip(shape, part, strict=True)]
        counted *= math.prod(part)
    return node if counted == voxels else ops.multiply(node, ops.constant(np.float32(counted / voxels)))


def _normalized(node: Any, mean: Any) -> Any:
    import numpy as np
    from openvino import opset13 as ops

    facts = node.get_attributes()
    if not facts["normalize_variance"] or facts["eps_mode"] != "INSIDE_SQRT":
        return None
    centered = ops.subtract(node.input_value(0), mean)
    squares = ops.multiply(centered, centered)
    variance = _mean(squares.output(0))
    variance.set_friendly_name(mean_name(squares))
    return ops.divide(centered, ops.sqrt(ops.add(variance, ops.constant(np.float32(facts["eps"])))))


def _shaped(mean: Any, node: Any) -> Any:
    from openvino import opset13 as ops

    shape: Sequence[int] = list(node.output(0).get_shape())
    return mean if list(mean.output(0).get_shape()) == shape else ops.reshape(mean, ops.constant(shape), False)


def compute_two_classes_as_one(model: Any) -> int:
    """Change a model in place: two classes out of a transposed convolution are computed as one and the rest.

    A softmax of two channels is the sigmoid of their difference, and the difference of two transposed convolutions is
    one with the difference of the weights. Where its kernel is as large as its stride, it is a convolution of single
    voxels whose channels are put side by side. OpenVINO takes an eighth less time for all of the brain model so.

    Args:
        model: as for :func:`take_means_exactly`.

    Returns:
        How many times that was found.
    """
    changed = 0
    for node in model.get_ordered_ops():
        shape = node.output(0).get_partial_shape() if node.get_type_name() == "Softmax" else None
        if shape is None or shape.is_dynamic or len(shape) not in (4, 5) or list(shape.to_shape())[:2] != [1, 2]:
            continue
        bias, convolution = _added(node.input_value(0).get_node())
        if node.get_attributes()["axis"] % len(shape) == 1 and _puts_side_by_side(convolution):
            node.output(0).replace(_two_classes(convolution, bias).output(0))
            changed += 1
    if changed:
        model.validate_nodes_and_infer_types()
    return changed


def _added(node: Any) -> tuple[Any, Any]:
    """Return the numbers ``(1, C, 1, ...)`` that a node adds to another one's answer, or None, and that one."""
    if node.get_type_name() != "Add":
        return None, node
    shape = list(node.output(0).get_shape())
    per_channel = [1, shape[1], *[1] * len(shape[2:])]
    for at in (1, 0):
        numbers = node.input_value(at).get_node()
        if numbers.get_type_name() == "Constant" and list(numbers.output(0).get_shape()) == per_channel:
            return numbers.data, node.input_value(1 - at).get_node()
    return None, node


def _puts_side_by_side(node: Any) -> bool:
    kinds = node.get_type_name(), node.input_value(1).get_node().get_type_name() if len(node.inputs()) == 2 else ""
    if kinds != ("ConvolutionBackpropData", "Constant"):
        return False
    facts, kernel = node.get_attributes(), list(node.input(1).get_shape())[2:]
    moved = [*facts["pads_begin"], *facts["pads_end"], *facts["output_padding"]]
    is_plain = facts["auto_pad"] == "explicit" and not any(moved)
    return is_plain and list(facts["strides"]) == kernel and len(set(kernel)) == 1


def _two_classes(convolution: Any, bias: Any) -> Any:
    import numpy as np
    from openvino import opset13 as ops

    weight, shape = convolution.input_value(1).get_node().data, list(convolution.output(0).get_shape())
    difference = weight[:, 1] - weight[:, 0]  # (C, kernel...)
    ones, none = [1] * (len(shape) - 2), [0] * (len(shape) - 2)
    rows = np.ascontiguousarray(difference.reshape(len(weight), -1).T.reshape(-1, len(weight), *ones))
    values = ops.convolution(convolution.input_value(0), ops.constant(rows), ones, none, none, ones)
    if bias is not None:
        values = ops.add(values, ops.constant(np.float32(bias[0, 1] - bias[0, 0]).reshape(1)))
    second = ops.sigmoid(ops.depth_to_space(values, "depth_first", weight.shape[-1]))
    # As rows, so that both are written one after the other; side by side in memory would take longer than all before.
    row = ops.reshape(second, ops.constant([1, -1]), False)
    both = ops.concat([ops.subtract(ops.constant(np.float32(1)), row), row], 0)
    return ops.reshape(both, ops.constant(shape), False)
