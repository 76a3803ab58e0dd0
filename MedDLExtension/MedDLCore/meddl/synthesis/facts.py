"""What a bundle says of the generator in it: the part "synthesis" of its metadata's "meddl"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from meddl.errors import ModelError
from meddl.models.metadata_values import as_text, printable
from meddl.synthesis.config import KINDS, PLANES, Kind, Plane, Where

_MOST_VOXELS = 1 << 30
_SPACING_MM = (1e-3, 1e3)
_VALUES = 256
"""Label maps are of bytes."""
_LONG = 64


@dataclass(frozen=True)
class SynthesisFacts:
    """What a generator makes and what it was made of.

    Attributes:
        kind, conditioned, size, spacing_mm, plane: as in :class:`SynthesisConfig`; size and spacing as trained.
        labels: names by value, the background among them; empty for one that is not conditioned.
        low, high: values of the image at the network's -1 and 1.
        modality: as DICOM names it, or "".
        trained_on: counts of cases, patients and examples, the dataset's name, steps and minutes: for people. And
            ``images_sha256``: of the cases that it has learned from, so that it is never used where these judge.
        where: as in :class:`SynthesisConfig`: what its examples showed.
    """

    kind: Kind
    conditioned: bool
    size: tuple[int, ...]
    spacing_mm: float
    plane: Plane = "axial"
    labels: Mapping[int, str] = field(default_factory=dict)
    low: float = -1.0
    high: float = 1.0
    modality: str = ""
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    where: Where = "whole"

    def to_metadata(self) -> dict[str, Any]:
        """Return plain data, as the bundle's metadata have them."""
        labels = {str(value): name for value, name in self.labels.items()}
        return {**asdict(self), "size": list(self.size), "labels": labels, "trained_on": dict(self.trained_on)}

    @classmethod
    def from_metadata(cls, data: Any) -> SynthesisFacts:
        """Return what a bundle's metadata say.

        Raises:
            ModelError: they say nothing of the kind.
        """
        try:
            facts = cls(
                data["kind"],
                data["conditioned"] is True,
                tuple(int(each) for each in data["size"]),
                float(data["spacing_mm"]),
                data.get("plane", "axial"),
                {int(value): printable(str(name)) for value, name in data.get("labels", {}).items()},
                float(data.get("low", -1.0)),
                float(data.get("high", 1.0)),
                printable(as_text(data.get("modality")))[:_LONG],
                dict(data.get("trained_on", {})),
                "labels" if data.get("where") == "labels" else "whole",
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError("What the model's metadata say of synthesis is incomplete. Train it anew.") from error
        sane = facts.kind in KINDS and facts.plane in PLANES and len(facts.size) in (2, 3)
        if not sane or not _in_bounds(facts) or not _is_list_of_words(facts.trained_on.get("images_sha256", [])):
            raise ModelError("What the model's metadata say of synthesis makes no sense. Train it anew.")
        return facts


def learned_images(trained_on: Mapping[str, Any]) -> frozenset[str]:
    """Return the SHA-256 of each image that a generator has learned from; none where it does not tell."""
    told = trained_on.get("images_sha256")
    return frozenset(part for each in told for part in images_of(str(each))) if isinstance(told, list) else frozenset()


def images_of(digest: str) -> frozenset[str]:
    """Return the SHA-256 of each image of a case by the case's digest: of several images it joins theirs."""
    return frozenset(digest.split("-")) - {""}


def _in_bounds(facts: SynthesisFacts) -> bool:
    """Say whether the numbers are such that images of them fit into a memory."""
    return (
        min(facts.size) >= 1
        and math.prod(facts.size) <= _MOST_VOXELS
        and _SPACING_MM[0] <= facts.spacing_mm <= _SPACING_MM[1]
        and -math.inf < facts.low < facts.high < math.inf
        and all(0 <= value < _VALUES for value in facts.labels)
    )


def _is_list_of_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
