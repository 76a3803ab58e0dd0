"""Judging a generator: whether its images help a network to learn, and how sure that is."""

from __future__ import annotations

import numpy as np
import pytest
from core.judged_phantoms import phantoms, random
from meddl.errors import UsageError
from meddl.randomness import Stream
from meddl.synthesis.intervals import over_seeds, over_seeds_and_people
from meddl.synthesis.moved_labels import moved_labels
from meddl.synthesis.segmenter import Learning, moved, segment, train_segmenter
from meddl.synthesis.usefulness import ALL, ARMS, dice_by_person, judged, usefulness


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
