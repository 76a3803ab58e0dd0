"""From an image and a question to a map on the image's own grid: networks whose map is known in closed form."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from core.known_bundles import TO_RAS, oblique, voxelwise, write
from meddl.errors import JobCancelled, ModelError, UsageError
from meddl.inference.history import History
from meddl.jobs import JobContext
from meddl.models import ModelBundle
from meddl.saliency import Attribution, Explainer, ExplainOptions, Target, explain
from meddl.saliency.estimate import about, estimate
from meddl.saliency.task import list_methods, run_explanation
from meddl.saliency.windows import windows_of
from meddl.volume import Segment, Volume

CPU = ExplainOptions(device="cpu")
_AS_DISCRETE = [{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}]
SEGMENTS = {"segments": {"1": {"name": "Bright", "color": [1, 0, 0]}}}


@pytest.fixture
def bright(tmp_path: Path) -> ModelBundle:
    """Segments what is above 10; its gradient to the score of "Bright" is 3 there, and 0 elsewhere."""
    return write(
        tmp_path / "bright", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        preprocessing=[TO_RAS], postprocessing=_AS_DISCRETE, meddl=SEGMENTS,
    )  # fmt: skip


def block(shape: tuple[int, int, int] = (12, 10, 8), affine: np.ndarray | None = None) -> tuple[Volume, np.ndarray]:
    """An image with a bright block, and where that is."""
    where = np.zeros(shape, dtype=bool)
    where[2:6, 3:9, 1:4] = True
    array = np.where(where, 40.0, 1.0)[None].astype(np.float32)
    return Volume(array, np.eye(4) if affine is None else affine), where


def axis_orders() -> list[np.ndarray]:
    """Return grids with their axes in every order, with two of the eight choices of signs each, all in turn."""
    affines = []
    every = list(product((1, -1), repeat=3))
    for number, (order, more) in enumerate(product(permutations(range(3)), (0, 4))):
        signs = every[(3 * (number // 2) + more) % 8]
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, order] * np.array([1.1, 1.4, 2.0]) * signs
        affine[:3, 3] = 5, -7, 11
        affines.append(affine)
    return affines


def test_the_map_lies_on_the_voxels_that_the_answer_comes_from(bright):
    explainer = Explainer(bright, CPU)
    for affine in axis_orders():
        image, where = block(affine=affine)
        made = explainer.explain(image, ["saliency"]).attributions[0]
        assert made.map.grid.same_as(image.grid)
        assert np.allclose(np.abs(made.map.array[0]), np.where(where, 3.0, 0.0), atol=1e-4)


def test_on_a_turned_grid_too(bright):
    image, where = block(affine=oblique())
    made = explain(bright, image, ["input_x_gradient"], options=CPU).attributions[0]
    assert np.allclose(made.map.array[0], np.where(where, 120.0, 0.0), atol=1e-2)
    assert made.score == pytest.approx((40 * 3 - 30) * where.sum(), rel=1e-5)
    assert made.target == "Bright where the model found it"


def test_a_resampled_image_keeps_the_map_in_its_place(tmp_path):
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"}
    bundle = write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        preprocessing=[TO_RAS, spacing], postprocessing=_AS_DISCRETE, meddl=SEGMENTS,
    )  # fmt: skip
    image, where = block((24, 20, 16), np.diag([-1.0, 1.0, -1.0, 1.0]))
    made = explain(bundle, image, ["saliency"], options=CPU).attributions[0]
    middle = np.argwhere(np.abs(made.map.array[0]) > 1.5).mean(axis=0)
    assert np.allclose(middle, np.argwhere(where).mean(axis=0), atol=0.6)


def test_one_voxel_or_a_region_can_be_asked_for(bright):
    image, where = block()
    at = Target("structure", "Bright", position=(3.0, 4.0, 2.0))
    made = explain(bright, image, ["saliency"], at, CPU).attributions[0]
    assert np.argwhere(made.map.array[0] != 0).tolist() == [[3, 4, 2]]
    assert made.target == "Bright at (3.0, 4.0, 2.0) mm RAS"  # another voxel is another question
    region = image.with_array(np.zeros((1, *image.shape), np.uint8))
    region.array[0, 4:8, 4, 2] = 1
    made = explain(bright, image, ["saliency"], Target("structure", "Bright", region=region), CPU).attributions[0]
    assert np.array_equal(made.map.array[0] != 0, region.array[0] != 0)
    assert made.target == "Bright in 0.004 ml round (5.5, 4.0, 2.0) mm RAS"
    assert where[4, 4, 2]


def test_windows_together_give_the_map_of_the_whole(tmp_path):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "overlap": 0.25}
    bundle = write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, inferer=inferer, meddl=SEGMENTS,
    )  # fmt: skip
    image, where = block((14, 12, 6))  # smaller than a window along one axis
    made = explain(bundle, image, ["saliency", "input_x_gradient"], options=CPU).attributions
    assert np.allclose(np.abs(made[0].map.array[0]), np.where(where, 3.0, 0.0))
    assert np.allclose(made[1].map.array[0], np.where(where, 120.0, 0.0))
    assert made[0].score == pytest.approx(90 * where.sum()) and made[0].facts["windows"] > 1


def test_each_voxel_of_a_target_belongs_to_one_window():
    from meddl.inference.sliding_window import WindowRule

    rng = np.random.default_rng(0)
    target = rng.random((20, 9, 30)) > 0.7
    rule = WindowRule((8, 12, 8), overlap=(0.5, 0.5, 0.5))
    windows = windows_of(rule, target.shape, target)
    owned = torch.zeros((1, *target.shape))
    for window in windows:
        window.add(torch.from_numpy(window.mask[None].astype(np.float32)), owned)
    assert np.array_equal(owned[0].numpy(), target.astype(np.float32))
    assert sum(window.share for window in windows) == pytest.approx(1.0)
    assert [each.share for each in windows] == sorted((each.share for each in windows), reverse=True)
    few = windows_of(rule, target.shape, target, 2)
    assert [(each.start, each.share) for each in few] == [(each.start, each.share) for each in windows[:2]]


def test_a_class_is_explained_by_the_voxels_its_score_depends_on(tmp_path):
    bundle = write(
        tmp_path / "c", "classification", **voxelwise(1, [[2], [-1]], [0, 0]), classes=("much", "little"),
        preprocessing=[TO_RAS], postprocessing=[{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
    )  # fmt: skip
    image, _ = block()
    made = explain(bundle, image, ["input_x_gradient"], options=CPU).attributions[0]
    assert made.target == "class much"
    assert np.allclose(made.map.array[0], image.array[0] * 2 / image.array[0].size, rtol=1e-4)
    less = explain(bundle, image, ["input_x_gradient"], Target("class", "little"), CPU).attributions[0]
    assert np.allclose(less.map.array[0] * -2, made.map.array[0], rtol=1e-4)
    with pytest.raises(UsageError, match="knows no class 'none'"):
        explain(bundle, image, ["saliency"], Target("class", "none"), CPU)


def test_several_input_channels_have_a_map_each(tmp_path):
    bundle = write(
        tmp_path / "two", "segmentation", **voxelwise(2, [[0, 0], [3, -1]], [0, -30]), channels=("T1", "T2"),
        classes=("background", "Bright"), preprocessing=[TO_RAS], postprocessing=_AS_DISCRETE, meddl=SEGMENTS,
    )  # fmt: skip
    image, where = block()
    made = explain(bundle, [image, image], ["input_x_gradient"], options=CPU).attributions[0]
    assert made.channels is not None
    assert np.allclose(made.channels.array[:, where][:, 0], [120, -40])
    assert np.allclose(made.map.array[0][where], 80)


def test_what_a_reference_mask_and_a_segmentation_say_of_the_map(bright):
    image, where = block()
    labels = image.with_array(np.where(where, 1, 0)[None].astype(np.uint8))
    made = explain(
        bright, image, ["input_x_gradient"], options=CPU, segmentation=(labels, (Segment(1, "Block", (1, 0, 0)),)),
        truth=labels, faithfulness=("pointing_game", "deletion"),
    ).attributions[0]  # fmt: skip
    shares = {each.name: each for each in made.anatomy}
    assert shares["Block"].positive == pytest.approx(1.0) and shares["Block"].density > 5
    assert {each.name for each in made.measures} == {"pointing_game", "deletion"}
    assert next(each for each in made.measures if each.name == "pointing_game").value == 1.0


def test_what_cannot_be_explained_is_told(bright, tmp_path):
    image, _ = block()
    dark = image.with_array(image.array * 0 + np.arange(8, dtype=np.float32) / 8)
    with pytest.raises(UsageError, match="found no Bright"):
        explain(bright, dark, ["saliency"], options=CPU)
    with pytest.raises(UsageError, match="no method"):
        explain(bright, image, ["tea leaves"], options=CPU)
    with pytest.raises(UsageError, match="No method was chosen"):
        explain(bright, image, [], options=CPU)
    with pytest.raises(UsageError, match="has no class"):
        explain(bright, image, ["saliency"], Target("class", "x"), CPU)
    with pytest.raises(UsageError, match="outside of what the network sees"):
        explain(bright, image, ["saliency"], Target("structure", "Bright", position=(500.0, 0.0, 0.0)), CPU)
    with pytest.raises(UsageError, match="reference image, but none"):
        explain(bright, image, ["integrated_gradients"], options=ExplainOptions("cpu", baseline="reference"))
    with pytest.raises(ModelError):
        Explainer(write(tmp_path / "g", "generation", **voxelwise(1, [[1]], [0])), CPU)


def test_it_can_be_cancelled(bright):
    image, _ = block()
    with pytest.raises(JobCancelled):
        explain(bright, image, ["integrated_gradients"], options=CPU, cancelled=lambda: True)


def test_as_a_job(bright):
    image, where = block()
    params = {"model": str(bright.path), "volumes": [image], "methods": ["saliency"], "options": CPU.to_dict()}
    done = run_explanation(params, JobContext())
    made = Attribution.from_dict(done["attributions"][0])
    assert np.array_equal(made.map.array[0] != 0, where) and done["prediction"]["task"] == "segmentation"
    listed = list_methods({"model": str(bright.path), "options": CPU.to_dict()}, JobContext())["methods"]
    assert {"saliency", "integrated_gradients"} <= {each["id"] for each in listed}


def test_a_method_that_no_layer_is_there_for_is_not_offered(bright):
    offered = Explainer(bright, CPU).offered()
    # The network is one convolution, which answers the segmentation itself: nothing lies before it.
    assert {id for id, unfit in offered.items() if "no layer" in unfit} == {"gradcam", "gradcam_pp"}
    assert offered["saliency"] == offered["occlusion"] == ""


def test_progress_goes_on_through_methods_and_measures(bright):
    image, _ = block()
    told: list[tuple[float, str]] = []
    explain(
        bright, image, ["saliency", "integrated_gradients"], options=CPU, faithfulness=("completeness", "deletion"),
        progress=lambda fraction, text: told.append((fraction, text)),
    )  # fmt: skip
    assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told) and told[-1][0] == 1.0
    said = " ".join(text for _, text in told)
    assert said.index("Gradient") < said.index("Deletion: the map") < said.index("Integrated gradients: 20 steps")


def test_how_long_it_takes_is_known_the_next_time(bright, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    image, _ = block()
    assert estimate(bright, ["saliency"], (), CPU) is None
    made = explain(bright, image, ["saliency"], options=CPU).attributions[0]
    plain = estimate(bright, ["saliency"], (), CPU)
    assert plain is not None and plain >= made.facts["seconds"]
    asking = History("explanations.json").entry(bright.digest)["cpu"]["asking"]
    # A gradient counts as three runs; the score itself is asked for, too.
    more = estimate(bright, ["saliency", "smoothgrad"], (), CPU)
    assert (more - asking) / (plain - asking) == pytest.approx((4 + 30) / 4)
    assert estimate(bright, ["saliency"], ("deletion",), CPU) > plain
    assert estimate(bright, ["occlusion"], (), CPU) is None, "how many blocks there are is not known"
    explain(bright, image, ["occlusion", "ablation"], options=CPU)
    assert estimate(bright, ["occlusion"], (), CPU) is not None and estimate(bright, ["ablation"], (), CPU) is not None
    # OpenVINO's runs of the last method say nothing of those of a gradient.
    known = {"asking": 1.0, "run": 0.01, "windows": 1, "runs": {"saliency": 2.0}}
    History("explanations.json").change(bright.digest, lambda entry: entry.update(cpu=known))
    assert estimate(bright, ["saliency", "input_x_gradient"], (), CPU) == pytest.approx(1 + 4 * 2.0 + 4 * 0.01)
    assert about(None) == about(3) == "" and about(42) == "about 40 s" and about(130) == "about 2 min"


def test_what_would_be_without_the_structure(bright):
    image, where = block()
    labels = image.with_array(np.where(where, 1, 0)[None].astype(np.uint8))
    segmentation = (labels, (Segment(1, "Block", (1, 0, 0)),))
    why = explain(bright, image, ["saliency"], options=CPU, segmentation=segmentation, counterfactual=True)
    (without,) = why.counterfactuals
    # Painted over with a brightness of 1 it scores 3 - 30 a voxel instead of 120 - 30.
    assert without.value == pytest.approx((90 + 27) / 90, abs=0.02) and "Block" in without.sentence
    with pytest.raises(UsageError, match="which structures"):
        explain(bright, image, ["saliency"], options=CPU, counterfactual=True)


def test_measures_judge_the_map_of_the_window_they_run_in(tmp_path):
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "overlap": 0.5}
    bundle = write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, inferer=inferer, meddl=SEGMENTS,
    )  # fmt: skip
    image, _ = block((14, 12, 9))
    made = explain(bundle, image, ["saliency"], options=CPU, faithfulness=("stability",)).attributions[0]
    assert made.facts["windows"] > 1
    assert any("looked only at the window" in note for note in made.notes)
    assert made.measures[0].value > 0.9  # the gradient of a line is the same under noise; shifts cost the rim


def test_networks_for_slices_are_explained_in_the_slice_they_were_asked_about(tmp_path):
    image, where = block((12, 10, 9), oblique())
    softmax = [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]
    kind = write(
        tmp_path / "c", "classification", **voxelwise(1, [[2], [-1]], [0, 0], 2), classes=("much", "little"),
        postprocessing=softmax, flat=True,
    )  # fmt: skip
    made = explain(kind, image, ["input_x_gradient"], options=CPU).attributions[0]
    assert sorted(set(np.argwhere(made.map.array[0] != 0)[:, 2])) == [4]
    structure = write(
        tmp_path / "s", "segmentation", **voxelwise(1, [[0], [3]], [0, -30], 2), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, meddl=SEGMENTS, flat=True,
    )  # fmt: skip
    made = explain(structure, image, ["saliency"], options=CPU).attributions[0]
    (number,) = set(np.argwhere(made.map.array[0] != 0)[:, 2])
    assert np.array_equal(made.map.array[0, :, :, number] != 0, where[:, :, number]) and where[:, :, number].any()
    place = (image.affine @ [3, 4, 3, 1])[:3]
    at = Target("structure", "Bright", position=tuple(float(x) for x in place))
    made = explain(structure, image, ["saliency"], at, CPU).attributions[0]
    assert np.argwhere(made.map.array[0] != 0).tolist() == [[3, 4, 3]]
