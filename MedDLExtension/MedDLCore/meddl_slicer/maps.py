"""Maps beside a result: how sure the model is of each voxel, each structure's probability, what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from meddl_slicer import colors, nodes, provenance, study
from meddl_slicer.scene_guard import alive, remove

if TYPE_CHECKING:
    from meddl.volume import Volume

#: Node references from a result's main node to its maps.
ENTROPY_ROLE = provenance.PREFIX + "entropy"
PROBABILITY_ROLE = provenance.PREFIX + "probability"
DIFFERENCE_ROLE = provenance.PREFIX + "difference"


@dataclass(frozen=True)
class Looks:
    """How a map is shown: color table, window, and what its legend says."""

    colors: slicer.vtkMRMLColorNode
    low: float
    high: float
    title: str
    label_format: str = "%.2f"


def apply_entropy(
    prediction: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode, owner: slicer.vtkMRMLNode
) -> None:
    """Show the entropy of ``prediction`` from 0 (sure) to 1, or take away that of a former run."""
    entropy = (prediction.get("uncertainty") or {}).get("entropy")
    former = owner.GetNodeReference(ENTROPY_ROLE)
    if entropy is None:
        remove(former)
        owner.RemoveNodeReferenceIDs(ENTROPY_ROLE)
        return
    looks = Looks(colors.growing(), 0.0, 1.0, "Uncertainty\n(entropy)")
    name = f"{input_node.GetName()} uncertainty"
    node = volume_node(entropy, name, input_node, former, prediction["provenance"], looks)
    owner.SetNodeReferenceID(ENTROPY_ROLE, node.GetID())


def probabilities_in_steps(
    prediction: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode, owner: slicer.vtkMRMLNode
) -> Iterator[None]:
    """Show one probability volume (0 to 1) per structure of ``prediction``, or take away those of a former run."""
    probabilities = prediction.get("probabilities")
    names = [str(segment["name"]) for segment in prediction["segments"]] if probabilities is not None else []
    former = {node.GetAttribute("MedDL.Structure"): node for node in references(owner, PROBABILITY_ROLE)}
    owner.RemoveNodeReferenceIDs(PROBABILITY_ROLE)
    for channel, name in enumerate(names):
        yield
        one = probabilities.with_array(probabilities.array[channel : channel + 1])
        title = f"{input_node.GetName()} probability of {name}"
        looks = Looks(colors.growing(), 0.0, 1.0, f"Probability\n{name}")
        node = volume_node(one, title, input_node, former.pop(name, None), prediction["provenance"], looks)
        node.SetAttribute("MedDL.Structure", name)
        owner.AddNodeReferenceID(PROBABILITY_ROLE, node.GetID())
    for node in former.values():
        remove(node)


def apply_difference(
    prediction: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode, owner: slicer.vtkMRMLNode
) -> None:
    """Show what a reconstruction has changed, with a window symmetric about 0, or take away that of a former run."""
    difference = prediction.get("difference")
    former = owner.GetNodeReference(DIFFERENCE_ROLE)
    if difference is None:
        remove(former)
        owner.RemoveNodeReferenceIDs(DIFFERENCE_ROLE)
        return
    # All but the outermost: a single voxel would make the rest gray.
    greatest = float(np.percentile(np.abs(_sample(difference.array)), 99.5)) or 1.0
    looks = Looks(colors.diverging(), -greatest, greatest, "Difference\nto the input", "%.3g")
    name = f"{input_node.GetName()} difference"
    node = volume_node(difference, name, input_node, former, prediction["provenance"], looks)
    owner.SetNodeReferenceID(DIFFERENCE_ROLE, node.GetID())


def volume_node(
    volume: Volume,
    name: str,
    input_node: slicer.vtkMRMLVolumeNode,
    former: slicer.vtkMRMLVolumeNode | None,
    facts: Mapping[str, Any],
    looks: Looks | None = None,
) -> slicer.vtkMRMLVolumeNode:
    """Return a volume node with ``volume``: ``former``, if it is there and holds as many channels, else a new one.

    It lies under the input's parent transform and in its study folder, and is signed with ``facts``.

    Args:
        looks: how it is shown. What the user has changed on a map that is shown already stays.
    """
    node = alive(former)
    if node is not None and (node.GetClassName() == "vtkMRMLVectorVolumeNode") == (volume.channels > 1):
        node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
        nodes.update_node_from_volume(node, volume, take_over=True)
        study.place_beside(node, input_node)
    else:
        node = nodes.add_volume_node(volume, name, like=input_node, take_over=True, window=_window(looks, input_node))
    provenance.write(node, facts)
    if looks is not None:
        colors.show_map(node, looks.colors, looks.low, looks.high, looks.title, looks.label_format)
    return node


def detached_image(
    prediction: Mapping[str, Any], frame_node: slicer.vtkMRMLVolumeNode, like: slicer.vtkMRMLVolumeNode
) -> slicer.vtkMRMLVolumeNode:
    """Return the image of ``prediction`` as a node outside of the scene, for a sequence that ``like`` will show."""
    image = prediction["image"]
    node = slicer.mrmlScene.CreateNodeByClass(like.GetClassName())
    node.UnRegister(None)
    node.SetName(like.GetName())
    nodes.update_node_from_volume(node, image, take_over=True, parent=nodes.parent_to_world(like))
    provenance.write(node, prediction["provenance"])
    return node


def _window(looks: Looks | None, input_node: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    """Return the window that a new volume begins with, so that Slicer need not look for one in all of its voxels."""
    if looks is not None:
        return looks.low, looks.high
    display = input_node.GetDisplayNode()
    if not hasattr(display, "GetWindowLevelMin"):
        return None
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def references(owner: slicer.vtkMRMLNode, role: str) -> list[slicer.vtkMRMLNode]:
    """Return the nodes that ``owner`` refers to in a role."""
    found = [owner.GetNthNodeReference(role, index) for index in range(owner.GetNumberOfNodeReferences(role))]
    return [node for node in found if node is not None]


def window_like(node: slicer.vtkMRMLVolumeNode, input_node: slicer.vtkMRMLVolumeNode) -> None:
    """Give ``node`` the window of ``input_node``, if its values lie there at all; else one that suits them."""
    display, shown = node.GetDisplayNode(), input_node.GetDisplayNode()
    if display is None or shown is None or node.GetImageData().GetNumberOfScalarComponents() > 1:
        return
    if input_node.GetImageData().GetNumberOfScalarComponents() > 1:
        return
    low, high = shown.GetWindowLevelMin(), shown.GetWindowLevelMax()
    least, greatest = np.percentile(_sample(slicer.util.arrayFromVolume(node)), (5, 95))
    if greatest > low and least < high and (greatest - least) > 0.05 * (high - low):
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(low, high)
        display.SetAndObserveColorNodeID(shown.GetColorNodeID())
    else:
        display.SetAutoWindowLevel(True)


def _sample(array: np.ndarray) -> np.ndarray:
    """Return at most about a million of the values, evenly spread."""
    step = max(1, round((array.size / 1e6) ** (1 / 3)))
    return array[..., ::step, ::step, ::step] if array.ndim > 2 else array
