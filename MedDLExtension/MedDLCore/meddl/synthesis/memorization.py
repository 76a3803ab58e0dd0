"""Whether a generator gives back images of the people it learned from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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

    Attributes:
        verdict: "copies", "suspected", "none found" or "unknown".
        sentence: the answer.
        warnings: what must not be overlooked; empty where nothing was found.
        near_threshold: distance below which a synthetic image is nearer than other people's come; None if unknown.
        copy_threshold: distance below which it is taken for a copy; None if unknown.
        near, copies: how many of the synthetic images are below them.
        expected_near: how many would be by chance.
        p_value: of so many or more by chance; None if unknown.
        synthetic, training, held_out: how many images were compared; ``people`` are behind ``held_out``.
        baseline: "held-out people", "other training people" or "".
        quantiles: of the distances (0, 25, 50, 75, 100 %) of "synthetic" and of "real".
        pairs: the nearest, nearest first.
        notes: what the reader should know.
    """

    verdict: str
    sentence: str
    warnings: tuple[str, ...] = ()
    near_threshold: float | None = None
    copy_threshold: float | None = None
    near: int = 0
    copies: int = 0
    expected_near: float = 0.0
    p_value: float | None = None
    synthetic: int = 0
    training: int = 0
    held_out: int = 0
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
