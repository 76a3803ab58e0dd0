"""A network converted for OpenVINO without its first convolutions, for images in which they have little to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from meddl.inference.engines.first_convolution import FirstConvolution
from meddl.inference.engines.first_pooling import FirstPooling
from meddl.inference.engines.openvino_graph import mean_name

WORTH = 0.1
"""Share of all a network's multiplications from which on it pays to have its first convolutions apart."""


def cut_first_convolutions(model: Any) -> tuple[list[FirstConvolution], Any] | None:
    """Return the convolutions of the image itself, and a model of all that follows.

    Args:
        model: an ``openvino.Model`` for an image ``(1, C, ...)``. It is taken apart: it must not be used any more.

    Returns:
        None if they are too small a part of the work to be worth it, or there are none. Else they, and the rest. It
        takes of each its answer, or what a pooling has left of it, and the channels' means and variances
        ``(1, O, 1, ...)`` of those it says so of; and after them the image if something else needs it, too.
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
        pool = _pool(last, moments)
        found.append(_described(node, bias, len(moments), pool))
        for each in (pool or last, *moments):
            inputs.append(ops.parameter(each.output(0).get_shape(), np.float32))
            each.output(0).replace(inputs[-1].output(0))
    rest = openvino.Model(model.get_results(), [*inputs, *([image] if len(users) > len(firsts) else [])])
    return found, rest


def _moments(node: Any, named: Mapping[str, Any]) -> list[Any]:
    """Return the nodes that take the mean and the variance of a node's answer, as far as there are any."""
    mean = named.get(mean_name(node))
    if mean is None:
        return []
    for centered in (each.get_node() for each in mean.output(0).get_target_inputs()):
        is_centered = centered.get_type_name() == "Subtract" and centered.input_value(0) == node.output(0)
        for squares in (each.get_node() for each in centered.output(0).get_target_inputs()) if is_centered else ():
            if squares.get_type_name() == "Multiply" and squares.input_value(0) == squares.input_value(1):
                variance = named.get(mean_name(squares))
                return [mean] if variance is None else [mean, variance]
    return [mean]


def _pool(node: Any, moments: list[Any]) -> Any:
    """Return the pooling that takes a node's answer if nothing else does but what its moments come from; or None."""
    users = [each.get_node() for each in node.output(0).get_target_inputs()]
    pools = [each for each in users if each.get_type_name() == "MaxPool"]
    others = [each for each in users if each.get_type_name() != "MaxPool"]
    if len(pools) != 1 or (others and len(moments) < 2) or not all(_leads_to(each, moments) for each in others):
        return None
    facts = pools[0].get_attributes()
    is_plain = facts["auto_pad"] == "explicit" and set(facts.get("dilations", [1])) == {1}
    return pools[0] if is_plain and all(not each.get_target_inputs() for each in pools[0].outputs()[1:]) else None


def _leads_to(node: Any, ends: list[Any]) -> bool:
    """Say whether all that becomes of a node's answer goes through some other nodes."""
    if node in ends:
        return True
    users = [each.get_node() for output in node.outputs() for each in output.get_target_inputs()]
    return bool(users) and node.get_type_name() != "Result" and all(_leads_to(each, ends) for each in users)


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


def _described(node: Any, bias: Any, moments: int, pool: Any) -> FirstConvolution:
    facts = node.get_attributes()
    pooling = None
    if pool is not None:
        of = pool.get_attributes()
        size = tuple(pool.output(0).get_shape())[2:]
        pooling = FirstPooling(tuple(of["kernel"]), tuple(of["strides"]), tuple(of["pads_begin"]), size)
    return FirstConvolution(
        node.input_value(1).get_node().data.copy(),
        bias,
        tuple(node.output(0).get_shape())[2:],
        tuple(facts["strides"]),
        tuple(facts["dilations"]),
        tuple(facts["pads_begin"]),
        moments,
        pooling,
    )
