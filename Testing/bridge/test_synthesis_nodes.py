"""Synthetic images in a scene: where they lie, what they say of themselves, and plots and folders of trainings."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from meddl.errors import VolumeError
from meddl.synthesis import SynthesisConfig
from meddl.synthesis.history import HISTORY, History
from meddl.volume import Volume
from meddl_slicer import nodes, provenance, synthesis_judgement
from meddl_slicer.synthesis_plot import LossPlot
from meddl_slicer.synthesis_run import ImagesRun, LesionRun
from meddl_slicer.synthesis_training import STEP, TrainingView

FACTS = {"generator": "Heads", "generator_version": "1.0", "generator_sha256": "abc", "seed": 4, "notes": ["A note."]}
BALL = {"label": 1, "name": "Ball", "color": (1.0, 0.5, 0.0), "terminology": "", "layer": 0}


@pytest.fixture
def make_segmentation(scene):
    def make(volume, where=np.s_[1:3, 1:4, 2:5], name="Anatomy"):
        mask = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
        mask[where] = 1
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.CreateDefaultDisplayNodes()
        identifier = node.GetSegmentation().AddEmptySegment("Ball", "Ball")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
        return node

    return make


def made_of(run, count=1):
    """What a generator gives back for labels: the labels themselves as an image."""
    labels = run.params["labels"]
    image = labels.with_array(labels.array[:1].astype(np.float32) * 100)
    one = {"image": image, "labels": labels.with_array(labels.array[:1]), "segments": [BALL], "facts": FACTS}
    return {"made": [dict(one) for _ in range(count)], "notes": []}


@pytest.mark.parametrize("count", [1, 2])
def test_images_lie_where_the_segmentation_does(
    scene, make_volume, make_transform, make_segmentation, rotation, sheared, count
):
    volume = make_volume(np.zeros((8, 7, 6), np.float32), sheared)
    volume.SetAndObserveTransformNodeID(make_transform(rotation).GetID())
    segmentation = make_segmentation(volume)
    run = ImagesRun("any", "Heads", count, 4, segmentation)
    pairs = run.apply(made_of(run, count))

    assert len(pairs) == count and run.notes == ("A note.",)
    for image, labels in pairs:
        np.testing.assert_allclose(nodes.affine_to_world(image), nodes.affine_to_world(volume), atol=1e-5)
        assert image.GetTransformNodeID() == labels.GetTransformNodeID() == volume.GetTransformNodeID()
        assert image.GetName().startswith("Synthetic Heads (seed 4)")
        ball = slicer.util.arrayFromSegmentBinaryLabelmap(labels, labels.GetSegmentation().GetNthSegmentID(0), image)
        np.testing.assert_array_equal(ball > 0, slicer.util.arrayFromVolume(image) > 0)
        for node in (image, labels):
            assert node.GetAttribute(provenance.SYNTHETIC) == "image"
            assert node.GetAttribute("MedDL.ModelDigest") == "abc"
            assert provenance.read(node)["seed"] == 4
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for pair in pairs for node in pair}
    assert folders == {run.folder} and hierarchy.GetItemName(run.folder) == "Synthetic Heads (seed 4)"


def test_a_part_of_a_grid_is_completed_by_the_image(scene, make_volume, make_segmentation):
    volume = make_volume(np.zeros((8, 7, 6), np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
    segmentation = make_segmentation(volume)
    assert ImagesRun("any", "Heads", 1, 0, segmentation).params["labels"].shape == (8, 7, 6)
    other = make_volume(np.zeros((4, 4, 4), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "coarse")
    run = ImagesRun("any", "Heads", 1, 0, segmentation, other)
    assert run.params["grid"]["shape"] == (4, 4, 4)
    np.testing.assert_array_equal(run.params["grid"]["affine"], np.diag([4.0, 4.0, 4.0, 1.0]))
    scene.RemoveNode(volume)  # what is drawn is known without it
    assert "grid" not in ImagesRun("any", "Heads", 1, 0, segmentation).params


def test_nothing_is_left_when_what_it_was_made_from_is_gone(scene, make_volume, make_segmentation):
    volume = make_volume(np.zeros((8, 7, 6), np.float32))
    segmentation = make_segmentation(volume)
    run = ImagesRun("any", "Heads", 2, 0, segmentation)
    result = made_of(run, 2)
    before = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    steps = run.steps(result)
    next(steps)
    assert run.uses(segmentation) and not run.uses(volume)
    scene.RemoveNode(segmentation)
    with pytest.raises(VolumeError, match="Anatomy"):
        next(steps)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before
    assert not run.pairs


def test_a_lesion_says_who_drew_it(make_volume, make_segmentation):
    volume = make_volume(np.zeros((8, 7, 6), np.float32))
    run = LesionRun(volume, make_segmentation(volume), {"name": "Cyst", "seed": 2}, "any")
    drawn = {"from": "generator", "generator": "Heads", "generator_sha256": "abc"}
    facts = {"seed": 2, "lesions": [{"volume_ml": 0.1, "texture": {"image": drawn}}]}
    result = {"made": [{**made_of(run)["made"][0], "facts": facts}], "notes": []}
    (image, labels), *_ = run.apply(result)
    assert image.GetName() == "T1 with cyst (synthetic, seed 2)"
    assert image.GetAttribute(provenance.SYNTHETIC) == "lesion"
    assert labels.GetAttribute("MedDL.ModelDigest") == "abc"
    assert run.params["image"].shape == (8, 7, 6) and run.params["model"] == "any"


def test_images_of_chance_have_a_folder_in_the_scene(scene):
    run = ImagesRun("any", "Chests", 1, 9)
    image = Volume(np.zeros((1, 5, 5, 1), np.float32), np.eye(4))
    made = {"image": image, "labels": None, "segments": [], "facts": {**FACTS, "notes": []}}
    ((node, labels),) = run.apply({"made": [made], "notes": ["Little learned."]})
    assert labels is None and node.GetImageData().GetDimensions() == (5, 5, 1)
    assert run.notes == ("Little learned.",)


def test_losses_grow_in_one_chart(scene):
    before = scene.GetNumberOfNodes()
    plot = LossPlot()
    plot.update("Training", {STEP: [10.0], "loss": [1.0]})  # before it is shown
    assert scene.GetNumberOfNodes() == before
    chart = plot.show("Training", {STEP: []})
    plot.update("Training", {STEP: [10.0, 20.0], "generator": [1.0, 0.4], "discriminator": [0.5, 0.6]})
    series = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [each.GetName() for each in series] == ["generator", "discriminator"]
    plot.update("Training", {STEP: [10.0, 20.0, 30.0], "generator": [1.0, 0.4, 0.2], "discriminator": [0.5, 0.6, 0.9]})
    assert chart.GetNthPlotSeriesNode(0) is series[0]
    assert series[0].GetTableNode().GetNumberOfRows() == 4  # the first point is there twice: a line takes two
    assert chart.GetXAxisRange()[1] == 30.0 and chart.GetYAxisRange()[1] >= 1.0
    assert not any(node.GetSaveWithScene() for node in (chart, *series))
    plot.hide()
    assert scene.GetNumberOfNodes() == before and not plot.isShown
    table = plot.show("Training", {STEP: [10.0], "loss": [1.0]}).GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    assert [table.GetValue(row, 0).ToDouble() for row in range(2)] == [0.0, 10.0]  # one alone is seen, too
    scene.Clear(0)
    plot.forget()
    assert not plot.isShown


def test_layout_comes_back_unless_the_user_has_changed_it(scene):
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    for chosen, after in ((None, layout.SlicerLayoutFourUpView), (layout.SlicerLayoutOneUp3DView,) * 2):
        layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
        plot = LossPlot()
        plot.show("Training", {STEP: [1.0], "loss": [1.0]})
        plot._layout._shown = layout.SlicerLayoutFourUpPlotView  # what showing it does where there are views
        layout.SetViewArrangement(chosen or layout.SlicerLayoutFourUpPlotView)
        plot.update("Training", {STEP: [1.0, 2.0], "loss": [1.0, 0.5]})
        assert layout.GetViewArrangement() == (chosen or layout.SlicerLayoutFourUpPlotView)
        plot.hide()
        assert layout.GetViewArrangement() == after


def test_layout_comes_back_after_the_scene_was_closed(scene):
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    plot = LossPlot()
    plot.show("Training", {STEP: [1.0], "loss": [1.0]})
    plot._layout._shown = layout.SlicerLayoutFourUpPlotView  # what showing it does where there are views
    layout.SetViewArrangement(layout.SlicerLayoutFourUpPlotView)
    plot.forget()  # the views stay as they are
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpPlotView
    plot.show("Training", {STEP: [1.0], "loss": [1.0]})
    plot.hide()
    assert layout.GetViewArrangement() == layout.SlicerLayoutFourUpView


def test_a_loss_is_told_once_it_has_begun(tmp_path):
    path = tmp_path / HISTORY
    path.parent.mkdir(parents=True)
    rows = ((10, (0.6, 0.0), 1.0), (20, (0.4, 0.0), 2.0), (30, (0.3, 0.7), 3.0))
    view = TrainingView(tmp_path)
    for count, names in ((2, ["likeness"]), (3, ["likeness", "discriminator"])):
        path.write_bytes(History(("likeness", "discriminator"), rows[:count]).to_bytes())
        assert view.look()
        assert list(view.latest()) == names and list(view.losses()) == [STEP, *names]


def test_a_training_is_followed_by_its_folder(tmp_path):
    view = TrainingView(tmp_path)
    assert not view.look() and view.steps == 0 and view.losses() == {STEP: []} and view.config() is None
    assert not view.hasBundle and view.newest_samples() is None and not view.is_taken()
    path = tmp_path / HISTORY
    (path.parent / "samples").mkdir(parents=True)
    history = History(("loss",), tuple((10 * n, (1.0 / n,), 1.0) for n in range(1, 1001)))
    path.write_bytes(history.to_bytes())
    assert view.look() and not view.look()
    losses = view.losses()
    assert view.steps == 10000 and len(losses[STEP]) == len(losses["loss"]) <= 400
    assert losses[STEP][-1] == 10000 and view.latest()["loss"] == pytest.approx(0.001)
    path.write_bytes(history.up_to(50).to_bytes())  # it goes on from an earlier checkpoint
    assert view.look() and view.steps == 50
    path.write_bytes(b"step,loss,seconds\n10,nan,1\n")
    assert not view.look() and view.steps == 50
    for step in (250, 1000):
        (path.parent / "samples" / f"step_{step:06d}.png").write_bytes(b"")
    assert view.newest_samples().name == "step_001000.png"
    config = SynthesisConfig("gan", seed=3)
    import json

    (path.parent / "config.json").write_text(json.dumps({"config": config.to_dict()}))
    assert view.config() == config and not view.is_taken()
    (tmp_path / "letter.txt").write_text("mine")
    assert view.is_taken()


def test_a_judgement_as_rows():
    arms = {"real": 0.8, "real + synthetic": 0.85, "synthetic": 0.5}
    scores = [
        {"arm": arm, "structure": "Ball", "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        for arm, mean in arms.items()
    ]
    difference = {"arm": "real + synthetic", "structure": "Ball", "verdict": "better"}
    distance = {"measure": "KID", "features": "segmenter", "value": 12.3, "low": 10.0, "high": 14.0, "baseline": None}
    distance |= {"baseline_low": None, "baseline_high": None, "better": "lower"}
    judgement = {
        "distances": [distance],
        "usefulness": {"scores": scores, "differences": [difference]},
        "memorization": {"pairs": [{}], "near_threshold": 0.1, "near": 3, "synthetic": 20, "expected_near": 1.0},
    }
    _headings, rows = synthesis_judgement.distance_rows(judgement)
    assert rows == [["KID", "12.3 (10.0 to 14.0)", "\N{EN DASH}", "lower", "segmenter"]]
    headings, rows = synthesis_judgement.usefulness_rows(judgement)
    assert headings[1:] == ["Real", "Real + synthetic", "Synthetic", "With them"]
    assert rows[0][0] == "Ball" and rows[0][-1] == "better" and rows[0][2] == "0.850 (0.750 to 0.950)"
    assert "3 of 20 (1.0 by chance)" in synthesis_judgement.pairs_sentence(judgement)
    assert synthesis_judgement.usefulness_rows({**judgement, "usefulness": None}) == ([], [])
