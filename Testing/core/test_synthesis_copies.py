"""Judging a generator: copies of training images are found, fresh images pass."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from core.judged_phantoms import SIZE, phantoms, random
from meddl.synthesis.memorization import chance_of, memorization
from meddl.synthesis.nearest import nearest


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
