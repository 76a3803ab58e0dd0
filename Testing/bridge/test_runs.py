"""A run takes images of the scene to a worker and its answer back into the scene, or leaves the scene as it was."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from bridge.predictions import SEGMENTS, named, prediction_for, uncertainty_for
from meddl.errors import MedDLError, VolumeError
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.models import resolve_model
from meddl.volume import Volume
from meddl_slicer import maps, nodes, runs, table, view_text
from meddl_slicer.boxes import BOX_ROLE
from meddl_slicer.classification import EVIDENCE_ROLE, PLOT_ROLE
from meddl_slicer.known_model import write_threshold_bundle
from meddl_slicer.runs import InferenceRun


@pytest.fixture
def head(make_volume):
    array = np.random.default_rng(5).normal(50, 10, (20, 24, 28)).astype(np.float32)
    array[4:12, 5:20, 6:22] += 100
    node = make_volume(array, np.diag([-1.5, -1.5, 2.0, 1.0]), "Head")
    node.CreateDefaultDisplayNodes()
    return node


@pytest.fixture
def turned_head(head, make_transform, rotation):
    """The same under a rigid transform."""
    head.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    return head


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


def node_ids(scene) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


@pytest.mark.parametrize("runner_class", [InlineRunner, WorkerRunner])
def test_known_model_finds_exactly_what_is_bright(head, tmp_path, runner_class):
    model = write_threshold_bundle(tmp_path / "model", 100.0)
    run = InferenceRun(head, model, options={"device": "cpu"})
    with runner_class() as runner:
        node = run.apply(runner.submit(run.task, run.params).wait(300))
    expected = nodes.volume_from_node(head).array[0] > 100
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    from vtk.util.numpy_support import vtk_to_numpy

    found = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)
    np.testing.assert_array_equal(found == 1, expected)
    headings, rows = table.values(run.tableNode)
    assert headings == ["Structure", "Volume [ml]", "Voxels", "Model"]
    assert rows == [["Brain", pytest.approx(expected.sum() * 4.5 / 1000, abs=0.001), expected.sum(), rows[0][3]]]
    assert rows[0][3] == "Threshold (self-test) 0.1.0"
    assert node.GetAttribute("MedDL.ModelDigest") == resolve_model(model).digest


@pytest.mark.parametrize("task", list(runs.OUTPUT_CLASSES))
def test_result_of_each_task_is_one_main_node_beside_its_input(scene, turned_head, task):
    run = InferenceRun(turned_head, "any")
    node = run.apply(named(task, run.params["volume"]))
    assert node.IsA(runs.OUTPUT_CLASSES[task]) and node is run.output
    assert node.GetAttribute("MedDL.ModelVersion") == "1.2.0"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert hierarchy.GetItemByDataNode(node)
    if hasattr(node, "GetParentTransformNode"):
        assert node.GetParentTransformNode() is turned_head.GetParentTransformNode()


@pytest.mark.parametrize("task", list(runs.OUTPUT_CLASSES))
def test_second_run_writes_into_the_same_nodes(scene, head, task):
    volume = nodes.volume_from_node(head)
    more = {
        "segmentation": {"uncertainty": uncertainty_for(volume)},
        "classification": {"evidence": [0.1, 0.7, 0.2]},
        "reconstruction": {"difference": volume, "quality": {"psnr_db": 31.0, "ssim": 0.9}},
    }.get(task, {})
    first = InferenceRun(head, "any")
    node = first.apply(named(task, volume, **more))
    before = node_ids(scene)
    second = InferenceRun(head, "any", node)
    assert second.apply(named(task, volume, **more)) is node
    assert second.tableNode is first.tableNode
    assert node_ids(scene) == before


@pytest.mark.parametrize("task", list(runs.OUTPUT_CLASSES))
def test_result_of_a_removed_volume_is_discarded(scene, head, task):
    run = InferenceRun(head, "any")
    result = named(task, run.params["volume"])
    scene.RemoveNode(head)
    before = node_ids(scene)
    with pytest.raises(VolumeError, match='"Head" was removed'):
        run.apply(result)
    assert node_ids(scene) == before


@pytest.mark.parametrize("task", list(runs.OUTPUT_CLASSES))
def test_broken_result_leaves_the_scene_as_it_was(scene, head, task):
    run = InferenceRun(head, "any")
    result = named(task, run.params["volume"])
    key = {"segmentation": "volumes_ml", "classification": "classes", "detection": "boxes", "landmarks": "points"}
    if task == "reconstruction":
        result["quality"] = {"psnr_db": "none"}
    elif task == "segmentation":
        result["volumes_ml"] = {}
    else:
        result[key[task]] = [*result[key[task]], {"name": "no number", "score": "x", "probability": "x"}]
    before = node_ids(scene)
    with pytest.raises((KeyError, ValueError)):
        run.apply(result)
    assert node_ids(scene) == before


def test_unknown_task_is_said_in_a_sentence(head):
    run = InferenceRun(head, "any")
    with pytest.raises(MedDLError, match="cannot show results of the task 'telepathy'"):
        run.apply({**named("detection", run.params["volume"]), "task": "telepathy"})


def test_result_for_a_deleted_output_goes_into_a_new_one(scene, head):
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    run = InferenceRun(head, "any", output)
    scene.RemoveNode(output)
    node = run.apply(prediction_for(run.params["volume"]) | {"task": "segmentation"})
    assert node is not output and node.GetScene() is scene
    assert runs.table_of(node) is run.tableNode


def test_overlapping_structures_lie_in_labelmaps_of_their_own(head):
    volume = nodes.volume_from_node(head)
    layers = np.zeros((2, *volume.shape), np.uint8)
    layers[0, 2:9, 3:8, 4:9] = 1
    layers[1, 4:6, 4:20, 5:6] = 1
    segments = [{**SEGMENTS[0], "label": 1, "layer": 0}, {**SEGMENTS[1], "label": 1, "layer": 1}]
    names = [segment["name"] for segment in segments]
    result = named("segmentation", volume, labels=volume.with_array(layers), segments=segments)
    node = InferenceRun(head, "any").apply(result)
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    for layer, name in enumerate(names):
        identifier = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, head).transpose(2, 1, 0)
        np.testing.assert_array_equal(found, layers[layer])


def test_more_layers_than_labelmaps_are_refused(scene, head):
    run = InferenceRun(head, "any")
    result = named("segmentation", run.params["volume"], segments=[{**SEGMENTS[0], "layer": 3}])
    with pytest.raises(VolumeError, match="1 label maps where its structures lie in 4"):
        run.apply(result)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_uncertainty_is_a_map_from_0_to_1_with_a_legend_and_intervals(head):
    volume = nodes.volume_from_node(head)
    node = InferenceRun(head, "any").apply(named("segmentation", volume, uncertainty=uncertainty_for(volume)))
    entropy = node.GetNodeReference(maps.ENTROPY_ROLE)
    display = entropy.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(entropy).GetTitleText().startswith("Uncertainty")
    np.testing.assert_allclose(slicer.util.arrayFromVolume(entropy)[0, 0], np.linspace(0, 1, 20), atol=1e-6)
    headings, rows = table.values(runs.table_of(node))
    assert headings[1:4] == ["Volume [ml]", "From [ml]", "To [ml]"] and rows[0][2:4] == [0.5, 2.0]
    assert runs.table_of(node).GetAttribute(table.SENTENCE) == "Least sure at the border."


def test_probabilities_are_one_volume_per_structure_and_go_when_a_run_has_none(scene, head):
    volume = nodes.volume_from_node(head)
    array = np.stack([np.full(volume.shape, 0.25 * index, np.float16) for index in range(3)])
    result = named("segmentation", volume, probabilities=volume.with_array(array))
    node = InferenceRun(head, "any").apply(result)
    found = maps.references(node, maps.PROBABILITY_ROLE)
    assert [one.GetAttribute("MedDL.Structure") for one in found] == [segment["name"] for segment in SEGMENTS]
    assert [float(slicer.util.arrayFromVolume(one).max()) for one in found] == [0.0, 0.25, 0.5]
    InferenceRun(head, "any", node).apply(named("segmentation", volume))
    assert not maps.references(node, maps.PROBABILITY_ROLE)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_lightness_of_the_growing_colors_grows(scene):
    from meddl_slicer import colors

    lookup = colors.growing().GetLookupTable()
    rgb = np.array([lookup.GetTableValue(index)[:3] for index in range(256)])
    luminance = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) > -1e-3) and luminance[0] < 0.02 and luminance[-1] > 0.8
    assert colors.growing() is colors.growing()


def test_boxes_are_locked_rois_at_their_places(scene, turned_head):
    run = InferenceRun(turned_head, "any")
    result = named("detection", run.params["volume"])
    node = run.apply(result)
    found = maps.references(node, BOX_ROLE)
    assert [roi.GetName() for roi in found] == ["Liver 0.90", "Kidney 0.60", "Kidney 0.50"]
    for roi, box in zip(found, sorted(result["boxes"], key=lambda box: -box["score"]), strict=True):
        matrix = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
        np.testing.assert_allclose(matrix[:3, 3], box["center"], atol=1e-6)
        np.testing.assert_allclose(np.abs(matrix[:3, :3].T @ box["axes"]), np.eye(3), atol=1e-6)
        np.testing.assert_allclose(roi.GetSize(), box["size"])
        assert roi.GetLocked()
    colors = {roi.GetDisplayNode().GetSelectedColor() for roi in found}
    assert len(colors) == 2
    assert [row[:2] for row in table.values(node)[1]] == [["Liver", 0.9], ["Kidney", 0.6], ["Kidney", 0.5]]


def test_second_detection_keeps_how_boxes_are_shown_and_removes_what_is_gone(scene, head):
    run = InferenceRun(head, "any")
    result = named("detection", run.params["volume"])
    node = run.apply(result)
    liver = maps.references(node, BOX_ROLE)[0]
    liver.GetDisplayNode().SetSelectedColor(0.1, 0.2, 0.3)
    result["boxes"] = [{**result["boxes"][1], "score": 0.8}]
    InferenceRun(head, "any", node).apply(result)
    assert [roi.GetName() for roi in maps.references(node, BOX_ROLE)] == ["Liver 0.80"]
    assert maps.references(node, BOX_ROLE)[0] is liver
    assert liver.GetDisplayNode().GetSelectedColor() == pytest.approx((0.1, 0.2, 0.3))
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 1
    InferenceRun(head, "any", node).apply({**result, "boxes": []})
    assert scene.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == 0
    assert "found nothing" in node.GetAttribute(table.SENTENCE)


def test_landmarks_are_named_points_in_the_world(turned_head):
    run = InferenceRun(turned_head, "any")
    result = named("landmarks", run.params["volume"])
    node = run.apply(result)
    for index, point in enumerate(result["points"]):
        place = [0.0] * 3
        node.GetNthControlPointPositionWorld(index, place)
        np.testing.assert_allclose(place, point["position"], atol=1e-6)
        assert node.GetNthControlPointLabel(index) == point["name"]
    assert node.GetNthControlPointDescription(1) == "score 0.200"
    assert "unsure: PC" in runs.table_of(node).GetAttribute(table.SENTENCE)


def test_reconstruction_lies_on_its_grid_and_looks_like_its_input(turned_head):
    turned_head.GetDisplayNode().SetAutoWindowLevel(False)
    turned_head.GetDisplayNode().SetWindowLevelMinMax(10, 140)
    run = InferenceRun(turned_head, "any")
    volume = run.params["volume"]
    fine = volume.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] += fine[:3, :3] @ [-0.5, -0.5, -0.5]
    image = Volume(np.kron(volume.array[0], np.ones((2, 2, 2)))[None], fine)
    noise = np.random.default_rng(1).normal(0, 3, image.array.shape).astype(np.float32)
    result = named("reconstruction", volume, image=image, difference=image.with_array(noise))
    node = run.apply(result | {"quality": {"psnr_db": 30.5, "ssim": 0.91}})
    np.testing.assert_allclose(nodes.affine_to_world(node), fine, atol=1e-9)
    assert (node.GetDisplayNode().GetWindowLevelMin(), node.GetDisplayNode().GetWindowLevelMax()) == (10, 140)
    display = node.GetNodeReference(maps.DIFFERENCE_ROLE).GetDisplayNode()
    assert display.GetLevel() == 0 and display.GetWindow() == pytest.approx(2 * 3 * 2.81, rel=0.03)
    assert [row[:2] for row in table.values(run.tableNode)[1]] == [["PSNR [dB]", 30.5], ["SSIM", 0.91]]


def test_image_of_other_values_gets_a_window_of_its_own(head):
    head.GetDisplayNode().SetAutoWindowLevel(False)
    head.GetDisplayNode().SetWindowLevelMinMax(10, 140)
    run = InferenceRun(head, "any")
    image = run.params["volume"].with_array(run.params["volume"].array * 1e-4 + 5000)
    node = run.apply(named("reconstruction", run.params["volume"], image=image))
    assert node.GetDisplayNode().GetAutoWindowLevel()


def test_classes_come_best_first_with_text_for_the_views(head):
    run = InferenceRun(head, "any")
    node = run.apply(named("classification", run.params["volume"]))
    assert [row[:2] for row in table.values(node)[1]] == [["CT", 0.93], ["MR", 0.07]]
    assert view_text.text_of(node).startswith("CT: 93 %\n")
    assert "Most probable: CT (93 %)." in node.GetAttribute(table.SENTENCE)
    assert "not calibrated" not in node.GetAttribute(table.SENTENCE)
    again = named("classification", run.params["volume"], calibrated=False)
    assert "not calibrated" in run.apply(again).GetAttribute(table.SENTENCE)


def test_evidence_is_listed_and_plotted_and_goes_with_a_run_that_has_none(scene, head):
    run = InferenceRun(head, "any")
    node = run.apply(named("classification", run.params["volume"], evidence=(0.1, 0.7, 0.2)))
    assert table.values(node.GetNodeReference(EVIDENCE_ROLE))[1] == [[0, 0.1], [1, 0.7], [2, 0.2]]
    assert len(maps.references(node, PLOT_ROLE)) == 2
    run.apply(named("classification", run.params["volume"]))
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0


def test_several_images_go_to_the_job_in_order(make_volume):
    first, second = (make_volume(np.full((3, 4, 5), value, np.int16), name=str(value)) for value in (1, 2))
    run = InferenceRun([first, second], "any")
    assert [int(volume.array.max()) for volume in run.params["volumes"]] == [1, 2]
    assert "volume" not in run.params and run.uses(second)


def test_color_picture_becomes_gray_for_a_model_of_one_channel(scene):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Chest.png")
    picture = np.zeros((1, 4, 5, 4), np.uint8)
    picture[..., 0], picture[..., 3] = 200, 255
    slicer.util.updateVolumeFromArray(node, picture)
    volume = InferenceRun(node, "any").params["volume"]
    assert volume.array.shape == (1, 5, 4, 1) and int(volume.array[0, 0, 0, 0]) == 60


def test_what_belongs_to_a_result_is_known(head):
    run = InferenceRun(head, "any")
    node = run.apply(named("detection", run.params["volume"]))
    assert len(runs.companions(node)) == 3
    assert runs.table_of(None) is None
