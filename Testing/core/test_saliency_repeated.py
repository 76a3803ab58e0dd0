"""Checks that ask a slow method again and again tell how far they are, and stop when the user wants it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from core import lesions
from core.lesions import MadeUp, examined
from meddl.errors import JobCancelled
from meddl.saliency.faithfulness.captum_measures import NOISY_IMAGES
from meddl.saliency.faithfulness.examined import Examined
from meddl.saliency.faithfulness.known import MEASURES
from meddl.saliency.faithfulness.randomization import CASCADE, NETWORKS
from meddl.saliency.methods.known import make_method
from meddl.saliency.scorer import Scorer

REPETITIONS = {"sensitivity": NOISY_IMAGES, "stability": 4, "randomization": len(CASCADE) + NETWORKS}


@pytest.fixture(scope="module")
def case() -> Examined:
    """Occlusion of a network, in several runs."""
    image, lesion = lesions.lesion_image(np.random.default_rng(100))
    scorer = Scorer(lesions.PlaceNetwork(lesion), lambda answer: answer[:, 0])
    case = examined(scorer, image, make_method("occlusion"), lesion)
    return replace(case, work=replace(case.work, options=replace(case.work.options, block_mm=12, finest_mm=3)))


@pytest.mark.parametrize("name", REPETITIONS)
def test_each_repetition_tells_how_far_it_is(name: str, case: Examined) -> None:
    told: list[tuple[float, str]] = []
    work = replace(case.work, progress=lambda fraction, text: told.append((fraction, text)))
    MEASURES[name](replace(case, work=work))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[0] >= 0.0 and 0.8 < fractions[-1] <= 1.0
    found: dict[str, set[float]] = {}
    for fraction, text in told:
        if "(Occlusion" in text:
            found.setdefault(text.split(" (")[0], set()).add(fraction)
    assert len(found) == REPETITIONS[name] and all(len(each) >= 3 for each in found.values()), found
    assert all(text.startswith(f"{name.capitalize()}: ") for _, text in told)


@pytest.mark.parametrize("name", REPETITIONS)
def test_a_repetition_is_given_up_on_request(name: str, case: Examined) -> None:
    runs = stopped_at = 0
    steps: list[str] = []

    def counted(module: torch.nn.Module, inputs: object) -> None:
        nonlocal runs
        runs += 1

    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: counted(module, inputs) if isinstance(module, lesions.PlaceNetwork) else None
    )

    def cancelled() -> bool:
        nonlocal stopped_at
        wanted = sum("(Occlusion" in text for text in steps) >= 5
        stopped_at = stopped_at or (runs if wanted else 0)
        return wanted

    work = replace(case.work, progress=lambda fraction, text: steps.append(text), cancelled=cancelled)
    try:
        with pytest.raises(JobCancelled):
            MEASURES[name](replace(case, work=work))
    finally:
        hook.remove()
    assert stopped_at > 0 and runs <= stopped_at + 1, "not even one more run of the network"


def test_methods_that_begin_anew_on_their_way_do_not_set_progress_back(case: Examined) -> None:
    def twice(scorer: Scorer, image: torch.Tensor) -> torch.Tensor:
        for fraction in (0.0, 0.9, 0.1, 0.5, 1.0):
            told_by.progress(fraction, "Twice")
        return torch.ones_like(image)

    class Begins(MadeUp):
        def attribute(self, scorer, image, work):
            nonlocal told_by
            told_by = work
            return super().attribute(scorer, image, work)

    told: list[float] = []
    told_by = case.work
    work = replace(case.work, progress=lambda fraction, text: told.append(fraction))
    MEASURES["sensitivity"](replace(examined(case.scorer, case.image, Begins(twice)), work=work))
    assert told == sorted(told) and len(set(told)) > 2 * NOISY_IMAGES
