"""Color tables for maps: one that grows lighter evenly, one with a neutral middle; and the legend beside the image."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from meddl.saliency.colors import diverging_colors, growing_colors

#: For labels that bring no color: Okabe and Ito's, told apart by color-blind people, too.
_LABELS = (
    (0.90, 0.62, 0.00),
    (0.34, 0.71, 0.91),
    (0.00, 0.62, 0.45),
    (0.94, 0.89, 0.26),
    (0.80, 0.47, 0.65),
    (0.84, 0.37, 0.00),
    (0.00, 0.45, 0.70),
)
_COUNT = 256
_LABEL_COUNT = 5
_LEGEND_SIZE = 12  # points
_asked = False


def label_color(index: int) -> tuple[float, float, float]:
    """Return the color of the ``index``-th label, 0..1; they repeat after seven."""
    return _LABELS[index % len(_LABELS)]


def growing() -> slicer.vtkMRMLColorTableNode:
    """Return the scene's color table from black over purple and orange to pale yellow."""
    return _node("MedDL growing", growing_colors(np.linspace(0.0, 1.0, _COUNT)))


def diverging() -> slicer.vtkMRMLColorTableNode:
    """Return the scene's color table from blue (less) over near-white (the same) to red (more)."""
    return _node("MedDL difference", diverging_colors(np.linspace(-1.0, 1.0, _COUNT)))


def show_map(
    node: slicer.vtkMRMLScalarVolumeNode,
    color_node: slicer.vtkMRMLColorNode,
    low: float,
    high: float,
    title: str,
    label_format: str = "%.2f",
) -> None:
    """Show a map with a fixed window from ``low`` to ``high``, its color table and a legend.

    What the user has changed on a map that is shown already stays.
    """
    shown = node.GetDisplayNode()
    if shown is not None and shown.GetColorNode() is color_node:
        return
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(color_node.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(low, high)
    display.SetInterpolate(True)
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetLabelFormat(label_format)
        legend.SetNumberOfLabels(_LABEL_COUNT)
        for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
            text.SetFontSize(_LEGEND_SIZE)
            text.SetShadow(True)  # to be read on white, too
        legend.SetVisibility(True)
        _let_views_find_legends()


def refresh_legend(node: slicer.vtkMRMLVolumeNode) -> None:
    """Have the legend of ``node`` appear in the views that show it now."""
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    if legend is not None:
        legend.Modified()


def show_legends_in_new_views() -> None:
    """Have legends of volumes appear in slice views that were made after them, too.

    The manager of legends in such a view knows nothing of them before a layer of the view is changed by hand, which is
    what the flag says here.
    """
    _end_a_batch()
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        flags = composite.GetInteractionFlags()
        composite.SetInteractionFlags(composite.ForegroundVolumeFlag)
        composite.Modified()
        composite.SetInteractionFlags(flags)


def _let_views_find_legends() -> None:
    """Make the managers of legends look for their view's layers, once for all legends of a result."""
    global _asked
    if getattr(slicer, "app", None) is None:
        _end_a_batch()
    elif not _asked:
        import qt

        _asked = True
        qt.QTimer.singleShot(0, _end_a_batch)


def _end_a_batch() -> None:
    """Make the managers of legends look for their view's layers.

    They do so at the end of a batch only, and a Slicer that has just been started may have had none: legends of volumes
    then stay hidden (seen in 5.13).
    """
    global _asked
    _asked = False
    scene = slicer.mrmlScene
    if scene.IsBatchProcessing() or scene.IsClosing():
        return  # it comes anyway
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    scene.EndState(slicer.vtkMRMLScene.BatchProcessState)


def _node(name: str, colors: np.ndarray) -> slicer.vtkMRMLColorTableNode:
    existing = slicer.mrmlScene.GetFirstNode(name, "vtkMRMLColorTableNode")
    if existing is not None and existing.GetNumberOfColors() == len(colors):
        return existing
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(name)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    node.SetNamesFromColors()
    for index, (red, green, blue) in enumerate(colors):
        node.SetColor(index, float(red), float(green), float(blue), 1.0)
    return slicer.mrmlScene.AddNode(node)
