"""What a generator makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meddl.volume import Segment, Volume


@dataclass(frozen=True, eq=False)
class Synthetic:
    """An image of nobody, with its labels where there are any.

    Attributes:
        image: ``(1, I, J, K)`` in the units of what the generator learned from.
        labels: ``(1, I, J, K)`` uint8 on the image's grid, or None.
        segments: what the labels mean.
        facts: JSON-able: generator, its SHA-256, seed, number, what the labels were taken from.
    """

    image: Volume
    labels: Volume | None = None
    segments: tuple[Segment, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
