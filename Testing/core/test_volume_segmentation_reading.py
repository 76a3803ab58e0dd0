"""A segmentation comes back as it was written, by MedDL, by Slicer itself, or as plain labels."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core.phantoms import PLACES, SHEARED
from meddl.errors import VolumeError
from meddl.volume import Segment, Volume, read_segmentation, write_segmentation, write_volume

SEGMENTS = (
    Segment(1, "Brain", (0.98, 0.98, 0.88), "Segmentation category~SCT^12738006^Brain~^^"),
    Segment(300, 'Größe \\ "of" tumor', (1, 0, 0.25)),
    Segment(7, "absent", (0, 0.5, 1)),
)


def labels(affine: np.ndarray, highest: int = 300) -> Volume:
    array = np.zeros((1, 6, 7, 8), np.uint16)
    array[0, 2:5, 3:7, 4:8] = 1
    array[0, 0:2, 3:7, 4:6] = highest
    return Volume(array, affine)


@pytest.mark.parametrize("where", [*PLACES, "sheared"])
def test_what_was_written_is_read(where: str, tmp_path: Path) -> None:
    volume = labels({**PLACES, "sheared": SHEARED}[where])
    write_segmentation(volume, SEGMENTS, tmp_path / "x.seg.nrrd")
    got, segments = read_segmentation(tmp_path / "x.seg.nrrd")
    np.testing.assert_array_equal(got.array, volume.array)
    assert got.grid.same_as(volume.grid)
    assert segments == SEGMENTS


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_labels_of_a_plain_map_are_numbered(suffix: str, tmp_path: Path) -> None:
    volume = labels(PLACES["oblique"], highest=12)
    write_volume(volume, tmp_path / f"x{suffix}")
    got, segments = read_segmentation(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(got.array, volume.array)
    assert got.array.dtype == np.uint8
    assert [(segment.label, segment.name) for segment in segments] == [(1, "Label 1"), (12, "Label 12")]
    assert segments[0].color != segments[1].color


def test_whole_numbers_stored_as_floats_are_labels(tmp_path: Path) -> None:
    volume = labels(np.eye(4), highest=12)
    write_volume(volume.with_array(volume.array.astype(np.float32)), tmp_path / "x.nii")
    got, segments = read_segmentation(tmp_path / "x.nii")
    np.testing.assert_array_equal(got.array, volume.array)
    assert len(segments) == 2


@pytest.mark.parametrize(
    ("value", "what"), [(0.5, "fractions"), (-3, "negative"), (70000, "above 65535"), (np.nan, "fractions")]
)
def test_an_image_is_no_label_map(value: float, what: str, tmp_path: Path) -> None:
    array = np.zeros((1, 3, 3, 3), np.float64)
    array[0, 1, 1, 1] = value
    write_volume(Volume(array, np.eye(4)), tmp_path / "x.nrrd")
    with pytest.raises(VolumeError, match=what):
        read_segmentation(tmp_path / "x.nrrd")


def test_a_vector_image_is_no_label_map(tmp_path: Path) -> None:
    write_volume(Volume(np.ones((3, 3, 3, 3), np.uint8), np.eye(4)), tmp_path / "x.nrrd")
    with pytest.raises(VolumeError, match="3 values per voxel"):
        read_segmentation(tmp_path / "x.nrrd")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="no file"):
        read_segmentation(tmp_path / "x.seg.nrrd")


def layered(path: Path, entries: dict[str, str], layers: int = 2) -> Path:
    """A file as Slicer writes overlapping segments, layers first, without compression."""
    array = np.zeros((layers, 4, 5, 6), np.uint8)
    array[0, :3] = 1
    array[-1, 2:] = 1
    array[0, 3] = 2
    lines = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior",
        f"sizes: {layers} 4 5 6", "space directions: none (-2,0,0) (0,-1,0) (0,0,3)",
        "kinds: list domain domain domain", "encoding: raw", "space origin: (5,6,7)",
        *(f"{key}:={value}" for key, value in entries.items()),
    ]  # fmt: skip
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + array.tobytes(order="F"))
    return path


ENTRIES = {
    "Segment0_ID": "Segment_1", "Segment0_Name": "Liver", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
    "Segment1_ID": "Segment_2", "Segment1_Name": "Tumor", "Segment1_LabelValue": "1", "Segment1_Layer": "1",
    "Segment2_ID": "Segment_3", "Segment2_Name": "", "Segment2_LabelValue": "2", "Segment2_Layer": "0",
    "Segment2_Color": "7 nonsense",
}  # fmt: skip


def test_overlapping_segments_keep_their_layer(tmp_path: Path) -> None:
    got, segments = read_segmentation(layered(tmp_path / "x.seg.nrrd", ENTRIES))
    assert got.array.shape == (2, 4, 5, 6)
    np.testing.assert_allclose(got.affine, [[2, 0, 0, -5], [0, 1, 0, -6], [0, 0, 3, 7], [0, 0, 0, 1]])
    assert [(s.name, s.label, s.layer) for s in segments] == [("Liver", 1, 0), ("Tumor", 1, 1), ("Segment_3", 2, 0)]
    overlap = (got.array[segments[0].layer] == 1) & (got.array[segments[1].layer] == 1)
    assert overlap.sum() == 1 * 5 * 6


def test_the_old_format_has_one_layer_per_segment(tmp_path: Path) -> None:
    entries = {"Segment0_ID": "a", "Segment0_Name": "Liver", "Segment1_ID": "b", "Segment1_Name": "Tumor"}
    _, segments = read_segmentation(layered(tmp_path / "x.seg.nrrd", entries))
    assert [(s.name, s.label, s.layer) for s in segments] == [("Liver", 1, 0), ("Tumor", 1, 1)]


@pytest.mark.parametrize(
    ("key", "value"),
    [("Segment1_Layer", "2"), ("Segment1_LabelValue", "0"), ("Segment1_LabelValue", "x"), ("Segment1_Layer", "0")],
)
def test_a_segment_that_cannot_be_is_refused(key: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="damaged"):
        read_segmentation(layered(tmp_path / "x.seg.nrrd", {**ENTRIES, key: value}))


def test_what_slicer_itself_writes_is_read(tmp_path: Path) -> None:
    slicer = pytest.importorskip("slicer")
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    masks = []
    for number, name in enumerate(("Liver", "Tumor")):
        image: Any = slicer.vtkOrientedImageData()
        image.SetDimensions(6, 5, 4)
        mask = np.zeros((6, 5, 4), np.uint8)
        mask[number : number + 4, 1:4, 1:3] = 1  # they overlap
        image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(order="F"), deep=1, array_type=vtk.VTK_UNSIGNED_CHAR))
        image.SetSpacing(1.5, 2.0, 3.0)
        image.SetOrigin(10, 20, 30)
        node.AddSegmentFromBinaryLabelmapRepresentation(image, name, [0.25 * (number + 1), 0.5, 0.75])
        masks.append(mask)
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    path = tmp_path / "slicer.seg.nrrd"
    storage.SetFileName(str(path))
    assert storage.WriteData(node) == 1
    got, segments = read_segmentation(path)
    assert [segment.name for segment in segments] == ["Liver", "Tumor"]
    assert segments[1].color == pytest.approx((0.5, 0.5, 0.75))
    for segment, mask in zip(segments, masks, strict=True):
        there = np.argwhere(got.array[segment.layer] == segment.label)
        world = there @ got.affine[:3, :3].T + got.affine[:3, 3]
        expected = np.argwhere(mask) * (1.5, 2.0, 3.0) + (10, 20, 30)
        np.testing.assert_allclose(world[np.lexsort(world.T)], expected[np.lexsort(expected.T)], atol=1e-6)


def test_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.volume import segmentation_reading

    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(segmentation_reading)
    assert result.attempted and not result.failed
