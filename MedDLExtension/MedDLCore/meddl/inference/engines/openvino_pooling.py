"""Pooling before what keeps the order of numbers, instead of after it: the same answers from fewer voxels."""

from __future__ import annotations

from typing import Any


def pool_first(model: Any) -> int:
    """Change a model in place: the greatest of normalized, rectified voxels is found before they are normalized.

    Taking a channel's mean away, dividing by its deviation and cutting off what is negative never change which of two
    voxels is the greater one, so that the greatest may be looked for first and an eighth of the voxels is left to do
    that to. The answers are the same to the last bit.

    Args:
        model: an ``openvino.Model`` for windows of a known shape.

    Returns:
        How many poolings were moved.
    """
    moved = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MaxPool":
            steps, source = _kept_order(node.input_value(0))
            if steps:
                _move(node, steps, source)
                moved += 1
    if moved:
        model.validate_nodes_and_infer_types()
    return moved


def _kept_order(source: Any) -> tuple[list[Any], Any]:
    """Return the nodes, the last first, that nothing else needs and that keep the order; and what they begin with."""
    steps: list[Any] = []
    while True:
        node = source.get_node()
        # What is taken away first may be needed for the deviation, too: that stays as it is.
        alone = len(source.get_target_inputs()) == 1 or (node.get_type_name() == "Subtract" and bool(steps))
        if not alone or not _keeps_order(node):
            return steps, source
        steps.append(node)
        source = node.input_value(0)


def _keeps_order(node: Any) -> bool:
    kind = node.get_type_name()
    if kind == "Relu":
        return True
    if kind not in ("Subtract", "Divide"):
        return False
    shape = list(node.input(1).get_partial_shape().to_shape()) if node.input(1).get_partial_shape().is_static else []
    per_channel = len(shape) == len(node.output(0).get_partial_shape()) and set(shape[2:]) == {1}
    return per_channel and (kind == "Subtract" or node.input_value(1).get_node().get_type_name() == "Sqrt")


def _move(pooling: Any, steps: list[Any], source: Any) -> None:
    from openvino import opset13 as ops

    makers = {"Subtract": ops.subtract, "Divide": ops.divide}
    users = list(pooling.output(0).get_target_inputs())
    pooling.input(0).replace_source_output(source)
    made = pooling.output(0)
    for node in reversed(steps):
        make = makers.get(node.get_type_name())
        made = (make(made, node.input_value(1)) if make else ops.relu(made)).output(0)
    for user in users:
        user.replace_source_output(made)
