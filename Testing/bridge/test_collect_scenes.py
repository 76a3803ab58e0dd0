"""Scenes that Slicer's own MRML writes, collected without Slicer: everything lies where Slicer says it lies."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import realdata
import slicer
import slicer.util
from meddl.datasets.case import BoxesLabel, ImageFile, LandmarksLabel, SegmentationLabel
from meddl.datasets.collect import collect_cases
from meddl.datasets.identifiers import identifiers
from meddl.datasets.loading import load_case
from meddl.volume import Volume, read_volume

OBLIQUE = np.array(
    [
        [0.71234567, -0.31415926, 0.6271828, 123.456789],
        [0.5123456, 0.88888888, -0.1357911, -98.7654321],
        [-0.4123987, 0.27182818, 0.9123457, 55.5555555],
        [0, 0, 0, 1],
    ]
)


def save(scene: Any, path: Path) -> Path:
    assert scene.WriteToMRB(str(path))
    return path


def matrix_of(node: Any) -> np.ndarray:
    """What Slicer says: voxel index to the world's RAS mm, all parent transforms included."""
    ijk, world = slicer.vtkMRMLTransformNode, np.eye(4)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    ijk = slicer.util.arrayFromVTKMatrix(matrix)
    if node.GetParentTransformNode():
        to_world = slicer.util.vtkMatrixFromArray(np.eye(4))
        node.GetParentTransformNode().GetMatrixTransformToWorld(to_world)
        world = slicer.util.arrayFromVTKMatrix(to_world)
    return world @ ijk


def add_segmentation(scene: Any, volume: Any, mask: np.ndarray, name: str = "Segmentation") -> Any:
    """A segmentation node of one segment on a volume's grid; ``mask`` is (K, J, I)."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("", "Liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    return node


def points_of(volume: Volume, value: int = 1) -> np.ndarray:
    """The world's RAS mm of all voxels of a value, in a fixed order."""
    index = np.argwhere(volume.array.max(axis=0) == value)
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return world[np.lexsort(np.round(world, 3).T)]


def spine(make_volume: Any, name: str = "T2") -> Any:
    """TPTBox's MR, in PIR order, as a volume node."""
    volume = read_volume(realdata.tptbox()["sub-mri_label-6_T2w"])
    return make_volume(volume.array[0], volume.affine, name)


def test_oblique_volumes_under_parent_transforms_lie_where_slicer_says(
    scene: Any, make_volume: Any, make_transform: Any, tmp_path: Path
) -> None:
    volume = spine(make_volume)
    outer = make_transform(OBLIQUE, "outer")
    inner = make_transform(np.linalg.inv(OBLIQUE) @ np.diag([1.1, 0.9, 1.3, 1]) @ OBLIQUE, "inner", outer)
    mask = (slicer.util.arrayFromVolume(volume) > 150).astype(np.uint8)
    segmentation = add_segmentation(scene, volume, mask)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(inner.GetID())
    expected = matrix_of(volume)

    (case,) = collect_cases(save(scene, tmp_path / "scene.mrb"))
    loaded = load_case(case)

    image = loaded.images["image"]
    np.testing.assert_allclose(image.affine, expected, atol=1e-9)
    np.testing.assert_array_equal(image.array[0], slicer.util.arrayFromVolume(volume).transpose(2, 1, 0))
    assert loaded.labels is not None
    assert [each.name for each in loaded.segments] == ["Liver"]
    index = np.argwhere(mask.transpose(2, 1, 0))
    world = index @ expected[:3, :3].T + expected[:3, 3]
    np.testing.assert_allclose(
        points_of(loaded.labels), world[np.lexsort(np.round(world, 3).T)], atol=1e-6, err_msg="labels moved"
    )


def test_overlapping_segments_and_a_scene_file_beside_its_data(
    scene: Any, make_volume: Any, make_transform: Any, tmp_path: Path
) -> None:
    volume = spine(make_volume)
    array = slicer.util.arrayFromVolume(volume)
    segmentation = add_segmentation(scene, volume, (array > 150).astype(np.uint8))
    second = segmentation.GetSegmentation().AddEmptySegment("", "Bright")
    slicer.util.updateSegmentBinaryLabelmapFromArray((array > 300).astype(np.uint8), segmentation, second, volume)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    tree.CreateSubjectItem(tree.GetSceneItemID(), "Doe, Jane")
    moved = make_transform(OBLIQUE)
    for node in (volume, segmentation):
        node.SetAndObserveTransformNodeID(moved.GetID())
    with zipfile.ZipFile(save(scene, tmp_path / "scene.mrb")) as zipped:
        zipped.extractall(tmp_path / "saved")

    for source in (tmp_path / "scene.mrb", tmp_path / "saved"):
        (case,) = collect_cases(source)
        loaded = load_case(case)
        labels = loaded.labels
        assert labels is not None
        found = {each.name: int((labels.array[each.layer] == each.label).sum()) for each in loaded.segments}
        assert found == {"Liver": int((array > 150).sum()), "Bright": int((array > 300).sum())}
        np.testing.assert_allclose(loaded.images["image"].affine, matrix_of(volume), atol=1e-9)
        assert "Doe, Jane" in identifiers(case)


def test_transforms_are_read_to_the_last_digit_which_the_scene_itself_does_not_print(
    scene: Any, make_volume: Any, make_transform: Any, tmp_path: Path
) -> None:
    # The image lies hardened where its segmentation lies by a transform: a rounded one would set them apart.
    volume = spine(make_volume)
    mask = (slicer.util.arrayFromVolume(volume) > 150).astype(np.uint8)
    segmentation = add_segmentation(scene, volume, mask)
    segmentation.SetAndObserveTransformNodeID(make_transform(OBLIQUE).GetID())
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    volume.GetIJKToRASMatrix(matrix)
    hardened = OBLIQUE @ slicer.util.arrayFromVTKMatrix(matrix)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(hardened))

    loaded = load_case(collect_cases(save(scene, tmp_path / "scene.mrb"))[0])

    assert loaded.labels is not None
    offset = np.linalg.inv(loaded.images["image"].affine) @ loaded.labels.affine
    np.testing.assert_allclose(offset, np.round(offset), atol=1e-6)


def test_a_segmentation_belongs_to_the_image_its_geometry_refers_to(
    scene: Any, make_volume: Any, tmp_path: Path
) -> None:
    first, second = spine(make_volume, "A"), spine(make_volume, "B")
    slicer.util.updateVolumeFromArray(second, slicer.util.arrayFromVolume(first) + 1000)
    mask = np.ones(slicer.util.arrayFromVolume(first).shape, np.uint8)
    add_segmentation(scene, second, mask, "of B")
    add_segmentation(scene, first, mask, "of A")

    cases = collect_cases(save(scene, tmp_path / "two.mrb"))

    assert [case.id for case in cases] == ["two_1", "two_2"]
    assert [load_case(case).images["image"].array.min() >= 1000 for case in cases] == [True, False]
    assert len({case.patient for case in cases}) == 1, "the cases of one scene are kept on one side of a split"
    assert "Segmentation 1 of 2" in cases[0].notes[0]


def test_images_of_the_same_names_in_all_scenes_are_channels(scene: Any, make_volume: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        scene.Clear(0)
        t1, t2 = spine(make_volume, "T1"), spine(make_volume, "T2")
        add_segmentation(scene, t2, np.ones(slicer.util.arrayFromVolume(t1).shape, np.uint8))
        save(scene, tmp_path / f"{name}.mrb")

    cases = collect_cases(tmp_path)

    assert [(case.id, tuple(case.images)) for case in cases] == [("one", ("T2", "T1")), ("two", ("T2", "T1"))]


def test_where_scenes_disagree_only_the_image_of_the_segmentation_is_taken(
    scene: Any, make_volume: Any, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        scene.Clear(0)
        image, other = spine(make_volume, f"CT of {name}"), spine(make_volume, f"other of {name}")
        slicer.util.updateVolumeFromArray(other, slicer.util.arrayFromVolume(image) + 1000)
        add_segmentation(scene, image, np.ones(slicer.util.arrayFromVolume(image).shape, np.uint8))
        save(scene, tmp_path / f"{name}.mrb")

    cases = collect_cases(tmp_path)

    assert [tuple(case.images) for case in cases] == [("image",)] * 2
    assert all(any("do not agree" in note for note in case.notes) for case in cases)
    assert all(load_case(case).images["image"].array.max() < 1000 for case in cases)


def test_label_map_volumes_are_segmentations(scene: Any, make_volume: Any, tmp_path: Path) -> None:
    image = spine(make_volume)
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label, (slicer.util.arrayFromVolume(image) > 150).astype(np.int16) * 7)
    label.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix_of(image)))

    loaded = load_case(collect_cases(save(scene, tmp_path / "scene.mrb"))[0])

    assert [each.label for each in loaded.segments] == [7]
    assert loaded.labels is not None and loaded.labels.grid.same_as(loaded.images["image"].grid)


def test_patients_and_studies_of_the_subject_hierarchy_are_the_cases(
    scene: Any, make_volume: Any, tmp_path: Path
) -> None:
    image = spine(make_volume, "CT of Doe")
    add_segmentation(scene, image, np.ones(slicer.util.arrayFromVolume(image).shape, np.uint8))
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "Doe, Jane")
    tree.SetItemUID(patient, "DICOM", "PID-4711")
    study = tree.CreateStudyItem(patient, "Thorax follow-up")
    tree.SetItemUID(study, "DICOM", "1.2.3.4.5")
    tree.CreateItem(study, image)

    (case,) = collect_cases(save(scene, tmp_path / "scene.mrb"))

    assert (case.patient, case.study) == ("PID-4711", "1.2.3.4.5")
    assert {"Doe, Jane", "PID-4711", "1.2.3.4.5", "CT of Doe", "Thorax follow-up"} <= set(identifiers(case))


def test_an_image_under_a_bent_transform_is_left_out_and_said_so(
    scene: Any, make_volume: Any, make_transform: Any, tmp_path: Path
) -> None:
    good, bent = spine(make_volume, "good"), spine(make_volume, "bent")
    bent.SetAndObserveTransformNodeID(make_transform(None).GetID())
    add_segmentation(scene, good, np.ones(slicer.util.arrayFromVolume(good).shape, np.uint8))

    (case,) = collect_cases(save(scene, tmp_path / "scene.mrb"))

    assert list(case.images) == ["image"]
    assert any("'bent' lies under a transform that bends it" in note for note in case.notes)


def test_sequences_are_left_out_and_said_so(scene: Any, make_volume: Any, tmp_path: Path) -> None:
    image = spine(make_volume)
    add_segmentation(scene, image, np.ones(slicer.util.arrayFromVolume(image).shape, np.uint8))
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "beating")
    for value in "12":
        sequence.SetDataNodeAtValue(image, value)

    (case,) = collect_cases(save(scene, tmp_path / "scene.mrb"))

    assert any("1 sequence of images, left out" in note for note in case.notes)


def test_boxes_and_points_lie_where_slicer_says(
    scene: Any, make_volume: Any, make_transform: Any, tmp_path: Path
) -> None:
    spine(make_volume)
    rigid = np.eye(4)
    rigid[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0]
    rigid[:3, :3] *= np.sign(np.linalg.det(rigid[:3, :3]))
    rigid[:3, 3] = (10, -20, 30)
    moved = make_transform(rigid)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "nodule_2")
    roi.SetCenter(1, 2, 3)
    roi.SetSize(4, 6, 9)
    roi.SetAndObserveTransformNodeID(moved.GetID())
    corners = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    signs = np.array(list(itertools.product((-0.5, 0.5), repeat=3))) * (4, 6, 9)
    expected = signs @ corners[:3, :3].T + corners[:3, 3]

    (case,) = collect_cases(save(scene, tmp_path / "boxes.mrb"))

    assert isinstance(case.label, BoxesLabel)
    (box,) = case.label.boxes
    assert box.label == "nodule"
    found = box.corners()
    order = [np.lexsort(np.round(each, 3).T) for each in (found, expected)]
    np.testing.assert_allclose(found[order[0]], expected[order[1]], atol=1e-4)

    scene.RemoveNode(roi)
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    points.AddControlPoint(5, 6, 7, "apex")
    points.SetAndObserveTransformNodeID(moved.GetID())
    world = [0.0, 0.0, 0.0]
    points.GetNthControlPointPositionWorld(0, world)

    (case,) = collect_cases(save(scene, tmp_path / "points.mrb"))

    assert isinstance(case.label, LandmarksLabel)
    assert [point.name for point in case.label.points] == ["apex"]
    np.testing.assert_allclose(case.label.points[0].position, world, atol=1e-4)


@pytest.mark.parametrize("name", ["ÄÖ ü 患者", "a & b <c>", "50%25 'x'", "..", "a/b\\c"])
def test_any_name_of_a_node_is_read_back(scene: Any, make_volume: Any, tmp_path: Path, name: str) -> None:
    image = spine(make_volume, name)
    add_segmentation(scene, image, np.ones(slicer.util.arrayFromVolume(image).shape, np.uint8))

    (case,) = collect_cases(save(scene, tmp_path / "scene.mrb"))

    assert isinstance(case.label, SegmentationLabel)
    assert isinstance(case.images["image"], ImageFile)
    assert load_case(case).images["image"].shape == slicer.util.arrayFromVolume(image).shape[::-1]
