"""Landmarks and boxes: found where they are in the patient, on oblique grids, to a fraction of a voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core import known_bundles
from core.known_bundles import TO_RAS, oblique, voxelwise
from meddl.errors import ModelError
from meddl.inference import DetectionPrediction, LandmarkPrediction, Predictor
from meddl.inference.tasks.detection import HeatmapFacts, decode
from meddl.inference.tasks.peaks import centroid, local_maxima
from meddl.volume import Volume

SHAPE = (30, 34, 26)


def blobs(centers: list[tuple[float, float, float]], heights: list[float], width: float = 1.5) -> np.ndarray:
    at = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    parts = [
        height * np.exp(-((at - center) ** 2).sum(axis=-1) / (2 * width**2))
        for center, height in zip(centers, heights, strict=True)
    ]
    return np.sum(parts, axis=0).astype(np.float32)


def world(index: tuple[float, float, float], affine: np.ndarray) -> np.ndarray:
    return affine[:3, :3] @ index + affine[:3, 3]


def test_landmarks_are_found_between_voxels_of_an_oblique_image(tmp_path: Path) -> None:
    first, second = (8.3, 20.6, 11.4), (21.7, 9.2, 15.5)
    # The first map peaks where the image is brightest, the second where it is darkest.
    bundle = known_bundles.write(
        tmp_path / "model", "landmarks", **voxelwise(1, [[10.0], [-10.0]], [-5.0, -5.0]), preprocessing=[TO_RAS],
        classes=["bright", "dark"],
    )  # fmt: skip
    affine = oblique()
    prediction = Predictor(bundle, "cpu").predict(Volume(blobs([first, second], [1.0, -1.0])[None], affine))
    assert isinstance(prediction, LandmarkPrediction)
    assert [point.name for point in prediction.points] == ["bright", "dark"]
    for point, index in zip(prediction.points, (first, second), strict=True):
        assert np.linalg.norm(point.position - world(index, affine)) < 0.25  # mm; voxels are 1.2 to 2 mm long
        assert point.score == pytest.approx(1 / (1 + np.exp(-5.0)), abs=0.05)


def test_a_point_the_model_is_not_sure_of_is_named(tmp_path: Path) -> None:
    bundle = known_bundles.write(
        tmp_path / "model", "landmarks", **voxelwise(1, [[10.0]], [-12.0]), classes=["weak"]
    )
    prediction = Predictor(bundle, "cpu").predict(Volume(blobs([(10, 10, 10)], [1.0])[None], oblique()))
    assert any("not sure of weak" in note for note in prediction.provenance["notes"])


def test_the_centroid_leaves_the_floor_out() -> None:
    heat = np.full((9, 9, 9), 0.4)
    heat[2, 4, 4], heat[3, 4, 4] = 1.0, 0.9
    np.testing.assert_allclose(centroid(heat, np.array([2, 4, 4])), [2 + 0.4 / 0.9, 4, 4])


def test_plateaus_and_edges_have_maxima_too() -> None:
    heat = np.zeros((5, 5, 5))
    heat[0, 0, 0], heat[4, 2, 2] = 0.9, 0.5
    assert local_maxima(heat, 0.3, 10).tolist() == [[0, 0, 0], [4, 2, 2]]
    assert local_maxima(heat, 0.3, 1).tolist() == [[0, 0, 0]]
    assert local_maxima(heat, 0.95, 10).size == 0


def detector(folder: Path, sizes_mm: tuple[float, float, float] = (14.0, 9.0, 11.0), **facts: object) -> Predictor:
    """A detector of bright and of dark blobs whose boxes all have one size along the prepared grid's axes R, A, S."""
    rows = [[12.0], [-12.0], [0.0], [0.0], [0.0], [0.0], [0.0], [0.0]]
    bias = [-6.0, -6.0, 0.25, 0.0, 0.0, *np.log(sizes_mm)]
    bundle = known_bundles.write(
        folder, "detection", **voxelwise(1, rows, bias), preprocessing=[TO_RAS], classes=["bright", "dark"],
        outputs=8, meddl={"detection": {"kind": "center_heatmap", **facts}},
    )  # fmt: skip
    return Predictor(bundle, "cpu")


def test_boxes_lie_round_what_was_found_in_an_oblique_image(tmp_path: Path) -> None:
    bright, dark = (8, 20, 11), (21, 12, 15)
    affine = oblique()
    prediction = detector(tmp_path / "model").predict(Volume(blobs([bright, dark], [1.0, -0.8])[None], affine))
    assert isinstance(prediction, DetectionPrediction)
    assert [box.label for box in prediction.boxes] == ["bright", "dark"]
    assert prediction.boxes[0].score > prediction.boxes[1].score
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    right = -axes[:, 2]  # the image's last axis runs to the left, the prepared one to the right
    for box, index in zip(prediction.boxes, (bright, dark), strict=True):
        # A quarter of a voxel (2 mm long) along the prepared first axis is the offset that the network tells.
        np.testing.assert_allclose(box.center, world(index, affine) + 0.25 * 2.0 * right, atol=1e-3)
        np.testing.assert_allclose(box.size, (14.0, 9.0, 11.0), rtol=1e-4)
        np.testing.assert_allclose(box.axes[:, 0], right, atol=1e-6)
        np.testing.assert_allclose(box.axes.T @ box.axes, np.eye(3), atol=1e-6)
        assert np.abs((box.corners() - box.center) @ box.axes).max(axis=0) == pytest.approx((7.0, 4.5, 5.5), rel=1e-4)


def test_nothing_found_is_said(tmp_path: Path) -> None:
    prediction = detector(tmp_path / "model").predict(Volume(blobs([(9, 9, 9)], [0.1])[None], oblique()))
    assert isinstance(prediction, DetectionPrediction) and prediction.boxes == ()
    assert any("found nothing" in note for note in prediction.provenance["notes"])


def test_of_boxes_that_overlap_the_better_one_stays() -> None:
    heat = np.full((20, 20, 20), -9.0)
    heat[10, 10, 10], heat[12, 10, 10], heat[3, 3, 3] = 3.0, 2.0, 1.0
    geometry = np.zeros((6, 20, 20, 20))
    geometry[3:] = np.log(6.0)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    kept = decode(heat, geometry, affine, "a", HeatmapFacts(nms_iou=0.2))
    assert [box.center.tolist() for box in kept] == [[10, 10, 10], [3, 3, 3]]
    # 2 voxels apart, boxes of 6 share 4 * 36 of 8 * 36: an overlap of one half.
    assert len(decode(heat, geometry, affine, "a", HeatmapFacts(nms_iou=0.55))) == 3
    assert len(decode(heat, geometry, affine, "a", HeatmapFacts(nms_iou=0.55, score_threshold=0.9))) == 1


def test_boxes_end_where_the_image_does() -> None:
    heat = np.full((10, 10, 10), -9.0)
    heat[0, 5, 5] = 5.0
    geometry = np.zeros((6, 10, 10, 10))
    geometry[3:] = np.log(4.0)
    (box,) = decode(heat, geometry, np.eye(4), "a", HeatmapFacts())
    np.testing.assert_allclose(box.center, [0.75, 5, 5])
    np.testing.assert_allclose(box.size, [2.5, 4, 4])


@pytest.mark.parametrize("facts", [{"score_threshold": 2}, {"nms_iou": "much"}, {"max_boxes": 0}])
def test_thresholds_out_of_range_are_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"meddl\.detection"):
        detector(tmp_path / "model", **facts)
