"""What of a model's answer is to be explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from meddl.errors import UsageError
from meddl.volume import Volume

TargetKind: TypeAlias = Literal["class", "structure", "box", "landmark", "image"]

KINDS: Mapping[str, TargetKind] = {
    "classification": "class",
    "segmentation": "structure",
    "detection": "box",
    "landmarks": "landmark",
    "reconstruction": "image",
}
"""What there is to explain, by the model's task."""


@dataclass(frozen=True, eq=False)
class Target:
    """One number of a model's answer.

    Attributes:
        kind: by the model's task, see :data:`KINDS`.
        name: of the class, structure, box's label or landmark; "" for the one the model is surest of (a class, a box),
            or the only one there is.
        position: ``(3,)`` RAS mm: of a structure or image the voxel there instead of all of it; of boxes the nearest.
        region: ``(1, I, J, K)`` on any grid: where it is not zero, instead of where the model found the structure; of
            an image the part to explain.
    """

    kind: TargetKind
    name: str = ""
    position: tuple[float, float, float] | None = None
    region: Volume | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS.values():
            raise UsageError(f"There is nothing called {self.kind!r} to explain.")
        if self.position is not None and not np.isfinite(np.asarray(self.position, dtype=np.float64)).all():
            raise UsageError("The position to explain is no point.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and the volume, as a job's params carry them."""
        return {"kind": self.kind, "name": self.name, "position": self.position, "region": self.region}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Target:
        """Return what :meth:`to_dict` described."""
        position = tuple(float(x) for x in data["position"]) if data.get("position") is not None else None
        return cls(data["kind"], data.get("name", ""), position, data.get("region"))  # type: ignore[arg-type]
