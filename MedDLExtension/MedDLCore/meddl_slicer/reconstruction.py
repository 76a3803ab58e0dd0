"""An image made from an image: a volume node shown like its input, what has changed, and how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import slicer

from meddl_slicer import maps, provenance, table
from meddl_slicer.scene_guard import remove

_COLUMNS = (
    table.Column("Measure", str, "Against the reference image"),
    table.Column("Value", float, "The higher the better"),
    table.Column("Model", str, "Model and version that made the image"),
)
_NAMES = {"psnr_db": "PSNR [dB]", "ssim": "SSIM"}


def apply_reconstruction(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    volume_node: slicer.vtkMRMLVolumeNode | None = None,
) -> slicer.vtkMRMLVolumeNode:
    """Show the image of ``prediction`` where the input is, with the input's window where its values allow it.

    Args:
        prediction: ``{"image": Volume, "difference": Volume or None, "quality": {"psnr_db", "ssim"} or None,
            "provenance": {...}}``.
        volume_node: the node to write into; it keeps how it is shown. A new one when ``None``.
    """
    steps = in_steps(prediction, input_node, volume_node)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def in_steps(
    prediction: Mapping[str, Any],
    input_node: slicer.vtkMRMLVolumeNode,
    volume_node: slicer.vtkMRMLVolumeNode | None = None,
) -> Iterator[None]:
    """Do as :func:`apply_reconstruction`, in steps; the generator's value is the node."""
    facts = prediction["provenance"]
    is_new = volume_node is None
    name = f"{input_node.GetName()} {_what(facts)}"
    volume_node = maps.volume_node(prediction["image"], name, input_node, volume_node, facts)
    yield
    if is_new:
        maps.window_like(volume_node, input_node)
    yield
    maps.apply_difference(prediction, input_node, volume_node)
    former, quality = volume_node.GetNodeReference(table.TABLE_ROLE), prediction.get("quality")
    if quality:
        model = provenance.model_title(facts)
        rows = [(_NAMES.get(key, key), float(value), model) for key, value in quality.items()]
        node = table.write_table(_COLUMNS, rows, facts, input_node, "quality", former, _sentence(quality))
        volume_node.SetNodeReferenceID(table.TABLE_ROLE, node.GetID())
    else:
        remove(former)
        volume_node.RemoveNodeReferenceIDs(table.TABLE_ROLE)
    return volume_node


def _what(facts: Mapping[str, Any]) -> str:
    """Return the model's name as what was done to the image: in lower case, but for abbreviations (MR, CT)."""
    words = str(facts.get("model", {}).get("name") or "reconstruction").split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)


def _sentence(quality: Mapping[str, float]) -> str:
    listed = ", ".join(f"{_NAMES.get(key, key)} {float(value):.3g}" for key, value in quality.items())
    return f"Against the reference: {listed}."
