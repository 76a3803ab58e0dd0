"""Infidelity and sensitivity, by captum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from meddl.saliency.attribution import Measure
from meddl.saliency.faithfulness.controls import body, random_maps, without_details

if TYPE_CHECKING:
    import torch

    from meddl.saliency.faithfulness.examined import Examined

BLOCKS = 48
"""Blurred blocks that infidelity is measured on."""

GOOD, BAD = 0.7, 0.95
"""Infidelity as a share of that of random maps."""

NOISE = 0.02
"""Half width of the noise that sensitivity is measured with, as a share of the image's range."""

NOISY_IMAGES = 3

STEADY, UNSTEADY = 0.25, 1.0
"""Sensitivity: changes as a share of the map's size."""

_RANDOM_MAPS = 5


def infidelity(examined: Examined) -> Measure:
    """Return the share of the score's changes under blurred blocks that the map does not foretell: 0 to 1.

    Yeh et al., On the (in)fidelity and sensitivity of explanations, NeurIPS 2019, arXiv:1901.09392, by captum: blocks
    of an eighth to a third of the image's size, centered in the body, are blurred one after the other; the map
    foretells that the score falls by the sum of its values there. captum scales the map as fits best, and the squared
    error is told as a share of the squared changes themselves, so that figures of several models can be compared: 0 is
    a perfect map, 1 one that says nothing, or the contrary of what is so. ``random`` is the mean of random maps of the
    same values and coarseness. The gradient foretells least of the methods here: it is no share of the score.

    Verdict by the figure as a share of the random maps' one: up to :data:`GOOD` is good, from :data:`BAD` on bad.
    Measured on small networks (24 x 24 x 24 phantoms with a lesion, classifiers and U-Nets, batch and instance norm,
    two images each), median and range:

    ====================  ======================
    integrated gradients  0.14 (0.02 to 1.15)
    occlusion             0.55 (0.16 to 0.76)
    the lesion's mask     0.51 (0.14 to 0.96)
    gradient              0.71 (0.48 to 1.00)
    edges of the image    1.05 (1.00 to 1.16)
    smooth noise          0.97 (0.86 to 1.05)
    noise                 1.04 (0.94 to 1.09)
    ====================  ======================
    """
    image, total, work = examined.image.detach().cpu().float(), examined.total(), examined.work
    if not bool((total != 0).any()):
        return Measure("infidelity", 1.0, None, "bad", "The map is empty.")
    inside = body(image)
    game = _Blocks(examined, image, _blocks(inside, work.options.seed))
    value = game.infidelity(total)
    if value is None:
        sentence = "Blurring blocks of the image does not change the score, so there is nothing that the map foretells."
        return Measure("infidelity", None, None, "", sentence)
    randoms = [game.infidelity(each) or 0.0 for each in random_maps(total, inside, _RANDOM_MAPS, work.options.seed)]
    random = float(np.mean(randoms))
    verdict = "good" if value <= GOOD * random else "bad" if value >= BAD * random else "doubtful"
    sentence = (
        f"Of how the score changes when blocks are blurred, {value:.0%} is not foretold by the map, and {random:.0%} "
        "not by random ones (lower is better)."
    )
    return Measure("infidelity", value, random, verdict, sentence)


def sensitivity(examined: Examined) -> Measure:
    """Return by how much the map changes at most with faint noise, as a share of its own size.

    Sensitivity_max of Yeh et al. 2019, arXiv:1901.09392, by captum: :data:`NOISY_IMAGES` images with uniform noise of
    up to :data:`NOISE` of the range. Two maps that have nothing to do with one another differ by 1.4 times their size.
    A map that does not depend on the network can be as steady as one likes: see the randomization check, too.

    Verdict: up to :data:`STEADY` is good, from :data:`UNSTEADY` on bad. Measured on the networks of :func:`infidelity`:
    integrated gradients 0.06 to 0.14, SmoothGrad 0.09 to 0.13, occlusion 0.01 to 0.04, gradient 0.18 to 0.40.
    """
    import torch
    from captum.metrics import sensitivity_max

    image, work = examined.image.detach().cpu().float(), examined.work
    if not bool((examined.raw.values != 0).any()):
        return Measure("sensitivity", None, None, "bad", "The map is empty.")
    generator = torch.Generator().manual_seed(work.options.seed)
    radius = NOISE * float(image.max() - image.min())
    done = 0

    def explain(images: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
        nonlocal done
        if isinstance(images, tuple):  # the image itself, which has its map
            return examined.raw.values.detach().float().cpu()[None]
        done += 1
        part, text = ((done - 1) / NOISY_IMAGES, done / NOISY_IMAGES), f"{done} of {NOISY_IMAGES}"
        return examined.again(images, part=part, text=f"Sensitivity: noise on the image, {text}")[None]

    def noise(images: torch.Tensor) -> torch.Tensor:
        return images + radius * (2 * torch.rand(images.shape, generator=generator) - 1)

    value = float(
        sensitivity_max(explain, image, perturb_func=noise, n_perturb_samples=NOISY_IMAGES, max_examples_per_batch=1)
    )
    verdict = "good" if value <= STEADY else "bad" if value >= UNSTEADY else "doubtful"
    sentence = f"Noise of {NOISE:.0%} of the image's range changes the map by up to {value:.0%} of its size."
    return Measure("sensitivity", value, None, verdict, sentence)


class _Blocks:
    """Blocks of an image that are blurred one after the other, and what that does to the score."""

    def __init__(self, examined: Examined, image: torch.Tensor, masks: list[torch.Tensor]) -> None:
        work = self._work = examined.work
        dull = without_details(image)
        self._image, self._dull, self._masks = image, dull, masks
        self._score = examined.score(image)
        self._after = []
        for number, mask in enumerate(masks):
            work.step(number / len(masks), "Infidelity: blurring blocks")
            self._after.append(examined.score(dull.where(mask, image)))

    def infidelity(self, total: torch.Tensor) -> float | None:
        """Return captum's infidelity of a map ``(i, j, k)``, as a share of the changes; None where there are none."""
        import torch
        from captum.metrics import infidelity as captum_infidelity

        channels = self._image.shape[1]
        map = (total.double() / channels).expand_as(self._image)
        changes = self._score - np.array(self._after)
        foretold = np.array([float(total[mask].double().sum()) for mask in self._masks])
        power = float((changes**2).mean())
        if power <= (1e-6 * max(abs(self._score), 1e-6)) ** 2:
            return None
        if foretold @ changes <= 0:
            return 1.0  # captum's scale would turn the sign of the map
        number = -1

        def blur(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            # "Perturbations" of maps that are already multiplied by the change of the image: 1 where it is blurred.
            nonlocal number
            number += 1
            self._work.check()
            mask = self._masks[number].expand_as(self._image)
            return mask.double(), self._dull.where(mask, self._image)

        def score(images: torch.Tensor) -> torch.Tensor:
            known = self._score if images.data_ptr() == self._image.data_ptr() else self._after[number]
            return torch.tensor([known], dtype=torch.float64)

        found = captum_infidelity(
            score, blur, self._image, map, n_perturb_samples=len(self._masks), max_examples_per_batch=1, normalize=True
        )
        return min(max(float(found) / power, 0.0), 1.0)


def _blocks(inside: np.ndarray, seed: int) -> list[torch.Tensor]:
    """Return masks ``(i, j, k)`` of blocks at random places in the body."""
    import torch

    random = np.random.default_rng(seed)
    places = np.argwhere(inside)
    masks = []
    for _ in range(BLOCKS):
        middle = places[random.integers(len(places))]
        share = random.uniform(1 / 8, 1 / 3)
        mask = torch.zeros(inside.shape, dtype=torch.bool)
        sides = [max(round(size * share), 1) for size in inside.shape]
        mask[
            tuple(
                slice(max(int(at) - side // 2, 0), int(at) - side // 2 + side)
                for at, side in zip(middle, sides, strict=True)
            )
        ] = True
        masks.append(mask)
    return masks
