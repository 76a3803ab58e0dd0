"""How far synthetic images are from real ones as a whole, beside how far real ones of other people are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Distance:
    """A figure of synthetic images beside the same figure of real ones.

    Attributes:
        measure: "KID", "FID", "MMD" or "MS-SSIM between images".
        features: what images were compared by.
        value: of the synthetic images.
        low, high: its interval (95 %), or None where there is none.
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
