"""Does a map stay the same where the image practically does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from meddl.saliency.attribution import Measure
from meddl.saliency.faithfulness.controls import body
from meddl.saliency.faithfulness.ranks import rank_correlation, thinned

if TYPE_CHECKING:
    import torch

    from meddl.saliency.faithfulness.examined import Examined
    from meddl.saliency.methods.method import Work

NOISE = 0.01
"""Standard deviation of the noise as a share of the image's range: less than any scanner's."""

GOOD, BAD = 0.7, 0.3
_SHIFT = 1

_EYE = 1.0
"""Sigma in voxels of what is taken for the same place: people read spots, not voxels."""


def stability(examined: Examined) -> Measure:
    """Return how alike the map and those of nearly the same image are, as their mean rank correlation: 1 is the same.

    Nearly the same: twice with noise of :data:`NOISE` of the range, and moved by a voxel along each of two axes (the
    map is moved back). After the "repeatability" of Arun et al., Assessing the trustworthiness of saliency maps,
    Radiology: AI 3 (2021) e200267, 10.1148/ryai.2021200267, and Kindermans et al., The (un)reliability of saliency
    methods, 2017, arXiv:1711.00867 (shifts). The target's mask, where there is one, does not move along.

    Maps are smoothed by a voxel before: where layers skip voxels, gradients come in checkered patterns that a shift
    turns over, but people read spots. Without that, integrated gradients were at 0.05 to 0.33 after a shift.

    Verdict: from :data:`GOOD` on good, less than :data:`BAD` bad; maps that have nothing to do with one another are at
    0. Measured on small networks (24 x 24 x 24 phantoms with a lesion, classifiers and U-Nets, batch and instance
    norm): occlusion 0.72 to 0.96, Grad-CAM 0.86 to 0.91, SmoothGrad 0.90 to 0.98, gradient 0.83 to 0.97, integrated
    gradients 0.73 to 0.86, input times gradient 0.56 to 0.81, edges of the image 1.00: steadiness alone proves nothing.
    """
    image, work = examined.image, examined.work
    first, inside = examined.total(), body(image)
    if not bool((first != 0).any()):
        return Measure("stability", 0.0, None, "bad", "The map is empty.")
    random = np.random.default_rng(work.options.seed)
    size = NOISE * float(image.max() - image.min())
    noisy, moved = [], []

    def again(number: int, text: str, image: torch.Tensor, work: Work) -> torch.Tensor:
        said = f"Stability: {text}, {number % 2 + 1} of 2"
        return examined.again(image, work=work, part=(number / 4, (number + 1) / 4), text=said).sum(dim=0)

    for number in range(2):
        noise = random.standard_normal(tuple(image.shape)).astype(np.float32) * size
        noisy.append(_alike(first, again(number, "noise", image + image.new_tensor(noise), work), inside))
    axes = [axis for axis in range(3) if image.shape[2 + axis] >= 8 and axis != examined.scorer.slice_axis][:2]
    for number, axis in enumerate(axes):
        there = replace(
            work,
            baseline=_shifted(work.baseline, axis, _SHIFT) if work.baseline is not None else None,
            regions=_shifted(work.regions, axis, _SHIFT) if work.regions is not None else None,
        )
        back = _shifted(again(2 + number, "shifts", _shifted(image, axis, _SHIFT), there), axis, -_SHIFT)
        moved.append(_alike(first, back, inside))
    value = float(np.mean([*noisy, *moved]))
    verdict = "good" if value >= GOOD else "bad" if value < BAD else "doubtful"
    sentence = f"With {NOISE:.0%} noise on the image the map stays at a rank correlation of {np.mean(noisy):.2f}"
    sentence += f", moved by a voxel at {np.mean(moved):.2f}." if moved else "."
    return Measure("stability", value, 0.0, verdict, sentence)


def _alike(one: torch.Tensor, other: torch.Tensor, inside: np.ndarray) -> float:
    from scipy.ndimage import gaussian_filter

    return rank_correlation(*thinned(*(gaussian_filter(each.numpy(), _EYE) for each in (one, other)), within=inside))


def _shifted(tensor: torch.Tensor, axis: int, by: int) -> torch.Tensor:
    """Return ``(..., i, j, k)`` moved along an axis; what leaves it comes in again as the border's value."""
    import torch

    along = tensor.ndim - 3 + axis
    places = (torch.arange(tensor.shape[along]) - by).clamp(0, tensor.shape[along] - 1)
    return tensor.index_select(along, places.to(tensor.device))
