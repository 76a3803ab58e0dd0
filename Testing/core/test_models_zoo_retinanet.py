"""MONAI's RetinaNet: made without trust and without torchvision, its boxes in the patient's coordinates."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core import zoo_bundles
from meddl.errors import JobCancelled, ModelError
from meddl.inference import Predictor, RunOptions
from meddl.models import ModelBundle, inference_parts
from meddl.volume import Volume


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return ModelBundle.open(zoo_bundles.write(tmp_path / "b", zoo_bundles.RETINANET, zoo_bundles.RETINANET_METADATA))


@pytest.fixture
def predictor(bundle: ModelBundle) -> Predictor:
    torch.manual_seed(0)
    return Predictor(bundle, RunOptions(device="cpu"), random_weights=True)


def volume(shape: tuple[int, int, int] = (32, 32, 16), affine: np.ndarray | None = None) -> Volume:
    affine = np.diag([1.5, 1.5, 2.0, 1.0]) if affine is None else affine
    return Volume(np.random.default_rng(0).normal(0, 1, (1, *shape)).astype(np.float32), affine)


def answer(predictor: Predictor, boxes: list[list[float]], scores: list[float]) -> None:
    """Let the detector answer these boxes (corners in voxels of the prepared image)."""
    detector = predictor._task._detector  # type: ignore[attr-defined]
    found = {
        "box": torch.tensor(boxes).reshape(-1, 6), "label": torch.zeros(len(boxes), dtype=torch.long),
        "label_scores": torch.tensor(scores),
    }  # fmt: skip
    detector.forward = lambda image, use_inferer=False: [found]


def test_it_needs_no_trust_though_its_runner_is_code_of_the_bundle(bundle: ModelBundle) -> None:
    assert bundle.task == "detection" and bundle.uses_retinanet and bundle.refusal is None
    assert inference_parts(bundle).ids == ("network_def", "preprocessing", "detector")
    assert bundle.check().needs_trust == () and bundle.required_packages == ()


def test_the_config_sets_the_detector_up(predictor: Predictor) -> None:
    detector = predictor._task._detector  # type: ignore[attr-defined]
    assert (detector.target_box_key, detector.target_label_key) == ("box", "label")
    assert (detector.box_selector.score_thresh, detector.box_selector.nms_thresh) == (0.02, 0.22)
    assert detector.box_selector.detections_per_img == 50
    assert list(detector.inferer.roi_size) == [32, 32, 16] and detector.inferer.overlap == 0.25
    assert detector.fg_bg_sampler is None, "what is for training is not called"


def test_a_real_run_finds_boxes_within_the_image(predictor: Predictor) -> None:
    image = volume((48, 32, 16))
    windows: list[str] = []
    boxes = predictor.predict(image, progress=lambda fraction, text: windows.append(text)).boxes
    assert boxes and all(boxes[index].score >= boxes[index + 1].score for index in range(len(boxes) - 1))
    assert {box.label for box in boxes} == {"finding"}
    inverse = np.linalg.inv(image.affine)
    for box in boxes:
        corners = box.corners() @ inverse[:3, :3].T + inverse[:3, 3]
        assert (corners > -1e-3).all() and (corners < np.array([48, 32, 16]) + 1e-3).all()
    assert any("of 2 windows" in text for text in windows)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([1.5, 1.5, 2.0, 1.0]),
        np.array([[0, 1.5, 0, 3], [-1.5, 0, 0, 40], [0, 0, 2.0, -7], [0, 0, 0, 1.0]]),
        np.array([[-1.5, 0, 0, 20], [0, -1.5, 0, 30], [0, 0, 2.0, 5], [0, 0, 0, 1.0]]),
    ],
    ids=["RAS", "turned", "LPS"],
)
def test_boxes_lie_where_they_are_in_the_patient(affine: np.ndarray, predictor: Predictor) -> None:
    """MONAI's own way: a corner in voxels is brought to the world by the image's affine."""
    from monai.apps.detection.transforms.box_ops import apply_affine_to_boxes

    image = volume(affine=affine)
    corners = [4.0, 6.0, 3.0, 12.0, 10.0, 9.0]
    answer(predictor, [corners], [0.75])
    (box,) = predictor.predict(image).boxes
    prepared = predictor._task._stage.prepare(image)  # type: ignore[attr-defined]
    expected = apply_affine_to_boxes(torch.tensor([corners], dtype=torch.float64), torch.tensor(prepared.affine))[0]
    low, high = box.corners().min(axis=0), box.corners().max(axis=0)
    assert np.allclose([*low, *high], expected.numpy(), atol=1e-4)
    assert box.score == 0.75 and np.allclose(box.size, np.array([8 * 1.5, 4 * 1.5, 6 * 2.0]), atol=1e-4)


def test_an_oblique_image_gives_oblique_boxes(predictor: Predictor) -> None:
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:3, :3] *= [1.5, 1.5, 2.0]
    answer(predictor, [[4.0, 6.0, 3.0, 12.0, 10.0, 9.0]], [0.5])
    (box,) = predictor.predict(volume(affine=affine)).boxes
    assert np.allclose(box.axes.T @ box.axes, np.eye(3), atol=1e-6)
    assert np.allclose(np.abs(box.axes[:2, 0]), [np.cos(turn), np.sin(turn)], atol=1e-3)


def test_broken_boxes_are_left_out(predictor: Predictor) -> None:
    good = [1.0, 1.0, 1.0, 3.0, 3.0, 3.0]
    answer(predictor, [good, [3.0, 1, 1, 1, 3, 3], [float("nan"), 1, 1, 3, 3, 3]], [0.5, 0.9, 0.8])
    assert len(predictor.predict(volume()).boxes) == 1
    answer(predictor, [], [])
    prediction = predictor.predict(volume())
    assert prediction.boxes == () and any("found nothing" in note for note in prediction.provenance["notes"])


def test_it_can_be_cancelled_between_windows(predictor: Predictor) -> None:
    asked = iter([False, False, True, True, True, True])
    with pytest.raises(JobCancelled):
        predictor.predict(volume((64, 64, 16)), cancelled=lambda: next(asked, True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": [4096, 4096, 4096]}, "too much"),
        ({"detector": None, "evaluator": None, "inferer": None, "detector_ops": None}, "no 'detector'"),
        ({"detector_ops": ["$@detector.set_box_selector_parameters(wrong=1)"]}, "'wrong'"),
    ],
    ids=["window", "no detector", "unknown argument"],
)
def test_what_cannot_be_set_up_is_told(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = {
        key: value for key, value in {**copy.deepcopy(zoo_bundles.RETINANET), **change}.items() if value is not None
    }
    if "detector" not in config:
        config["inferer"] = {"_target_": "SimpleInferer"}
    config["postprocessing"] = zoo_bundles.compose()
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config, zoo_bundles.RETINANET_METADATA))
    with pytest.raises(ModelError, match=message):
        Predictor(bundle, RunOptions(device="cpu"), random_weights=True)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_pyramid_is_that_of_monai() -> None:
    from meddl.networks.feature_pyramid import resnet_fpn_feature_extractor as ours
    from monai.apps.detection.networks.retinanet_network import resnet_fpn_feature_extractor as monais
    from monai.networks.nets.resnet import resnet10

    torch.manual_seed(0)
    backbone = resnet10(spatial_dims=3, n_input_channels=1)
    expected = monais(backbone, 3, False, [1, 2], None).eval()
    made = ours(backbone, 3, False, [1, 2], None).eval()
    assert list(made.state_dict()) == list(expected.state_dict())
    made.load_state_dict(expected.state_dict())
    image = torch.rand(1, 1, 32, 32, 32)
    for one, other in zip(made(image).values(), expected(image).values(), strict=True):
        assert torch.equal(one, other)


def test_the_pyramid_has_torchvisions_names() -> None:
    """As ``IntermediateLayerGetter`` names them: weights that were trained with it fit."""
    from meddl.networks.feature_pyramid import resnet_fpn_feature_extractor
    from monai.networks.nets.resnet import resnet10

    made = resnet_fpn_feature_extractor(resnet10(spatial_dims=3, n_input_channels=1), 3, False, [1, 2], None)
    names = list(made.state_dict())
    assert {name.split(".")[1] for name in names if name.startswith("body.")} == {"conv1", "bn1", "layer1", "layer2"}
    assert {"fpn.inner_blocks.1.weight", "fpn.layer_blocks.0.bias"} <= set(names)
    maps = made.eval()(torch.zeros(1, 1, 32, 32, 32))
    assert [tuple(each.shape[1:]) for each in maps.values()] == [(256, side, side, side) for side in (16, 8, 4)]
    with pytest.raises(ValueError, match="1 to 4"):
        resnet_fpn_feature_extractor(resnet10(spatial_dims=3), 3, False, [5])
