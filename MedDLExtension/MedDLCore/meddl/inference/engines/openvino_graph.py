"""What is changed in a network converted for OpenVINO, so that it answers as exactly as torch does in float32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from meddl.inference.engines.first_convolution import FirstConvolution

VERSION = 1
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
            means[key].set_friendly_name(_mean_name(source.get_node()))
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


def _mean_name(node: Any) -> str:
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
    variance.set_friendly_name(_mean_name(squares))
    return ops.divide(centered, ops.sqrt(ops.add(variance, ops.constant(np.float32(facts["eps"])))))


def _shaped(mean: Any, node: Any) -> Any:
    from openvino import opset13 as ops

    shape: Sequence[int] = list(node.output(0).get_shape())
    return mean if list(mean.output(0).get_shape()) == shape else ops.reshape(mean, ops.constant(shape), False)


WORTH = 0.1
"""Share of all a network's multiplications from which on it pays to have its first convolutions apart."""


def cut_first_convolutions(model: Any) -> tuple[list[FirstConvolution], Any] | None:
    """Return the convolutions of the image itself, and a model of all that follows.

    Args:
        model: an ``openvino.Model`` for an image ``(1, C, ...)``. It is taken apart: it must not be used any more.

    Returns:
        None if they are too small a part of the work to be worth it, or there are none. Else they, and the rest. It
        takes of each its answer, and the channels' means and variances ``(1, O, 1, ...)`` of those it says so of; and
        after them the image if something else needs it, too.
    """
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    if len(model.get_parameters()) != 1:
        return None
    (image,) = model.get_parameters()
    users = [each.get_node() for each in image.output(0).get_target_inputs()]
    firsts = [node for node in users if _is_plain_convolution(node)]
    if not firsts or sum(map(_work, firsts)) < WORTH * sum(map(_work, model.get_ops())):
        return None
    found, inputs = [], []
    named = {node.get_friendly_name(): node for node in model.get_ops()}
    for node in firsts:
        bias, last = _bias(node)
        moments = _moments(last, named)
        found.append(_described(node, bias, len(moments)))
        for each in (last, *moments):
            inputs.append(ops.parameter(each.output(0).get_shape(), np.float32))
            each.output(0).replace(inputs[-1].output(0))
    rest = openvino.Model(model.get_results(), [*inputs, *([image] if len(users) > len(firsts) else [])])
    return found, rest


def _moments(node: Any, named: Mapping[str, Any]) -> list[Any]:
    """Return the nodes that take the mean and the variance of a node's answer, as far as there are any."""
    mean = named.get(_mean_name(node))
    if mean is None:
        return []
    for centered in (each.get_node() for each in mean.output(0).get_target_inputs()):
        is_centered = centered.get_type_name() == "Subtract" and centered.input_value(0) == node.output(0)
        for squares in (each.get_node() for each in centered.output(0).get_target_inputs()) if is_centered else ():
            if squares.get_type_name() == "Multiply" and squares.input_value(0) == squares.input_value(1):
                variance = named.get(_mean_name(squares))
                return [mean] if variance is None else [mean, variance]
    return [mean]


def _is_plain_convolution(node: Any) -> bool:
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    return (
        node.get_attributes()["auto_pad"] == "explicit" and node.output(0).get_element_type().get_type_name() == "f32"
    )


def _work(node: Any) -> int:
    """Return how many multiplications of numbers a node takes, for those kinds that take most."""
    kind = node.get_type_name()
    if kind in ("Convolution", "GroupConvolution"):
        answer = list(node.output(0).get_shape())
        return math.prod(answer) * math.prod(node.input(1).get_shape()) // answer[1]
    if kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        given = list(node.input(0).get_shape())
        return math.prod(given) * math.prod(node.input(1).get_shape()) // given[1]
    if kind == "MatMul":
        given = list(node.input(0).get_shape())
        return math.prod(node.output(0).get_shape()) * given[-2 if node.get_attributes()["transpose_a"] else -1]
    return 0


def _bias(node: Any) -> tuple[Any, Any]:
    """Return the numbers added to a convolution's channels, or None, and the node that has added them."""
    users = list(node.output(0).get_target_inputs())
    adding = users[0].get_node() if len(users) == 1 else None
    if adding is None or adding.get_type_name() != "Add":
        return None, node
    added, shape = adding.input_value(1 - users[0].get_index()).get_node(), list(node.output(0).get_shape())
    if added.get_type_name() != "Constant" or list(added.output(0).get_shape()) != [1, shape[1], *[1] * len(shape[2:])]:
        return None, node
    return added.data.copy(), adding


def _described(node: Any, bias: Any, moments: int) -> FirstConvolution:
    facts = node.get_attributes()
    return FirstConvolution(
        node.input_value(1).get_node().data.copy(),
        bias,
        tuple(node.output(0).get_shape())[2:],
        tuple(facts["strides"]),
        tuple(facts["dilations"]),
        tuple(facts["pads_begin"]),
        moments,
    )
