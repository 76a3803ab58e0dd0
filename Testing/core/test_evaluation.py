"""Agreement of images, boxes, points and classes: closed forms and independent references."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from core.phantoms import PLACES, place
from meddl import evaluation
from meddl.errors import UsageError, VolumeError
from meddl.inference import Box
from meddl.volume import Volume
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def pair(shape: tuple[int, int, int] = (24, 20, 16), channels: int = 1) -> tuple[Volume, Volume]:
    random = np.random.default_rng(0)
    truth = random.normal(100, 20, (channels, *shape))
    affine = PLACES["oblique"]
    return Volume(truth + random.normal(0, 5, truth.shape), affine), Volume(truth, affine)


def test_image_figures_are_those_of_scikit_image() -> None:
    image, reference = pair()
    got = evaluation.compare_images(image, reference)
    a, b = image.array[0], reference.array[0]
    assert got.data_range == pytest.approx(np.ptp(b))
    assert got.psnr_db == pytest.approx(peak_signal_noise_ratio(b, a, data_range=np.ptp(b)))
    expected = structural_similarity(
        b, a, data_range=np.ptp(b), gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert got.ssim == pytest.approx(expected)
    assert got.mae == pytest.approx(np.abs(a - b).mean())
    assert got.voxels == a.size and got.notes == ()


def test_large_images_are_compared_slab_by_slab_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    image, reference = pair((24, 37, 16), channels=2)
    whole = evaluation.compare_images(image, reference)
    monkeypatch.setattr("meddl.evaluation.images._SLAB_VOXELS", 3 * 24 * 16)
    assert evaluation.compare_images(image, reference).ssim == pytest.approx(whole.ssim, abs=1e-12)


def test_equal_images_agree_entirely() -> None:
    _, reference = pair()
    got = evaluation.compare_images(reference, reference)
    assert (got.psnr_db, got.mae) == (math.inf, 0)
    assert got.ssim == pytest.approx(1)
    assert json.dumps(got.to_dict(), allow_nan=False)


def test_only_the_mask_counts() -> None:
    image, reference = pair()
    mask = np.zeros(image.shape, bool)
    mask[6:18, 6:14, 6:10] = True
    spoiled = image.array.copy()
    spoiled[:, ~mask] = 1e6
    got = evaluation.compare_images(image.with_array(spoiled), reference, mask)
    clean = evaluation.compare_images(image, reference, mask)
    assert got == clean and got.voxels == mask.sum()
    inside = reference.array[0][mask]
    assert got.psnr_db == pytest.approx(
        20 * math.log10(np.ptp(inside)) - 10 * math.log10(np.mean((image.array[0][mask] - inside) ** 2))
    )


def test_voxels_without_a_number_are_left_out() -> None:
    image, reference = pair()
    broken = reference.array.copy()
    broken[0, 3, 4, 5] = np.nan
    got = evaluation.compare_images(image, reference.with_array(broken))
    assert got.voxels == image.array.size - 1 and math.isfinite(got.psnr_db) and math.isfinite(got.ssim)


def test_thin_stacks_are_looked_at_slice_by_slice() -> None:
    image, reference = pair((24, 20, 3))
    got = evaluation.compare_images(image, reference, data_range=200.0)
    slices = [
        structural_similarity(
            image.array[0, :, :, k], reference.array[0, :, :, k],
            data_range=200.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )
        for k in range(3)
    ]  # fmt: skip
    assert got.ssim == pytest.approx(np.mean(slices))


def test_an_image_smaller_than_the_window_has_no_similarity_and_says_so() -> None:
    got = evaluation.compare_images(*pair((24, 5, 3)))
    assert math.isnan(got.ssim) and "needs 11 voxels" in got.notes[0] and math.isfinite(got.psnr_db)


def test_a_reference_on_another_grid_is_interpolated() -> None:
    coarse = Volume(np.fromfunction(lambda c, i, j, k: 2 * i + 3 * j - k, (1, 16, 16, 16)), np.diag([2.0, 2, 2, 1]))
    fine = Volume(np.fromfunction(lambda c, i, j, k: i + 1.5 * j - k / 2, (1, 40, 31, 31)), np.eye(4))
    got = evaluation.compare_images(fine, coarse)
    assert got.mae == pytest.approx(0, abs=1e-4)
    assert got.voxels == 31 * 31 * 31  # beyond the reference nothing is compared
    assert "another grid" in got.notes[0]


def test_images_that_cannot_be_compared_are_refused() -> None:
    image, reference = pair()
    two, _ = pair(channels=2)
    far = Volume(reference.array, place((1, 1, 1), (900, 900, 900)))
    with pytest.raises(VolumeError, match="channels"):
        evaluation.compare_images(two, reference)
    with pytest.raises(VolumeError, match="do not overlap"):
        evaluation.compare_images(image, far)
    with pytest.raises(VolumeError, match="same value"):
        evaluation.compare_images(image, image.with_array(np.ones_like(image.array)))
    with pytest.raises(UsageError, match="mask"):
        evaluation.compare_images(image, reference, np.ones((2, 2, 2), bool))


def box(center: tuple[float, float, float], size: tuple[float, float, float], score: float = 1.0, label: str = "a",
        axes: np.ndarray | None = None) -> Box:  # fmt: skip
    return Box(label, score, np.array(center, float), np.array(size, float), np.eye(3) if axes is None else axes)


def test_overlap_of_parallel_boxes_is_exact() -> None:
    assert evaluation.box_overlap(box((0, 0, 0), (2, 2, 2)), box((1, 0, 0), (2, 2, 2))) == pytest.approx(1 / 3)
    turned = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float)  # its first edge runs along z
    assert evaluation.box_overlap(box((0, 0, 0), (2, 4, 6)), box((0, 0, 0), (6, 2, 4), axes=turned)) == 1
    assert evaluation.box_overlap(box((0, 0, 0), (2, 2, 2)), box((9, 0, 0), (2, 2, 2))) == 0
    assert evaluation.box_overlap(box((0, 0, 0), (2, 2, 0)), box((0, 0, 0), (2, 2, 2))) == 0


def test_overlap_of_turned_boxes_is_that_of_the_closed_form() -> None:
    c = math.sqrt(0.5)
    turned = np.array([[c, -c, 0], [c, c, 0], [0, 0, 1]])
    octagon = 2 * (math.sqrt(2) - 1) * 4  # two squares of side 2, one turned by 45 degrees
    expected = octagon / (8 - octagon)
    assert evaluation.box_overlap(box((0, 0, 0), (2, 2, 2)), box((0, 0, 0), (2, 2, 2), axes=turned)) == pytest.approx(
        expected, abs=0.01
    )
    both = place((1, 1, 1), (0, 0, 0), 0.3, 0.2, 0.9)[:3, :3]  # both turned alike: exact again
    moved = tuple(both @ [1, 0, 0])
    overlap = evaluation.box_overlap(box((0, 0, 0), (2, 2, 2), axes=both), box(moved, (2, 2, 2), axes=both))
    assert overlap == pytest.approx(1 / 3)


def test_boxes_are_matched_by_score_label_and_overlap() -> None:
    reference = [box((0, 0, 0), (4, 4, 4)), box((20, 0, 0), (4, 4, 4)), box((40, 0, 0), (4, 4, 4), label="b")]
    found = [
        box((1, 0, 0), (4, 4, 4), 0.5),
        box((0, 0, 0), (4, 4, 4), 0.9),
        box((40, 0, 0), (4, 4, 4), 0.8),
        box((20, 1, 0), (4, 4, 4), 0.7),
    ]
    got = evaluation.compare_boxes(found, reference)
    assert [(pair.found, pair.reference) for pair in got.pairs] == [(1, 0), (3, 1)]
    assert got.pairs[1].distance_mm == 1 and got.pairs[1].overlap == pytest.approx(0.6)
    assert (got.missed, got.extra) == ((2,), (0, 2))
    assert (got.sensitivity, got.precision) == (2 / 3, 0.5)


def test_no_boxes_have_no_rate() -> None:
    got = evaluation.compare_boxes([], [])
    assert math.isnan(got.sensitivity) and math.isnan(got.precision)
    assert evaluation.compare_boxes([], [box((0, 0, 0), (1, 1, 1))]).sensitivity == 0


def test_landmarks_are_measured_by_name() -> None:
    got = evaluation.compare_landmarks({"AC": (0, 3, 4), "x": (0, 0, 0)}, {"AC": (0, 0, 0), "PC": (1, 1, 1)})
    assert got["AC"] == 5 and math.isnan(got["PC"]) and set(got) == {"AC", "PC"}


def test_a_tie_is_not_right() -> None:
    assert evaluation.compare_class({"a": 0.6, "b": 0.4}, "a") == evaluation.ClassAgreement(True, 1, 0.6)
    assert not evaluation.compare_class({"a": 0.5, "b": 0.5}, "a").right
    with pytest.raises(UsageError, match="It knows a, b"):
        evaluation.compare_class({"a": 0.5, "b": 0.5}, "c")


def test_calibration_error_is_that_of_the_definition() -> None:
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([1, 1, 1], 400)
    truth = random.integers(0, 3, 400)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * 10).astype(int), 9)
    expected = sum(
        abs(confidence[bins == each].mean() - right[bins == each].mean()) * (bins == each).mean() for each in set(bins)
    )
    got = evaluation.expected_calibration_error(probabilities, truth, bins=10)
    assert got == pytest.approx(expected, abs=1e-5)


def test_certain_and_right_is_calibrated() -> None:
    assert evaluation.expected_calibration_error(np.eye(3), [0, 1, 2]) == pytest.approx(0, abs=1e-6)
    assert evaluation.expected_calibration_error(np.eye(3), [1, 2, 0]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(UsageError):
        evaluation.expected_calibration_error(np.zeros((0, 3)), [])


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, meddl.evaluation; print({'torch', 'monai', 'scipy', 'skimage'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.strip() == "set()"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("module", ["classes", "images", "segmentations"])
def test_examples_work(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"meddl.evaluation.{module}"))
    assert result.attempted and not result.failed
