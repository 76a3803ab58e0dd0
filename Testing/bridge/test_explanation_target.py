"""What is to be explained, from a real MRML scene: names of a model, the crosshair, boxes that lie askew, segments."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from meddl.errors import VolumeError
from meddl.models import ModelBundle
from meddl_slicer import explanation_target, nodes
from meddl_slicer.known_model import write_known_bundle


@pytest.fixture
def image(make_volume, make_transform, sheared, rotation):
    node = make_volume(np.zeros((9, 8, 7), np.float32), sheared)
    node.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    return node


@pytest.mark.parametrize(
    ("task", "kind", "names"),
    [
        ("classification", "class", ("Dark", "Bright")),
        ("segmentation", "structure", ("Brain",)),
        ("detection", "box", ("Spot",)),
        ("landmarks", "landmark", ("Brightest", "Darkest")),
        ("reconstruction", "image", ()),
    ],
)
def test_model_tells_what_there_is_to_explain(tmp_path, task, kind, names):
    bundle = ModelBundle.open(write_known_bundle(tmp_path / "model", task))

    assert explanation_target.kind_of(bundle.task) == kind
    assert explanation_target.names_of(bundle) == names
    assert explanation_target.names_of(None) == ()


def test_box_that_lies_askew_holds_the_voxels_in_it(scene, image):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Region")
    turned = np.eye(4)
    turned[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    middle = (nodes.affine_to_world(image) @ [4, 3, 3, 1])[:3]
    turned[:3, 3] = middle
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turned))
    roi.SetSize(5.0, 6.0, 7.0)

    mask = explanation_target.region_volume(roi, image)

    index = np.argwhere(np.ones(mask.shape))
    world = index @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    inside = (np.abs((world - middle) @ turned[:3, :3]) <= [2.5, 3.0, 3.5]).all(axis=1)
    assert 8 < inside.sum() < len(index) / 2
    np.testing.assert_array_equal(mask.array[0].astype(bool).ravel(), inside)
    np.testing.assert_allclose(mask.affine, nodes.affine_to_world(image))


def test_box_between_the_voxels_is_the_voxel_it_lies_in(scene, image):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Small")
    roi.SetSize(0.1, 0.1, 0.1)
    turned = np.eye(4)
    turned[:3, 3] = (nodes.affine_to_world(image) @ [4.4, 3.3, 2.6, 1])[:3]
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turned))

    mask = explanation_target.region_volume(roi, image)

    assert np.argwhere(mask.array[0]).tolist() == [[4, 3, 3]]


def test_region_outside_of_the_image_is_refused(scene, image):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Far away")
    roi.SetCenter([500.0, 0.0, 0.0])
    roi.SetSize(5.0, 5.0, 5.0)

    with pytest.raises(VolumeError, match="Far away"):
        explanation_target.target_of("structure", "", "region", roi, image)
    with pytest.raises(VolumeError, match="No region"):
        explanation_target.target_of("structure", "", "region", None, image)


def test_only_segments_that_are_shown_count(scene, image):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Drawing")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID())
    masks = {}
    for name, low in (("shown", 1), ("hidden", 5)):
        masks[name] = np.zeros((7, 8, 9), np.uint8)
        masks[name][low : low + 2, 2:4, 3:6] = 1
        identifier = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(masks[name], node, identifier, image)
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)

    region = explanation_target.target_of("structure", "x", "region", node, image)["region"]

    places = np.argwhere(region.array[0]) @ region.affine[:3, :3].T + region.affine[:3, 3]
    back = np.linalg.inv(nodes.affine_to_world(image)) @ np.vstack([places.T, np.ones(len(places))])
    found = {tuple(each) for each in np.rint(back[:3].T).astype(int)}
    assert found == {tuple(each[::-1]) for each in np.argwhere(masks["shown"])}
    node.GetDisplayNode().SetSegmentVisibility("shown", False)
    with pytest.raises(VolumeError, match="shown"):
        explanation_target.mask_of(node, image)


def test_crosshair_is_a_place_in_the_world(scene, image):
    assert explanation_target.crosshair() == (0.0, 0.0, 0.0)
    node = slicer.vtkMRMLCrosshairNode()
    node.SetCrosshairName("default")
    scene.AddNode(node).SetCrosshairRAS(*(nodes.affine_to_world(image) @ [1, 2, 3, 1])[:3])

    target = explanation_target.target_of("structure", "Brain", "crosshair", None, image)

    np.testing.assert_allclose(target["position"], (nodes.affine_to_world(image) @ [1, 2, 3, 1])[:3])
    assert explanation_target.inside(target["position"], image)
    assert not explanation_target.inside((900.0, 0.0, 0.0), image)
    assert explanation_target.target_of("class", "Dark", "crosshair")["position"] is None  # a class has no place
