"""How far synthetic images are from real ones as a whole, beside how far real ones of other people are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meddl.synthesis.examples import Examples
from meddl.synthesis.set_measures import (
    frechet_distance,
    gaussian_kernel,
    median_width,
    mmd_with_interval,
    ms_ssim_between,
    polynomial_kernel,
)

_SUBSETS = 10
"""Random subsets of equal size that the Frechet distance is averaged over: its bias depends on their size."""
HALF = "one half of the training people"
_MOST = 1000
"""Images of each kind; of more, some are taken by chance."""


@dataclass(frozen=True)
class Distance:
    """A figure of synthetic images beside the same figure of real ones.

    Attributes:
        measure: "KID", "FID", "MMD" or "MS-SSIM between images".
        features: what images were compared by.
        value: of the synthetic images.
        low, high: its interval: of 95 % of random halves of the images, or of the mean; None where there is none.
        baseline: the same of real images of other people, or None where there are none.
        baseline_low, baseline_high: its interval.
        better: "lower", or "as real" where neither more nor less is better.
        counts: synthetic images, real ones they are compared with, real ones of the baseline.
        sentence: what it means.
    """

    measure: str
    features: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    baseline_low: float | None = None
    baseline_high: float | None = None
    better: str = "lower"
    counts: tuple[int, int, int] = (0, 0, 0)
    sentence: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "counts": list(self.counts)}


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images to compare with.

    Attributes:
        training: ``(M, 1, *size)``: what synthetic images should be like.
        others: ``(K, 1, *size)``: of other people than ``reference``, or None.
        reference: ``(L, 1, *size)``: what ``others`` are compared with.
        whose: "held-out people", "half of the training people" or "".
    """

    training: np.ndarray
    others: np.ndarray | None
    reference: np.ndarray
    whose: str


def real_images(training: Examples, held_out: Examples | None, seed: int) -> RealImages:
    """Return what synthetic images are compared with: the training images, and how far apart people are.

    Where nobody is held out, one half of the training people is compared with the other.
    """
    random = np.random.default_rng([seed, 0x5245])
    images = training.images
    if held_out is not None and len(held_out) >= 2:
        chosen = _some(images, random)
        return RealImages(chosen, _some(held_out.images, random), chosen, "held-out people")
    who = np.array([each.patient for each in training.sources])
    people = sorted(set(who.tolist()))
    if len(people) < 2:
        return RealImages(_some(images, random), None, images, "")
    half = np.isin(who, random.permutation(people)[: len(people) // 2])
    if min(half.sum(), (~half).sum()) < 2:
        return RealImages(_some(images, random), None, images, "")
    return RealImages(_some(images, random), _some(images[half], random), _some(images[~half], random), HALF)


def distances_by_pixels(
    synthetic: np.ndarray, real: RealImages, seed: int, cancelled: Callable[[], bool] = lambda: False
) -> tuple[Distance, Distance]:
    """Return MMD of the images at a low resolution, and how like one another they are (MS-SSIM).

    Args:
        synthetic: ``(N, 1, *size)`` in -1..1.
    """
    from meddl.synthesis.features import pixel_features

    synthetic = _some(synthetic, np.random.default_rng([seed, 0x53]))
    known = pixel_features(real.training)
    kernel = gaussian_kernel(median_width(known))
    made = mmd_with_interval(pixel_features(synthetic), known, kernel, seed)
    base = None
    if real.others is not None:
        base = mmd_with_interval(pixel_features(real.others), pixel_features(real.reference), kernel, seed)
    first = _distance("MMD", "voxels at a low resolution", made, base, synthetic, real)
    variety = ms_ssim_between(synthetic, seed, cancelled)
    reference = ms_ssim_between(real.training, seed, cancelled)
    more = "less" if variety[1] > reference[2] else "more" if variety[2] < reference[1] else "as"
    words = f"{more} varied than" if more != "as" else "as varied as"
    second = Distance(
        "MS-SSIM between images",
        "voxels",
        *_figures(variety),
        *_figures(reference),
        "as real",
        (len(synthetic), len(real.training), len(real.training)),
        f"Synthetic images are {words} the real training images (1 would be all the same).",
    )
    return first, second


def distances_by_features(
    synthetic: np.ndarray, real: RealImages, extract: Callable[[np.ndarray], np.ndarray], name: str, seed: int
) -> tuple[Distance, Distance]:
    """Return KID and FID on the features of a network.

    Features are divided by one number, so that their mean square over the training images is 1: those of different
    networks have different scales, which both distances would go by.

    Args:
        synthetic: ``(N, 1, *size)`` in -1..1.
        extract: from images to ``(N, F)``.
        name: of what extracts.
    """
    synthetic = _some(synthetic, np.random.default_rng([seed, 0x53]))
    known = extract(real.training)
    scale = float(np.sqrt((known**2).mean())) or 1.0
    made, target = extract(synthetic) / scale, known / scale
    pair = None
    if real.others is not None:
        reference = target if real.reference is real.training else extract(real.reference) / scale
        pair = extract(real.others) / scale, reference
    kid = mmd_with_interval(made, target, polynomial_kernel, seed)
    base = None if pair is None else mmd_with_interval(*pair, polynomial_kernel, seed)
    first = _distance("KID", name, kid, base, synthetic, real)
    size = min(len(each) for each in (made, target, *(pair or ())))
    fid = _frechet(made, target, size, seed)
    base = None if pair is None else _frechet(*pair, size, seed)
    second = _distance("FID", name, fid, base, synthetic, real)
    if size <= made.shape[1]:
        few = f"With {size} images of each kind and {made.shape[1]} features FID says little by itself: compare both."
        second = replace(second, sentence=f"{second.sentence} {few}")
    return first, second


def _frechet(a: np.ndarray, b: np.ndarray, size: int, seed: int) -> tuple[float, float, float]:
    random = np.random.default_rng([seed, 0x464944])
    values = [
        frechet_distance(*(each[np.sort(random.choice(len(each), size, replace=False))] for each in (a, b)))
        for _ in range(_SUBSETS)
    ]
    return float(np.mean(values)), float(np.min(values)), float(np.max(values))


def _distance(
    measure: str, features: str, made: tuple[float, float, float], base: tuple[float, float, float] | None,
    synthetic: np.ndarray, real: RealImages,
) -> Distance:  # fmt: skip
    if base is None:
        sentence = "There are no real images of other people to compare the figure with."
    else:
        more = "farther from" if made[1] > base[2] else "nearer to" if made[2] < base[1] else "about as far from"
        whom = f"the training images {'as' if more.startswith('about') else 'than'} those of {real.whose}"
        if real.whose == HALF:
            whom = f"the training images {'as' if more.startswith('about') else 'than'} {HALF} is from the other"
        sentence = f"Synthetic images are {more} {whom}."
    value, low, high = (None, None, None) if base is None else _figures(base)
    others = 0 if real.others is None else len(real.others)
    counts = (len(synthetic), len(real.training), others)
    return Distance(measure, features, *_figures(made), value, low, high, "lower", counts, sentence)


def _some(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    if len(images) <= _MOST:
        return images
    return images[np.sort(random.choice(len(images), _MOST, replace=False))]


def _figures(values: Sequence[float]) -> tuple[float, float, float]:
    value, low, high = (float(f"{float(each):.5g}") for each in values)
    return value, low, high
