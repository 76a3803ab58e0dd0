"""What a model answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from meddl.volume import Segment, Volume


@dataclass(frozen=True, eq=False)
class SegmentationPrediction:
    """A segmentation on the grid of the image it was made from.

    Attributes:
        labels: one channel of uint8 (uint16 above 255 labels), 0 is background; same shape and affine as the input.
        segments: what each label means.
        voxels: number of voxels by segment name.
        volumes_ml: milliliters by segment name: the voxels times the true volume of one (oblique grids too).
        provenance: JSON-able record of model, parameters, device, libraries and times, see ``provenance.py``.
    """

    labels: Volume
    segments: tuple[Segment, ...]
    voxels: Mapping[str, int]
    volumes_ml: Mapping[str, float]
    provenance: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {
            "labels": self.labels,
            "segments": [asdict(segment) for segment in self.segments],
            "voxels": dict(self.voxels),
            "volumes_ml": dict(self.volumes_ml),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentationPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        segments = tuple(Segment(**{**segment, "color": tuple(segment["color"])}) for segment in data["segments"])
        return cls(data["labels"], segments, data["voxels"], data["volumes_ml"], data["provenance"])
