"""Whether a generator gives back images of the people it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meddl.jobs.progress import part_of
from meddl.synthesis.examples import Examples
from meddl.synthesis.nearest import nearest
from meddl.synthesis.real_nearness import LEAST_IMAGES, Limits, RealNearness, limits_of, ratio_of, real_nearness

Progress = Callable[[float, str], None]

COPY = 0.5
"""A synthetic image below this share of the least distance of other people's images is a copy."""
COPY_RATIO = 1 / 3
"""And below this share of the least ratio, if known: images that show little are alike without being copies."""
COPY_ALONE = 0.25
"""In place of both where no ratio is known, which takes two people who each have two others to come near."""
LEVEL = 0.001
"""Of the test whether too many synthetic images are near."""
_WORDS = {COPY: "half", COPY_ALONE: "a quarter"}
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class NearestPair:
    """A synthetic image and the training image that it is most like.

    Attributes:
        synthetic: number of the synthetic image.
        training: number of the training example.
        case: it is from.
        distance: 0 for a copy; see :class:`Memorization`.
        verdict: "copy", "near" (nearer than real people's images come) or "".
    """

    synthetic: int
    training: int
    case: str
    distance: float
    verdict: str = ""


@dataclass(frozen=True)
class Memorization:
    """How near synthetic images come to the training images, beside how near other people's do.

    Distances are those of :func:`meddl.synthesis.nearest.nearest`; the ratio is that of an image's distance to its
    nearest training image and the distance to the nearest image of another training person. An image that is blurred or
    shows little is a little like everybody's: its distance is small, its ratio is not.

    Attributes:
        verdict: "copies", "suspected", "none found" or "unknown".
        sentence: the answer.
        warnings: what must not be overlooked; empty where nothing was found.
        near_threshold: the least distance of other people's images; None if unknown.
        ratio_threshold: their least ratio; None if unknown. "Near" images are below both.
        copy_threshold: half of ``near_threshold``. Copies are below it, and below a third of ``ratio_threshold``;
            where that is unknown it is a quarter.
        near, copies: how many of the synthetic images these are; copies are near, too.
        expected_near: how many would be near by chance, at most.
        p_value: of so many or more by chance, were images independent; None if unknown.
        real_near_share: the same test on each real person beside the others: the greatest share of a person's images
            that is near. Only a greater share raises suspicion, since people differ.
        synthetic, training, real: how many images were compared; ``people`` are behind ``real``.
        baseline: whose the ``real`` ones are, in words; "" for nobody's.
        quantiles: of the distances (0, 25, 50, 75, 100 %) of "synthetic" and of "real".
        pairs: the nearest, nearest first.
        notes: what the reader should know.
    """

    verdict: str
    sentence: str
    warnings: tuple[str, ...] = ()
    near_threshold: float | None = None
    copy_threshold: float | None = None
    ratio_threshold: float | None = None
    near: int = 0
    copies: int = 0
    expected_near: float = 0.0
    p_value: float | None = None
    real_near_share: float = 0.0
    synthetic: int = 0
    training: int = 0
    real: int = 0
    people: int = 0
    baseline: str = ""
    quantiles: tuple[tuple[str, tuple[float, ...]], ...] = ()
    pairs: tuple[NearestPair, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        quantiles = {name: list(values) for name, values in self.quantiles}
        return {**asdict(self), "quantiles": quantiles, "pairs": [asdict(each) for each in self.pairs],
                "warnings": list(self.warnings), "notes": list(self.notes)}  # fmt: skip


def memorization(
    synthetic: np.ndarray,
    training: Examples,
    held_out: Examples | None,
    *,
    pairs: int = 8,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Memorization:
    """Return whether synthetic images are nearer to the training images than images of other people are.

    The threshold is the least distance of real images to those of other, training people (the hundredth part of them
    where there are 200 or more): of held-out people, and of each training person to the others. With one training
    person and nobody held out nothing is known.

    Args:
        synthetic: ``(N, 1, *size)`` in -1..1, all finite.
        training: what the generator learned from.
        held_out: of other people, or None.
        pairs: how many of the nearest are listed.

    Raises:
        JobCancelled: on request.
    """
    who = [each.patient for each in training.sources]
    of_synthetic, of_real = part_of(progress, 0.0, 0.5), part_of(progress, 0.5, 1.0)
    found = nearest(synthetic, training.images, who, progress=of_synthetic, cancelled=cancelled)
    real = real_nearness(training, held_out, progress=of_real, cancelled=cancelled)
    order = np.argsort(found.distance, kind="stable")[:pairs]
    listed = tuple(
        NearestPair(int(n), int(found.index[n]), training.sources[found.index[n]].case, _short(found.distance[n]))
        for n in order
    )
    known = Memorization(
        "unknown",
        "",
        synthetic=len(synthetic),
        training=len(training),
        real=len(real.distance),
        people=len(real.names),
        baseline=real.baseline,
        quantiles=(("synthetic", _spread(found.distance)), ("real", _spread(real.distance))),
        pairs=listed,
        notes=real.notes,
    )
    if len(real.distance) < LEAST_IMAGES:
        sentence = (
            "Whether the generator knows the training people by heart cannot be told: there are too few images of "
            "other people to compare with. Look at the pairs, and keep the images in the house."
        )
        return replace(known, sentence=sentence, warnings=(sentence,))
    return _judged(known, found.distance, ratio_of(found), real)


def _judged(known: Memorization, distance: np.ndarray, ratio: np.ndarray, real: RealNearness) -> Memorization:
    limits = limits_of(real.distance, real.ratio, real.people)
    near = limits.below(distance, ratio)
    copies = near & _copied(limits, distance, ratio)
    usual_near, usual_copies = _among_people(real)
    total = len(near)
    if copies.sum() <= usual_copies * total:  # as with real people
        copies[:] = False
    n_near, n_copies = int(near.sum()), int(copies.sum())
    p_value = chance_of(n_near, total, len(real.distance), limits.rank)
    expected = total * limits.rank / (len(real.distance) + 1)
    verdict, warnings = "none found", []
    if n_copies:
        verdict = "copies"
        counted = "is a copy of a training image, or nearly: it is" if n_copies == 1 else (
            "are copies of training images, or nearly: they are"
        )  # fmt: skip
        warnings.append(
            f"{n_copies} of {total} synthetic images {counted} less than {_WORDS[copy_share(limits)]} as far from one "
            "as any real image of another person. That shows a real person. Look at the pairs, do not give such images "
            "away, and train anew: on more people or for fewer steps."
        )
    several = len(real.names) > 1  # one person's least distance says little of others'
    if several and p_value < LEVEL and n_near > max(n_copies, expected, usual_near * total):
        verdict = verdict if n_copies else "suspected"
        warnings.append(
            f"{n_near} of {total} synthetic images are nearer to a training image than those of other people come "
            f"(by chance at most {expected:.1f} would be). The generator may know training people by heart, or follow "
            "label maps that are theirs. Look at the pairs before you give images away."
        )
    sentence = warnings[0] if warnings else (
        f"No copies were found: {n_near} of {total} synthetic images are nearer to a training image than those of "
        f"other people come; by chance it could be {expected:.1f}"
        + (f", and of one real person's it is {usual_near:.0%}" if several and n_near > expected else "")
        + ("" if several else ". With one person to compare with, only plain copies can be told")
        + ". That proves no anonymity."
    )  # fmt: skip
    marked = tuple(
        replace(each, verdict="copy" if copies[each.synthetic] else "near" if near[each.synthetic] else "")
        for each in known.pairs
    )
    return replace(
        known,
        verdict=verdict,
        sentence=sentence,
        warnings=tuple(warnings),
        near_threshold=_short(limits.distance),
        ratio_threshold=None if limits.ratio is None else _short(limits.ratio),
        copy_threshold=_short(copy_share(limits) * limits.distance),
        near=n_near,
        copies=n_copies,
        expected_near=_short(expected),
        p_value=_short(p_value),
        real_near_share=_short(usual_near),
        pairs=marked,
    )


def _copied(limits: Limits, distance: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    return limits.below(distance, ratio, copy_share(limits), COPY_RATIO)


def copy_share(limits: Limits) -> float:
    """Return the share of the limit that copies are below."""
    return COPY if limits.ratio is not None else COPY_ALONE


def _among_people(real: RealNearness) -> tuple[float, float]:
    """Return the greatest shares of a real person's images that are near, and copied, by the limits of the others."""
    shares, copied = [0.0], [0.0]
    for person in real.names if len(real.names) > 1 else ():
        own = real.people == person
        if (~own).sum() < LEAST_IMAGES:
            continue
        limits = limits_of(real.distance[~own], real.ratio[~own], real.people[~own])
        distance, ratio = real.distance[own], real.ratio[own]
        shares.append(float(limits.below(distance, ratio).mean()))
        copied.append(float(_copied(limits, distance, ratio).mean()))
    return max(shares), max(copied)


def chance_of(near: int, synthetic: int, real: int, rank: int = 1) -> float:
    """Return how probable ``near`` or more synthetic images below the ``rank``-th least real one are by chance.

    Were all of one kind and independent, each order of their distances would be as probable: of the first ``near +
    rank - 1`` of them all at most ``rank - 1`` are real then.

    Example:
        >>> round(chance_of(1, 1, 9), 6)
        0.1
    """
    from scipy.stats import hypergeom

    return float(hypergeom.cdf(rank - 1, synthetic + real, real, near + rank - 1)) if near else 1.0


def _spread(values: np.ndarray) -> tuple[float, ...]:
    return tuple(_short(value) for value in np.quantile(values, _QUANTILES)) if len(values) else ()


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")
