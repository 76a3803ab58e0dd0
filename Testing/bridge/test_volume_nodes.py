"""A volume node and the core's Volume name the same point of the patient for every voxel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import slicer
import slicer.util
from meddl.errors import VolumeError
from meddl.volume import Volume
from meddl_slicer import nodes

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def world_of(node, index) -> np.ndarray:
    """The world position of a voxel as Slicer itself computes it, one point at a time through its transforms."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = matrix.MultiplyPoint((*map(float, index), 1.0))[:3]
    world = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(local, world)
    return np.array(world)


def assert_same_places(node, volume) -> None:
    for index in itertools.product(*[(0, size - 1) for size in volume.shape]):
        expected = world_of(node, index)
        found = (volume.affine @ np.array([*index, 1.0]))[:3]
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_voxels_are_read_in_core_order_without_a_copy(make_volume, sheared):
    node = make_volume(ARRAY, sheared)
    volume = nodes.volume_from_node(node)
    np.testing.assert_array_equal(volume.array[0], ARRAY)
    assert volume.name == "T1"
    assert np.shares_memory(volume.array, slicer.util.arrayFromVolume(node))


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_all_48_axis_orders_keep_their_places(make_volume, order, flips):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * np.array([0.8, 1.0, 3.0]) * flips
    affine[:3, 3] = (10, 20, -30)
    node = make_volume(ARRAY, affine)
    volume = nodes.volume_from_node(node)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-12)
    assert_same_places(node, volume)


def test_oblique_and_sheared_volume_keeps_its_place(make_volume, sheared):
    node = make_volume(ARRAY, sheared)
    volume = nodes.volume_from_node(node)
    np.testing.assert_allclose(volume.affine, sheared, atol=1e-12)
    assert_same_places(node, volume)


def test_chain_of_linear_transforms_is_composed_in_the_right_order(make_volume, make_transform, sheared, rotation):
    scaled = np.diag([1.1, 0.9, 1.0, 1.0])
    scaled[:3, 3] = (1, 2, 3)
    outer = make_transform(rotation, "outer")
    inner = make_transform(scaled, "inner", parent=outer)
    node = make_volume(ARRAY, sheared)
    node.SetAndObserveTransformNodeID(inner.GetID())
    volume = nodes.volume_from_node(node)
    np.testing.assert_allclose(volume.affine, rotation @ scaled @ sheared, atol=1e-9)
    assert_same_places(node, volume)


def test_nonlinear_transform_is_refused_by_name(make_volume, make_transform, rotation):
    bent = make_transform(None, "Breathing field")
    inner = make_transform(rotation, "rigid", parent=bent)
    node = make_volume(ARRAY)
    node.SetAndObserveTransformNodeID(inner.GetID())
    with pytest.raises(VolumeError, match=r'"T1".*"Breathing field".*[Hh]arden'):
        nodes.volume_from_node(node)


def test_node_without_voxels_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    with pytest.raises(VolumeError, match=r'"Empty" holds no voxels'):
        nodes.volume_from_node(node)


def test_no_node_is_refused():
    with pytest.raises(VolumeError, match="Choose an input volume"):
        nodes.volume_from_node(None)


def test_tensor_volume_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLDiffusionTensorVolumeNode", "DTI")
    with pytest.raises(VolumeError, match=r'"DTI".*scalar volume'):
        nodes.volume_from_node(node)


def test_components_of_a_vector_volume_become_channels(scene):
    stored = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)  # K, J, I, RGB
    node = slicer.util.addVolumeFromArray(stored, nodeClassName="vtkMRMLVectorVolumeNode")
    volume = nodes.volume_from_node(node)
    assert volume.shape == (4, 3, 2)
    np.testing.assert_array_equal(volume.array[2, 1, 0, 1], stored[1, 0, 1, 2])


def test_label_map_is_read_as_a_volume(scene):
    node = slicer.util.addVolumeFromArray(
        np.ascontiguousarray(ARRAY.T % 3), nodeClassName="vtkMRMLLabelMapVolumeNode", name="Labels"
    )
    np.testing.assert_array_equal(nodes.volume_from_node(node).array[0], ARRAY % 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_new_node_gives_back_what_was_put_in(scene, sheared, dtype):
    volume = Volume(ARRAY[np.newaxis].astype(dtype), sheared, name="synthetic")
    found = nodes.volume_from_node(nodes.add_volume_node(volume))
    assert found.array.dtype == dtype
    assert found.name == "synthetic"
    np.testing.assert_array_equal(found.array, volume.array)
    np.testing.assert_allclose(found.affine, sheared, atol=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.float16, np.int64])
def test_types_that_slicer_cannot_show_are_widened(scene, dtype):
    values = np.zeros((1, 2, 2, 2), dtype)
    values[0, 1, 1, 1] = 1
    found = nodes.volume_from_node(nodes.add_volume_node(Volume(values, np.eye(4))))
    np.testing.assert_array_equal(found.array, values.astype(found.array.dtype))


def test_several_channels_become_a_vector_volume(scene, sheared):
    array = np.random.default_rng(3).normal(size=(3, 4, 5, 6)).astype(np.float32)
    node = nodes.add_volume_node(Volume(array, sheared))
    assert node.GetClassName() == "vtkMRMLVectorVolumeNode"
    np.testing.assert_array_equal(nodes.volume_from_node(node).array, array)


def test_result_beside_a_moved_volume_lands_at_its_world_place(make_volume, make_transform, sheared, rotation):
    node = make_volume(ARRAY, sheared)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    volume = nodes.volume_from_node(node)
    result = nodes.add_volume_node(volume.with_array(volume.array * 2), "Doubled", like=node)
    assert result.GetTransformNodeID() == node.GetTransformNodeID()
    np.testing.assert_allclose(nodes.affine_to_parent(result), sheared, atol=1e-9)
    np.testing.assert_allclose(nodes.volume_from_node(result).affine, volume.affine, atol=1e-9)


def test_node_can_be_overwritten_with_another_size_and_place(make_volume, make_transform, sheared, rotation):
    node = make_volume(ARRAY)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    nodes.update_node_from_volume(node, Volume(np.ones((1, 2, 3, 4), np.float32), sheared))
    found = nodes.volume_from_node(node)
    assert found.shape == (2, 3, 4)
    np.testing.assert_allclose(found.affine, sheared, atol=1e-9)


def test_channels_are_not_written_into_a_scalar_node(make_volume):
    node = make_volume(ARRAY)
    with pytest.raises(VolumeError, match="3 channels"):
        nodes.update_node_from_volume(node, Volume(np.ones((3, 2, 3, 4), np.float32), np.eye(4)))
    np.testing.assert_array_equal(nodes.volume_from_node(node).array[0], ARRAY)


def test_modality_of_the_study_is_handed_on_and_nothing_personal(scene, make_volume):
    node = make_volume(ARRAY)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    hierarchy.SetItemAttribute(item, "DICOM.PatientName", "Doe^Jane")
    assert nodes.volume_from_node(node).meta == {"modality": "MR"}
