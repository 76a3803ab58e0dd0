"""The demo's pictures show the scene the right way round: sides, scale and overlay, checked on a phantom."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
vtk = pytest.importorskip("vtk")
from demo import figure, render  # noqa: E402
from vtk.util.numpy_support import numpy_to_vtk  # noqa: E402

SHAPE = (60, 70, 80)
# Voxel index -> RAS mm: anisotropic, and with the axes of an LPS image, as most DICOM series have them.
AFFINE = np.array([[-2.0, 0, 0, 60], [0, -2.0, 0, 70], [0, 0, 1.5, -60], [0, 0, 0, 1.0]])
LEFT_FRONT_TOP = np.array([-30.0, 40.0, 30.0])
SIZE = 200


def image_of(array: np.ndarray, image: vtk.vtkImageData) -> vtk.vtkImageData:
    image.SetDimensions(*array.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(array.ravel(order="F").copy(), deep=True))
    return image


def block(center: np.ndarray, half_side: float = 6.0) -> np.ndarray:
    """(I, J, K) bool: the voxels within `half_side` mm of `center` (RAS) along each axis."""
    indices = np.stack([*np.indices(SHAPE), np.ones(SHAPE)], axis=-1)
    ras = (indices @ AFFINE.T)[..., :3]
    return (np.abs(ras - center) <= half_side).all(axis=-1)


@pytest.fixture
def scene() -> Iterator[slicer.vtkMRMLScene]:
    scene = slicer.vtkMRMLScene()
    logics = (slicer.vtkMRMLColorLogic(), slicer.vtkSlicerSegmentationsModuleLogic())
    for logic in logics:
        logic.SetMRMLScene(scene)
    logics[0].AddDefaultColorNodes()
    yield scene
    for logic in logics:
        logic.SetMRMLScene(None)
    scene.Clear(1)


@pytest.fixture
def volume(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode:
    """Dark, with a bright block to the patient's left, front and top."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "phantom")
    node.SetAndObserveImageData(image_of(np.where(block(LEFT_FRONT_TOP), 200.0, 20.0), vtk.vtkImageData()))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(AFFINE.ravel())
    node.SetIJKToRASMatrix(matrix)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 220)
    return node


@pytest.fixture
def segmentation(scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """A block around the origin."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "block")
    image = image_of(block(np.zeros(3), 20).astype(np.uint8), slicer.vtkOrientedImageData())
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    segment = slicer.vtkSegment()
    segment.SetName("Block")
    segment.AddRepresentation("Binary labelmap", image)
    node.GetSegmentation().AddSegment(segment)
    node.CreateDefaultDisplayNodes()
    return node


@pytest.mark.parametrize(("name", "orientation"), [("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")])
def test_a_slice_shows_a_place_where_its_axes_say(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode, name: str, orientation: str
) -> None:
    view = render.SliceView(scene, name, orientation, (SIZE, SIZE))
    try:
        normal = {"Axial": 2, "Sagittal": 0, "Coronal": 1}[orientation]
        middle = np.zeros(3)
        middle[normal] = LEFT_FRONT_TOP[normal]  # centered on the slice through the block, the block itself off center
        picture = view.show(volume, middle, 160.0)
    finally:
        view.close()

    rows, columns = np.nonzero(picture.image[..., 0] > 150)
    seen = np.array([columns.mean() - (SIZE - 1) / 2, (SIZE - 1) / 2 - rows.mean()]) * picture.mm_per_pixel
    offset = LEFT_FRONT_TOP - picture.center
    assert seen == pytest.approx([offset @ picture.right, offset @ picture.up], abs=1.5)
    assert np.ptp(columns) * picture.mm_per_pixel == pytest.approx(12, abs=3)


def test_the_patients_left_is_on_the_right_of_an_axial_picture(
    scene: slicer.vtkMRMLScene, volume: slicer.vtkMRMLScalarVolumeNode
) -> None:
    view = render.SliceView(scene, "Red", "Axial", (SIZE, SIZE))
    picture = view.show(volume, np.array([0.0, 0.0, LEFT_FRONT_TOP[2]]), 160.0)
    view.close()

    rows, columns = np.nonzero(picture.image[..., 0] > 150)
    assert columns.min() > SIZE / 2 and rows.max() < SIZE / 2
    assert figure._letter(picture.right) == "L" and figure._letter(picture.up) == "A"


def test_the_figure_shows_the_overlay_and_leaves_the_scene_as_it_was(
    volume: slicer.vtkMRMLScalarVolumeNode, segmentation: slicer.vtkMRMLSegmentationNode
) -> None:
    display = segmentation.GetDisplayNode()
    before = display.GetOpacity2DFill(), display.GetPreferredDisplayRepresentationName2D()

    page = np.asarray(figure.four_up(volume, segmentation, "Title", "Subtitle", {"Block": 64.0}))

    for index in range(4):
        left, top = (index % 2) * (figure.SIZE + figure.GAP), figure.HEADER + (index // 2) * (figure.SIZE + figure.GAP)
        panel = page[top : top + figure.SIZE, left : left + figure.SIZE].astype(int)
        tinted = panel[..., 0] - panel[..., 2] > 15  # the overlay is orange, the image gray
        middle = tinted[figure.SIZE // 2 - 50 : figure.SIZE // 2 + 50, figure.SIZE // 2 - 50 : figure.SIZE // 2 + 50]
        assert middle.mean() > 0.9, f"view {index} shows no overlay at its center"
        assert tinted.mean() < 0.75, f"view {index} is covered by the overlay"
    assert (display.GetOpacity2DFill(), display.GetPreferredDisplayRepresentationName2D()) == before
    assert not segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
