"""Judging a generator: distances between sets of images, copies of training images, worth of synthetic ones."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from meddl.errors import JobCancelled, UnwritableDataset, UsageError
from meddl.randomness import Stream
from meddl.synthesis import Examples, ExampleSource, SynthesisConfig, SynthesisFacts, Synthetic
from meddl.synthesis.distances import HALF, distances_by_features, distances_by_pixels, real_images
from meddl.synthesis.features import BundleFeatures, network_features, pixel_features
from meddl.synthesis.intervals import over_seeds, over_seeds_and_people
from meddl.synthesis.judged_images import judged_images
from meddl.synthesis.judged_people import read_people
from meddl.synthesis.judgement import Judgement, JudgeOptions, judge, judge_images
from meddl.synthesis.judgement_report import page_of, write_report
from meddl.synthesis.memorization import chance_of, memorization
from meddl.synthesis.moved_labels import moved_labels
from meddl.synthesis.nearest import nearest
from meddl.synthesis.reading import manifest_of, read_examples
from meddl.synthesis.segmenter import BOTTOM_LAYER, Learning, make_segmenter, moved, segment, train_segmenter
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
from meddl.synthesis.usefulness import ALL, ARMS, dice_by_person, judged, usefulness
from meddl.volume import Segment, Volume


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- distances between sets


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


# ---- phantoms: heads of people, each with a brain and details of its own

SIZE = 32


def phantom(person: int, index: int, structures: int = 1, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A slice of a person: an ellipse with a skull and fine details that are that person's, and its label map."""
    from scipy.ndimage import gaussian_filter

    own, here = random(person), random(1000 * person + index)
    x, y = np.meshgrid(*(np.linspace(-1, 1, size),) * 2, indexing="ij")
    # From slice to slice the details change little by little, as in a person.
    one, other = own.normal(size=(2, size, size))
    share = index / 12 * math.pi / 2
    details = gaussian_filter(math.cos(share) * one + math.sin(share) * other, size / 26)
    wide, high = own.uniform(0.4, 0.55), own.uniform(0.5, 0.65)
    radius = np.hypot((x - own.uniform(-0.1, 0.1)) / wide, (y - own.uniform(-0.1, 0.1)) / high) * (1 + index / 60)
    image = np.where(radius < 1.25, 0.6, -1) + np.where(radius < 1, -0.5 + details / details.std() * 0.35, 0)
    labels = (radius < 1).astype(np.uint8)
    if structures == 2:
        labels[np.hypot(x - own.uniform(-0.2, 0.2), y - own.uniform(-0.2, 0.2)) < own.uniform(0.15, 0.25)] = 2
        image[labels == 2] += 0.5
    image = image + here.normal(0, 0.02, image.shape)
    return np.clip(image, -1, 1).astype(np.float32), labels


def phantoms(people, each: int = 8, split: str = "train", structures: int = 1, size: int = SIZE) -> Examples:
    made = [(person, index, *phantom(person, index, structures, size)) for person in people for index in range(each)]
    sources = tuple(ExampleSource(f"case_{p:03d}", f"patient_{p:03d}", split, (i,)) for p, i, _, _ in made)
    names = {0: "background", 1: "Brain", 2: "Lesion"}
    names = {value: names[value] for value in range(structures + 1)}
    images = np.stack([image for _, _, image, _ in made])[:, None]
    return Examples(images, np.stack([labels for *_, labels in made]), sources, names, 4.0, 0.0, 100.0, "MR")


# ---- copies of training images


def test_the_nearest_image_is_found_shifted_mirrored_turned_scaled_and_noisy() -> None:
    from scipy.ndimage import affine_transform, rotate

    training = phantoms(range(1, 6))
    numbers = [0, 9, 20, 31, 38]
    source = training.images[numbers, 0]
    noise = random().normal(0, 0.05, source.shape).astype(np.float32)
    middle = (SIZE - 1) / 2
    scaled = [affine_transform(each, [1 / 1.07] * 2, middle - middle / 1.07, order=1, cval=-1) for each in source]
    changed = {
        "noisy": source + noise,
        "shifted": np.roll(source, (3, -2), (1, 2)) + noise,
        "mirrored": source[:, ::-1] + noise,
        "mirrored and shifted": np.roll(source[:, :, ::-1], (-2, 1), (1, 2)),
        "turned": rotate(source, 12, (1, 2), reshape=False, order=1, cval=-1),
        "scaled": np.stack(scaled),
        "darker": source * 0.4 - 0.3,
    }
    who = [each.patient for each in training.sources]
    for name, images in changed.items():
        found = nearest(images[:, None], training.images, who)
        people = [who[index] for index in found.index]
        assert people == [who[number] for number in numbers], name
        assert found.distance.max() < 0.25, name
        assert (found.other > 1.5 * found.distance).all(), name
    noisy = nearest((source + noise)[:, None], training.images, who)
    strange = nearest(phantoms(range(90, 94)).images, training.images, who)
    assert strange.distance.min() > 5 * noisy.distance.max()


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 16), (40, 24)])
def test_a_copy_is_at_distance_0_whatever_the_size(size: tuple[int, ...]) -> None:
    images = random(3).normal(size=(5, 1, *size)).astype(np.float32)

    found = nearest(images[[3, 1]], images, ["a"] * 5)

    assert found.index.tolist() == [3, 1]
    assert found.distance == pytest.approx([0, 0], abs=1e-4)
    assert np.isnan(found.other).all()
    assert nearest(np.zeros((1, 1, *size)), images, ["a"] * 5).distance[0] == pytest.approx(1)


def test_a_generator_that_gives_training_images_back_is_caught() -> None:
    training, others = phantoms(range(1, 6)), phantoms(range(20, 24), split="test")
    chosen = random(5).integers(len(training), size=20)
    planted = training.images[chosen] + random(6).normal(0, 0.08, (20, 1, SIZE, SIZE)).astype(np.float32)
    planted[::2] = np.roll(planted[::2, :, ::-1], 2, axis=3)

    found = memorization(planted, training, others)

    assert found.verdict == "copies" and found.copies >= 18
    assert found.warnings and found.sentence == found.warnings[0] and "a real person" in found.sentence
    cases = [training.sources[chosen[pair.synthetic]].case for pair in found.pairs]
    assert [pair.case for pair in found.pairs] == cases
    assert all(pair.verdict == "copy" for pair in found.pairs)
    assert [a.distance <= b.distance for a, b in pairwise(found.pairs)] == [True] * (len(found.pairs) - 1)
    assert found.baseline.startswith("held-out people and") and found.people == 9 and found.real == 72
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_few_copies_among_fresh_images_are_caught() -> None:
    training, others = phantoms(range(1, 6)), phantoms(range(20, 24), split="test")
    images = phantoms(range(50, 54)).images.copy()
    images[[3, 17]] = np.roll(training.images[[4, 30]], -2, axis=2)

    found = memorization(images, training, others, pairs=3)

    assert found.verdict == "copies" and found.copies == 2
    assert {pair.synthetic for pair in found.pairs if pair.verdict == "copy"} == {3, 17}


def test_fresh_images_pass() -> None:
    training, others = phantoms(range(1, 6)), phantoms(range(20, 24), split="test")

    for first in (50, 60):
        found = memorization(phantoms(range(first, first + 3)).images, training, others)
        assert found.verdict == "none found" and not found.warnings and not found.copies
        assert "no anonymity" in found.sentence


def test_images_halfway_to_a_person_are_suspected() -> None:
    training, others = phantoms(range(1, 6)), phantoms(range(20, 24), split="test")
    fresh = phantoms(range(50, 54)).images
    mixed = 0.75 * training.images[: len(fresh)] + 0.25 * fresh

    found = memorization(mixed, training, others)

    assert found.warnings and found.near > 10 * found.expected_near
    assert found.p_value is not None and found.p_value < 1e-6


def test_without_held_out_people_training_people_are_compared_and_it_is_told() -> None:
    training = phantoms(range(1, 6))

    fresh = memorization(phantoms(range(50, 53)).images, training, None)
    planted = memorization(training.images[:12], training, None)
    alone = memorization(training.images[:8], phantoms([1]), None)

    assert fresh.verdict == "none found" and fresh.baseline == "training people among one another" and fresh.people == 5
    assert any("Nobody is held out" in note for note in fresh.notes)
    assert planted.verdict == "copies" and planted.copies == 12
    assert alone.verdict == "unknown" and alone.warnings and alone.near_threshold is None
    assert "cannot be told" in alone.sentence and any("one person" in note for note in alone.notes)


def test_one_held_out_person_is_told_and_one_who_is_in_the_training_is_left_out() -> None:
    training = phantoms(range(1, 6))
    both = phantoms([3, 20], split="test")

    one = memorization(training.images[:8], phantoms([1]), phantoms([20], each=12, split="test"))
    leaked = memorization(training.images[:8], training, both)

    assert any("one person to compare with" in note for note in one.notes)
    assert leaked.verdict == "copies" and leaked.people == 6 and leaked.real == 48
    assert any("in the training part, too" in note for note in leaked.notes)


def test_the_chance_of_so_many_near_images_is_that_of_all_orders() -> None:
    draws = random(8).random((20000, 9))
    nearer = (draws[:, :5] < np.sort(draws[:, 5:])[:, :1]).sum(axis=1)
    second = (draws[:, :5] < np.sort(draws[:, 5:])[:, 1:2]).sum(axis=1)

    for count in range(6):
        assert chance_of(count, 5, 4) == pytest.approx((nearer >= count).mean(), abs=0.012)
        assert chance_of(count, 5, 4, 2) == pytest.approx((second >= count).mean(), abs=0.012)


# ---- distances of a judgement


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


# ---- usefulness


def test_dice_is_over_all_images_of_a_person() -> None:
    found = np.zeros((3, 2, 2), np.uint8)
    labels = np.zeros((3, 2, 2), np.uint8)
    found[0, 0, 0] = found[1, 0, 0] = found[2, 0, 0] = 1
    labels[0, 0] = 1
    labels[1, 1, 1] = 1

    dice = dice_by_person(found, labels, ["b", "b", "a"], [1, 2])

    assert dice[1, 0] == pytest.approx(2 * 1 / (2 + 3))
    assert np.isnan(dice[0]).all() and np.isnan(dice[1, 1])


def test_the_interval_over_seeds_is_students() -> None:
    values = np.array([0.81, 0.83, 0.79, 0.85])

    low, high = over_seeds(values)

    half = 3.182446 * values.std(ddof=1) / 2  # t of 3 degrees of freedom at 97.5 %
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-6)


def test_the_interval_over_seeds_and_people_covers_the_truth_often_enough() -> None:
    source, covered, narrow = random(4), 0, 0
    for _ in range(400):
        values = 0.3 + source.normal(size=(5, 1)) * 0.5 + source.normal(size=(1, 6)) + source.normal(size=(5, 6)) * 0.5
        low, high = over_seeds_and_people(values)
        covered += low <= 0.3 <= high
        low, high = over_seeds(values.mean(axis=1))
        narrow += low <= 0.3 <= high
    assert covered >= 0.95 * 400 > narrow


def a_table(real: np.ndarray, gain: float, people: int = 1, spread: float = 0.002):
    """Dice of four seeds, better by ``gain`` with synthetic images."""
    noise = random(3).normal(0, spread, (2, 4, people, 1))
    dice = np.broadcast_to(real.reshape(4, 1, 1), (4, people, 1))
    return judged(
        {"real": dice, "real + synthetic": dice + gain + noise[0], "synthetic": dice - 0.3 + noise[1]},
        ["Brain"], steps=10,
    )  # fmt: skip


def test_no_difference_is_claimed_where_the_interval_holds_0() -> None:
    seeds = np.array([0.7, 0.75, 0.8, 0.72])

    same, better, worse = a_table(seeds, 0.0005), a_table(seeds, 0.05), a_table(seeds, -0.05)

    verdicts = [each.differences[0].verdict for each in (same, better, worse)]
    assert verdicts == ["no difference shown", "better for these people", "worse for these people"]
    assert same.sentence.startswith("No difference shown")
    assert "the one held-out person" in better.sentence and "not shown" in better.sentence
    assert any("over the seeds only" in note for note in same.notes)
    # Seeds differ by far more than the gain: only seed by seed it shows.
    score = better.scores[0]
    assert score.low < score.mean + 0.05 < score.high


def test_for_people_like_them_takes_several_who_agree() -> None:
    seeds = np.array([0.7, 0.75, 0.8, 0.72])

    several = a_table(seeds, 0.05, people=5)
    two = a_table(seeds, 0.05, people=2, spread=0.02)

    assert several.differences[0].verdict == "better" and several.people == 5
    assert several.sentence.startswith("With the synthetic images the segmenter is better on held-out people")
    wide = two.differences[0]
    assert wide.wide_low is not None and wide.wide_high is not None
    assert wide.wide_low < wide.low and wide.high < wide.wide_high


def test_structures_that_a_person_lacks_do_not_count_for_him() -> None:
    dice = np.array([[[0.8, np.nan], [0.6, 0.5]], [[0.9, np.nan], [0.7, 0.4]]])

    found = judged(dict.fromkeys(ARMS, dice), ["Brain", "Lesion"], steps=1)

    means = {each.structure: (each.mean, each.people) for each in found.scores if each.arm == "real"}
    assert means["Lesion"] == (pytest.approx(0.45), 1)
    assert means[ALL] == (pytest.approx((0.8 + 0.55 + 0.9 + 0.55) / 4), 2)


def test_synthetic_images_help_where_real_ones_are_few_and_random_ones_do_not() -> None:
    training, held_out = phantoms([1], each=4, structures=2), phantoms(range(20, 22), split="test", structures=2)
    fresh = phantoms(range(50, 56), structures=2)
    assert fresh.labels is not None
    told: list[str] = []
    how = {"seeds": 2, "steps": 20, "batch": 4, "seed": 1}

    good = usefulness(training, Learning(fresh.images, fresh.labels), held_out, log=told.append, **how)
    shuffled = Learning(fresh.images, random().integers(0, 3, fresh.labels.shape))
    bad = usefulness(training, shuffled, held_out, **how)

    gain = {each.arm: each.mean for each in good.differences if each.structure == ALL}
    loss = {each.arm: each.mean for each in bad.differences if each.structure == ALL}
    assert gain["synthetic"] > loss["synthetic"] + 0.1
    assert len(told) == 6 and dict(good.examples) == {"real": 4, "synthetic": 48, "held_out": 16}
    reals = [[each.by_seed for each in one.scores if each.arm == "real"] for one in (good, bad)]
    assert reals[0] == reals[1]


def test_held_out_people_must_be_others() -> None:
    training = phantoms([1, 2])
    with pytest.raises(UsageError, match="held out at once"):
        usefulness(training, Learning(training.images, training.labels), phantoms([2, 3]), seeds=2, steps=1)


def test_a_training_is_settled_by_its_seed_and_sees_the_same_examples_in_all_arms() -> None:
    import torch

    data = phantoms([1, 2])
    learning = Learning(data.images, data.labels)
    state = torch.random.get_rng_state()

    nets = [train_segmenter(((learning, 1.0),), 2, steps=3, batch=4, seed=seed) for seed in (1, 1, 2)]

    first, again, other = ([each.clone() for each in net.state_dict().values()] for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert segment(nets[0], data.images).shape == data.labels.shape


def test_examples_and_labels_move_together() -> None:
    import torch

    data = phantoms([1], size=64)
    x, y = torch.from_numpy(data.images), torch.from_numpy(data.labels.astype(np.int64))
    as_image = y[:, None].float()

    image, label = moved(x, y, torch.Generator().manual_seed(1))
    mask, label_again = moved(as_image, y, torch.Generator().manual_seed(1))

    assert torch.equal(label, label_again) and image.shape == x.shape
    assert ((mask[:, 0] > 0.5).long() != label).float().mean() < 0.005
    assert (label != y).float().mean() > 0.01


def test_moved_label_maps_are_new_anatomy_of_the_same_structures() -> None:
    labels = phantoms([1, 2], structures=2).labels
    patches = np.repeat(labels[:2, :16, :16, None], 16, axis=3)

    made = moved_labels(labels, Stream("a", 1))

    assert np.array_equal(made, moved_labels(labels, Stream("a", 1)))
    assert set(np.unique(made)) == {0, 1, 2} and made.dtype == labels.dtype
    changed = (made != labels).mean(axis=(1, 2))
    assert changed.min() > 0.01 and changed.max() < 0.5
    sizes = (made == 1).sum(axis=(1, 2)) / (labels == 1).sum(axis=(1, 2))
    assert 0.6 < sizes.min() < sizes.max() < 1.6
    assert moved_labels(patches, Stream("a", 1)).shape == patches.shape


# ---- the whole


def test_a_judgement_says_what_it_found_and_repeats_its_bytes(tmp_path) -> None:
    training = phantoms(range(1, 4), each=5, structures=2)
    held_out = phantoms([20, 21], each=5, split="test", structures=2)
    fresh = phantoms(range(50, 53), each=4, structures=2)
    options = JudgeOptions(seeds=2, segmenter_steps=2, segmenter_batch=2, pairs=4)
    steps: list[float] = []
    told: list[str] = []

    def look() -> Judgement:
        return judge_images(
            fresh.images, fresh.labels, training, held_out, options,
            progress=lambda fraction, text: steps.append(fraction), log=told.append,
        )  # fmt: skip

    found = look()
    assert steps[-1] == 1 and steps == sorted(steps) and told
    files = write_report(found, tmp_path / "one")
    again = write_report(look(), tmp_path / "two")

    assert [path.name for path in files] == ["judgement.md", "judgement.json", "nearness.png", "pairs.png",
                                             "samples.png", "usefulness.png"]  # fmt: skip
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]
    assert [each.measure for each in found.distances] == ["KID", "FID", "MMD", "MS-SSIM between images"]
    assert all(each.baseline is not None for each in found.distances)
    assert found.summary == (found.memorization.sentence, found.usefulness.sentence)
    assert json.loads(files[1].read_text()) == json.loads(json.dumps(found.to_dict()))
    page = files[0].read_text()
    assert "no anonymity" in page and "Lesion" in page and "keep this report" in page and str(tmp_path) not in page
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files[2:])


def test_a_judgement_without_labels_or_held_out_people_says_so() -> None:
    training = phantoms(range(1, 4))
    bare = Examples(training.images, None, training.sources, {}, 4.0, 0.0, 1.0)

    found = judge_images(phantoms([50]).images, None, bare, None, JudgeOptions())
    left_out = judge_images(
        phantoms([50]).images, phantoms([50]).labels, training, None, JudgeOptions(segmenter_steps=1)
    )

    assert found.usefulness is None and [each.measure[:3] for each in found.distances] == ["MMD", "MS-"]
    assert any("makes no labels" in note for note in found.notes)
    assert any("choose a model" in note for note in found.notes)
    assert left_out.usefulness is None and any("Nobody is held out with labels" in each for each in left_out.notes)
    assert "Does it know people by heart" in page_of(found)


def test_a_judgement_is_cancelled_wherever_it_is() -> None:
    training, held_out = phantoms([1, 2], each=4), phantoms([20], split="test")
    options = JudgeOptions(seeds=2, segmenter_steps=2, segmenter_batch=2)
    asked = 0

    def never() -> bool:
        nonlocal asked
        asked += 1
        return False

    judge_images(training.images, training.labels, training, held_out, options, cancelled=never)
    for number in np.linspace(1, asked, 4).astype(int):
        left = [int(number)]

        def now(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] <= 0

        with pytest.raises(JobCancelled):
            judge_images(training.images, training.labels, training, held_out, options, cancelled=now)


# ---- generators and datasets


class Planted:
    """A generator made by hand: ``by_heart`` gives the training image with the likest label map, else it paints."""

    def __init__(self, training: Examples, by_heart: bool, **trained_on) -> None:
        self.bundle = SimpleNamespace(name="Planted", version="1", digest="0" * 64)
        labels = {0: "background", 1: "Brain"}
        self.facts = SynthesisFacts("gan", True, (SIZE, SIZE), 4.0, "axial", labels, 0.0, 100.0, "MR", trained_on)
        self.training, self.by_heart = training, by_heart
        self.asked = 0

    def sample(self, count=1, *, seed=0, labels, segments, progress, cancelled) -> tuple[Synthetic, ...]:
        assert count == 1 and [each.name for each in segments] == ["Brain"]
        maps = np.moveaxis(labels.array[0], 2, 0)
        made = np.stack([self._image(each, random(seed + n)) for n, each in enumerate(maps)])
        values = (np.moveaxis(made, 0, 2)[None] + 1) * 50
        self.asked += len(maps)
        return (Synthetic(labels.with_array(values), labels, tuple(segments), {"notes": []}),)

    def _image(self, labels: np.ndarray, source: np.random.Generator) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        if self.by_heart:
            unlike = (self.training.labels != labels).mean(axis=(1, 2))
            return self.training.images[int(unlike.argmin()), 0] + source.normal(0, 0.05, labels.shape)
        details = gaussian_filter(source.normal(size=labels.shape), SIZE / 26)
        image = np.where(gaussian_filter(labels.astype(float), 1.2) > 0.05, 0.6, -1.0)
        return np.where(labels > 0, -0.1 + details / details.std() * 0.35, image)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Six people: four to learn from, one to validate with, one to test with."""
    from meddl.datasets import Case, ExportOptions, SegmentationLabel, export_dataset

    segments = (Segment(1, "Brain", (1.0, 0.5, 0.5)),)
    affine = np.diag([4.0, 4.0, 8.0, 1.0])
    cases = []
    for person, split in ((1, "train"), (2, "train"), (3, "train"), (4, "train"), (20, "validation"), (21, "test")):
        people = phantoms([person])
        image = Volume(((np.moveaxis(people.images[:, 0], 0, 2) + 1) * 50)[None], affine)
        labels = Volume(np.moveaxis(people.labels, 0, 2)[None], affine)
        cases.append(Case(f"{person}", {"T1": image}, SegmentationLabel(labels, segments), f"{person}", split=split))
    return export_dataset(cases, tmp_path_factory.mktemp("judging") / "data", ExportOptions("monai", "Heads")).root


def learned_from(dataset: Path) -> Examples:
    config = SynthesisConfig("gan", size=(SIZE, SIZE), spacing_mm=4.0)
    return read_examples(dataset, config)


def in_units(images: np.ndarray, examples: Examples) -> np.ndarray:
    return examples.low + (images + 1) / 2 * (examples.high - examples.low)


def test_a_generator_is_judged_by_the_people_of_its_dataset(dataset, tmp_path) -> None:
    training = learned_from(dataset)
    digests = [case.digest for case in manifest_of(dataset).plan.cases if case.split == "train"]
    options = JudgeOptions(count=24, seeds=2, segmenter_steps=1, segmenter_batch=2)

    planted = judge(dataset, Planted(training, True, images_sha256=digests), options)
    painted = judge(dataset, Planted(training, False, images_sha256=digests), options)

    assert planted.facts["counts"] == {"synthetic": 24, "training": 32, "training_people": 4, "held_out": 16,
                                       "held_out_people": 2}  # fmt: skip
    assert planted.memorization.verdict == "copies" and planted.memorization.copies >= 20
    assert "by heart" in planted.own_maps.warning and planted.own_maps.share < 0.2
    assert len(planted.own_maps.training) == 4 and len(planted.own_maps.held_out) == 2
    assert len(planted.warnings) >= 2 and planted.summary[: len(planted.warnings)] == planted.warnings
    assert painted.memorization.verdict == "none found" and not painted.own_maps.warning
    assert painted.usefulness is not None and painted.usefulness.people == 2
    assert not any("learned from" in note for note in painted.notes)
    page = write_report(painted, tmp_path)[0].read_text()
    assert "Planted" in page and "Heads" in page and "own label maps" in page and "images_sha256" not in page


def test_who_judges_must_not_have_been_learned_from(dataset) -> None:
    facts = Planted(phantoms([1]), False).facts
    digests = {case.split: case.digest for case in manifest_of(dataset).plan.cases}

    def notes(**told) -> tuple[str, ...]:
        return read_people(dataset, replace(facts, trained_on=told)).notes

    with pytest.raises(UsageError, match=r"has learned from 1 of the 2 held-out cases"):
        notes(images_sha256=[digests["test"]])
    assert notes(images_sha256=[digests["train"]]) == ()
    for told, words in (({}, "does not tell which"), ({"images_sha256": ["ab"]}, "has learned from other images")):
        assert words in notes(**told)[0]
    assert "1 of the 2 cases" in notes(images_sha256=[digests["train"], "ab"])[0]
    with pytest.raises(UsageError, match="no dataset"):
        read_people(dataset.parent, facts)


def test_images_for_a_judgement_fit_moved_label_maps_of_training_people(dataset) -> None:
    training = learned_from(dataset)
    generator = Planted(training, False)

    made = judged_images(generator, training, 40, 3)
    again = judged_images(generator, training, 40, 3)

    assert made.images.shape == (40, 1, SIZE, SIZE) and made.labels.shape == (40, SIZE, SIZE)
    assert np.array_equal(made.images, again.images) and generator.asked == 80
    assert abs(made.images).max() <= 1 and set(np.unique(made.labels)) == {0, 1}
    unlike = [min((each != known).mean() for known in training.labels) for each in made.labels]
    assert np.mean(np.array(unlike) > 0.01) > 0.8
    values = in_units(made.images, training)
    inside = [image[0][labels > 0].mean() for image, labels in zip(values, made.labels, strict=True)]
    assert np.std(inside) < 6 and abs(np.mean(inside) - 45) < 3  # as it paints them


def test_a_generator_of_chance_is_judged_without_labels(dataset) -> None:
    class OfChance(Planted):
        def sample(self, count=1, *, seed=0, progress, cancelled) -> tuple[Synthetic, ...]:
            images = [self._image(self.training.labels[n % 32], random(seed + n)) for n in range(count)]
            turned = np.diag([-4.0, 4.0, 4.0, 1.0])
            return tuple(Synthetic(Volume((each[::-1][None, ..., None] + 1) * 50, turned)) for each in images)

    training = learned_from(dataset)
    generator = OfChance(training, False)
    generator.facts = replace(generator.facts, conditioned=False, labels={})

    made = judged_images(generator, training, 8, 0)
    found = judge(dataset, generator, JudgeOptions(count=8, segmenter_steps=1))

    expected = np.stack([generator._image(training.labels[n], random(n)) for n in range(8)])
    expected = np.clip((expected + 1) * 50, training.low, training.high)
    assert np.allclose(in_units(made.images, training)[:, 0], expected, atol=1e-3)
    assert found.own_maps is None and found.usefulness is None and found.memorization is not None


def test_options_are_checked_and_come_back_from_plain_data() -> None:
    options = JudgeOptions(count=50, seeds=3, features="demo_body_region")
    assert JudgeOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options
    assert JudgeOptions.from_dict({"synthetic_share": 0.25}).synthetic_share == 0.25
    for wrong in (
        {"count": 2},
        {"seeds": 1},
        {"synthetic_share": 1.0},
        {"steps": 3},
        {"count": "50"},
        {"seed": True},
        [],
    ):
        with pytest.raises(UsageError):
            JudgeOptions.from_dict(wrong)


def test_a_report_that_cannot_be_written_says_so(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableDataset, match="could not be written"):
        write_report(Judgement(), tmp_path / "file")


def test_names_in_a_report_stay_words() -> None:
    training, held_out = phantoms([1]), phantoms([20], split="test")
    evil = "![x](http://e.org)|<b>"
    data = {arm: np.full((2, 1, 1), 0.5) for arm in ARMS}
    found = Judgement(usefulness=judged(data, [evil], steps=1), notes=(evil,), facts={"dataset": evil})

    page = page_of(found)

    assert not re.search(r"(?<!\\)!\[x", page) and "<b>" not in page.replace(r"\<b\>", "")
    assert len(training) == len(held_out)
