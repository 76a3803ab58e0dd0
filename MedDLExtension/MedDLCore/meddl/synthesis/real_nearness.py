"""How near real images of different people come to one another: what copies are told from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.jobs.progress import part_of
from meddl.synthesis.examples import Examples
from meddl.synthesis.nearest import Nearest, nearest

Progress = Callable[[float, str], None]

LEAST_IMAGES = 8
"""Real images of other people that a threshold is derived from, at least."""
SAME = 0.01
"""Two images of different people that are no farther apart are one image, twice in the dataset."""
ALIKE = 0.5
"""A person whose images come this much nearer than those of most people may be there under two names."""
_MOST = 400


@dataclass(frozen=True, eq=False)
class RealNearness:
    """Real images, each with the training image of another person that it is most like.

    Attributes:
        distance, ratio: ``(N,)``; see :class:`Limits`. The ratio is NaN where there is no third person.
        people: ``(N,)`` whose each is.
        baseline: whose they are, in words; "" for nobody's.
        held_out: how many of the people are held out.
        notes: what the reader should know.
    """

    distance: np.ndarray
    ratio: np.ndarray
    people: np.ndarray
    baseline: str
    held_out: int
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The people."""
        return sorted(set(self.people.tolist()))


@dataclass(frozen=True)
class Limits:
    """What images of other people do not come below.

    Attributes:
        distance: to the nearest training image.
        ratio: of that to the distance to the nearest image of another training person; None where unknown. An image
            that is blurred or shows little is a little like everybody's: its distance is small and its ratio is not.
        rank: how many of the real images reach the limit: one, or the hundredth part of many.
    """

    distance: float
    ratio: float | None
    rank: int

    def below(
        self, distance: np.ndarray, ratio: np.ndarray, share: float = 1.0, ratio_share: float = 1.0
    ) -> np.ndarray:
        """Return which images are below these shares of the limits."""
        near = distance < share * self.distance
        return near if self.ratio is None else near & (ratio < ratio_share * self.ratio)


def limits_of(distance: np.ndarray, ratio: np.ndarray, people: np.ndarray) -> Limits:
    """Return what hardly any of some real images come below; of one person's ratios none follows for others."""
    rank = max(1, len(distance) // 100)
    known = np.isfinite(ratio)
    ratios = np.sort(ratio[known])
    enough = len(ratios) >= LEAST_IMAGES and len(set(people[known].tolist())) > 1
    least = float(ratios[max(1, len(ratios) // 100) - 1]) if enough else None
    return Limits(float(np.sort(distance)[rank - 1]), least, rank)


def ratio_of(found: Nearest) -> np.ndarray:
    """Return the distance to the nearest training image by that to the nearest one of another person; or NaN."""
    return found.distance / np.maximum(found.other, 1e-6)


def real_nearness(
    training: Examples,
    held_out: Examples | None,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> RealNearness:
    """Return how near the training images images of other people come.

    Those are held-out people, and each training person beside the other ones: people differ in how near they come, so
    the more of them the better.

    Raises:
        JobCancelled: on request.
    """
    who = np.array([each.patient for each in training.sources])
    people = sorted(set(who.tolist()))
    parts: list[tuple[Nearest, np.ndarray]] = []
    notes: list[str] = []
    held = 0
    if held_out is not None and len(held_out):
        chosen = _evenly(len(held_out), _MOST)
        part = part_of(progress, 0.0, 0.5)
        found = nearest(held_out.images[chosen], training.images, list(who), progress=part, cancelled=cancelled)
        names = np.array([held_out.sources[n].patient for n in chosen])
        same = int((found.distance < SAME).sum())
        if same:
            notes.append(
                f"{same} images of held-out people are in the training part, too, under another name. They were left "
                "out here; divide the dataset anew, for held-out results are too good with them."
            )
        parts.append((found, names))
        held = len(set(names[found.distance >= SAME].tolist()))
    if not held:
        notes.append("Nobody is held out of the training, so training people were compared with one another alone. "
                     "Hold people out when the dataset is exported.")  # fmt: skip
    for number, person in enumerate(people if len(people) > 1 else ()):
        own, rest = np.flatnonzero(who == person), np.flatnonzero(who != person)
        own = own[_evenly(len(own), max(LEAST_IMAGES, _MOST // len(people)))]
        part = part_of(progress, 0.5 + 0.5 * number / len(people), 0.5 + 0.5 * (number + 1) / len(people))
        found = nearest(training.images[own], training.images[rest], list(who[rest]), progress=part,
                        cancelled=cancelled)  # fmt: skip
        if (found.distance < SAME).any():
            notes.append(f"Images of {person} are in the training part under another name, too.")
        parts.append((found, np.full(len(own), person)))
    if len(people) == 1:
        notes.append("All training images are of one person.")
    made = _joined(parts, held, len(people) > 1, tuple(notes))
    made = _without_alike(made)
    if len(made.names) == 1:
        made = _noted(made, "How near people's images come to one another differs from person to person, and there is "
                            "one person to compare with: the threshold is rough.")  # fmt: skip
    return made


def _joined(
    parts: Sequence[tuple[Nearest, np.ndarray]], held: int, among: bool, notes: tuple[str, ...]
) -> RealNearness:
    if not parts:
        return RealNearness(np.zeros(0), np.zeros(0), np.zeros(0, dtype=str), "", 0, notes)
    distance = np.concatenate([found.distance for found, _ in parts])
    ratio = np.concatenate([ratio_of(found) for found, _ in parts])
    names = np.concatenate([each for _, each in parts])
    kept = distance >= SAME
    words = [*(["held-out people"] if held else []), *(["training people among one another"] if among else [])]
    return RealNearness(distance[kept], ratio[kept], names[kept], " and ".join(words), held, notes)


def _without_alike(made: RealNearness) -> RealNearness:
    """Leave people out who are so much like another that both may be one person: that would hide copies."""
    if len(made.names) < 4:
        return made
    least = {name: float(made.distance[made.people == name].min()) for name in made.names}
    limit = ALIKE * float(np.median(list(least.values())))
    alike = [name for name, distance in least.items() if distance < limit]
    if not alike:
        return made
    kept = ~np.isin(made.people, alike)
    made = RealNearness(
        made.distance[kept], made.ratio[kept], made.people[kept], made.baseline, made.held_out, made.notes
    )
    return _noted(made, f"Images of {', '.join(alike)} are so much like those of another person that both may be one "
                        "and the same. They do not count for the threshold.")  # fmt: skip


def _noted(made: RealNearness, note: str) -> RealNearness:
    return RealNearness(made.distance, made.ratio, made.people, made.baseline, made.held_out, (*made.notes, note))


def _evenly(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
