"""Judging a generator: distances between sets of images, by pixels and by features of networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from core.judged_phantoms import phantoms, random
from meddl.errors import UsageError
from meddl.synthesis.distances import HALF, distances_by_features, distances_by_pixels, real_images
from meddl.synthesis.features import BundleFeatures, network_features, pixel_features
from meddl.synthesis.segmenter import BOTTOM_LAYER, make_segmenter
from meddl.synthesis.set_measures import (
    frechet_distance,
    gaussian_kernel,
    median_width,
    mmd,
    mmd_with_interval,
    ms_ssim,
    ms_ssim_between,
    polynomial_kernel,
)


def standardized(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Rows whose sample mean and covariance are exactly these."""
    rows = random(seed).normal(size=(count, len(mean)))
    rows = rows - rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T)).T)
    return rows @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_gaussians_is_its_closed_form() -> None:
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 16.0])
    mean = np.array([0.5, -1.0, 2.0])
    one, other = standardized(60, np.zeros(3), np.diag(a), 1), standardized(45, mean, np.diag(b), 2)

    expected = (mean**2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()

    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_that_of_monai_and_holds_for_fewer_images_than_features() -> None:
    from monai.metrics.fid import compute_frechet_distance
    from scipy.linalg import sqrtm
    from torch import from_numpy

    one, other = random(1).normal(size=(80, 12)), random(2).normal(size=(50, 12)) @ random(3).normal(size=(12, 12))
    root = sqrtm(np.cov(one.T) @ np.cov(other.T)).real
    apart = one.mean(axis=0) - other.mean(axis=0)
    by_root = apart @ apart + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * root)
    assert frechet_distance(one, other) == pytest.approx(by_root, rel=1e-8)
    statistics = [from_numpy(part) for each in (one, other) for part in (each.mean(axis=0), np.cov(each.T))]
    try:
        by_monai = float(compute_frechet_distance(*statistics))
    except TypeError:  # of a scipy whose sqrtm no longer takes what MONAI gives it
        by_monai = by_root
    assert frechet_distance(one, other) == pytest.approx(by_monai, rel=1e-6)
    few, rotation = random(4).normal(size=(6, 3)), np.linalg.qr(random(5).normal(size=(40, 40)))[0]
    more = random(6).normal(size=(7, 3)) * 2
    wide = [np.hstack([each, np.zeros((len(each), 37))]) @ rotation for each in (few, more)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(few, more), rel=1e-8)


def test_distances_are_symmetric_and_vanish_for_equal_sets() -> None:
    one, other = random(1).normal(size=(30, 5)), random(2).normal(0.3, 1.5, size=(20, 5))
    kernel = gaussian_kernel(median_width(one))

    assert frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-9)
    for each in (kernel, polynomial_kernel):
        assert mmd(one, other, each) == pytest.approx(mmd(other, one, each), rel=1e-9)
        # The unbiased estimate of a set and itself lies below 0, by exactly the diagonal that it leaves out.
        whole = each(one, one)
        off = whole.sum() - np.trace(whole)
        assert mmd(one, one, each) == pytest.approx(2 * off / (30 * 29) - 2 * whole.mean())


def test_kernel_distances_are_those_of_loops() -> None:
    one, other = random(1).normal(size=(9, 4)), random(2).normal(1, 2, size=(7, 4))

    def by_loops(k) -> float:
        def within(rows: np.ndarray) -> float:
            pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
            return sum(k(rows[i], rows[j]) for i, j in pairs) / len(pairs)

        across = sum(k(a, b) for a in one for b in other) / (len(one) * len(other))
        return within(one) + within(other) - 2 * across

    cubic = by_loops(lambda a, b: (sum(x * y for x, y in zip(a, b, strict=True)) / 4 + 1) ** 3)
    bell = by_loops(lambda a, b: math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / (2 * 1.7**2)))
    assert mmd(one, other, polynomial_kernel) == pytest.approx(cubic, rel=1e-10)
    assert mmd(one, other, gaussian_kernel(1.7)) == pytest.approx(bell, rel=1e-10)
    squares = [math.dist(a, b) ** 2 for i, a in enumerate(one) for b in one[i + 1 :]]
    assert median_width(one) == pytest.approx(math.sqrt(np.median(squares)))


def test_mmd_with_a_linear_kernel_is_that_of_monai() -> None:
    from monai.metrics import MMDMetric
    from torch import from_numpy

    one, other = random(1).normal(size=(12, 1, 4, 4)), random(2).normal(0.5, 1, size=(12, 1, 4, 4))

    by_monai = float(MMDMetric()(from_numpy(one), from_numpy(other)))

    assert mmd(one.reshape(12, -1), other.reshape(12, -1), lambda a, b: a @ b.T) == pytest.approx(by_monai, rel=1e-9)


def test_mmd_of_gaussians_is_its_closed_form() -> None:
    width, apart, size = 1.5, 1.0, 3
    one, other = random(1).normal(size=(700, size)), random(2).normal((apart, 0, 0), size=(700, size))
    # E k(x, y) of normal x and y whose difference has variance 2 and mean m.
    level = (width**2 / (width**2 + 2)) ** (size / 2)
    expected = 2 * level * (1 - math.exp(-(apart**2) / (2 * (width**2 + 2))))

    found, low, high = mmd_with_interval(one, other, gaussian_kernel(width), 0)

    assert found == pytest.approx(expected, rel=0.1)
    assert low < expected < high
    same, low, high = mmd_with_interval(one[:350], one[350:], gaussian_kernel(width), 0)
    assert abs(same) < 0.1 * found and low < 0 < high


def test_ms_ssim_is_that_of_loops_over_windows() -> None:
    rows = np.linspace(-1, 1, 32)
    one = np.sin(3 * rows)[:, None] * np.cos(4 * rows)[None] * 0.8
    other = np.clip(one + random(3).normal(0, 0.2, one.shape), -1, 1)
    weights = np.array([0.0448, 0.2856, 0.3001])
    bell = np.exp(-((np.arange(7) - 3) ** 2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2

    def scale(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        lightness, contrast = [], []
        for i in range(len(x) - 6):
            for j in range(len(x) - 6):
                a, b = x[i : i + 7, j : j + 7], y[i : i + 7, j : j + 7]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2
                contrast.append((2 * ((window * a * b).sum() - ma * mb) + 0.03**2) / (va + vb + 0.03**2))
                lightness.append(contrast[-1] * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2))
        return float(np.mean(lightness)), float(np.mean(contrast))

    x, y, expected = (one + 1) / 2, (other + 1) / 2, 1.0
    for level, weight in enumerate(weights / weights.sum()):
        whole, contrast = scale(x, y)
        expected *= max(whole if level == 2 else contrast, 0) ** weight
        x, y = (each.reshape(len(each) // 2, 2, -1, 2).mean(axis=(1, 3)) for each in (x, y))

    found = ms_ssim(one[None, None], other[None, None])

    assert found[0] == pytest.approx(expected, rel=2e-3)
    assert ms_ssim(one[None, None], one[None, None])[0] == pytest.approx(1, abs=1e-5)
    assert ms_ssim(random().normal(size=(1, 1, 16, 16, 16)) * 0 + 0.5, np.zeros((1, 1, 16, 16, 16))).shape == (1,)


def test_images_that_are_all_the_same_have_no_variety() -> None:
    people = phantoms(range(6))

    same, low, high = ms_ssim_between(np.repeat(people.images[:1], 12, axis=0), 0)
    mixed, mixed_low, mixed_high = ms_ssim_between(people.images, 0)

    assert same == pytest.approx(1, abs=1e-4) and high - low < 1e-4
    assert mixed_low < mixed < mixed_high < low


def test_distances_stand_beside_those_of_other_people() -> None:
    training, others = phantoms(range(1, 6)), phantoms(range(20, 24), split="test")
    real = real_images(training, others, 0)
    good = phantoms(range(50, 55)).images
    bad = np.clip(random().normal(-0.2, 0.5, good.shape), -1, 1).astype(np.float32)

    for by in (
        lambda images: distances_by_pixels(images, real, 0)[0],
        lambda images: distances_by_features(images, real, pixel_features, "voxels", 0)[0],
        lambda images: distances_by_features(images, real, pixel_features, "voxels", 0)[1],
    ):
        near, far = by(good), by(bad)
        assert near.baseline == far.baseline and near.baseline is not None
        assert far.value > 3 * max(near.value, near.baseline)
        assert "farther from" in far.sentence and "held-out people" in far.sentence
        assert by(good) == near
    variety = distances_by_pixels(np.repeat(good[:1], 20, axis=0), real, 0)[1]
    assert variety.better == "as real" and "less varied" in variety.sentence


def test_what_stands_for_other_people_where_none_are_held_out() -> None:
    many, alone = phantoms(range(1, 6)), phantoms([1])

    halves, nobody = real_images(many, None, 0), real_images(alone, None, 0)

    assert halves.whose == HALF and halves.others is not None
    assert len(halves.others) + len(halves.reference) == len(many)
    assert nobody.whose == "" and nobody.others is None
    (distance, _) = distances_by_pixels(phantoms([7]).images, nobody, 0)
    assert distance.baseline is None and "no real images of other people" in distance.sentence


def test_network_features_are_the_means_of_the_deepest_layer() -> None:
    import torch

    torch.manual_seed(0)
    network = make_segmenter(2, 3).eval()
    images = phantoms([1, 2]).images
    kept = []
    handle = dict(network.named_modules())[BOTTOM_LAYER].register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.inference_mode():
        network(torch.from_numpy(images))
    handle.remove()

    assert np.allclose(network_features(network, BOTTOM_LAYER, images), kept[0].mean(dim=(2, 3)).numpy(), atol=1e-5)
    patches = network_features(make_segmenter(3, 2), BOTTOM_LAYER, np.zeros((2, 1, 16, 16, 16), np.float32))
    assert patches.shape == (2, 48)


def test_features_of_a_bundle_see_images_in_their_units() -> None:
    from meddl.models import resolve_model

    extract = BundleFeatures(resolve_model("demo_body_region"), low=0, high=500, spacing_mm=4.0)
    images = phantoms([1, 2], each=2).images

    features = extract(images)

    assert features.shape[0] == 4 and features.shape[1] > 8 and np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() > 0.01
    assert np.array_equal(extract(images[1:2]), features[1:2])
    with pytest.raises(UsageError, match="takes volumes"):
        BundleFeatures(resolve_model("demo_mr_denoising"), low=0, high=1, spacing_mm=4.0)
