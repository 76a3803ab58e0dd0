"""Color tables for maps: one that grows lighter evenly, one with a neutral middle; and the legend beside the image."""

from __future__ import annotations

import numpy as np
import slicer

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


def growing_colors(share: np.ndarray) -> np.ndarray:
    """Return colors ``(n, 3)``, 0..1, from black over purple and orange to pale yellow, for shares 0..1.

    Lightness (CIE L*) grows in equal steps, so that equal differences look equal and it reads in gray, too.
    """
    hue = np.deg2rad(300.0 + 165.0 * share)  # purple, red, orange, yellow
    chroma = 62.0 * np.sin(np.pi * share**0.85) ** 0.8
    return _rgb(4.0 + 91.0 * share, chroma * np.cos(hue), chroma * np.sin(hue))


def diverging_colors(share: np.ndarray) -> np.ndarray:
    """Return colors ``(n, 3)``, 0..1, from blue over near-white to red, for shares -1..1."""
    strength = np.abs(share)
    hue = np.deg2rad(np.where(share < 0, 275.0, 35.0))
    chroma = 62.0 * strength
    return _rgb(95.0 - 52.0 * strength, chroma * np.cos(hue), chroma * np.sin(hue))


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


def _rgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Convert CIE L*a*b* (white point D65) to sRGB ``(n, 3)``, 0..1."""
    y = (lightness + 16.0) / 116.0
    xyz = np.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29)) * (0.9505, 1.0, 1.089)
    linear = xyz @ np.array([[3.2406, -0.9689, 0.0557], [-1.5372, 1.8758, -0.2040], [-0.4986, 0.0415, 1.0570]])
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


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
