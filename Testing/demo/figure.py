"""One figure of a segmented volume: Slicer's three slice views and its 3D view, labeled as a radiologist expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
import numpy as np
import slicer
import vtk
from PIL import Image, ImageDraw, ImageFont

from demo import render

SIZE = 760  # of one view, pixels
GAP = 3
HEADER = 118
FOOTER = 62
BACKGROUND = (13, 15, 19)
TEXT = (236, 239, 244)
QUIET = (148, 156, 168)
# Slicer's three slice views: name in the scene, orientation, color of its bar.
SLICES = (("Red", "Axial", (243, 74, 51)), ("Yellow", "Sagittal", (237, 213, 76)), ("Green", "Coronal", (110, 176, 75)))
THREE_D_COLOR = (140, 140, 230)
# The pale yellow that Slicer's terminology gives the brain is lost on a gray image: shown in this color instead.
OVERLAY = (0.98, 0.60, 0.36)


def four_up(
    volume: slicer.vtkMRMLScalarVolumeNode,
    segmentation: slicer.vtkMRMLSegmentationNode,
    title: str,
    subtitle: str,
    volumes_ml: Mapping[str, float],
    footer: str = "",
) -> Image.Image:
    """The figure: axial, sagittal, coronal and 3D view through the middle of the segmentation, as the scene shows them.

    The segmentation's display is changed for the picture only (smooth outlines, the first segment's color).
    """
    scene = segmentation.GetScene()
    restore = _display_for_picture(segmentation)
    views: list[render.SliceView | render.ThreeDView] = []
    try:
        center, extent = _middle(segmentation)
        panels = []
        for name, orientation, color in SLICES:
            view = render.SliceView(scene, name, orientation, (SIZE, SIZE))
            views.append(view)
            picture = view.show(volume, center, 1.34 * extent)
            panels.append(_slice_panel(picture, orientation, color))
        sagittal = views[1]
        sagittal.node.SetSliceVisible(True)
        view = render.ThreeDView(scene, "1", (SIZE, SIZE))
        views.append(view)
        # From the patient's left, front and above, in front of the sagittal slice.
        pixels = view.show(center, np.array([-1.0, 1.0, 0.5]), 1.3 * extent, (0.0, 0.0, 0.0))
        sagittal.node.SetSliceVisible(False)
        panels.append(_three_d_panel(pixels, volumes_ml))
    finally:
        for view in views:
            view.close()
        restore()
    return _page(panels, title, subtitle, footer)


def _middle(segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[np.ndarray, float]:
    """(center, longest side) of the box around all segments' surfaces, in RAS mm."""
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(segmentation.GetParentTransformNode(), None, to_world)
    box = vtk.vtkBoundingBox()
    for identifier in segmentation.GetSegmentation().GetSegmentIDs():
        moved = vtk.vtkTransformPolyDataFilter()
        moved.SetTransform(to_world)
        moved.SetInputData(segmentation.GetClosedSurfaceInternalRepresentation(identifier))
        moved.Update()
        box.AddBounds(moved.GetOutput().GetBounds())
    low, high = np.array(box.GetMinPoint()), np.array(box.GetMaxPoint())
    return (low + high) / 2, float((high - low).max())


def _display_for_picture(segmentation: slicer.vtkMRMLSegmentationNode) -> Callable[[], None]:
    """Sets how the segmentation is drawn; returns a function that sets it back."""
    segmentation.CreateDefaultDisplayNodes()
    display = segmentation.GetDisplayNode()
    before = slicer.vtkMRMLSegmentationDisplayNode()
    before.Copy(display)
    had_surface = segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    segmentation.CreateClosedSurfaceRepresentation()
    display.SetPreferredDisplayRepresentationName2D("Closed surface")
    display.SetPreferredDisplayRepresentationName3D("Closed surface")
    display.SetVisibility3D(True)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.2)
    display.SetSliceIntersectionThickness(3)
    first = segmentation.GetSegmentation().GetNthSegmentID(0)
    display.SetSegmentOverrideColor(first, vtk.vtkVector3d(*OVERLAY))

    def restore() -> None:
        display.Copy(before)
        if not had_surface:
            segmentation.RemoveClosedSurfaceRepresentation()

    return restore


# --- Drawing ----------------------------------------------------------------------------------------------------------


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _letter(direction: np.ndarray) -> str:
    """The anatomical side a RAS direction points to."""
    axis = int(np.abs(direction).argmax())
    return ("RL", "AP", "SI")[axis][0 if direction[axis] > 0 else 1]


def _slice_panel(picture: render.SlicePicture, orientation: str, color: tuple[int, int, int]) -> Image.Image:
    panel = Image.fromarray(picture.image)
    draw = ImageDraw.Draw(panel)
    middle, margin = SIZE // 2, 16
    letters = _font(24, bold=True)
    for text, place, anchor in (
        (_letter(-picture.right), (margin, middle), "lm"),
        (_letter(picture.right), (SIZE - margin, middle), "rm"),
        (_letter(picture.up), (middle, margin), "ma"),
        (_letter(-picture.up), (middle, SIZE - margin), "md"),
    ):
        draw.text(place, text, TEXT, letters, anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    axis = int(np.abs(picture.normal).argmax())
    position = picture.center[axis]
    side = _letter(np.sign(position) * np.eye(3)[axis]) if round(position, 1) else ("R", "A", "S")[axis]
    _caption(draw, orientation, f"{side} {abs(position):.1f} mm", color)
    _scale_bar(draw, picture.mm_per_pixel)
    return panel


def _three_d_panel(pixels: np.ndarray, volumes_ml: Mapping[str, float]) -> Image.Image:
    panel = Image.fromarray(pixels)
    draw = ImageDraw.Draw(panel)
    _caption(draw, "3D", "from left, front and above", THREE_D_COLOR)
    y = SIZE - 20
    for name, volume in reversed(list(volumes_ml.items())[:6]):
        swatch = tuple(round(255 * value) for value in OVERLAY) if name == next(iter(volumes_ml)) else QUIET
        draw.rounded_rectangle((20, y - 22, 40, y - 2), 4, fill=swatch)
        draw.text((52, y - 1), name, TEXT, _font(22, bold=True), "ld", stroke_width=2, stroke_fill=(0, 0, 0))
        width = draw.textlength(name, _font(22, bold=True))
        draw.text((66 + width, y - 1), f"{volume:.0f} ml", TEXT, _font(22), "ld", stroke_width=2, stroke_fill=(0, 0, 0))
        y -= 34
    return panel


def _caption(draw: ImageDraw.ImageDraw, name: str, detail: str, color: tuple[int, int, int]) -> None:
    draw.rectangle((0, 0, SIZE, 5), fill=color)
    draw.text((18, 20), name, color, _font(22, bold=True), stroke_width=2, stroke_fill=(0, 0, 0))
    draw.text((18, 50), detail, QUIET, _font(18), stroke_width=2, stroke_fill=(0, 0, 0))


def _scale_bar(draw: ImageDraw.ImageDraw, mm_per_pixel: float) -> None:
    """The longest round length that takes at most a quarter of the view."""
    length = max(mm for mm in (1, 2, 5, 10, 20, 50, 100) if mm / mm_per_pixel <= SIZE / 4 or mm == 1)
    right, y = SIZE - 20, SIZE - 24
    left = right - length / mm_per_pixel
    for width, color in ((6, (0, 0, 0)), (2, TEXT)):
        draw.line((left, y, right, y), color, width)
        for x in (left, right):
            draw.line((x, y - 7, x, y + 7), color, width)
    text = f"{length} mm"
    draw.text(((left + right) / 2, y - 10), text, TEXT, _font(18), "md", stroke_width=2, stroke_fill=(0, 0, 0))


def _page(panels: list[Image.Image], title: str, subtitle: str, footer: str) -> Image.Image:
    side = 2 * SIZE + GAP
    page = Image.new("RGB", (side, HEADER + side + FOOTER), BACKGROUND)
    for index, panel in enumerate(panels):
        page.paste(panel, ((index % 2) * (SIZE + GAP), HEADER + (index // 2) * (SIZE + GAP)))
    draw = ImageDraw.Draw(page)
    draw.text((28, 22), title, TEXT, _font(34, bold=True))
    draw.text((28, 72), subtitle, QUIET, _font(22))
    draw.text((28, HEADER + side + FOOTER // 2), footer, QUIET, _font(18), "lm")
    return page
