"""A prediction becomes a segmentation that overlays its volume voxel for voxel and keeps what is known of it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from bridge.predictions import BRAIN, KIDNEY, PROVENANCE, SEGMENTS, labels_of, prediction_for
from meddl.errors import VolumeError
from meddl_slicer import nodes, provenance, segmentation

SHAPE = (5, 6, 7)


@pytest.fixture
def moved_volume(make_volume, make_transform, sheared, rotation):
    """A sheared, mirrored volume under two linear transforms."""
    outer = make_transform(rotation, "outer")
    inner = make_transform(np.diag([1.1, 0.9, 1.05, 1.0]), "inner", parent=outer)
    node = make_volume(np.zeros(SHAPE, np.int16), sheared)
    node.SetAndObserveTransformNodeID(inner.GetID())
    return node


def segment_named(node, name):
    found = node.GetSegmentation()
    return found.GetSegment(found.GetSegmentIdBySegmentName(name))


def exported(node, name, volume_node) -> np.ndarray:
    """A segment as Slicer's own export resamples it into the volume's grid, (I, J, K)."""
    identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume_node).transpose(2, 1, 0)


def segment_ids(node) -> list[str]:
    return list(node.GetSegmentation().GetSegmentIDs())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_segments_overlay_the_volume_voxel_for_voxel(moved_volume, dtype):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume), dtype), moved_volume)
    labels = labels_of(SHAPE)[0]
    for segment in SEGMENTS:
        np.testing.assert_array_equal(
            exported(node, segment["name"], moved_volume) > 0, labels == segment["label"], err_msg=segment["name"]
        )


def test_stored_labelmap_is_the_grid_of_the_input_itself(moved_volume, sheared):
    prediction = prediction_for(nodes.volume_from_node(moved_volume))
    node = segmentation.apply_segmentation(prediction, moved_volume)
    image = segment_named(node, "Brain").GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), sheared, atol=1e-9)
    assert image.GetExtent() == (0, 4, 0, 5, 0, 6)
    world = nodes.parent_to_world(node) @ slicer.util.arrayFromVTKMatrix(matrix)
    np.testing.assert_allclose(world, prediction["labels"].affine, atol=1e-9)


def test_reference_geometry_and_parent_transform_are_the_inputs(moved_volume):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is moved_volume
    assert node.GetTransformNodeID() == moved_volume.GetTransformNodeID()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    expected = slicer.vtkMRMLSegmentationNode()
    expected.SetReferenceImageGeometryParameterFromVolumeNode(moved_volume)
    with_parent = node.GetSegmentation().GetConversionParameter(name)
    moved_volume.SetAndObserveTransformNodeID(None)
    expected.SetReferenceImageGeometryParameterFromVolumeNode(moved_volume)
    assert with_parent == expected.GetSegmentation().GetConversionParameter(name)


def test_segments_carry_names_colors_labels_and_terminology(moved_volume):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    assert [segment_named(node, s["name"]) is not None for s in SEGMENTS] == [True] * 3
    kidney = segment_named(node, "Left kidney: upper; lower")
    assert kidney.GetColor() == pytest.approx((0.2, 0.4, 0.6))
    assert kidney.GetLabelValue() == 4
    assert kidney.GetTerminology() == KIDNEY
    assert segment_named(node, "Brain").GetTerminology() == BRAIN
    assert "Tissue" in segment_named(node, "Nothing found").GetTerminology()


def test_terminology_is_understood_by_slicers_own_parser(moved_volume):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    entry = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.modules.terminologies.logic()
    text = segment_named(node, "Left kidney: upper; lower").GetTerminology()
    assert logic.DeserializeTerminologyEntry(text, entry)
    assert entry.GetTypeObject().GetCodeValue() == "64033007"
    assert entry.GetTypeModifierObject().GetCodeMeaning() == "Left"


def test_all_segments_share_one_labelmap_layer(moved_volume):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_result_lies_in_the_study_folder_of_the_input(scene, moved_volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    item = hierarchy.GetItemByDataNode(moved_volume) or hierarchy.CreateItem(study, moved_volume)
    hierarchy.SetItemParent(item, study)
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_result_is_shown_and_named_after_what_was_found(make_volume):
    volume_node = make_volume(np.zeros(SHAPE, np.int16), name="Head")
    prediction = prediction_for(nodes.volume_from_node(volume_node))
    several = segmentation.apply_segmentation(prediction, volume_node)
    one = segmentation.apply_segmentation({**prediction, "segments": SEGMENTS[:1]}, volume_node)
    assert several.GetDisplayNode() is not None
    assert several.GetName() == "Head segmentation"
    assert one.GetName() == "Head brain"


def test_result_says_where_it_comes_from(moved_volume):
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    assert node.GetAttribute("MedDL.Model") == PROVENANCE["model"]["name"]
    assert node.GetAttribute("MedDL.ModelVersion") == "1.2.0"
    assert node.GetAttribute("MedDL.ModelDigest") == "ab" * 32
    assert node.GetAttribute("MedDL.License") == "MIT"
    assert node.GetAttribute("MedDL.Device") == "cuda:0 (Some GPU)"
    assert provenance.read(node) == PROVENANCE


def test_second_run_replaces_the_segments_of_the_output(make_volume, moved_volume):
    plain = make_volume(np.zeros(SHAPE, np.int16))
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(plain)), plain)
    prediction = prediction_for(nodes.volume_from_node(moved_volume))
    again = segmentation.apply_segmentation({**prediction, "segments": SEGMENTS[:2]}, moved_volume, node)
    assert again is node
    assert len(segment_ids(node)) == 2
    np.testing.assert_array_equal(exported(node, "Brain", moved_volume) > 0, labels_of(SHAPE)[0] == 1)
    assert node.GetTransformNodeID() == moved_volume.GetTransformNodeID()


def test_output_shown_in_3d_stays_so(make_volume, monkeypatch):
    monkeypatch.setattr(slicer, "app", None, raising=False)  # with an application surfaces come a moment later
    volume_node = make_volume(np.zeros((20, 20, 20), np.int16))
    prediction = prediction_for(nodes.volume_from_node(volume_node))
    node = segmentation.apply_segmentation(prediction, volume_node)
    assert not segmentation.is_shown_in_3d(node)
    segmentation.show_in_3d(node)
    segmentation.apply_segmentation(prediction, volume_node, node)
    assert segmentation.is_shown_in_3d(node)
    assert segment_named(node, "Brain").GetRepresentation("Closed surface").GetNumberOfPoints() > 0
    segmentation.show_in_3d(node, False)
    assert not segmentation.is_shown_in_3d(node)


def test_result_that_does_not_fit_leaves_the_output_as_it_was(make_volume):
    volume_node = make_volume(np.zeros(SHAPE, np.int16))
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(volume_node)), volume_node)
    other = make_volume(np.zeros((3, 9, 9), np.int16), name="Cropped")
    before = segment_ids(node)
    with pytest.raises(VolumeError, match=r'5 x 6 x 7 voxels and "Cropped" has 3 x 9 x 9'):
        segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(volume_node)), other, node)
    assert segment_ids(node) == before
    np.testing.assert_array_equal(exported(node, "Brain", volume_node) > 0, labels_of(SHAPE)[0] == 1)


def test_former_segments_come_back_when_slicer_refuses_a_new_one(make_volume, monkeypatch):
    volume_node = make_volume(np.zeros(SHAPE, np.int16))
    prediction = prediction_for(nodes.volume_from_node(volume_node))
    node = segmentation.apply_segmentation(prediction, volume_node)
    before = segment_ids(node)
    refused = segmentation._segments(prediction["labels"], SEGMENTS, np.eye(4))
    refused[1].RemoveAllRepresentations()
    refused[1].AddRepresentation("Of no known kind", vtk.vtkPolyData())  # nothing leads from it to a labelmap
    monkeypatch.setattr(segmentation, "_segments", lambda *args: refused)
    with pytest.raises(VolumeError, match="could not take in"):
        segmentation.apply_segmentation(prediction, volume_node, node)
    assert segment_ids(node) == before
    np.testing.assert_array_equal(exported(node, "Brain", volume_node) > 0, labels_of(SHAPE)[0] == 1)


def test_failed_run_into_no_output_leaves_no_node_behind(scene, make_volume):
    volume_node = make_volume(np.zeros(SHAPE, np.int16))
    other = make_volume(np.zeros((3, 3, 3), np.int16))
    with pytest.raises(VolumeError):
        segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(volume_node)), other)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


@pytest.mark.parametrize("suffix", [".mrb", ".seg.nrrd"])
def test_saving_and_loading_keeps_what_is_known(scene, make_volume, moved_volume, sheared, tmp_path, suffix):
    moved_volume.CreateDefaultDisplayNodes()
    moved_by = moved_volume.GetParentTransformNode()
    node = segmentation.apply_segmentation(prediction_for(nodes.volume_from_node(moved_volume)), moved_volume)
    path = tmp_path / f"result{suffix}"
    if suffix == ".mrb":
        assert scene.WriteToMRB(str(path), None)
        scene.Clear(True)
        assert scene.ReadFromMRB(str(path), False)
        loaded = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        assert provenance.read(loaded) == PROVENANCE
        assert loaded.GetAttribute("MedDL.Model") == PROVENANCE["model"]["name"]
        moved_by = loaded.GetParentTransformNode()
        assert moved_by.GetName() == "inner"
    else:
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(node)
        loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
        assert storage.ReadData(loaded)
        loaded.SetAndObserveTransformNodeID(moved_by.GetID())
    # Slicer's own storage turns the slices of a left-handed volume around, so compare on the grid as it was before.
    reference = make_volume(np.zeros(SHAPE, np.int16), sheared)
    reference.SetAndObserveTransformNodeID(moved_by.GetID())
    labels = labels_of(SHAPE)[0]
    for segment in SEGMENTS:
        found = segment_named(loaded, segment["name"])
        assert found.GetColor() == pytest.approx(segment["color"], abs=1e-6)
        assert found.GetTerminology() == (segment["terminology"] or segmentation._TISSUE)
        np.testing.assert_array_equal(exported(loaded, segment["name"], reference) > 0, labels == segment["label"])


def test_second_result_keeps_identifiers_and_looks(moved_volume):
    prediction = prediction_for(nodes.volume_from_node(moved_volume))
    node = segmentation.apply_segmentation(prediction, moved_volume)
    identifiers = segment_ids(node)
    display = node.GetDisplayNode()
    display.SetSegmentOpacity2DFill(identifiers[0], 0.25)
    display.SetSegmentVisibility(identifiers[1], False)
    segmentation.apply_segmentation(prediction, moved_volume, node)
    assert segment_ids(node) == identifiers
    assert display.GetSegmentOpacity2DFill(identifiers[0]) == 0.25
    assert [display.GetSegmentVisibility(one) for one in identifiers] == [True, False, True]


def test_segments_are_shown_whatever_hides_them_while_they_are_exchanged(moved_volume):
    """A slice view's controller does so, as seen in Slicer with a main window."""
    prediction = prediction_for(nodes.volume_from_node(moved_volume))
    node = segmentation.apply_segmentation(prediction, moved_volume)
    display = node.GetDisplayNode()

    def hide(_caller, _event):
        for identifier in segment_ids(node):
            display.SetSegmentVisibility(identifier, False)

    node.AddObserver(vtk.vtkCommand.ModifiedEvent, hide)
    segmentation.apply_segmentation(prediction, moved_volume, node)
    assert all(display.GetSegmentVisibility(one) for one in segment_ids(node))
