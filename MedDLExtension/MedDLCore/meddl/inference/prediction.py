"""What a model answers: one type per task. Positions are RAS millimeters, volumes lie on a known grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeAlias

import numpy as np

from meddl.errors import ModelError
from meddl.volume import Segment, Volume

Row: TypeAlias = dict[str, str | float | int]


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How much a model's answers differ when it is asked several times.

    Attributes:
        method: ``flips``, ``dropout`` or ``ensemble``.
        passes: how many answers were compared.
        entropy: ``(1, I, J, K)`` float32 on the input's grid: 0 where the model is sure, 1 where all answers are alike;
            None for tasks without a voxel map.
        intervals: from the least to the greatest of what was answered, by structure (ml) or class (probability).
        sentence: for people.
    """

    method: str
    passes: int
    entropy: Volume | None
    intervals: Mapping[str, tuple[float, float]]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        intervals = {name: list(pair) for name, pair in self.intervals.items()}
        return {**_shallow(self), "intervals": intervals}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Uncertainty:
        """Return what :meth:`to_dict` described."""
        intervals = {name: (float(low), float(high)) for name, (low, high) in data["intervals"].items()}
        return cls(data["method"], data["passes"], data["entropy"], intervals, data["sentence"])


@dataclass(frozen=True, eq=False)
class SegmentationPrediction:
    """A segmentation on the grid of the image it was made from.

    Attributes:
        labels: uint8 (uint16 above 255 labels), 0 is background; same shape and affine as the input. One channel,
            or one per layer where structures overlap (``Segment.layer``).
        segments: what each label means.
        voxels: number of voxels by segment name.
        volumes_ml: milliliters by segment name: the voxels times the true volume of one (oblique grids too).
        provenance: JSON-able record of model, parameters, device, libraries and times, see ``provenance.py``.
        probabilities: on request, one channel per segment in their order, 0 to 1.
        uncertainty: on request.
    """

    task: ClassVar[str] = "segmentation"

    labels: Volume
    segments: tuple[Segment, ...]
    voxels: Mapping[str, int]
    volumes_ml: Mapping[str, float]
    provenance: Mapping[str, Any]
    probabilities: Volume | None = None
    uncertainty: Uncertainty | None = None

    def row(self) -> Row:
        """Return the volumes as facts of one line of a table."""
        facts: Row = {f"{name} (ml)": value for name, value in self.volumes_ml.items()}
        for name, (low, high) in self.uncertainty.intervals.items() if self.uncertainty else ():
            facts[f"{name} from (ml)"], facts[f"{name} to (ml)"] = low, high
        return facts

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {
            "task": self.task,
            **_shallow(self),
            "segments": [asdict(segment) for segment in self.segments],
            "voxels": dict(self.voxels),
            "volumes_ml": dict(self.volumes_ml),
            "uncertainty": self.uncertainty.to_dict() if self.uncertainty else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentationPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        segments = tuple(Segment(**{**segment, "color": tuple(segment["color"])}) for segment in data["segments"])
        uncertainty = data.get("uncertainty")
        return cls(
            data["labels"],
            segments,
            data["voxels"],
            data["volumes_ml"],
            data["provenance"],
            data.get("probabilities"),
            Uncertainty.from_dict(uncertainty) if uncertainty else None,
        )


@dataclass(frozen=True)
class ClassProbability:
    """One class: its name, its probability 0 to 1, and its code (``SCHEME^value^meaning``) where there is one."""

    name: str
    probability: float
    code: str = ""


@dataclass(frozen=True, eq=False)
class ClassificationPrediction:
    """What kind of image this is, or what is seen in it.

    Attributes:
        classes: in the model's order.
        exclusive: the probabilities add up to one; otherwise each class is a question of its own.
        calibrated: the model's scores were scaled on held-out data so that they can be read as probabilities.
        evidence: for models that read slices or time frames one after the other: the weight of each, or ().
        uncertainty: on request.
        provenance: as of a segmentation.
    """

    task: ClassVar[str] = "classification"

    classes: tuple[ClassProbability, ...]
    provenance: Mapping[str, Any]
    exclusive: bool = True
    calibrated: bool = False
    evidence: tuple[float, ...] = ()
    uncertainty: Uncertainty | None = None

    @property
    def best(self) -> ClassProbability:
        """The most probable class."""
        return max(self.classes, key=lambda each: each.probability)

    def row(self) -> Row:
        """Return the probabilities as facts of one line of a table."""
        facts: Row = {"class": self.best.name} if self.exclusive else {}
        return {**facts, **{f"{each.name} (probability)": each.probability for each in self.classes}}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {
            "task": self.task,
            **_shallow(self),
            "classes": [asdict(each) for each in self.classes],
            "evidence": list(self.evidence),
            "uncertainty": self.uncertainty.to_dict() if self.uncertainty else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassificationPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        uncertainty = data.get("uncertainty")
        return cls(
            tuple(ClassProbability(**each) for each in data["classes"]),
            data["provenance"],
            data["exclusive"],
            data["calibrated"],
            tuple(data["evidence"]),
            Uncertainty.from_dict(uncertainty) if uncertainty else None,
        )


@dataclass(frozen=True, eq=False)
class Box:
    """A box that was found.

    Attributes:
        label: what it holds.
        score: 0 to 1.
        center: ``(3,)`` RAS mm.
        size: ``(3,)`` mm, the full lengths along its axes.
        axes: 3x3, the columns are unit vectors (RAS) along the box's edges.
    """

    label: str
    score: float
    center: np.ndarray
    size: np.ndarray
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))

    def corners(self) -> np.ndarray:
        """Return the eight corners ``(8, 3)`` in RAS mm."""
        signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        return np.asarray(self.center) + (signs * self.size) @ np.asarray(self.axes).T

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "label": self.label,
            "score": float(self.score),
            "center": _numbers(self.center),
            "size": _numbers(self.size),
            "axes": [_numbers(row) for row in np.asarray(self.axes)],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Box:
        """Return what :meth:`to_dict` described."""
        arrays = (np.asarray(data[name], dtype=np.float64) for name in ("center", "size", "axes"))
        return cls(data["label"], data["score"], *arrays)


@dataclass(frozen=True, eq=False)
class DetectionPrediction:
    """Boxes round what was found, by falling score."""

    task: ClassVar[str] = "detection"

    boxes: tuple[Box, ...]
    provenance: Mapping[str, Any]

    def row(self) -> Row:
        """Return how many boxes of each kind, and the best score of each kind."""
        facts: Row = {"boxes": len(self.boxes)}
        for label in sorted({box.label for box in self.boxes}):
            scores = [box.score for box in self.boxes if box.label == label]
            facts[f"{label} (boxes)"], facts[f"{label} (best score)"] = len(scores), max(scores)
        return facts

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {"task": self.task, "boxes": [box.to_dict() for box in self.boxes], "provenance": dict(self.provenance)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DetectionPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        return cls(tuple(Box.from_dict(box) for box in data["boxes"]), data["provenance"])


UNSURE_SCORE = 0.3
"""A landmark with a lower score is named to the user, who should look at it."""


@dataclass(frozen=True, eq=False)
class Landmark:
    """A named point: ``position`` (3,) in RAS mm, ``score`` 0 to 1."""

    name: str
    position: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class LandmarkPrediction:
    """Anatomical points, in the model's order."""

    task: ClassVar[str] = "landmarks"

    points: tuple[Landmark, ...]
    provenance: Mapping[str, Any]

    def row(self) -> Row:
        """Return the coordinates as facts of one line of a table."""
        return {
            f"{point.name} {axis} (mm)": round(float(value), 3)
            for point in self.points
            for axis, value in zip("RAS", point.position, strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        points = [
            {"name": point.name, "position": _numbers(point.position), "score": float(point.score)}
            for point in self.points
        ]
        return {"task": self.task, "points": points, "provenance": dict(self.provenance)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LandmarkPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        points = (Landmark(p["name"], np.asarray(p["position"], dtype=np.float64), p["score"]) for p in data["points"])
        return cls(tuple(points), data["provenance"])


@dataclass(frozen=True, eq=False)
class ReconstructionPrediction:
    """An image made from an image: denoised, sharpened, completed or of another kind.

    Attributes:
        image: on the input's grid, or a finer one over the same place for super-resolution.
        difference: on request, ``image`` minus the input on the image's grid.
        quality: against a reference, where one was given: ``psnr_db``, ``ssim``.
        provenance: as of a segmentation.
    """

    task: ClassVar[str] = "reconstruction"

    image: Volume
    provenance: Mapping[str, Any]
    difference: Volume | None = None
    quality: Mapping[str, float] | None = None

    def row(self) -> Row:
        """Return the quality as facts of one line of a table."""
        return dict(self.quality or {})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        return {"task": self.task, **_shallow(self), "quality": dict(self.quality) if self.quality else None}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReconstructionPrediction:
        """Return the prediction that :meth:`to_dict` described."""
        return cls(data["image"], data["provenance"], data.get("difference"), data.get("quality"))


Prediction: TypeAlias = (
    SegmentationPrediction
    | ClassificationPrediction
    | DetectionPrediction
    | LandmarkPrediction
    | ReconstructionPrediction
)

_TYPES: dict[str, type[Prediction]] = {
    kind.task: kind
    for kind in (
        SegmentationPrediction,
        ClassificationPrediction,
        DetectionPrediction,
        LandmarkPrediction,
        ReconstructionPrediction,
    )
}


def prediction_from_dict(data: Mapping[str, Any]) -> Prediction:
    """Return the prediction of any task that its ``to_dict`` described.

    Raises:
        ModelError: it is of no known task.
    """
    kind = _TYPES.get(str(data.get("task")))
    if kind is None:
        raise ModelError(f"A result of the task {str(data.get('task'))[:40]!a} is not known.")
    return kind.from_dict(data)


def _shallow(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, volumes as they are, mappings as plain dictionaries."""
    pairs = ((name, getattr(value, name)) for name in value.__dataclass_fields__ if name != "task")
    return {name: dict(each) if isinstance(each, Mapping) else each for name, each in pairs}


def _numbers(array: np.ndarray) -> list[float]:
    return [float(each) for each in np.asarray(array).ravel()]
