"""What a simulation makes of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from meddl.inference.prediction import Box, Landmark
from meddl.volume import Segment, Volume


@dataclass(frozen=True, eq=False)
class Simulated:
    """An image as another acquisition would have shown it.

    Attributes:
        image: ``(1, I, J, K)``: on the original's grid, or, of a projection, ``(1, I, J, 1)`` in the plane through the
            isocenter across the beam.
        target: the original, which a reconstruction is to give back; None of a projection.
        labels: ``(L, I, J, K)`` on the image's grid: of a projection one layer for each structure, since they overlap.
        segments: what the labels mean.
        points, boxes: RAS mm; of a projection in the image's plane.
        paths: ``(L, I, J, 1)`` float32, mm that each ray runs through each of ``segments``; on request.
        facts: JSON-able: method, what was drawn, seed, and what was measured; they identify nobody.
    """

    image: Volume
    target: Volume | None = None
    labels: Volume | None = None
    segments: tuple[Segment, ...] = ()
    points: tuple[Landmark, ...] = ()
    boxes: tuple[Box, ...] = ()
    paths: Volume | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and volumes, as a job's result carries them."""
        points = [{"name": p.name, "position": [float(x) for x in p.position], "score": p.score} for p in self.points]
        return {
            "image": self.image,
            "target": self.target,
            "labels": self.labels,
            "segments": [{**asdict(each), "color": list(each.color)} for each in self.segments],
            "points": points,
            "boxes": [each.to_dict() for each in self.boxes],
            "paths": self.paths,
            "facts": dict(self.facts),
        }
