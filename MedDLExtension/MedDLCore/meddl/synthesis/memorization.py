"""Whether a generator gives back images of the people it learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from meddl.jobs.progress import part_of
from meddl.synthesis.examples import Examples
from meddl.synthesis.nearest import Nearest, nearest

Progress = Callable[[float, str], None]

LEAST_IMAGES = 8
"""Real images of other people that a threshold is derived from, at least."""
COPY = 0.5
"""A synthetic image at this share of the least distance of other people's images is a copy."""
SAME = 0.01
"""Two images of different people that are no farther apart are one image, twice in the dataset."""
LEVEL = 0.001
"""Of the test whether too many synthetic images are near."""
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MOST_REAL = 400


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

    Distances are those of :func:`meddl.synthesis.nearest.nearest`.

    Attributes:
        verdict: "copies", "suspected", "none found" or "unknown".
        sentence: the answer.
        warnings: what must not be overlooked; empty where nothing was found.
        near_threshold: distance below which a synthetic image is nearer than other people's come; None if unknown.
        copy_threshold: distance below which it is taken for a copy; None if unknown.
        ratio_threshold: of the distance to that of the nearest image of another training person: near and copied
            images are below it, too. A blurred image, which is a little like everybody's, is not. None where all
            training images are of one person.
        near, copies: how many of the synthetic images are below them; copies are near, too.
        expected_near: how many would be by chance, at most.
        p_value: of so many or more by chance, were images independent; None if unknown.
        synthetic, training, real: how many images were compared; ``people`` are behind ``real``.
        baseline: whose the ``real`` ones are: "held-out people", "training people" (each compared with the others) or
            "".
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

    The threshold is the least distance of the real images of people that the generator has not learned from (the
    hundredth part of them where there are 200 or more). Where nobody is held out, each training person is compared with
    the others; with one person alone nothing is known.

    Args:
        synthetic: ``(N, 1, *size)`` in -1..1, all finite.
        training: what the generator learned from.
        held_out: of other people, or None.
        pairs: how many of the nearest are listed.

    Raises:
        JobCancelled: on request.
    """
    who = [each.patient for each in training.sources]
    of_synthetic = part_of(progress, 0.0, 0.6)
    found = nearest(synthetic, training.images, who, progress=of_synthetic, cancelled=cancelled)
    real, people, baseline, notes = _real(training, held_out, part_of(progress, 0.6, 1.0), cancelled)
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
        people=people,
        baseline=baseline,
        quantiles=(("synthetic", _spread(found.distance)), ("real", _spread(real.distance))),
        pairs=listed,
        notes=notes,
    )
    if len(real.distance) < LEAST_IMAGES:
        sentence = (
            "Whether the generator knows the training people by heart cannot be told: there are too few images of "
            "other people to compare with. Look at the pairs, and keep the images in the house."
        )
        return replace(known, sentence=sentence, warnings=(sentence,), baseline="" if not people else baseline)
    return _judged(known, found, real)


def _judged(known: Memorization, found: Nearest, real: Nearest) -> Memorization:
    rank = max(1, len(real.distance) // 100)
    threshold = float(np.sort(real.distance)[rank - 1])
    ratios = _ratios(real)
    ratio_threshold = float(np.sort(ratios)[max(1, len(ratios) // 100) - 1]) if len(ratios) else None
    below = np.ones(len(found.distance), bool) if ratio_threshold is None else _ratio(found) < ratio_threshold
    near = below & (found.distance < threshold)
    copies = below & (found.distance < COPY * threshold)
    total, n_near, n_copies = len(near), int(near.sum()), int(copies.sum())
    p_value = chance_of(n_near, total, len(real.distance), rank)
    expected = total * rank / (len(real.distance) + 1)
    marked = tuple(
        replace(each, verdict="copy" if copies[each.synthetic] else "near" if near[each.synthetic] else "")
        for each in known.pairs
    )
    whom = "people it has not seen" if known.baseline == "held-out people" else "other people"
    verdict, warnings = "none found", []
    if n_copies:
        verdict = "copies"
        warnings.append(
            f"{n_copies} of {total} synthetic images are copies of training images, or nearly: they are less than half "
            f"as far from one as any real image of {whom}. They show real people. Do not give them away, and train "
            "anew: on more people or for fewer steps."
        )
    if p_value < LEVEL and n_near > max(n_copies, expected):
        verdict = verdict if n_copies else "suspected"
        warnings.append(
            f"{n_near} of {total} synthetic images are nearer to a training image than those of {whom} come "
            f"(by chance at most {expected:.1f} would be). The generator may know training people by heart, or follow "
            "label maps that are theirs. Look at the pairs before you give images away."
        )
    sentence = warnings[0] if warnings else (
        f"No copies were found: {n_near} of {total} synthetic images are nearer to a training image than those of "
        f"{whom} come; by chance it could be {expected:.1f}. That proves no anonymity."
    )  # fmt: skip
    return replace(
        known, verdict=verdict, sentence=sentence, warnings=tuple(warnings), near_threshold=_short(threshold),
        copy_threshold=_short(COPY * threshold), near=n_near, copies=n_copies, expected_near=_short(expected),
        ratio_threshold=None if ratio_threshold is None else _short(ratio_threshold), p_value=_short(p_value),
        pairs=marked,
    )  # fmt: skip


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


def _real(
    training: Examples, held_out: Examples | None, progress: Progress, cancelled: Callable[[], bool]
) -> tuple[Nearest, int, str, tuple[str, ...]]:
    """Return distances of other people's images, how many people they are of, whose they are, and notes."""
    who = np.array([each.patient for each in training.sources])
    notes: list[str] = []
    if held_out is not None and len(held_out):
        chosen = _evenly(len(held_out))
        found = nearest(held_out.images[chosen], training.images, list(who), progress=progress, cancelled=cancelled)
        names = np.array([held_out.sources[n].patient for n in chosen])
        found, names, same = _without_same(found, names)
        if same:
            notes.append(
                f"{same} images of held-out people are in the training part, too, under another name. They were left "
                "out here; divide the dataset anew, for held-out results are too good with them."
            )
        count = len(set(names.tolist()))
        if len(found.distance) >= LEAST_IMAGES:
            if count == 1:
                notes.append(
                    "One person is held out: how near people's images come to one another differs from person to "
                    "person, so the threshold is rough."
                )
            return found, count, "held-out people", tuple(notes)
        notes.append("There are too few images of held-out people for a threshold.")
    else:
        notes.append("Nobody is held out of the training.")
    people = sorted(set(who.tolist()))
    if len(people) < 2:
        notes.append("All training images are of one person.")
        return _none(), 0, "", tuple(notes)
    notes.append(
        "So each training person was compared with the others. That is rougher: hold people out when the dataset is "
        "exported."
    )
    parts = []
    for number, person in enumerate(people):
        own = np.flatnonzero(who == person)
        rest = np.flatnonzero(who != person)
        own = own[_evenly(len(own), max(LEAST_IMAGES, _MOST_REAL // len(people)))]
        part = part_of(progress, number / len(people), (number + 1) / len(people))
        parts.append(nearest(training.images[own], training.images[rest], list(who[rest]), progress=part,
                             cancelled=cancelled))  # fmt: skip
    found = Nearest(*(np.concatenate([getattr(each, name) for each in parts])
                      for name in ("index", "distance", "other")))  # fmt: skip
    found, _, same = _without_same(found, np.zeros(len(found.distance)))
    if same:
        notes.append(f"{same} training images are there under the names of several people.")
    return found, len(people), "training people", tuple(notes)


def _without_same(found: Nearest, names: np.ndarray) -> tuple[Nearest, np.ndarray, int]:
    kept = found.distance >= SAME
    return Nearest(found.index[kept], found.distance[kept], found.other[kept]), names[kept], int((~kept).sum())


def _none() -> Nearest:
    return Nearest(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def _ratio(found: Nearest) -> np.ndarray:
    return found.distance / np.maximum(found.other, 1e-6)


def _ratios(found: Nearest) -> np.ndarray:
    ratios = _ratio(found)
    return ratios[np.isfinite(ratios)]


def _evenly(count: int, most: int = _MOST_REAL) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _spread(values: np.ndarray) -> tuple[float, ...]:
    return tuple(_short(value) for value in np.quantile(values, _QUANTILES)) if len(values) else ()


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")
