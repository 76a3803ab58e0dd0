"""What a generator makes of people's own label maps: nearer to those it learned from than to others?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.jobs.progress import part_of
from meddl.synthesis.examples import Examples
from meddl.synthesis.judged_images import fitting_images
from meddl.synthesis.nearest import details

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]

MOST = 60
"""Examples of each part."""
GAP = 0.5
"""Training people's median distance below this share of that of others is a warning."""


@dataclass(frozen=True)
class OwnMaps:
    """How near images come that were made for label maps of real people, to those people's images.

    The distance is 1 less the correlation of details (:mod:`meddl.synthesis.nearest`), nothing moved. A label map says
    much of its image by itself; what a generator has learned by heart shows in training people's images being nearer
    than those of people it has not seen.

    Attributes:
        training, held_out: median distance of each person's images, by person.
        share: the median of the training people's by that of the others'.
        warning: what must not be overlooked; "" where nothing was found.
        sentence: the answer.
    """

    training: dict[str, float]
    held_out: dict[str, float]
    share: float
    warning: str
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def own_maps(
    synthesizer: Synthesizer,
    training: Examples,
    held_out: Examples | None,
    seed: int,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> OwnMaps | None:
    """Return how near a conditioned generator comes to people whose label maps it gets; None where it cannot be asked.

    Raises:
        ModelError, JobCancelled: as of the generator.
    """
    if not synthesizer.facts.conditioned or held_out is None:
        return None
    medians = []
    for number, part in enumerate((training, held_out)):
        assert part.labels is not None
        full = np.flatnonzero(part.labels.reshape(len(part), -1).any(axis=1))
        chosen = full[np.unique(np.linspace(0, len(full) - 1, min(len(full), MOST)).round().astype(int))]
        told = part_of(progress, number / 2, (number + 1) / 2)
        made = fitting_images(synthesizer, part.labels[chosen], part, seed, progress=told, cancelled=cancelled)
        medians.append(by_person(made.images, part.images[chosen], [part.sources[n].patient for n in chosen]))
    return compared(*medians)


def by_person(made: np.ndarray, real: np.ndarray, people: list[str]) -> dict[str, float]:
    """Return the median distance of each person's images ``(N, 1, *size)``."""
    size = len(made)
    distance = 1 - (details(made) * details(real)).reshape(size, -1).sum(dim=1).numpy()
    who = np.array(people)
    return {name: float(f"{np.median(distance[who == name]):.4g}") for name in sorted(set(people))}


def compared(training: dict[str, float], held_out: dict[str, float]) -> OwnMaps:
    """Return what the medians of the people say.

    It is a warning where the training people's are half of the others' or less, and each of them is nearer than any of
    the others.
    """
    ours, others = float(np.median(list(training.values()))), float(np.median(list(held_out.values())))
    share = ours / max(others, 1e-6)
    figures = (
        f"Given the label maps of the people it has learned from, it comes to a distance of {ours:.2f} to their images "
        f"(median); with those of people it has not seen, to {others:.2f}"
    )
    if share < GAP and max(training.values()) < min(held_out.values()):
        warning = (
            f"{figures}: it knows the images of its training people by heart. Whoever has their label maps can have "
            "their images back. Do not give the generator away."
        )
        return OwnMaps(training, held_out, float(f"{share:.4g}"), warning, warning)
    return OwnMaps(training, held_out, float(f"{share:.4g}"), "", f"{figures}: no sign that it knows them by heart.")
