"""What of a model's answer is to be explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from meddl.errors import UsageError
from meddl.volume import Volume

if TYPE_CHECKING:
    from meddl.inference.prediction import Prediction
    from meddl.models import ModelBundle

TargetKind: TypeAlias = Literal["class", "structure", "box", "landmark", "image"]

KINDS: Mapping[str, TargetKind] = {
    "classification": "class",
    "segmentation": "structure",
    "detection": "box",
    "landmarks": "landmark",
    "reconstruction": "image",
}
"""What there is to explain, by the model's task."""

_BY_HAND = (
    "To see what an answer depends on, run the model in MedDL Inference on the image and on a copy in which the place "
    "in question is blurred, and compare."
)


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


def unexplainable(bundle: ModelBundle) -> str:
    """Return why a model's answers cannot be explained at all, in a sentence; "" if they can."""
    if bundle.refusal:
        return str(bundle.refusal)
    if bundle.task not in KINDS:
        return f"The model '{bundle.name}' is made for {bundle.task or 'no known task'}, which cannot be explained."
    if bundle.sequence_axis == "frames":
        return (
            f"The model '{bundle.name}' reads a sequence of time frames at once, which cannot be explained: a map is "
            f"of one image, and would not tell which frame mattered. {_BY_HAND}"
        )
    return ""


def slice_of(target: Target | None, prediction: Prediction) -> int | None:
    """Return the slice that a network for single slices is asked about: with most of the structure, or the point."""
    from meddl.inference.prediction import SegmentationPrediction

    if not isinstance(prediction, SegmentationPrediction) or not prediction.segments:
        return None
    if target is not None and target.position is not None:
        affine = prediction.labels.affine
        at = (np.linalg.inv(affine) @ [*target.position, 1.0])[2]
        return int(np.clip(np.rint(at), 0, prediction.labels.shape[2] - 1))
    name = (
        target.name if target is not None and target.name else max(prediction.voxels, key=prediction.voxels.__getitem__)
    )
    segment = next((each for each in prediction.segments if each.name == name), None)
    if segment is None:
        return None
    counts = (prediction.labels.array[segment.layer] == segment.label).sum(axis=(0, 1))
    return int(counts.argmax())
