"""Cases of an export from a real MRML scene: which image goes with which label, and where both lie in the world."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError
from meddl_slicer import export_cases, export_labels, export_suggestions, thumbnails
from meddl_slicer.export_cases import CaseRow, SceneLabel


@pytest.fixture
def make_segmentation(scene, make_volume):
    """Return a factory of segmentations: ``make_segmentation({name: boolean (I, J, K)}, affine, reference)``."""

    def make(masks, affine, reference=None, name="Segmentation"):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        holder = make_volume(np.zeros(next(iter(masks.values())).shape, np.uint8), affine, "grid")
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference if reference is not None else holder)
        for label, mask in masks.items():
            identifier = node.GetSegmentation().AddEmptySegment(label, label)
            array = np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, identifier, holder)
        scene.RemoveNode(holder)
        return node

    return make


def block(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def labeled(label, name, shape, affine):
    """The voxels ``shape``, ``affine`` that lie in the segment ``name`` of a core label."""
    segment = next(each for each in label.segments if each.name == name)
    found = label.source.array[segment.layer] == segment.label
    places = np.argwhere(found) @ label.source.affine[:3, :3].T + label.source.affine[:3, 3]
    index = np.round((places - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    mask = np.zeros(shape, bool)
    mask[tuple(index.T)] = True
    return mask


def test_moved_segmentation_overlays_its_image_voxel_for_voxel(
    make_volume, make_segmentation, make_transform, rotation
):
    shape = (14, 11, 9)
    affine = np.diag([1.5, -1.2, 2.5, 1.0])
    affine[:3, 3] = 3, 40, -7
    volume = make_volume(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)
    masks = {"Liver": block(shape, (2, 3, 1), (9, 8, 6)), "Lesion": block(shape, (4, 4, 2), (6, 6, 4))}
    node = make_segmentation(masks, affine, volume)
    moved = make_transform(rotation)
    for each in (volume, node):
        each.SetAndObserveTransformNodeID(moved.GetID())

    case = export_cases.case_of(CaseRow("a", {"CT": volume}, SceneLabel("segmentation", (node,))))

    assert case.task == "segmentation"
    np.testing.assert_allclose(case.images["CT"].affine, rotation @ affine, atol=1e-9)
    for name, mask in masks.items():
        np.testing.assert_array_equal(labeled(case.label, name, shape, rotation @ affine), mask)
    assert [each.name for each in case.label.segments] == ["Liver", "Lesion"]


def test_layers_of_different_extents_on_one_lattice_stay_exact(scene, make_volume):
    shape, affine = (12, 10, 8), np.diag([-1.0, -1.0, 3.0, 1.0])
    volume = make_volume(np.zeros(shape, np.int16), affine)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    masks = {"a": block(shape, (1, 1, 1), (4, 4, 4)), "b": block(shape, (3, 3, 3), (11, 9, 7))}
    for name, mask in masks.items():
        low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
        image = slicer.vtkOrientedImageData()
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
        image.SetExtent(*(int(x) for pair in zip(low, high, strict=True) for x in pair))
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(1)
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment)

    label, notes = export_labels.segmentation_label(node, volume)

    assert notes == ()
    assert label.source.array.shape[0] == 2
    for name, mask in masks.items():
        np.testing.assert_array_equal(labeled(label, name, shape, affine), mask)


def test_terminology_and_color_come_along(make_volume, make_segmentation):
    volume = make_volume(np.zeros((4, 4, 4), np.int16))
    node = make_segmentation({"Brain": block((4, 4, 4), (1, 1, 1), (3, 3, 3))}, np.eye(4), volume)
    segment = node.GetSegmentation().GetNthSegment(0)
    segment.SetTerminology("a~SCT^1^b~SCT^2^c~^^~d~^^~^^")
    segment.SetColor(0.25, 0.5, 0.75)

    label, _notes = export_labels.segmentation_label(node, volume)

    assert label.segments[0].terminology == "a~SCT^1^b~SCT^2^c~^^~d~^^~^^"
    assert label.segments[0].color == pytest.approx((0.25, 0.5, 0.75))


def test_empty_segmentation_says_what_to_do(scene, make_volume):
    volume = make_volume(np.zeros((4, 4, 4), np.int16))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Nothing")
    with pytest.raises(VolumeError, match="no segments"):
        export_labels.segmentation_label(node, volume)


def test_boxes_keep_place_size_and_label_under_transforms(scene, make_transform, rotation):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Nodule_2")
    node.SetCenter(1, 2, 3)
    node.SetSize(4, 6, 8)
    grown = rotation @ np.diag([2.0, 2.0, 2.0, 1.0])
    node.SetAndObserveTransformNodeID(make_transform(grown).GetID())

    box = export_labels.boxes_of([node]).boxes[0]

    assert box.label == "Nodule"
    np.testing.assert_allclose(box.center, (grown @ [1, 2, 3, 1])[:3], atol=1e-9)
    np.testing.assert_allclose(box.size, (8, 12, 16), atol=1e-9)
    np.testing.assert_allclose(box.axes, rotation[:3, :3], atol=1e-9)


def test_sheared_box_is_refused(scene, make_transform, sheared):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    node.SetSize(4, 6, 8)
    node.SetAndObserveTransformNodeID(make_transform(sheared).GetID())
    with pytest.raises(VolumeError, match="no box any more"):
        export_labels.boxes_of([node])


def test_only_placed_points_are_landmarks(scene, make_transform, rotation):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    node.AddControlPoint(vtk.vtkVector3d(1, 2, 3), "AC")
    node.AddControlPoint(vtk.vtkVector3d(4, 5, 6), "PC")
    node.UnsetNthControlPointPosition(1)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())

    points = export_labels.points_of([node]).points

    assert [point.name for point in points] == ["AC"]
    np.testing.assert_allclose(points[0].position, (rotation @ [1, 2, 3, 1])[:3], atol=1e-9)


def test_label_map_takes_names_from_its_colors(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "L")
    slicer.util.updateVolumeFromArray(node, np.array([[[0, 1, 2]]], np.int16))
    colors = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "C")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    colors.SetColor(1, "Liver", 1, 0, 0, 1)
    colors.SetColor(2, "Spleen", 0, 1, 0, 1)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())

    assert [(s.label, s.name) for s in export_labels.label_map(node).segments] == [(1, "Liver"), (2, "Spleen")]


def file_in(scene, node, patient, study, uid="1.2.3"):
    """Put a node under a patient and a study, as loading DICOM does; returns nothing."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemByUID("DICOM", uid)
    if not folder:
        folder = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
        hierarchy.SetItemUID(folder, "DICOM", uid)
    place = hierarchy.GetItemByUID("DICOM", f"{uid}.{study}")
    if not place:
        place = hierarchy.CreateStudyItem(folder, study)
        hierarchy.SetItemUID(place, "DICOM", f"{uid}.{study}")
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, place)
    else:
        hierarchy.CreateItem(place, node)


def test_segmentation_goes_with_its_reference_geometry_and_the_patient_is_known(scene, make_volume, make_segmentation):
    shape = (6, 6, 6)
    first, second = (make_volume(np.zeros(shape, np.int16), name=name) for name in ("CT", "CT"))
    node = make_segmentation({"a": block(shape, (1, 1, 1), (3, 3, 3))}, np.eye(4), second)
    file_in(scene, first, "Doe^Jane", "before", "77")
    file_in(scene, second, "Doe^Jane", "after", "78")

    rows = export_suggestions.suggest("segmentation")

    assert [row.name for row in rows] == ["CT", "CT (2)"]
    assert rows[0].label is None
    assert rows[1].label.nodes == (node,)
    assert rows[0].patient != rows[1].patient, "two people of one name"
    assert rows[1].study == "78.after"


def test_several_segmentations_of_one_volume_are_told(make_volume, make_segmentation):
    shape = (6, 6, 6)
    volume = make_volume(np.zeros(shape, np.int16))
    for name in ("Reader A", "Reader B"):
        make_segmentation({"a": block(shape, (1, 1, 1), (3, 3, 3))}, np.eye(4), volume, name)

    rows = export_suggestions.suggest("segmentation")

    assert [row.included for row in rows] == [True, False]
    assert [row.name for row in rows] == ["T1", "T1 (2)"]
    assert '"Reader B"' in rows[0].notes[0]


def test_volumes_of_a_study_can_be_channels_of_one_case(scene, make_volume, make_segmentation):
    shape = (6, 6, 6)
    for uid in ("1", "2"):
        t1, flair = (make_volume(np.zeros(shape, np.int16), name=f"P{uid}_{name}") for name in ("t1", "FLAIR"))
        node = make_segmentation({"a": block(shape, (1, 1, 1), (3, 3, 3))}, np.eye(4), flair, f"seg{uid}")
        for each in (t1, flair, node):
            file_in(scene, each, f"P{uid}", "one", uid)

    rows = export_suggestions.suggest("segmentation", together=True)

    assert [list(row.images) for row in rows] == [["t1", "flair"]] * 2
    assert [row.label.nodes[0].GetName() for row in rows] == ["seg1", "seg2"]


def test_boxes_go_with_the_volume_they_lie_in(scene, make_volume):
    near, far = np.eye(4), np.eye(4)
    far[:3, 3] = 500
    make_volume(np.zeros((10, 10, 10), np.int16), near, "near")
    make_volume(np.zeros((10, 10, 10), np.int16), far, "far")
    for name, center in (("Nodule", 5), ("Nodule_1", 505), ("Cyst", 504)):
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
        node.SetCenter(center, center, center)
        node.SetSize(2, 2, 2)

    rows = export_suggestions.suggest("detection")

    assert [len(row.label.nodes) for row in rows] == [1, 2]
    assert [box.label for box in export_cases.case_of(rows[1]).label.boxes] == ["Nodule", "Cyst"]


def test_same_case_is_not_added_twice(make_volume):
    make_volume(np.zeros((4, 4, 4), np.int16))
    rows = export_suggestions.suggest("segmentation")
    assert export_suggestions.is_known(export_suggestions.suggest("segmentation")[0], rows)


def test_removed_node_is_told(scene, make_volume):
    volume = make_volume(np.zeros((4, 4, 4), np.int16))
    row = CaseRow("a", {"image": volume})
    scene.RemoveNode(volume)
    assert "still in the scene" in export_cases.missing(row)
    assert export_cases.image_name(volume) == "(removed)"


def test_thumbnail_shows_left_on_the_right_front_on_top_and_the_label(make_volume, make_segmentation):
    shape = (40, 30, 12)
    array = np.zeros(shape, np.int16)
    array[:20] = 100  # the first half along I: left of the patient, since I runs to the right in the node's RAS below
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    volume = make_volume(array, affine)
    node = make_segmentation({"a": block(shape, (30, 20, 9), (38, 28, 12))}, affine, volume)
    node.GetSegmentation().GetNthSegment(0).SetColor(1, 0, 0)
    case = export_cases.case_of(CaseRow("a", {"CT": volume}, SceneLabel("segmentation", (node,))))

    picture = thumbnails.thumbnail(case.images["CT"], export_labels.layers_of(node), size=40)

    assert picture.shape == (40, 40, 3)
    right, left = picture[20, 12].astype(int), picture[20, 28].astype(int)
    assert left.mean() > 200 and right.mean() < 20, "what is left of the patient is on the right of the picture"
    assert len(set(picture[10, 5])) > 1, "the label's color is drawn at the front right"
    assert thumbnails.png(picture).startswith(b"\x89PNG")


def test_thumbnail_of_a_picture_is_the_picture(make_volume):
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    array = np.zeros((20, 20, 1), np.int16)
    array[:10, :10] = 100
    case = export_cases.case_of(CaseRow("a", {"x": make_volume(array, coronal)}))

    picture = thumbnails.thumbnail(case.images["x"], size=20)

    assert picture[5, 5, 0] > 200 and picture[15, 5, 0] < 20 and picture[5, 15, 0] < 20


def test_label_of_a_part_of_the_image_comes_on_the_image_grid(make_volume, make_segmentation, scene):
    shape, affine = (12, 10, 8), np.diag([-1.0, -1.0, 3.0, 1.0])
    volume = make_volume(np.zeros(shape, np.int16), affine)
    part = affine.copy()
    part[:3, 3] = (affine @ [2, 3, 1, 1])[:3]
    node = make_segmentation({"a": block((5, 4, 3), (1, 1, 1), (4, 3, 2))}, part)

    label, _notes = export_labels.segmentation_label(node, volume)

    assert label.source.shape == shape
    np.testing.assert_allclose(label.source.affine, affine)
    np.testing.assert_array_equal(label.source.array[0] > 0, block(shape, (3, 4, 2), (6, 6, 3)))


def test_one_image_is_called_by_the_modality_that_all_have(make_volume):
    for name in ("A", "B"):
        make_volume(np.zeros((4, 4, 4), np.int16), name=name).SetAttribute("DICOM.Modality", "CT")
    assert [list(row.images) for row in export_suggestions.suggest("segmentation")] == [["CT"], ["CT"]]
    make_volume(np.zeros((4, 4, 4), np.int16), name="C").SetAttribute("DICOM.Modality", "MR")
    assert [list(row.images) for row in export_suggestions.suggest("segmentation")] == [["image"]] * 3


def test_dicom_references_tell_series_of_one_study_apart(scene, make_volume, make_segmentation):
    shape = (6, 6, 6)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    first, second = (make_volume(np.zeros(shape, np.int16), name=name) for name in ("one", "two"))
    node = make_segmentation({"a": block(shape, (1, 1, 1), (3, 3, 3))}, np.eye(4))
    for number, each in enumerate((first, second, node)):
        file_in(scene, each, "Doe^Jane", "study", "77")
        item = hierarchy.GetItemByDataNode(each)
        hierarchy.SetItemUID(item, "DICOMInstanceUID", f"1.{number}.1 1.{number}.2")
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), "DICOM.ReferencedInstanceUIDs", "1.1.1 1.1.2")

    rows = export_suggestions.suggest("segmentation")

    assert [row.label is not None for row in rows] == [False, True]


def test_other_task_takes_other_labels(scene, make_volume, make_segmentation):
    shape = (6, 6, 6)
    volume = make_volume(np.zeros(shape, np.int16))
    make_segmentation({"a": block(shape, (1, 1, 1), (3, 3, 3))}, np.eye(4), volume)
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    points.AddControlPoint(vtk.vtkVector3d(2, 2, 2), "AC")
    rows = export_suggestions.suggest("segmentation")

    rows = export_suggestions.relabeled(rows, "landmarks")
    assert rows[0].label.nodes == (points,)
    assert export_suggestions.relabeled(rows, "classification")[0].label is None
    assert export_suggestions.relabeled(rows, "segmentation")[0].task == "segmentation"
