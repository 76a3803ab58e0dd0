"""Painting a structure over with its surroundings: the picture is plausible, and the change of the score is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core import lesions
from meddl.errors import JobCancelled, UsageError
from meddl.saliency.counterfactual import counterfactual, counterfactuals, inpainted
from meddl.saliency.methods.method import Work
from meddl.saliency.options import ExplainOptions
from meddl.saliency.scorer import Scorer
from scipy.ndimage import gaussian_filter

WORK = Work(ExplainOptions())


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    return lesions.lesion_image(np.random.default_rng(100))


def planted(lesion: torch.Tensor) -> Scorer:
    return Scorer(lesions.PlaceNetwork(lesion), lambda answer: answer[:, 0])


def test_a_lesion_that_the_answer_comes_from_is_missed_and_another_place_is_not(
    scene: tuple[torch.Tensor, torch.Tensor],
) -> None:
    image, lesion = scene
    found = counterfactual(planted(lesion), image, lesion, WORK, "lesion")
    assert found.measure.value > 0.3 and found.without < found.score
    assert found.measure.random is not None and found.measure.random < 0.05
    assert "Without lesion" in found.measure.sentence and "falls" in found.measure.sentence
    places = torch.zeros_like(lesion)
    places[3:5, 9:12, 9:12] = True
    assert not (places & lesion).any()
    other = counterfactual(planted(lesion), image, places, WORK, "a vessel")
    assert abs(other.measure.value) < 0.05


def test_only_the_region_is_painted_and_takes_on_its_surroundings(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lesion = scene
    array, mask = image[0].numpy(), lesion.numpy()
    painted = inpainted(array, mask)
    assert np.array_equal(painted[:, ~mask], array[:, ~mask])
    rim = (gaussian_filter(mask.astype(float), 1.0) > 0.02) & ~mask
    assert abs(painted[0, mask].mean() - array[0, rim].mean()) < 0.5 * abs(array[0, mask].mean() - array[0, rim].mean())
    assert np.array_equal(painted, inpainted(array, mask))


def test_a_ramp_is_continued_and_noise_stays_as_rough_as_it_is() -> None:
    i, j, k = np.indices((24, 24, 24))
    mask = ((i - 12) ** 2 + (j - 11) ** 2 + (k - 12) ** 2) < 4**2
    ramp = (0.5 * i - 0.2 * j + k)[None].astype(np.float32)
    spoiled = np.where(mask, 100, ramp).astype(np.float32)
    assert np.abs(inpainted(spoiled, mask) - ramp)[0, mask].max() < 1.5  # of a range of 40, and of 100 painted over
    rough = np.random.default_rng(0).standard_normal((1, 24, 24, 24)).astype(np.float32)
    assert inpainted(np.where(mask, 100, rough).astype(np.float32), mask)[0, mask].std() == pytest.approx(1.0, abs=0.3)


def test_a_region_at_the_border_and_flat_images_work() -> None:
    image = torch.rand(1, 2, 16, 12, 1)
    region = torch.zeros(16, 12, 1, dtype=torch.bool)
    region[:4, :4] = True
    scorer = Scorer(torch.nn.Conv2d(2, 1, 3), lambda answer: answer.flatten(1).sum(dim=1), slice_axis=2)
    found = counterfactual(scorer, image, region, WORK)
    assert bool(torch.isfinite(found.image).all()) and found.image.shape == image.shape
    most = torch.ones(16, 12, 1, dtype=torch.bool)
    most[8, 6] = False
    assert counterfactual(scorer, image, most, WORK).measure.random is None


def test_each_structure_of_a_segmentation_is_taken_away_in_turn(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lesion = scene
    vessel = torch.zeros_like(lesion)
    vessel[3:5, 9:12, 9:12] = True
    structures = [("lesion", lesion), ("vessel", vessel), ("kidney", torch.zeros_like(lesion))]
    without_lesion, without_vessel, absent = counterfactuals(planted(lesion), image, structures, WORK)
    assert "lesion" in without_lesion.sentence and "vessel" in without_vessel.sentence
    assert without_lesion.value > 10 * abs(without_vessel.value)
    assert "the score stays at" in without_vessel.sentence and "the score falls from" in without_lesion.sentence
    assert absent.value is None and absent.sentence == "Not where the network looks, or all that it sees: kidney."


def test_empty_regions_whole_images_and_cancel(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, lesion = scene
    with pytest.raises(UsageError, match="nothing of the cyst"):
        counterfactual(planted(lesion), image, torch.zeros_like(lesion), WORK, "the cyst")
    with pytest.raises(UsageError, match="no surroundings"):
        counterfactual(planted(lesion), image, torch.ones_like(lesion), WORK)
    with pytest.raises(JobCancelled):
        counterfactual(planted(lesion), image, lesion, Work(ExplainOptions(), cancelled=lambda: True))
