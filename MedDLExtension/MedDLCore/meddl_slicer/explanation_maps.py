"""Maps of attribution as volumes of the scene: colors transparent around zero, a scale, a threshold, and what is said.

All that is known of a map stands in attributes of its node, so that it comes back with the scene.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import slicer.util
from meddl.saliency.colors import DEFAULT_THRESHOLD, map_colors, scale_of

from meddl_slicer import colors, maps, provenance
from meddl_slicer.scene_guard import alive, remove

if TYPE_CHECKING:
    from meddl.saliency.attribution import Attribution

#: Attribute of a map's node: what is known of it, as JSON; and how much of the scale is transparent, 0 to 1.
EXPLANATION = provenance.PREFIX + "Explanation"
THRESHOLD = provenance.PREFIX + "Threshold"
#: Node references from a map to its color table and to the image that was explained.
COLORS_ROLE = provenance.PREFIX + "colors"
SOURCE_ROLE = provenance.PREFIX + "source"

_KNOWN = ("method", "target", "score", "signed", "greatest", "facts", "notes", "measures", "anatomy", "agreement",
          "counterfactuals")  # fmt: skip
_COUNT = 256
_LEGEND_WIDTH, _LEGEND_LINES = 24, 3


@dataclass(frozen=True, eq=False)
class MapView:
    """What is known of one map.

    Attributes:
        node: its volume.
        method, title: id of the method, and what it is called.
        target, score: what was explained, in words and as a number.
        signed: negative values speak against it.
        greatest: end of the color scale.
        facts, notes, measures, anatomy: as of :class:`meddl.saliency.attribution.Attribution`, as plain data.
        agreement: of all maps of the run, each two of them, as measures.
        counterfactuals: what becomes of the score without each structure, as measures.
    """

    node: slicer.vtkMRMLScalarVolumeNode
    method: str
    title: str
    target: str
    score: float
    signed: bool
    greatest: float
    facts: dict[str, Any]
    notes: tuple[str, ...]
    measures: tuple[dict[str, Any], ...]
    anatomy: tuple[dict[str, Any], ...]
    agreement: tuple[dict[str, Any], ...]
    counterfactuals: tuple[dict[str, Any], ...]


def title_of(method: str) -> str:
    """Return what a method is called; its id where nobody knows it."""
    from meddl.saliency.methods.known import METHODS

    return METHODS[method].title if method in METHODS else method


def map_of(node: slicer.vtkMRMLNode | None) -> MapView | None:
    """Return what is known of a map; None for a node that no explanation has written, or where that cannot be read."""
    text = node.GetAttribute(EXPLANATION) if node is not None else None
    if not text:
        return None
    try:
        said = json.loads(text)
        known = {name: said[name] for name in _KNOWN}
        for name in ("notes", "measures", "anatomy", "agreement", "counterfactuals"):
            known[name] = tuple(known[name])
        known["score"], known["greatest"] = float(known["score"]), float(known["greatest"])
        return MapView(node=node, title=title_of(known["method"]), **known)
    except (ValueError, LookupError, TypeError):
        return None


def maps_of(source: slicer.vtkMRMLVolumeNode | None) -> list[MapView]:
    """Return the maps of an image that are in the scene, those that came last first."""
    found = [map_of(node) for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    known = [view for view in found if view is not None]
    return [view for view in reversed(known) if source is None or view.node.GetNodeReference(SOURCE_ROLE) is source]


def apply_map(
    attribution: Attribution,
    input_node: slicer.vtkMRMLVolumeNode,
    former: slicer.vtkMRMLScalarVolumeNode | None = None,
    agreement: Sequence[Mapping[str, Any]] = (),
    counterfactuals: Sequence[Mapping[str, Any]] = (),
) -> slicer.vtkMRMLScalarVolumeNode:
    """Bring a map into the scene, into ``former`` or a new node, and return its node."""
    title = title_of(attribution.method)
    name = f"{input_node.GetName()} {title}: {attribution.target}"
    greatest = scale_of(attribution.map.array)
    low = -greatest if attribution.signed else 0.0
    node = maps.volume_node(attribution.map, name, input_node, former, attribution.provenance)
    plain = attribution.to_dict()
    said = {name: plain[name] for name in ("method", "target", "score", "signed", "facts", "notes")}
    said |= {name: plain[name] for name in ("measures", "anatomy")}
    said |= {"agreement": [dict(each) for each in agreement], "greatest": greatest}
    said |= {"counterfactuals": [dict(each) for each in counterfactuals]}
    node.SetAttribute(EXPLANATION, json.dumps(said, sort_keys=True, default=str))
    node.SetNodeReferenceID(SOURCE_ROLE, input_node.GetID())
    table = node.GetNodeReference(COLORS_ROLE)
    if table is None:
        table = slicer.vtkMRMLColorTableNode()
        table.SetName(slicer.mrmlScene.GenerateUniqueName(f"{title} colors"))
        table.SetTypeToUser()
        table.SetNumberOfColors(_COUNT)
        table.SetHideFromEditors(True)
        table = slicer.mrmlScene.AddNode(table)
        node.SetNodeReferenceID(COLORS_ROLE, table.GetID())
    look_again(node)
    legend = "\n".join([title, *textwrap.wrap(attribution.target, _LEGEND_WIDTH, max_lines=_LEGEND_LINES)])
    colors.show_map(node, table, low, greatest, legend, "%.2g")
    return node


def threshold_of(node: slicer.vtkMRMLNode) -> float:
    """Return how much of a map's scale is transparent, 0 to 1."""
    text = node.GetAttribute(THRESHOLD)
    return float(text) if text else DEFAULT_THRESHOLD


def set_threshold(node: slicer.vtkMRMLScalarVolumeNode, share: float) -> None:
    """Make what is nearer to 0 than a share of the scale transparent; 0 is so in any case."""
    view, table = map_of(node), node.GetNodeReference(COLORS_ROLE)
    node.SetAttribute(THRESHOLD, f"{share:.4f}")
    if view is None or table is None:
        return
    place = np.linspace(-1.0 if view.signed else 0.0, 1.0, _COUNT)
    # Slices know colors that are there or not, nothing between: how much of the image is seen is the layer's opacity.
    with slicer.util.NodeModify(table):
        for index, (red, green, blue, opacity) in enumerate(map_colors(place, view.signed, max(share, 1.5 / _COUNT))):
            value = f"{place[index] * view.greatest:.3g}"
            table.SetColor(index, value, float(red), float(green), float(blue), float(opacity > 0))


def look_again(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Give a map the colors and the scale that its attributes tell, whatever it was shown with meanwhile."""
    view, display = map_of(node), node.GetDisplayNode()
    if view is not None and display is not None:
        set_threshold(node, threshold_of(node))
        display.SetWindowLevelMinMax(-view.greatest if view.signed else 0.0, view.greatest)


def companions(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLNode]:
    """Return what belongs to a map and means nothing without it: colors, tables, plots, and what renders it."""
    if node.GetAttribute(EXPLANATION) is None:
        return []
    from meddl_slicer.explanation_tables import ROLES

    found = [one for role in (COLORS_ROLE, *ROLES) for one in maps.references(node, role)]
    for index in range(node.GetNumberOfDisplayNodes()):
        display = node.GetNthDisplayNode(index)
        if display is not None and display.IsA("vtkMRMLColorLegendDisplayNode"):
            found.append(display)
        elif display is not None and display.IsA("vtkMRMLVolumeRenderingDisplayNode"):
            found += [
                one for one in (display.GetVolumePropertyNode(), display.GetROINode(), display) if one is not None
            ]
    return found


def former_of(
    attribution: Attribution, source: slicer.vtkMRMLVolumeNode, kept: list[slicer.vtkMRMLNode]
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the map of an earlier run that asked the same: same image, model, method and target; else None.

    Args:
        kept: maps that are not to be replaced.
    """
    model = provenance.model_title(attribution.provenance)
    for view in maps_of(source):
        same = (view.method, view.target) == (attribution.method, attribution.target)
        if same and view.node not in kept and provenance.model_title(provenance.read(view.node) or {}) == model:
            return alive(view.node)
    return None


def remove_map(node: slicer.vtkMRMLNode) -> None:
    """Take a map out of the scene, with what belongs to it."""
    for one in companions(node):
        remove(one)
    remove(node)
