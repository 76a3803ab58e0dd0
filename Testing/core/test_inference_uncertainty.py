"""Uncertainty: the way back of flips and shifts is exact, dropout leaves no trace, the figures are the books'."""

from __future__ import annotations

import copy
import doctest
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from core import tiny_bundle
from meddl.errors import ModelError, UsageError
from meddl.inference import uncertainty
from meddl.models import ModelBundle
from monai.data import MetaTensor
from monai.networks.nets import UNet

SHAPES = [(17, 24, 9), (8, 33, 1), (16, 31)]


def image(shape: tuple[int, ...], channels: int = 2) -> torch.Tensor:
    return torch.arange(channels * math.prod(shape), dtype=torch.float32).reshape(channels, *shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_pass_brings_every_voxel_it_saw_back_to_its_place(shape: tuple[int, ...]) -> None:
    original = image(shape)
    passes = uncertainty.TestTimeAugmentation(shape, 24, seed=3)
    assert len(passes) == 24 and not passes[0].flips and not any(passes[0].shift)
    for each in passes:
        shown = each.apply(original)
        back = each.inverse(shown)
        box = (slice(None), *each.seen)
        assert shown.shape == back.shape == original.shape
        assert torch.equal(back[box], original[box])


@pytest.mark.parametrize("shape", SHAPES)
def test_what_lies_outside_the_seen_box_was_not_shown(shape: tuple[int, ...]) -> None:
    original = image(shape, channels=1)
    for each in uncertainty.TestTimeAugmentation(shape, 24, seed=3):
        unseen = torch.ones(shape, dtype=torch.bool)
        unseen[each.seen] = False
        assert not torch.isin(original[0][unseen], each.apply(original)).any()


def test_passes_are_flips_first_and_never_twice_the_same() -> None:
    passes = list(uncertainty.TestTimeAugmentation((40, 40, 40), 40, seed=1))
    assert [len(each.flips) for each in passes[:8]] == [0, 1, 1, 1, 2, 2, 2, 3]
    assert all(not any(each.shift) for each in passes[:8])
    assert all(any(each.shift) for each in passes[8:])
    assert len({(each.flips, each.shift) for each in passes}) == 40


def test_the_same_seed_gives_the_same_passes() -> None:
    def made(seed: int) -> list[uncertainty.AugmentedPass]:
        return list(uncertainty.TestTimeAugmentation((40, 40, 40), 12, seed=seed))

    assert made(5) == made(5)
    assert made(5) != made(6)


def test_an_image_too_small_for_more_gives_fewer_passes() -> None:
    passes = uncertainty.TestTimeAugmentation((4, 4, 1), 50, seed=0)
    assert [each.flips for each in passes] == [(), (0,), (1,), (0, 1)]
    assert passes.text == "flipped images"


def test_passes_keep_a_meta_tensor_and_take_numpy() -> None:
    each = uncertainty.AugmentedPass((6, 5, 4), (1,), (1, 0, -1))
    original = image((6, 5, 4))
    meta = each.apply(MetaTensor(original, affine=torch.diag(torch.tensor([2.0, 2, 2, 1]))))
    assert isinstance(meta, MetaTensor) and meta.affine[0, 0] == 2
    assert np.array_equal(each.apply(original.numpy()), meta.as_tensor().numpy())


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        uncertainty.AugmentedPass((6, 5, 4), (1,)).apply(image((6, 5, 5)))


def test_a_network_that_commutes_with_the_passes_shows_no_spread() -> None:
    shape = (20, 17, 12)
    original = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    passes = uncertainty.TestTimeAugmentation(shape, 12, seed=0)
    accumulator = uncertainty.UncertaintyAccumulator(
        uncertainty.grid_volumes(np.eye(4), {"Bright": 0}), mutual_information=True
    )
    for each in passes:  # the network looks at one voxel at a time
        accumulator.add(each.inverse(each.apply(original)), seen=each.seen)
    low, high = accumulator.intervals()["Bright"]
    assert low == high == float((original >= 0.5).sum()) / 1000
    assert torch.allclose(accumulator.mean, original, atol=1e-6)
    assert accumulator.mutual_information().max() < 1e-6
    assert "at 2.0" in uncertainty.volume_sentence(accumulator, passes.text, {"Bright": 0})


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_entropy_of_one_channel_is_the_binary_entropy(probability: float) -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {})
    accumulator.add(torch.full((1, 2, 2, 2), probability))
    p = np.array([probability, 1 - probability])
    expected = -sum(each * math.log2(each) for each in p if each > 0)
    assert torch.allclose(accumulator.entropy(), torch.full((2, 2, 2), expected), atol=1e-6)


def test_a_bernoulli_network_has_its_closed_form_entropy_and_mutual_information() -> None:
    # Certain each time, right three times out of four: all doubt is contradiction.
    accumulator = uncertainty.UncertaintyAccumulator(
        lambda answer: {"Spot": float(answer[1].sum())}, mutual_information=True
    )
    for yes in (1.0, 1.0, 0.0, 1.0):
        accumulator.add(torch.stack([torch.full((2, 1, 1), 1 - yes), torch.full((2, 1, 1), yes)]))
    expected = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert accumulator.entropy().flatten().tolist() == pytest.approx([expected] * 2, abs=1e-6)
    assert accumulator.mutual_information().flatten().tolist() == pytest.approx([expected] * 2, abs=1e-6)
    assert accumulator.mean[1].flatten().tolist() == [0.75, 0.75]
    assert accumulator.intervals() == {"Spot": (0.0, 2.0)}


def test_entropy_of_competing_classes_is_one_where_all_are_alike() -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {})
    probabilities = torch.tensor([[0.25, 1.0, 0.5], [0.25, 0, 0.5], [0.25, 0, 0], [0.25, 0, 0]])
    accumulator.add(probabilities[..., None, None])
    assert accumulator.entropy().flatten().tolist() == pytest.approx([1.0, 0.0, 0.5], abs=1e-6)


def test_entropy_of_overlapping_structures_is_the_largest_of_theirs() -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {}, exclusive=False)
    accumulator.add(torch.tensor([[1.0, 0.5], [1.0, 1.0]])[..., None, None])
    assert accumulator.entropy().flatten().tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_voxels_out_of_sight_keep_the_mean_of_the_passes_before() -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {"all": float(answer.sum())})
    accumulator.add(torch.full((1, 4), 0.2))
    accumulator.add(torch.full((1, 4), 0.6), seen=(slice(1, 4),))
    assert accumulator.mean.tolist() == [pytest.approx([0.2, 0.4, 0.4, 0.4])]
    assert accumulator.measures[1]["all"] == pytest.approx(0.2 + 3 * 0.6)


def test_numbers_that_are_no_probabilities_are_refused() -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {})
    for wrong in (torch.full((1, 2), 1.5), torch.full((1, 2), -3.0), torch.full((1, 2), float("nan"))):
        with pytest.raises(UsageError, match="from 0 to 1"):
            accumulator.add(wrong)


def test_grid_volumes_counts_the_winner_on_an_oblique_grid() -> None:
    affine = np.eye(4)
    affine[:3, :3] = [[2, 0.3, 0], [0, 3, 0], [0, 0, 5]]  # 30 mm3
    scores = torch.rand(4, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    volumes = uncertainty.grid_volumes(affine, {"Third": 2, "First": 1})(scores)
    winner = scores.argmax(0)
    assert volumes["Third"] == pytest.approx(int((winner == 2).sum()) * 0.03)
    assert volumes["First"] == pytest.approx(int((winner == 1).sum()) * 0.03)


def test_scores_that_are_probabilities_already_are_known() -> None:
    logits = 4 * torch.randn(3, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    assert not uncertainty.are_probabilities(logits)
    assert uncertainty.are_probabilities(logits.softmax(0).bfloat16())
    assert uncertainty.are_probabilities(logits.sigmoid(), exclusive=False)
    assert not uncertainty.are_probabilities(logits.sigmoid())
    assert uncertainty.are_probabilities(logits[:1].sigmoid())


def test_the_sentence_names_runs_volumes_and_uncertain_voxels() -> None:
    volumes = iter([1380.0, 1402.0, 1391.0])
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: {"Brain": next(volumes)})
    answer = torch.full((2, 10, 10, 10), 0.01)
    answer[1, :5] = 0.99
    answer[1, 0, 0, :2] = 0.6  # two of 500 voxels
    answer[0] = 1 - answer[1]
    for _ in range(3):
        accumulator.add(answer)
    assert uncertainty.volume_sentence(accumulator, "flipped and shifted images", {"Brain": 1}) == (
        "Over 3 runs with flipped and shifted images the volume of Brain lay between 1380 and 1402 ml; "
        "0.4 % of its voxels are uncertain."
    )


def test_the_sentence_on_many_structures_names_the_least_certain() -> None:
    measures = iter({"Liver": 1000.0, "Spleen": spleen, "Tumor": 0.0} for spleen in (180.0, 220.0))
    accumulator = uncertainty.UncertaintyAccumulator(lambda answer: next(measures))
    for _ in range(2):
        accumulator.add(torch.full((4, 2, 2, 2), 0.25))
    sentence = uncertainty.volume_sentence(accumulator, "dropout", {"Liver": 1, "Spleen": 2, "Tumor": 3})
    assert sentence == (
        "Over 2 runs with dropout the volumes of 2 structures differed by 10 % on average; "
        "most for Spleen, which lay between 180 and 220 ml."
    )


def test_the_sentence_on_classes_says_when_runs_disagree() -> None:
    accumulator = uncertainty.UncertaintyAccumulator(lambda p: {"Healthy": float(p[0]), "Pneumonia": float(p[1])})
    for p in (0.62, 0.81, 0.4):
        accumulator.add(torch.tensor([1 - p, p]))
    assert uncertainty.class_sentence(accumulator, "dropout") == (
        "Over 3 runs with dropout the probability of Pneumonia lay between 40 % and 81 %; "
        "in 1 of them another class was more probable."
    )


def network(dropout: float) -> UNet:
    torch.manual_seed(0)
    return UNet(3, 1, 2, channels=(4, 8), strides=(2,), num_res_units=1, norm="batch", dropout=dropout).eval()


def test_a_network_without_dropout_is_known_and_refused() -> None:
    assert has_none(network(0.0)) and not has_none(network(0.3))
    with (
        pytest.raises(ModelError, match="no dropout"),
        uncertainty.dropout_passes(network(0.0), seed=0),
    ):
        raise AssertionError("not reached")


def has_none(net: torch.nn.Module) -> bool:
    return not uncertainty.has_dropout(net)


def test_dropout_acts_alone_by_seed_and_leaves_no_trace() -> None:
    net, shown = network(0.3), torch.rand(1, 1, 8, 8, 8)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(77)
    expected_next = torch.rand(3)
    torch.manual_seed(77)
    with torch.inference_mode():
        certain = net(shown)

    def runs(seed: int) -> list[torch.Tensor]:
        answers = []
        with torch.inference_mode(), uncertainty.dropout_passes(net, seed) as begin:
            assert not any(m.training for m in net.modules() if isinstance(m, torch.nn.BatchNorm3d))
            for number in range(3):
                begin(number)
                answers.append(net(shown))
        return answers

    first, again, other = runs(4), runs(4), runs(5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])
    assert torch.equal(torch.rand(3), expected_next)
    assert not any(module.training for module in net.modules())
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(net(shown), certain)


def test_dropout_is_off_again_after_an_error() -> None:
    net = network(0.3)
    with pytest.raises(ZeroDivisionError), uncertainty.dropout_passes(net, 0):
        raise ZeroDivisionError
    assert not any(module.training for module in net.modules())


def bundle(folder: Path, segments: tuple[str, ...] = ("Blob",), own: Any = None, train: Any = None) -> ModelBundle:
    formats = copy.deepcopy(tiny_bundle.METADATA["network_data_format"])
    names = {str(number): name for number, name in enumerate(("background", *segments))}
    formats["outputs"]["pred"].update(channel_def=names, num_channels=len(names))
    path = tiny_bundle.write(
        folder / "bundle", metadata={"network_data_format": formats, "meddl": {"uncertainty": own or {}}}
    )
    if train is not None:
        (path / "configs" / "train.json").write_text(json.dumps(train))
    return ModelBundle.open(path)


def test_flips_are_those_of_the_training(tmp_path: Path) -> None:
    train = {
        "train": {
            "random": [
                {"_target_": "RandFlipd", "keys": ["image"], "spatial_axis": [0], "prob": 0.1},
                {"_target_": "monai.transforms.RandFlipd", "keys": ["image"], "spatial_axis": 2, "prob": 0.1},
            ]
        }
    }
    found = uncertainty.flip_axes_for(bundle(tmp_path, train=train), np.eye(4))
    assert found.axes == (0, 2) and "trained" in found.reason


def test_flips_without_any_word_are_left_to_right_on_whatever_axis_that_is(tmp_path: Path) -> None:
    sideways_last = np.diag([3.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    assert uncertainty.flip_axes_for(bundle(tmp_path), sideways_last).axes == (2,)


@pytest.mark.parametrize("name", ["Left kidney", "kidney_right", "R hippocampus"])
def test_a_model_that_tells_left_from_right_is_not_flipped_sideways(tmp_path: Path, name: str) -> None:
    found = uncertainty.flip_axes_for(bundle(tmp_path, (name, "Liver"), own={"flip_axes": [0, 1]}), np.eye(4))
    assert found.axes == (1,) and "tells apart" in found.reason


def test_words_with_left_or_right_inside_do_not_count(tmp_path: Path) -> None:
    assert uncertainty.flip_axes_for(bundle(tmp_path, ("Bright spot", "Cleft")), np.eye(4)).axes == (0,)


def test_examples_work() -> None:
    from meddl.inference.uncertainty import augmented

    result = doctest.testmod(augmented)
    assert result.attempted and not result.failed
