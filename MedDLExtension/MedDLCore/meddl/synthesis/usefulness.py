"""What synthetic images are worth: the same small segmenter, trained with and without them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Arm: TypeAlias = Literal["real", "real + synthetic", "synthetic"]
ARMS: tuple[Arm, ...] = ("real", "real + synthetic", "synthetic")
ALL = "mean of all"
"""In place of a structure: the mean over all structures."""


@dataclass(frozen=True)
class Score:
    """Dice of a segmenter on held-out people.

    Attributes:
        arm: what it learned from.
        structure: or :data:`ALL`.
        mean: over seeds and people, 0 to 1.
        low, high: interval (95 %, Student's t over the seeds).
        by_seed: mean over people for each seed.
        people: in whom the structure is.
    """

    arm: str
    structure: str
    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    people: int


@dataclass(frozen=True)
class Difference:
    """Dice of an arm less that of "real", seed by seed and person by person.

    Attributes:
        arm: what is compared with "real".
        structure: or :data:`ALL`.
        mean: of the differences.
        low, high: interval (95 %) over the seeds: for these people.
        wide_low, wide_high: interval over seeds and people: for people like them; None with one held-out person.
        verdict: "better", "worse", "better for these people", "worse for these people" or "no difference shown".
    """

    arm: str
    structure: str
    mean: float
    low: float
    high: float
    wide_low: float | None
    wide_high: float | None
    verdict: str


@dataclass(frozen=True)
class Usefulness:
    """What came out with and without synthetic images.

    Attributes:
        scores, differences: by structure, the mean of all first.
        sentence: the answer.
        seeds, steps: of each training, the same for all arms.
        examples: how many "real" and "synthetic" ones there were to learn from, and "held_out" to be tried on.
        people: how many are held out.
        notes: what the reader should know.
    """

    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    sentence: str
    seeds: int
    steps: int
    examples: tuple[tuple[str, int], ...]
    people: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: rows as lists of objects."""
        return {
            "scores": [{**asdict(each), "by_seed": list(each.by_seed)} for each in self.scores],
            "differences": [asdict(each) for each in self.differences],
            "sentence": self.sentence,
            "seeds": self.seeds,
            "steps": self.steps,
            "examples": dict(self.examples),
            "people": self.people,
            "notes": list(self.notes),
        }
