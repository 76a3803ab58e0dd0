"""A run takes a volume node to a worker and its answer back into the scene, or leaves the scene as it was."""

from __future__ import annotations

import numpy as np
import pytest
from bridge.predictions import prediction_for
from meddl.errors import VolumeError
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.models import resolve_model
from meddl_slicer import nodes
from meddl_slicer.known_model import write_threshold_bundle
from meddl_slicer.segmentation_run import TABLE_ROLE, SegmentationRun, resultRows


@pytest.fixture
def head(make_volume, sheared):
    array = np.random.default_rng(5).normal(50, 10, (20, 24, 28)).astype(np.float32)
    array[4:12, 5:20, 6:22] += 100
    return make_volume(array, np.diag([-1.5, -1.5, 2.0, 1.0]), "Head")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("runner_class", [InlineRunner, WorkerRunner])
def test_known_model_finds_exactly_what_is_bright(head, tmp_path, runner_class):
    model = write_threshold_bundle(tmp_path / "model", 100.0)
    run = SegmentationRun(head, model, device="cpu")
    with runner_class() as runner:
        node = run.apply(runner.submit(run.task, run.params).wait(300))
    expected = nodes.volume_from_node(head).array[0] > 100
    image = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    from vtk.util.numpy_support import vtk_to_numpy

    found = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0)
    np.testing.assert_array_equal(found == 1, expected)
    rows, title = resultRows(node)
    assert rows == [("Brain", pytest.approx(expected.sum() * 4.5 / 1000, abs=0.001))]
    assert title == "Threshold (self-test) 0.1.0"
    assert node.GetAttribute("MedDL.ModelDigest") == resolve_model(model).digest


def test_second_run_writes_into_the_same_nodes(scene, head):
    result = prediction_for(nodes.volume_from_node(head))
    first = SegmentationRun(head, "any")
    node = first.apply(result)
    second = SegmentationRun(head, "any", node)
    assert second.apply(result) is node
    assert second.tableNode is first.tableNode
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_result_of_a_removed_volume_is_discarded(scene, head):
    run = SegmentationRun(head, "any")
    result = prediction_for(run.params["volume"])
    scene.RemoveNode(head)
    with pytest.raises(VolumeError, match='"Head" was removed'):
        run.apply(result)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_result_for_a_deleted_output_goes_into_a_new_one(scene, head):
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    run = SegmentationRun(head, "any", output)
    scene.RemoveNode(output)
    node = run.apply(prediction_for(run.params["volume"]))
    assert node is not output and node.GetScene() is scene
    assert node.GetNodeReference(TABLE_ROLE) is run.tableNode


def test_segmentation_that_no_run_has_written_has_no_rows(scene):
    assert resultRows(None) == ([], "")
    assert resultRows(scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) == ([], "")
