"""Measures of how far to believe a map: right on networks whose reasons are known, and on maps that explain nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import captum.metrics
import numpy as np
import pytest
import torch
from core import lesions
from core.lesions import MadeUp, examined
from meddl.errors import JobCancelled, UsageError
from meddl.saliency.attribution import Attribution, Measure
from meddl.saliency.faithfulness.agreement import agreement
from meddl.saliency.faithfulness.controls import body, random_maps, without_details
from meddl.saliency.faithfulness.examined import Examined
from meddl.saliency.faithfulness.known import ABOUT, MEASURES
from meddl.saliency.faithfulness.random_networks import forgotten
from meddl.saliency.faithfulness.ranks import partial_rank_correlation, rank_correlation
from meddl.saliency.methods.known import make_method
from meddl.saliency.methods.method import RawAttribution
from meddl.saliency.scorer import Scorer
from meddl.volume import Volume


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    return lesions.lesion_image(np.random.default_rng(100))


@pytest.fixture(scope="module")
def planted(scene: tuple[torch.Tensor, torch.Tensor]) -> Scorer:
    """A network whose answer comes from the lesion's place alone."""
    return Scorer(lesions.PlaceNetwork(scene[1]), lambda answer: answer[:, 0])


@pytest.fixture(scope="module")
def trained(scene: tuple[torch.Tensor, torch.Tensor]) -> Scorer:
    """A U-Net that has learned to find lesions, asked for the sum over what it found."""
    network = lesions.trained_unet()
    with torch.no_grad():
        found = network(scene[0])[0].argmax(dim=0) == 1
    assert float((found & scene[1]).sum() / scene[1].sum()) > 0.5
    return Scorer(network, lambda answer: answer[:, 1][:, found].sum(dim=1))


def truth_map(scene: tuple[torch.Tensor, torch.Tensor]) -> MadeUp:
    return MadeUp(lambda scorer, image: scene[1].float()[None, None] * image.clamp(min=0))


@pytest.mark.parametrize("name", ["deletion", "insertion", "infidelity"])
def test_of_a_planted_network_the_truth_is_good_and_its_contrary_bad(
    name: str, scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer
) -> None:
    image, lesion = scene
    right = MEASURES[name](examined(planted, image, truth_map(scene), lesion))
    wrong = MEASURES[name](examined(planted, image, MadeUp(lambda s, x: -lesion.float()[None, None]), lesion))
    edges = MEASURES[name](examined(planted, image, MadeUp(lesions.edges_of), lesion))
    noise = MEASURES[name](examined(planted, image, MadeUp(lesions.noise), lesion))
    assert right.verdict == "good", right
    assert wrong.verdict == "bad", wrong
    assert "good" not in (edges.verdict, noise.verdict), (edges, noise)
    assert right.random is not None
    assert (right.value > right.random) == (name == "insertion")


@pytest.mark.parametrize("id", ["saliency", "smoothgrad", "integrated_gradients", "input_x_gradient"])
def test_gradients_of_a_planted_network_pass_every_measure(
    id: str, scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer
) -> None:
    case = examined(planted, *scene[:1], make_method(id), scene[1])
    found = {name: measure(case) for name, measure in MEASURES.items()}
    assert found["pointing_game"].value == 1.0
    for name in ("pointing_game", "overlap", "randomization", "stability"):
        assert found[name].verdict == "good", found[name]
    assert all(each.verdict != "bad" for each in found.values()), found


def test_the_randomization_check_flags_edge_maps_and_passes_good_ones(
    scene: tuple[torch.Tensor, torch.Tensor], trained: Scorer
) -> None:
    """Edges are what guided backpropagation shows of deep networks, whatever they learned (Adebayo et al. 2018)."""
    image = scene[0]
    found = {
        "edges": MadeUp(lesions.edges_of, signed=False),
        "edges, a bit of gradient": MadeUp(lesions.edges_with_some_gradient, signed=False),
        "the image": MadeUp(lambda scorer, image: image),
        "fixed noise": MadeUp(lesions.noise),
        **{id: make_method(id) for id in ("saliency", "smoothgrad", "integrated_gradients", "gradient_shap")},
    }
    measures = {name: MEASURES["randomization"](examined(trained, image, method)) for name, method in found.items()}
    table = "\n".join(f"{name:26s} {each.value:6.2f} {each.verdict}" for name, each in measures.items())
    for name, measure in measures.items():
        made_up = isinstance(found[name], MadeUp)
        assert measure.verdict == ("bad" if made_up else "good"), table
        assert measure.value > 0.9 if made_up else measure.value < 0.5, table
        assert ("does not explain the model" in measure.sentence) == made_up
    assert "edges of the image" in measures["edges"].sentence
    assert "edges of the image" not in measures["saliency"].sentence
    assert [share for share, _ in measures["saliency"].curve] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_where_a_network_can_look_is_no_fault_of_the_method(
    scene: tuple[torch.Tensor, torch.Tensor], trained: Scorer
) -> None:
    """The sum over a lesion depends on its surroundings only, so that all maps of it, trained or not, are alike."""
    case = examined(trained, scene[0], make_method("saliency"))
    measure = MEASURES["randomization"](case)
    other = case.again(scorer=forgotten(trained, scene[0], 1.0, 0)).sum(dim=0)
    plain = rank_correlation(case.total().numpy(), other.numpy())
    assert plain > 0.4 and measure.value < plain - 0.15, (plain, measure.value)


def test_a_network_forgets_from_the_answer_back(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv3d(1, 2, 3), torch.nn.BatchNorm3d(2), torch.nn.ReLU(), torch.nn.Conv3d(2, 1, 3)
    )
    scorer = Scorer(network, lambda answer: answer.sum(dim=(1, 2, 3, 4)))
    before = [each.clone() for each in scorer.network.parameters()]
    third = forgotten(scorer, scene[0], 1 / 3, 0)
    assert torch.equal(third.network[0].weight, before[0])
    assert not torch.equal(third.network[3].weight, before[4])
    whole = forgotten(scorer, scene[0], 1.0, 0)
    assert not torch.equal(whole.network[0].weight, before[0])
    assert float(whole.network[0].weight.std()) == pytest.approx(float(before[0].std()), rel=0.5)
    assert not whole.network.training and not whole.network[1].training
    seen = whole.network[0](scene[0])
    assert torch.allclose(whole.network[1].running_mean, seen.mean(dim=(0, 2, 3, 4)), atol=1e-4)
    assert torch.allclose(whole.network[1].running_var, seen.var(dim=(0, 2, 3, 4)), rtol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(scorer.network.parameters(), before, strict=True))
    again = forgotten(scorer, scene[0], 1.0, 0)
    assert torch.equal(again.network[0].weight, whole.network[0].weight)


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_torchscript_forgets_and_networks_without_weights_say_so(
    how: str, scene: tuple[torch.Tensor, torch.Tensor]
) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, padding=1), torch.nn.BatchNorm3d(2), torch.nn.ReLU()).eval()
    script = torch.jit.script(network) if how == "scripted" else torch.jit.trace(network, scene[0])
    scorer = Scorer(script, lambda answer: answer.sum(dim=(1, 2, 3, 4)))
    before = next(script.parameters()).clone()
    made = forgotten(scorer, scene[0], 1.0, 0)
    assert torch.equal(next(script.parameters()), before)
    assert not torch.equal(next(made.network.parameters()), before)
    assert bool(torch.isfinite(made(scene[0])).all())
    nothing = Scorer(lambda images: images.sum(dim=(1, 2, 3, 4))[:, None], lambda answer: answer[:, 0])
    measure = MEASURES["randomization"](examined(nothing, scene[0], MadeUp(lesions.noise)))
    assert measure.verdict == "" and "not possible" in measure.sentence


def test_infidelity_is_that_of_captum(scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    from meddl.saliency.faithfulness.captum_measures import _blocks

    image = scene[0]
    case = examined(planted, image, make_method("integrated_gradients"))
    masks, dull = iter(_blocks(body(image), 0)), without_details(image)
    changes = []

    def blur(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = next(masks).expand_as(images)
        blurred = torch.where(mask, dull, images)
        changes.append(float(planted(images) - planted(blurred)))
        return mask.float(), blurred

    found = captum.metrics.infidelity(
        planted, blur, image, case.raw.values[None], n_perturb_samples=48, max_examples_per_batch=1, normalize=True
    )
    expected = float(found) / float(np.mean(np.square(changes)))
    assert MEASURES["infidelity"](case).value == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_sensitivity_is_that_of_captum_and_unrelated_maps_are_unsteady(
    scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer
) -> None:
    image = scene[0]
    steady = MEASURES["sensitivity"](examined(planted, image, make_method("integrated_gradients")))
    random = np.random.default_rng(0)
    fickle = MadeUp(lambda scorer, image: torch.from_numpy(random.standard_normal(tuple(image.shape))))
    changing = MEASURES["sensitivity"](examined(planted, image, fickle))
    assert steady.verdict == "good" and changing.verdict == "bad"
    assert changing.value == pytest.approx(math.sqrt(2), rel=0.1)
    assert MEASURES["stability"](examined(planted, image, fickle)).verdict == "bad"


def test_completeness_is_exact_for_integrated_gradients_and_no_promise_of_others(
    scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer
) -> None:
    case = examined(planted, scene[0], make_method("integrated_gradients"), steps=50)
    assert MEASURES["completeness"](case).verdict == "good"
    bad = replace(case, raw=RawAttribution(case.raw.values * 0.5))
    assert MEASURES["completeness"](bad).value == pytest.approx(0.5, abs=0.05)
    assert MEASURES["completeness"](bad).verdict == "bad"
    assert MEASURES["completeness"](examined(planted, scene[0], make_method("saliency"))).verdict == ""


def test_reference_masks_tell_hits_from_misses(scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    image, lesion = scene
    elsewhere = lesion.roll(8, 0)
    right = examined(planted, image, truth_map(scene), lesion)
    wrong = replace(right, truth=elsewhere)
    assert [MEASURES[each](right).value for each in ("pointing_game", "overlap")] == [1.0, 1.0]
    assert [MEASURES[each](wrong).verdict for each in ("pointing_game", "overlap")] == ["bad", "bad"]
    assert MEASURES["pointing_game"](right).random == pytest.approx(float(lesion.float().mean()))
    with pytest.raises(UsageError, match="reference mask"):
        MEASURES["overlap"](replace(right, truth=None))
    with pytest.raises(UsageError, match="empty"):
        MEASURES["pointing_game"](replace(right, truth=torch.zeros_like(lesion)))


def test_a_mask_of_nearly_everything_proves_nothing(scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    image, lesion = scene
    anywhere = MadeUp(lambda scorer, images: torch.rand(image.shape, generator=torch.Generator().manual_seed(3)))
    large = torch.ones_like(lesion)
    large[:, :, : lesion.shape[2] // 3] = False
    hit = MEASURES["pointing_game"](examined(planted, image, truth_map(scene), large | lesion))
    assert (hit.value, hit.verdict) == (1.0, "") and "too large" in hit.sentence
    random = MEASURES["overlap"](examined(planted, image, anywhere, large))
    assert random.value is not None and random.value > 0.5 and random.verdict != "good"


def test_the_peak_of_blocks_is_in_their_middle(scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    image, _ = scene
    raw = RawAttribution(torch.zeros_like(image[0]))
    raw.values[0, 4:11, 4:11, 4:11] = 1.0
    truth = torch.zeros(image.shape[2:], dtype=torch.bool)
    truth[6:9, 6:9, 6:9] = True
    case = replace(examined(planted, image, make_method("occlusion"), truth), raw=raw)
    assert MEASURES["pointing_game"](case).value == 1.0


def test_that_structures_are_where_they_were_proves_nothing(
    scene: tuple[torch.Tensor, torch.Tensor], trained: Scorer
) -> None:
    """A map of structures is zero elsewhere and even in each of them, whatever the network."""
    image, lesion = scene
    cuts = torch.arange(image.shape[2])
    quarters = (1 + (cuts // 10)[:, None, None] + 2 * (cuts // 10)[None, :, None]).expand(image.shape[2:]).clone()
    found = {}
    for count in (1, 4):
        regions = quarters * (quarters <= count) * (cuts < 7)  # a third of the image at most
        work = replace(examined(trained, image, make_method("saliency")).work, regions=regions)
        method = make_method("ablation")
        case = Examined(trained, image, method.attribute(trained, image, work), method, work, lesion)
        found[count] = MEASURES["randomization"](case)
    assert found[1].value is None and not found[1].verdict and "fewer than 4 structures" in found[1].sentence
    assert found[4].value is not None and found[4].value < 0.9, found[4]


@pytest.mark.parametrize("name", ["deletion", "insertion", "infidelity", "completeness", "randomization"])
def test_what_could_not_be_measured_has_no_figure(name: str, scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    indifferent = Scorer(lambda images: images, lambda answer: answer.flatten(1).sum(dim=1) * 0 + 1.0)
    case = examined(indifferent, scene[0], make_method("occlusion"), scene[1])
    case.raw.values[:] = torch.rand(case.raw.values.shape)
    measure = MEASURES[name](case)
    assert measure.value is None and not measure.verdict and measure.sentence.endswith(".")


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_can_be_cancelled_or_ends_at_once_and_is_the_same_again(
    name: str, scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer
) -> None:
    case = examined(planted, scene[0], make_method("saliency"), scene[1], samples=2)
    first, second = MEASURES[name](case), MEASURES[name](case)
    assert first == second
    assert first.name == name and first.sentence.endswith(".")
    # The gradient promises no sum.
    assert first.value is None if name == "completeness" else math.isfinite(first.value or 0.0)
    assert first.verdict in ("good", "doubtful", "bad", "")
    assert ABOUT[name].source and ABOUT[name].title
    if not ABOUT[name].needs_reference:
        with pytest.raises(JobCancelled):
            MEASURES[name](replace(case, work=replace(case.work, cancelled=lambda: True)))


@pytest.mark.parametrize("name", MEASURES)
def test_an_empty_map_is_never_good(name: str, scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    empty = MadeUp(lambda scorer, image: torch.zeros_like(image))
    measure = MEASURES[name](examined(planted, scene[0], empty, scene[1]))
    assert measure.verdict in ("bad", "")


@pytest.mark.parametrize("name", MEASURES)
def test_slices_and_several_channels_are_measured_too(name: str) -> None:
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 3))
    scorer = Scorer(network, lambda answer: answer.flatten(1).sum(dim=1), slice_axis=2)
    image = torch.rand(1, 2, 24, 20, 1)
    truth = torch.zeros(24, 20, 1, dtype=torch.bool)
    truth[5:9, 5:9] = True
    measure = MEASURES[name](examined(scorer, image, make_method("integrated_gradients"), truth, steps=4))
    assert measure.value is None or math.isfinite(measure.value)
    assert measure.value is not None or (not measure.verdict and measure.sentence)


def test_a_score_that_blur_does_not_lower_gets_no_verdict(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    always = Scorer(torch.nn.Conv3d(1, 1, 1), lambda answer: answer.flatten(1).sum(dim=1) * 0 + 3)
    upside_down = Scorer(torch.nn.Identity(), lambda answer: -answer.flatten(1).square().sum(dim=1))
    for scorer, word in ((always, "hardly changes"), (upside_down, "raises")):
        measure = MEASURES["deletion"](examined(scorer, scene[0], MadeUp(lesions.noise)))
        assert measure.verdict == "" and word in measure.sentence
    assert MEASURES["infidelity"](examined(always, scene[0], MadeUp(lesions.noise))).verdict == ""


def test_random_maps_have_the_values_and_the_coarseness_of_the_map_and_stay_in_the_body(
    scene: tuple[torch.Tensor, torch.Tensor],
) -> None:
    from scipy.ndimage import gaussian_filter

    image = scene[0]
    inside = body(image)
    assert 0.2 < inside.mean() < 0.5 and not inside[0].any() and inside[scene[1].numpy()].all()

    def alike(array: np.ndarray) -> float:
        centered = array - array.mean()
        return float((centered[1:] * centered[:-1]).mean() / (centered**2).mean())

    smooth = gaussian_filter(np.random.default_rng(3).standard_normal(inside.shape), 1.5).astype(np.float32)
    for each in random_maps(torch.from_numpy(smooth), inside, 3, 0):
        made = each.numpy()
        assert np.array_equal(np.sort(made[inside]), np.sort(smooth[inside]))
        assert np.array_equal(made[~inside], smooth[~inside])
        assert alike(made) == pytest.approx(alike(smooth), abs=0.15)


def test_partial_correlation_takes_away_what_is_known() -> None:
    random = np.random.default_rng(0)
    known, a, b = (random.standard_normal(5000) for _ in range(3))
    assert rank_correlation(known + 0.3 * a, known + 0.3 * b) > 0.8
    assert abs(partial_rank_correlation(known + 0.3 * a, known + 0.3 * b, known)) < 0.1
    assert partial_rank_correlation(a, a + 1e-3 * b, known) > 0.99
    assert partial_rank_correlation(known, known + 0.3 * b, known) == 1.0
    assert partial_rank_correlation(a, known, known) == 0.0
    assert partial_rank_correlation(a, np.zeros(5000), known) == 0.0


def attribution(method: str, array: np.ndarray, signed: bool = True) -> Attribution:
    return Attribution(method, Volume(array[None].astype(np.float32), np.eye(4)), "class", 1.0, signed)


def test_methods_that_say_the_same_agree_and_others_do_not() -> None:
    random = np.random.default_rng(0)
    map, other = random.standard_normal((2, 30, 30, 30))
    one, same = attribution("a", map), attribution("b", 7 * map + 0.01 * other)
    unlike, size = attribution("c", other), attribution("d", np.abs(map), signed=False)
    found = {each.name: each for each in agreement([one, same, unlike, size])}
    assert len(found) == 6
    assert found["agreement of a and b"].verdict == "good"
    assert found["agreement of a and c"].verdict == "bad"
    assert found["agreement of a and c"].value == pytest.approx(0.05, abs=0.02)
    assert found["agreement of a and d"].value == 1.0  # its size is all that d tells
    empty = agreement([one, attribution("e", np.zeros_like(map))])
    assert isinstance(empty[0], Measure) and empty[0].verdict == "bad"


def test_examined_asks_again_without_gradients_too(scene: tuple[torch.Tensor, torch.Tensor], planted: Scorer) -> None:
    case = examined(planted, scene[0], make_method("saliency"))
    with torch.no_grad():  # captum measures without gradients
        assert torch.allclose(case.again(), case.raw.values)
