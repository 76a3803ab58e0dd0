"""Maps of attribution in the views: over the slices, two beside one another, in 3D, and the value at the cursor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.saliency.colors import map_colors

from meddl_slicer import colors, nodes, results
from meddl_slicer.explanation_maps import COLORS_ROLE, SOURCE_ROLE, MapView
from meddl_slicer.explanation_target import crosshair_node
from meddl_slicer.scene_guard import alive

#: Slice views of the layout for two maps: above, and below.
UPPER = ("Red", "Green", "Yellow")
LOWER = ("Red+", "Green+", "Yellow+")
_MOST_OPAQUE = 0.6
_EDGE = 0.02  # of the scale: where a rendering goes from clear to its color


def show_over_image(view: MapView | None, opacity: float) -> None:
    """Lay a map over its image in all slice views; None takes away the one that is there."""
    if view is None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
            if shown is not None and shown.GetNodeReference(COLORS_ROLE) is not None:
                composite.SetForegroundVolumeID(None)
                colors.refresh_legend(shown)  # it would stay without its map
        return
    source = view.node.GetNodeReference(SOURCE_ROLE)
    if source is not None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetBackgroundVolumeID(source.GetID())
    results.show_map(view.node, opacity)
    colors.show_legends_in_new_views()


def is_over_image(view: MapView) -> bool:
    """Tell whether a map lies over the slices of any view."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return any(composite.GetForegroundVolumeID() == view.node.GetID() for composite in composites)


class SideBySide:
    """Two maps of an image in two rows of slice views that move together; what was there before comes back."""

    def __init__(self) -> None:
        self._layout: int | None = None
        self._groups: dict[str, int] = {}
        self._linked: dict[str, bool] = {}
        self._fields: dict[str, tuple[float, float]] = {}

    @property
    def isOn(self) -> bool:
        """Whether two maps are shown, and the user has not chosen another layout since."""
        node = _layout_node()
        return self._layout is not None and node is not None and node.GetViewArrangement() == _two_rows()

    def show(self, upper: MapView, lower: MapView, opacity: float) -> None:
        """Show ``upper`` in the first row and ``lower`` in the second."""
        node = _layout_node()
        isNew = node is not None and not self.isOn
        if isNew:
            if self._layout is None:
                self._layout = node.GetViewArrangement()
            self._fields = {name: one.GetFieldOfView()[:2] for name in UPPER if (one := _slice_node(name)) is not None}
            node.SetViewArrangement(_two_rows())
            _process_events()  # the views of the second row are made now
        for names, view in ((UPPER, upper), (LOWER, lower)):
            for name in names:
                composite = _composite(name)
                if composite is None:
                    continue
                source = view.node.GetNodeReference(SOURCE_ROLE)
                composite.SetBackgroundVolumeID(source.GetID() if source is not None else None)
                composite.SetForegroundVolumeID(view.node.GetID())
                composite.SetForegroundOpacity(opacity)
            colors.refresh_legend(view.node)
        # Before they are linked: linked views would take over one another's layers.
        colors.show_legends_in_new_views()
        if isNew:
            self._link()

    def hide(self) -> None:
        """Go back to the former layout."""
        node = _layout_node()
        if self._layout is None:
            return
        for name in LOWER:
            slice_node, composite = _slice_node(name), _composite(name)
            if slice_node is not None and name in self._groups:
                slice_node.SetViewGroup(self._groups[name])
            if composite is not None:
                shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
                composite.SetForegroundVolumeID(None)
                if shown is not None:
                    colors.refresh_legend(shown)
        for name in (*UPPER, *LOWER):
            composite = _composite(name)
            if composite is not None and name in self._linked:
                composite.SetLinkedControl(self._linked[name])
        if node is not None and node.GetViewArrangement() == _two_rows():
            node.SetViewArrangement(self._layout)
            _process_events()
            for name, field in self._fields.items():
                _show_field(_slice_node(name), field)
        self._layout, self._groups, self._linked, self._fields = None, {}, {}, {}

    def _link(self) -> None:
        """Have both rows show the same place, now and when one of them is moved."""
        for upper, lower in zip(UPPER, LOWER, strict=True):
            first, second = _slice_node(upper), _slice_node(lower)
            if first is None or second is None:
                continue
            self._groups.setdefault(lower, second.GetViewGroup())
            second.SetViewGroup(first.GetViewGroup())  # views of different groups are never linked
            second.GetSliceToRAS().DeepCopy(first.GetSliceToRAS())
            second.UpdateMatrices()
            for each in (first, second):
                _show_field(each, self._fields.get(upper))
            for name in (upper, lower):
                composite = _composite(name)
                if composite is not None:
                    self._linked.setdefault(name, bool(composite.GetLinkedControl()))
                    composite.SetLinkedControl(True)


def _show_field(node: slicer.vtkMRMLSliceNode | None, field: tuple[float, float] | None) -> None:
    """Have a view, which has another shape now, show what lay in a field of view (mm) before."""
    if node is None or field is None:
        return
    across, up = node.GetDimensions()[:2]
    if across < 2 or up < 2:  # it is not laid out yet
        return
    size = max(field[0] / across, field[1] / up)
    node.SetFieldOfView(size * across, size * up, node.GetFieldOfView()[2])


def show_in_3d(view: MapView, percent: float) -> slicer.vtkMRMLVolumeRenderingDisplayNode:
    """Render the voxels with the most evidence as a volume: as many percent of those that have any."""
    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(view.node)
    if display is None:
        display = logic.CreateDefaultVolumeRenderingNodes(view.node)
    prop = display.GetVolumePropertyNode()
    limit = limit_of(view, percent)
    with slicer.util.NodeModify(prop):
        _set_property(prop.GetVolumeProperty(), view, limit)
        prop.Modified()
    display.SetVisibility(True)
    _show_scale_in_3d(view, display)
    return display


def _show_scale_in_3d(view: MapView, display: slicer.vtkMRMLVolumeRenderingDisplayNode) -> None:
    """Show a legend in the 3D views: that of the slices appears there only with a slice."""
    table, of_slices = (
        view.node.GetNodeReference(COLORS_ROLE),
        slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(view.node),
    )
    if table is None:
        return
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetScalarRange(-view.greatest if view.signed else 0.0, view.greatest)
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(display)
    if legend is None:
        return
    if of_slices is not None:
        legend.SetTitleText(of_slices.GetTitleText())
        legend.SetLabelFormat(of_slices.GetLabelFormat())
        legend.SetNumberOfLabels(of_slices.GetNumberOfLabels())
        legend.GetTitleTextProperty().ShallowCopy(of_slices.GetTitleTextProperty())
        legend.GetLabelTextProperty().ShallowCopy(of_slices.GetLabelTextProperty())
    views = slicer.util.getNodesByClass("vtkMRMLViewNode")
    legend.RemoveAllViewNodeIDs()
    for view_node in views:
        legend.AddViewNodeID(view_node.GetID())
    legend.SetVisibility(bool(views))  # without views of its own it would be in all


def hide_in_3d(node: slicer.vtkMRMLVolumeNode) -> None:
    """Take the rendering of a map away."""
    display = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(node)
    if display is not None:
        display.SetVisibility(False)


def is_shown_in_3d(node: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether a map is rendered."""
    display = slicer.modules.volumerendering.logic().GetFirstVolumeRenderingDisplayNode(node)
    return display is not None and bool(display.GetVisibility())


def limit_of(view: MapView, percent: float) -> float:
    """Return the magnitude that as many percent of the voxels with any attribution reach."""
    values = np.abs(slicer.util.arrayFromVolume(view.node))
    values = values[values > 0]
    if not values.size:
        return view.greatest
    return float(min(np.percentile(values, 100.0 - percent), view.greatest * (1.0 - 2.0 * _EDGE)))


def value_at(node: slicer.vtkMRMLVolumeNode, place: tuple[float, float, float]) -> float | None:
    """Return the value of the voxel at a place in the world (RAS mm), or None outside."""
    index = np.rint(np.linalg.inv(nodes.affine_to_world(node)) @ [*place, 1.0])[:3].astype(int)
    size = node.GetImageData().GetDimensions()
    if (index < 0).any() or (index >= size).any():
        return None
    return float(slicer.util.arrayFromVolume(node)[tuple(index[::-1])])


class CursorWatch:
    """Tells where the mouse points to in the slice views.

    Args:
        onMoved: called with the place in the world, or None when the mouse is elsewhere.
    """

    def __init__(self, onMoved: Callable[[tuple[float, float, float] | None], None]) -> None:
        self._onMoved = onMoved
        self._node: Any = None
        self._tag = 0

    def start(self) -> None:
        """Watch the scene's crosshair, whose node knows the cursor."""
        self.stop()
        self._node = crosshair_node()
        if self._node is not None:
            self._tag = self._node.AddObserver(slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent, self._tell)

    def stop(self) -> None:
        """Watch no longer."""
        node, self._node = self._node, None
        if alive(node) is not None:
            node.RemoveObserver(self._tag)

    def _tell(self, caller: Any, _event: str) -> None:
        place = [0.0] * 3
        self._onMoved(tuple(place) if caller.GetCursorPositionRAS(place) else None)  # type: ignore[arg-type]


def _set_property(prop: vtk.vtkVolumeProperty, view: MapView, limit: float) -> None:
    opacity, color = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
    edge = _EDGE * view.greatest
    points = [(0.0, 0.0), (limit, 0.0), (limit + edge, _MOST_OPAQUE / 3), (view.greatest + edge, _MOST_OPAQUE)]
    for value, amount in points:
        opacity.AddPoint(value, amount)
        if view.signed:
            opacity.AddPoint(-value, amount)
    places = np.linspace(-1.0 if view.signed else 0.0, 1.0, 33)
    for share, (red, green, blue, _opacity) in zip(places, map_colors(places, view.signed), strict=True):
        color.AddRGBPoint(float(share) * view.greatest, float(red), float(green), float(blue))
    prop.SetScalarOpacity(opacity)
    prop.SetColor(color)
    prop.SetInterpolationTypeToLinear()
    prop.ShadeOff()
    prop.DisableGradientOpacityOn()


def _two_rows() -> int:
    return int(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)


def _layout_node() -> slicer.vtkMRMLLayoutNode | None:
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _slice_node(name: str) -> slicer.vtkMRMLSliceNode | None:
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")


def _composite(name: str) -> slicer.vtkMRMLSliceCompositeNode | None:
    return slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode")


def _process_events() -> None:
    if getattr(slicer, "app", None) is not None:
        slicer.app.processEvents()
