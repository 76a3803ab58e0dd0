"""A case: its images, what is known about them, and whose they are. The last never enters a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from meddl.errors import UsageError
from meddl.inference.prediction import Box, Landmark
from meddl.volume import Segment, Volume

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageFile:
    """An image, label map or segmentation that is read when it is needed.

    Attributes:
        path: a file of any format that MedDL reads, a folder of DICOM files, or a scene (.mrb).
        series_uid: which series of a DICOM folder.
        member: which file inside a scene (.mrb), by its path in there.
        transform: 4x4 in row order (16 numbers), RAS mm to RAS mm, that stands between the file and the world (a
            parent transform of a scene); () for none.
        frame: which image of a 4-D file, from 0; None where there is only one.
        nested: the files of the DICOM series lie in subfolders too.
    """

    path: Path
    series_uid: str | None = None
    member: str = ""
    transform: tuple[float, ...] = ()
    frame: int | None = None
    nested: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's params carry it."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageFile:
        """Return what :meth:`to_dict` described."""
        return cls(**{**data, "path": Path(data["path"]), "transform": tuple(data["transform"])})


ImageSource: TypeAlias = ImageFile | Volume


@dataclass(frozen=True, eq=False)
class SegmentationLabel:
    """Structures: a file, or the label map itself.

    Attributes:
        source: a file, or ``(L, I, J, K)`` labels, one channel per layer, on any grid.
        segments: of a label map in memory; for a file they replace the names it tells, or () to take those.
    """

    source: ImageSource
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class ClassLabel:
    """What kind of image the case is: one class, or several that do not exclude each other."""

    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class BoxesLabel:
    """Boxes in RAS mm; none is an answer too: nothing is there."""

    boxes: tuple[Box, ...]


@dataclass(frozen=True, eq=False)
class LandmarksLabel:
    """Named points in RAS mm."""

    points: tuple[Landmark, ...]


@dataclass(frozen=True, eq=False)
class TargetLabel:
    """The image that a reconstruction should make of the case's images."""

    source: ImageSource


Label: TypeAlias = SegmentationLabel | ClassLabel | BoxesLabel | LandmarksLabel | TargetLabel

KINDS: Mapping[type, str] = MappingProxyType(
    {
        SegmentationLabel: "segmentation",
        ClassLabel: "classification",
        BoxesLabel: "detection",
        LandmarksLabel: "landmarks",
        TargetLabel: "reconstruction",
    }
)
"""The task that a kind of label is for."""


class CaseMaker(Protocol):
    """Makes what a case shows out of its images and its label, each time that the case is loaded."""

    def __call__(self, case: Case) -> LoadedCase:
        """Return the case in memory; the same on every call."""


@dataclass(frozen=True, eq=False)
class Case:
    """One case as it was collected.

    ``id``, ``patient``, ``study``, ``site`` and the files' paths identify people. They stay in the session and in the
    key file that the user asks for.

    Attributes:
        id: its name, unique among the cases.
        images: by channel, in the order of the channels.
        label: what a model shall learn to answer, or None (an image of a test set).
        patient: equal for all cases of one patient, else distinct; "" where nobody knows: a patient of its own.
        study: likewise of a study.
        site: the hospital or scanner that splits are balanced over; "" where there is only one.
        split: where the user wants it, or "".
        notes: what the user should know about how it was collected, in sentences.
        maker: the case shows something that is made out of ``images`` and ``label`` (an X-ray of a CT, say); None for
            what was acquired.
    """

    id: str
    images: Mapping[str, ImageSource]
    label: Label | None = None
    patient: str = ""
    study: str = ""
    site: str = ""
    split: Split | Literal[""] = ""
    notes: tuple[str, ...] = ()
    maker: CaseMaker | None = None

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise UsageError("A case has no name. Give each case one.")
        if not self.images:
            raise UsageError("A case has no image. Give each case at least one.")
        if self.split and self.split not in SPLITS:
            raise UsageError(f"A case is to go to {self.split!r}. Choose one of: {', '.join(SPLITS)}.")
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))

    @property
    def task(self) -> str:
        """What a model learns from it: one of :data:`KINDS`, or "" without a label."""
        return KINDS[type(self.label)] if self.label is not None else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data and volumes, as a job's params carry them."""
        if self.maker is not None:
            raise UsageError("A case that is made when it is loaded is no plain data.")
        return {
            "id": self.id,
            "images": {name: _packed(source) for name, source in self.images.items()},
            "label": _packed_label(self.label),
            "patient": self.patient,
            "study": self.study,
            "site": self.site,
            "split": self.split,
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Case:
        """Return what :meth:`to_dict` described."""
        return cls(
            data["id"],
            {name: _unpacked(source) for name, source in data["images"].items()},
            _unpacked_label(data["label"]),
            data["patient"],
            data["study"],
            data["site"],
            data["split"],
            tuple(data["notes"]),
        )


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case whose images and label are in memory, each on the grid it came with.

    Attributes:
        case: as it was collected.
        images: ``(1, I, J, K)`` (pictures: one channel per color) by channel.
        labels: of a segmentation ``(L, I, J, K)``, one channel per layer, else None.
        segments: what the labels mean.
        target: of a reconstruction, else None.
        made: how it was made out of the case's images (:attr:`Case.maker`), JSON-able, for the manifest; it identifies
            nobody. Empty for what was acquired.
    """

    case: Case
    images: Mapping[str, Volume]
    labels: Volume | None = None
    segments: tuple[Segment, ...] = ()
    target: Volume | None = None
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case as it goes into a dataset: on one grid, with the dataset's labels, and nobody's name on it.

    Attributes:
        name: in the dataset, for instance "case_0007".
        patient: in the dataset, for instance "patient_0003".
        site: in the dataset, or "".
        split: which part of the dataset it belongs to.
        fold: in which of the folds it is validated, or None.
        images: on one grid, in the order of the dataset's channels.
        labels: ``(1, I, J, K)`` uint8 or uint16 on that grid with the values of the dataset's :class:`LabelScheme`.
        classes: of a classification.
        boxes: of a detection, RAS mm.
        points: of landmarks, RAS mm.
        target: of a reconstruction, on the grid of the images.
        modality: by channel, as DICOM names it ("CT", "MR", ...), or "".
        dicom: the files (.dcm) that a channel was read from, for formats that keep DICOM; only where its voxels and
            grid are still theirs.
        secret: what made-up UIDs and shifts of dates are derived from; whoever knows it can undo them.
        facts: JSON-able facts of how it was prepared, for the manifest; they identify nobody.
        pictures: PNG files for the user alone, by name: what it looked like before is on them.
    """

    name: str
    patient: str
    images: Mapping[str, Volume]
    site: str = ""
    split: Split = "train"
    fold: int | None = None
    labels: Volume | None = None
    classes: tuple[str, ...] = ()
    boxes: tuple[Box, ...] | None = None
    points: tuple[Landmark, ...] | None = None
    target: Volume | None = None
    modality: Mapping[str, str] = field(default_factory=dict)
    dicom: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    secret: bytes = field(default=b"", repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def _packed(source: ImageSource) -> Any:
    return source.to_dict() if isinstance(source, ImageFile) else source


def _unpacked(data: Any) -> ImageSource:
    return data if isinstance(data, Volume) else ImageFile.from_dict(data)


def _packed_label(label: Label | None) -> dict[str, Any] | None:
    if label is None:
        return None
    data: dict[str, Any] = {"kind": KINDS[type(label)]}
    if isinstance(label, SegmentationLabel):
        segments = [{**vars(segment), "color": list(segment.color)} for segment in label.segments]
        return {**data, "source": _packed(label.source), "segments": segments}
    if isinstance(label, ClassLabel):
        return {**data, "names": list(label.names)}
    if isinstance(label, BoxesLabel):
        return {**data, "boxes": [box.to_dict() for box in label.boxes]}
    if isinstance(label, LandmarksLabel):
        points = [{"name": p.name, "position": [float(x) for x in p.position], "score": p.score} for p in label.points]
        return {**data, "points": points}
    return {**data, "source": _packed(label.source)}


def _unpacked_label(data: Mapping[str, Any] | None) -> Label | None:
    if data is None:
        return None
    if data["kind"] == "segmentation":
        segments = tuple(Segment(**{**each, "color": tuple(each["color"])}) for each in data["segments"])
        return SegmentationLabel(_unpacked(data["source"]), segments)
    if data["kind"] == "classification":
        return ClassLabel(tuple(data["names"]))
    if data["kind"] == "detection":
        return BoxesLabel(tuple(Box.from_dict(box) for box in data["boxes"]))
    if data["kind"] == "landmarks":
        points = (Landmark(p["name"], np.asarray(p["position"], dtype=np.float64), p["score"]) for p in data["points"])
        return LandmarksLabel(tuple(points))
    return TargetLabel(_unpacked(data["source"]))
