"""What looking at a case tells about it, before anything is written: a line of the quality table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChannelFacts:
    """One image of a case.

    Attributes:
        shape: voxels along its axes.
        spacing_mm: of its axes.
        orientation: nearest anatomical directions of its axes, for instance "LPS".
        modality: as DICOM names it, or "".
        dtype: of its values, as numpy names it.
        minimum, maximum, mean, p1, p50, p99: of its values; finite ones only.
        not_finite: how many values are no numbers.
        digest: SHA-256 of its voxels in the order of the patient's axes, whatever file, name, data type or axis order
            they came in: equal for the same image under two names.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    modality: str
    dtype: str
    minimum: float
    maximum: float
    mean: float
    p1: float
    p50: float
    p99: float
    not_finite: int
    digest: str


@dataclass(frozen=True)
class StructureFacts:
    """One structure of a case's segmentation.

    Attributes:
        key: what equal structures of several cases have in common, see :func:`meddl.datasets.structure_key`.
        name, terminology, color: as of its segment.
        voxels: how many; 0 where the label is empty.
        volume_ml: what they fill.
        components: separate pieces (26-connected).
        debris_voxels: in pieces of one voxel.
    """

    key: str
    name: str
    terminology: str
    color: tuple[float, float, float]
    voxels: int
    volume_ml: float
    components: int
    debris_voxels: int


@dataclass(frozen=True)
class CaseFacts:
    """What looking at a case told.

    Attributes:
        id: of the case.
        task: of the case's label, or "".
        channels: by channel.
        structures: of its segmentation.
        combinations: structures that overlap, each as a sorted tuple of keys, with the number of voxels that lie in
            exactly these; single structures are not among them.
        label_outside: fraction 0 to 1 of the labeled volume that lies outside of the image.
        same_grid: all images and the label have one grid already.
        overlap: smallest fraction of the first channel's volume that another channel covers.
        classes, boxes, points: names of the classes, of each box, of each point.
        label_digest: SHA-256 of the label, whatever kind it is, and of the images' places and types.
        seen: identifying texts found with the case (patient's name, IDs, dates, paths), which must not be written
            anywhere; never shown, never written.
        problems: what keeps the case from being exported, in sentences.
        warnings: what the user should look at, in sentences.
    """

    id: str
    task: str
    channels: Mapping[str, ChannelFacts]
    structures: tuple[StructureFacts, ...] = ()
    combinations: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    label_outside: float = 0.0
    same_grid: bool = True
    overlap: float = 1.0
    classes: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    label_digest: str = ""
    seen: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What tells the case's images from others': the digests of its channels, in order."""
        return "-".join(channel.digest[:32] for channel in self.channels.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as a job's result carries it."""
        combinations = [[list(keys), voxels] for keys, voxels in self.combinations.items()]
        return {**asdict(self), "combinations": combinations}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CaseFacts:
        """Return what :meth:`to_dict` described."""
        channels = {
            name: ChannelFacts(**{**each, "shape": tuple(each["shape"]), "spacing_mm": tuple(each["spacing_mm"])})
            for name, each in data["channels"].items()
        }
        structures = tuple(StructureFacts(**{**each, "color": tuple(each["color"])}) for each in data["structures"])
        combinations = {tuple(keys): voxels for keys, voxels in data["combinations"]}
        texts = {name: tuple(data[name]) for name in ("classes", "boxes", "points", "seen", "problems", "warnings")}
        plain = {**data, "channels": channels, "structures": structures, "combinations": combinations, **texts}
        return cls(**plain)
