"""An explanation: how much each voxel of the input had to do with the answer, and how far to believe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from meddl.volume import Volume


@dataclass(frozen=True)
class Measure:
    """One figure of how far to believe a map.

    Attributes:
        name: of the measure, for instance "deletion".
        value: as its method defines it; None where it could not be told, and the sentence says why.
        random: the same of a random map, or None where there is none.
        verdict: "good", "doubtful", "bad", or "" where the figure alone says little.
        sentence: what it means here, in plain words with the figure.
        curve: fractions 0 to 1 and scores, for those that have one.
    """

    name: str
    value: float | None
    random: float | None = None
    verdict: str = ""
    sentence: str = ""
    curve: tuple[tuple[float, float], ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measure:
        """Return what ``asdict`` made of a measure."""
        return cls(**{**data, "curve": tuple((float(x), float(y)) for x, y in data["curve"])})


@dataclass(frozen=True)
class AnatomyShare:
    """How much of the evidence lies in one structure.

    Attributes:
        name: of the structure; "outside all" for the rest of the image.
        positive, negative: share 0 to 1 of all positive, and of all negative attribution.
        density: attribution per volume, against that of the whole image: 1 is chance.
        volume_ml: of the structure.
    """

    name: str
    positive: float
    negative: float
    density: float
    volume_ml: float


@dataclass(frozen=True, eq=False)
class Attribution:
    """What one method says of one answer.

    Attributes:
        method: its id, see :data:`meddl.saliency.METHODS`.
        map: ``(1, I, J, K)`` float32 on the input's grid; channels are added up. 0 outside of what the network saw.
        channels: ``(C, I, J, K)`` likewise, where the input has several; else None.
        signed: negative values speak against the answer; otherwise there are none.
        target: what was explained, in words, for instance "class brain".
        score: the number that was explained, as the network gave it.
        facts: JSON-able: layer and its grid, baseline, completeness gap (a share of the score), steps, windows, times.
        notes: what the user has to know to read the map, in sentences.
        measures: how far to believe it, where that was asked for.
        anatomy: shares by structure, where a segmentation was given.
        provenance: as of a prediction.
    """

    method: str
    map: Volume
    target: str
    score: float
    signed: bool = True
    channels: Volume | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    anatomy: tuple[AnatomyShare, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and volumes, as a job's result carries them."""
        return {
            **{name: getattr(self, name) for name in ("method", "map", "target", "score", "signed", "channels")},
            "facts": dict(self.facts),
            "notes": list(self.notes),
            "measures": [asdict(each) for each in self.measures],
            "anatomy": [asdict(each) for each in self.anatomy],
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Attribution:
        """Return what :meth:`to_dict` described."""
        measures = (Measure.from_dict(each) for each in data["measures"])
        anatomy = (AnatomyShare(**each) for each in data["anatomy"])
        plain = {**data, "notes": tuple(data["notes"]), "measures": tuple(measures), "anatomy": tuple(anatomy)}
        return cls(**plain)
