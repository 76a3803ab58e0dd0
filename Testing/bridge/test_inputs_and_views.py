"""Before a run: images for channels, frames of sequences. After it: what a panel shows of a result."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from bridge.predictions import named, uncertainty_for
from meddl.errors import VolumeError
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.models import Channel
from meddl_slicer import input_channels, nodes, results, sequences, study
from meddl_slicer.evaluation_run import EVALUATION_ROLE, EvaluationRun, labels_of
from meddl_slicer.runs import EachFrameRun, InferenceRun, make_run
from meddl_slicer.scene_guard import remove
from meddl_slicer.table import values

SHAPE = (6, 7, 8)
TUMOR = (
    Channel("T1c", "MR", ("t1ce", "t1gd", "t1c")),
    Channel("T1", "MR", ("t1",)),
    Channel("T2", "MR", ("t2",)),
    Channel("FLAIR", "MR", ("flair",)),
)


@pytest.fixture
def head(make_volume, sheared):
    return make_volume(np.random.default_rng(3).normal(50, 9, SHAPE).astype(np.float32), sheared, "Head")


def test_images_are_known_by_their_names(make_volume):
    found = {
        name: make_volume(np.zeros(SHAPE), name=name) for name in ("ax FLAIR fs", "3: T1 mprage", "T1GD", "T2w_T2")
    }
    suggested = input_channels.suggest(TUMOR, found["ax FLAIR fs"])
    assert [node and node.GetName() for node in suggested] == ["T1GD", "3: T1 mprage", "T2w_T2", "ax FLAIR fs"]


def test_no_image_is_suggested_twice_or_without_reason(make_volume):
    make_volume(np.zeros(SHAPE), name="T1 FLAIR")
    make_volume(np.zeros(SHAPE), name="Localizer")
    suggested = input_channels.suggest(TUMOR)
    assert [node and node.GetName() for node in suggested] == [None, None, None, "T1 FLAIR"]


def test_images_of_the_same_study_come_first(scene, make_volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    volumes = [make_volume(np.zeros(SHAPE), name=name) for name in ("T1c A", "T2 of B", "T2 of A")]
    for name, members in (("A", (0, 2)), ("B", (1,))):
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)
        for member in members:
            study.place_in(volumes[member], folder)
    assert input_channels.suggest(TUMOR, volumes[0])[2] is volumes[2]


@pytest.mark.parametrize(
    ("shift", "text", "little"), [(0, "100 %", False), (3, "50 %", True), (60, "not overlap", True)]
)
def test_overlap_is_said_in_the_world(make_volume, make_transform, shift, text, little):
    first, other = (make_volume(np.zeros((6, 6, 6)), name=name) for name in "AB")
    moved = np.eye(4)
    moved[0, 3] = shift
    other.SetAndObserveTransformNodeID(make_transform(moved).GetID())
    found = input_channels.overlap(first, other, "T1")
    assert text in found.text and found.isLittle is little


@pytest.fixture
def beating(scene, make_volume):
    """A sequence of three volumes that get brighter, and the volume that shows one of them."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Beating")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for index in range(3):
        node = make_volume(np.full(SHAPE, 10.0 * index, np.float32), np.diag([2.0, 2.0, 3.0, 1.0]), "frame")
        sequence.SetDataNodeAtValue(node, f"{0.5 * index}")
        scene.RemoveNode(node)
    browser = sequences.show(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return sequence, browser.GetProxyNode(sequence)


def test_frames_are_read_where_their_proxy_lies(beating, make_transform, rotation):
    sequence, proxy = beating
    proxy.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    for node in (sequence, proxy):
        found = sequences.frames(node)
        assert [frame.index for frame in found] == ["0.0", "0.5", "1.0"]
        assert [float(frame.volume.array.max()) for frame in found] == [0, 10, 20]
        np.testing.assert_allclose(found[2].volume.affine, rotation @ np.diag([2.0, 2.0, 3.0, 1.0]))


def test_volume_that_is_no_frame_is_refused_for_each_frame(head):
    with pytest.raises(VolumeError, match="no sequence of images"):
        make_run(head, "any", frames="each")


def test_all_frames_go_to_a_model_that_takes_them_together(beating):
    run = InferenceRun(beating[1], "any", frames="whole")
    assert len(run.params["frames"]) == 3 and "volume" not in run.params


def test_a_real_head_that_brightens_is_read_as_a_whole_in_a_worker(scene, make_volume, tmp_path, monkeypatch):
    """A 4-D image out of a real one: contrast agent that arrives, frame by frame, in its middle."""
    import realdata
    from core.known_bundles import write
    from meddl.volume import read_volume

    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    whole = read_volume(realdata.head())
    affine = whole.affine.copy()
    affine[:3, :3] *= 4
    array = whole.array[0, ::4, ::4, ::4].astype(np.float32)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Perfusion")
    frames = []
    for index in range(5):
        frame = array.copy()
        frame[20:44, 20:44, 10:30] *= 1 + 0.05 * index
        node = make_volume(frame, affine, "frame")
        sequence.SetDataNodeAtValue(node, str(index))
        scene.RemoveNode(node)
        frames.append(frame)
    sequences.show(sequence)
    linear = {"_target_": "torch.nn.Linear", "in_features": 5, "out_features": 1}
    weights = {"weight": np.array([[-2.0, 0, 0, 0, 2.0]], np.float32), "bias": np.zeros(1, np.float32)}
    sigmoid = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
    model = write(
        tmp_path / "model", "classification", linear, weights, classes=["Enhances"], outputs=1,
        postprocessing=[sigmoid], meddl={"sequence": {"axis": "frames"}},
    )  # fmt: skip
    expected = 1 / (1 + np.exp(-2.0 * float(np.mean(frames[-1] - frames[0], dtype=np.float64))))
    assert 0.5 < expected < 0.999
    run = make_run(sequence, str(model.path), frames="whole", options={"device": "cpu"})
    with WorkerRunner() as runner:
        node = run.apply(runner.submit(run.task, run.params).wait(300))
    headings, rows = values(node)
    assert rows[0][headings.index("Class")] == "Enhances"
    assert rows[0][headings.index("Probability")] == pytest.approx(expected, abs=1e-3)
    assert results.result_of(node).viewText.startswith("Enhances")


@pytest.mark.parametrize("task", ["segmentation", "landmarks", "reconstruction", "classification", "detection"])
def test_results_of_all_frames_are_one_node_or_a_table(scene, beating, task):
    sequence, proxy = beating
    run = make_run(proxy, "any", frames="each")
    assert isinstance(run, EachFrameRun)
    answers = {"frames": [named(task, volumes[0]) for volumes in run.params["images"]]}
    node = run.apply(answers)
    again = make_run(proxy, "any", node, frames="each")
    before = scene.GetNumberOfNodes()
    assert again.apply(answers) is node
    assert scene.GetNumberOfNodes() == before
    view = results.result_of(node)
    assert view.headings[0] == "time [s]" and [row[0] for row in view.rows] == ["0.0", "0.5", "1.0"]
    recorded = node.GetNodeReference(sequences.SEQUENCE_ROLE)
    assert (recorded is None) == (task in ("classification", "detection"))
    if recorded is not None:
        assert recorded.GetNumberOfDataNodes() == 3
    assert results.show_row(view, 2)
    assert sequences.browser_of(sequence).GetSelectedItemNumber() == 2


def test_result_is_read_back_from_its_nodes(head):
    volume = nodes.volume_from_node(head)
    node = InferenceRun(head, "any").apply(named("segmentation", volume, uncertainty=uncertainty_for(volume)))
    view = results.result_of(node)
    assert view.headings == ("Structure", "Volume [ml]", "From [ml]", "To [ml]", "Voxels")
    assert view.rows[0][2:4] == ("0.500", "2.000")
    assert view.sentences == ("Least sure at the border.",)
    assert len(view.maps) == 1 and view.evaluation is None
    assert results.result_of(None) is None
    assert results.result_of(head) is None


def test_rows_know_their_places(scene, head):
    run = InferenceRun(head, "any")
    volume = run.params["volume"]
    view = results.result_of(run.apply(named("landmarks", volume)))
    assert results.place_of(view, 1) == pytest.approx((4.0, -5.0, 6.0))
    view = results.result_of(InferenceRun(head, "any").apply(named("classification", volume)))
    assert results.place_of(view, 0) is None and not results.show_row(view, 0)


def test_segment_is_compared_with_its_namesake(scene, make_volume):
    array = np.random.default_rng(3).normal(50, 9, (12, 13, 14)).astype(np.float32)
    head = make_volume(array, np.diag([-1.0, -1.0, 2.0, 1.0]), "Head")
    run = InferenceRun(head, "any")
    result = named("segmentation", run.params["volume"])
    output = run.apply(result)
    reference = InferenceRun(head, "any").apply(result)  # the same, under another name
    reference.SetName("Expert")
    evaluation = EvaluationRun(result, output, reference, head)
    with InlineRunner() as runner:
        node = evaluation.apply(runner.submit(evaluation.task, evaluation.params).wait(60))
    assert output.GetNodeReference(EVALUATION_ROLE) is node
    headings, rows = values(node)
    assert headings[:4] == ["Structure", "Dice", "HD95 [mm]", "NSD"]
    assert rows[0][:4] == ["Brain", 1.0, 0.0, 1.0]
    assert results.result_of(output).evaluation is node
    remove(output)
    assert evaluation.apply({}) is None


def test_labels_of_a_cropped_reference_lie_at_their_place(scene, head):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Expert")
    node.SetReferenceImageGeometryParameterFromVolumeNode(head)
    identifier = node.GetSegmentation().AddEmptySegment("a", "A")
    truth = np.zeros(SHAPE[::-1], np.uint8)
    truth[3:6, 2:4, 1:5] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(truth, node, identifier, head)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    labels, segments = labels_of(node, head)
    assert [segment["name"] for segment in segments] == ["A"]
    at = np.argwhere(labels.array[segments[0]["layer"]] == segments[0]["label"]).mean(axis=0)
    expected = nodes.affine_to_world(head) @ [2.5, 2.5, 4.0, 1.0]
    np.testing.assert_allclose((labels.affine @ [*at, 1.0])[:3], expected[:3], atol=1e-6)


def test_reference_without_segments_is_refused(scene, head):
    with pytest.raises(VolumeError, match="has no segments"):
        labels_of(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty"), head)
