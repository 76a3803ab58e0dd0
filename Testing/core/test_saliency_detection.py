"""A RetinaNet's boxes explained: by the candidate that each came from, in the windows that made it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core import marked_detector
from core.known_bundles import oblique
from meddl.errors import UsageError
from meddl.inference import Predictor, RunOptions
from meddl.inference.words import place_in_words
from meddl.saliency import Attribution, Explainer, ExplainOptions, Target, explain, question
from meddl.saliency.question import CandidateQuestion
from meddl.saliency.target import unexplainable
from meddl.volume import Volume

SHAPE = (30, 24, 16)
STRAIGHT = np.diag([1.5, 1.5, 2.0, 1.0])
OPTIONS = ExplainOptions(device="cpu", steps=4, samples=2, noise=0.02, block_mm=12, finest_mm=6)


def at(affine: np.ndarray, index: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = (affine @ [*index, 1.0])[:3]
    return float(x), float(y), float(z)


def peak_mm(made: Attribution, place: tuple[float, float, float]) -> float:
    """How far the strongest voxel lies from a place."""
    return float(marked_detector.distance_mm(made.map, place).flat[made.map.array[0].argmax()])


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((50, 41, 22), {"mode": "gaussian", "overlap": 0.5}),
        ((80, 60, 9), {}),  # thinner than a window
        ((40, 41, 16), {"overlap": 0.7, "roi_size": [32, 24, 16]}),
        ((20, 20, 10), {}),  # in one piece
    ],
    ids=["gaussian", "thin", "many", "one piece"],
)
def test_the_number_explained_is_the_boxs_own_score(shape, window, tmp_path, monkeypatch):
    bundle = marked_detector.bundle(tmp_path / "b", monkeypatch, marked=False, **window)
    predictor = Predictor(bundle, RunOptions(device="cpu", engine="torch", precision="float32"))
    image = Volume(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32), STRAIGHT)
    boxes = predictor.predict(image).boxes[:6]
    prepared = predictor.prepared(image)[1].image
    network = predictor.stages[-1].network
    assert len(boxes) == 6
    for box in boxes:
        candidate = predictor.origin_of(box)
        question = CandidateQuestion("a box", 0, candidate=candidate)
        total = 0.0
        for part in question.windows(None, prepared.shape[1:]):
            with torch.no_grad():
                total += float(question.pick(part)(network(part.cut(prepared)))[0])
        assert 1 / (1 + np.exp(-total)) == pytest.approx(box.score, abs=2e-6)
    assert predictor.origin_of(predictor.predict(image).boxes[0]) is not None
    assert predictor.origin_of(boxes[0]) is None, "that was another run"


def test_every_method_points_to_what_made_the_box(tmp_path, monkeypatch):
    explainer = Explainer(marked_detector.bundle(tmp_path / "b", monkeypatch), OPTIONS)
    offered = [method for method, unfit in explainer.offered().items() if not unfit]
    assert len(offered) == 10
    here, there = at(STRAIGHT, (8, 12, 8)), at(STRAIGHT, (23, 12, 8))
    image = marked_detector.image([here, there], STRAIGHT, SHAPE)
    for method in offered:
        made = explainer.explain(image, [method], Target("box", position=here)).attributions[0]
        assert made.map.grid.same_as(image.grid)
        nearest = peak_mm(made, here)
        if "gradcam" in method:
            assert made.facts["layer"] == "feature_extractor.fpn.layer_blocks.0"
        if method in ("gradcam", "gradcam_pp"):
            nearest = min(nearest, peak_mm(made, there))
            assert any("all places that look" in note for note in made.notes)
        assert nearest < marked_detector.RADIUS_MM + 1, method
    other = explainer.explain(image, ["saliency"], Target("box", position=there)).attributions[0]
    assert peak_mm(other, there) < marked_detector.RADIUS_MM + 1


@pytest.mark.parametrize("affine", [oblique(), np.diag([-1.5, 1.5, -2.0, 1.0])], ids=["turned", "mirrored"])
def test_in_windows_on_any_grid_the_map_lies_where_the_box_does(affine, tmp_path, monkeypatch):
    explainer = Explainer(marked_detector.bundle(tmp_path / "b", monkeypatch), OPTIONS)
    here, there = at(affine, (14, 12, 10)), at(affine, (36, 24, 20))
    image = marked_detector.image([here, there], affine, (48, 36, 30))
    for place in (here, there):
        why = explainer.explain(image, ["saliency"], Target("box", position=place))
        (made,) = why.attributions
        box = min(why.prediction.boxes, key=lambda each: float(np.linalg.norm(each.center - place)))
        assert made.facts["windows"] > 1 and made.facts["share"] == 1.0
        assert made.map.grid.same_as(image.grid)
        assert peak_mm(made, place) < marked_detector.RADIUS_MM + 1
        far = marked_detector.distance_mm(made.map, place) > 25
        assert np.abs(made.map.array[0][far]).max() < 0.02 * made.map.array.max()
        assert 1 / (1 + np.exp(-made.score)) == pytest.approx(box.score, abs=1e-5)
        assert made.target == f"finding (score {box.score:.2f}) at {place_in_words(box.center)}"


def test_a_detector_of_slices_too(tmp_path, monkeypatch):
    bundle = marked_detector.bundle(tmp_path / "b", monkeypatch, flat=True)
    affine = oblique((1.0, 1.0, 3.0))
    here = at(affine, (40, 14, 0))
    image = marked_detector.image([here], affine, (56, 48, 1))
    made = explain(bundle, image, ["saliency", "gradcam"], options=OPTIONS).attributions
    assert all(peak_mm(each, here) < marked_detector.RADIUS_MM + 1 for each in made)


def test_what_is_not_there_is_told(tmp_path, monkeypatch):
    bundle = marked_detector.bundle(tmp_path / "b", monkeypatch)
    assert unexplainable(bundle) == ""
    nothing = marked_detector.image([], STRAIGHT, SHAPE)
    nothing.array[0, 0, 0, 0] = 1  # else the noise itself would be stretched to the whole range
    with pytest.raises(UsageError, match="found nothing"):
        explain(bundle, nothing, ["saliency"], options=OPTIONS)
    monkeypatch.setattr(question, "class_names", lambda bundle: ("nodule",))
    with pytest.raises(UsageError, match="knows no 'Liver'"):
        explain(bundle, nothing, ["saliency"], Target("box", "Liver"), options=OPTIONS)
    with pytest.raises(UsageError, match="found no nodule"):
        explain(bundle, nothing, ["saliency"], Target("box", "nodule"), options=OPTIONS)
