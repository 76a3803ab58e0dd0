"""The cases of an export as the panel's table holds them, from nodes of the scene or from files, and as core cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
import vtk
from meddl.datasets.case import (
    KINDS,
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    ImageSource,
    Label,
    LandmarksLabel,
    SegmentationLabel,
    TargetLabel,
)
from meddl.errors import VolumeError

from meddl_slicer import export_labels, nodes
from meddl_slicer.i18n import tr as _
from meddl_slicer.scene_guard import alive

if TYPE_CHECKING:
    from meddl.datasets.case import Split


@dataclass(frozen=True, eq=False)
class SceneLabel:
    """Nodes of the scene that are the label of a case.

    Attributes:
        task: what a model learns from them, for instance "segmentation".
        nodes: one segmentation, label map or volume; any number of ROIs or point lists.
    """

    task: str
    nodes: tuple[slicer.vtkMRMLNode, ...]


@dataclass(frozen=True, eq=False)
class CaseRow:
    """One line of the panel's table of cases.

    Attributes:
        name: unique among the rows.
        images: by channel: a volume node, or where the image is; None where none is chosen.
        label: nodes, or a label as it was collected from files, or None.
        patient, study: equal for what belongs together; shown, never written anywhere.
        site, split: as of :class:`meddl.datasets.case.Case`.
        included: whether it is exported.
        notes: what the user should know, in sentences.
        key: equal as long as it is the same row; facts and thumbnails are kept by it.
    """

    name: str
    images: Mapping[str, Any]
    label: SceneLabel | Label | None = None
    patient: str = ""
    study: str = ""
    site: str = ""
    split: Split | str = ""
    included: bool = True
    notes: tuple[str, ...] = ()
    key: int = field(default=0)

    @property
    def task(self) -> str:
        """What a model learns from it, or ""."""
        if self.label is None:
            return ""
        return self.label.task if isinstance(self.label, SceneLabel) else KINDS[type(self.label)]

    @property
    def nodes(self) -> tuple[slicer.vtkMRMLNode, ...]:
        """All nodes that it is made of."""
        images = tuple(one for one in self.images.values() if isinstance(one, slicer.vtkMRMLNode))
        return images + (self.label.nodes if isinstance(self.label, SceneLabel) else ())

    def changed(self, **values: Any) -> CaseRow:
        """Return the row with other values."""
        return replace(self, **values)

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is part of it."""
        return any(one is node for one in self.nodes)


def missing(row: CaseRow) -> str:
    """Return what keeps a row from being exported, in a few words, or ""."""
    if not row.images or any(image is None for image in row.images.values()):
        return _("an image for each channel")
    if any(alive(node) is None for node in row.nodes):
        return _("images and labels that are still in the scene")
    return ""


def case_of(row: CaseRow) -> Case:
    """Return the row as the core takes it: voxels of nodes as views of their memory, in world coordinates.

    Raises:
        VolumeError: an image or label cannot be used; the message says why.
    """
    lacking = missing(row)
    if lacking:
        raise VolumeError(_("This case still needs {what}.").format(what=lacking))
    images: dict[str, ImageSource] = {
        channel: nodes.volume_from_node(image) if isinstance(image, slicer.vtkMRMLNode) else image
        for channel, image in row.images.items()
    }
    label, notes = row.label, row.notes
    if isinstance(label, SceneLabel):
        first = next((one for one in row.images.values() if isinstance(one, slicer.vtkMRMLNode)), None)
        label, more = export_labels.label_of(label.task, label.nodes, first)
        notes += more
    return Case(row.name, images, label, row.patient, row.study, row.site, row.split, notes)


def planned_case(row: CaseRow) -> Case:
    """Return the row as planning takes it, which asks for no voxels: names, people, parts and kinds only."""
    nothing = ImageFile(Path("scene"))
    images = {channel: image if isinstance(image, ImageFile) else nothing for channel, image in row.images.items()}
    label = row.label
    if isinstance(label, SceneLabel):
        label = _EMPTY_LABELS[label.task](nothing)
    return Case(row.name, images, label, row.patient, row.study, row.site, row.split, row.notes)


def signature(row: CaseRow) -> tuple[Any, ...]:
    """Return what tells whether the voxels or the place of anything that a row is made of have changed."""
    told: list[Any] = [tuple(row.images)]
    for image in row.images.values():
        told.append(_signature(image))
    label = row.label
    if isinstance(label, SceneLabel):
        told.append((label.task, *(_signature(node) for node in label.nodes)))
    elif isinstance(label, ClassLabel):
        told.append(label.names)
    else:
        told.append(_signature(getattr(label, "source", None)))
    return tuple(told)


def row_of(case: Case) -> CaseRow:
    """Return a case that was collected from files as a row."""
    return CaseRow(
        case.id, dict(case.images), case.label, case.patient, case.study, case.site, case.split, True, case.notes
    )


def image_name(image: Any) -> str:
    """Return how the table calls an image."""
    if image is None:
        return ""
    if isinstance(image, slicer.vtkMRMLNode):
        return image.GetName() or "" if alive(image) is not None else _("(removed)")
    path = getattr(image, "path", None)
    if path is None:
        return getattr(image, "name", "")
    return image.member or path.name


def label_name(row: CaseRow) -> str:
    """Return how the table calls a label."""
    label = row.label
    if label is None:
        return ""
    if isinstance(label, SceneLabel):
        return ", ".join(image_name(node) for node in label.nodes)
    if isinstance(label, ClassLabel):
        return ", ".join(label.names)
    if hasattr(label, "source"):
        return image_name(label.source)
    count = len(label.boxes) if hasattr(label, "boxes") else len(label.points)
    return (
        _("{count} boxes").format(count=count) if hasattr(label, "boxes") else _("{count} points").format(count=count)
    )


def class_label(text: str) -> ClassLabel | None:
    """Return what the user has typed as the class of a case, several separated by commas; None for nothing."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    return ClassLabel(names) if names else None


def unique_names(rows: Sequence[CaseRow], taken: Sequence[str] = ()) -> list[CaseRow]:
    """Return the rows with names that no other row has: the second "CT" becomes "CT (2)"."""
    used = {name.casefold() for name in taken}
    found = []
    for row in rows:
        base = row.name.strip() or _("Case")
        name, number = base, 2
        while name.casefold() in used:
            name, number = f"{base} ({number})", number + 1
        used.add(name.casefold())
        found.append(row if name == row.name else row.changed(name=name))
    return found


def channels_of(rows: Sequence[CaseRow]) -> list[str]:
    """Return the names of all channels, in the order in which they come up."""
    return list(dict.fromkeys(channel for row in rows for channel in row.images))


def _signature(source: Any) -> Any:
    if isinstance(source, slicer.vtkMRMLNode):
        return _node_signature(source)
    path = getattr(source, "path", None)
    if path is None:
        return id(source)
    try:
        told = path.stat()
    except OSError:
        return (source, None)
    return (source, told.st_mtime_ns, told.st_size)


def _node_signature(node: slicer.vtkMRMLNode) -> Any:
    if node.GetScene() is None:
        return (id(node), "gone")
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None and parent.IsTransformToWorldLinear():
        parent.GetMatrixTransformToWorld(matrix)
    place = tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
    if isinstance(node, slicer.vtkMRMLVolumeNode):
        node.GetIJKToRASMatrix(matrix)
        place += tuple(matrix.GetElement(row, column) for row in range(3) for column in range(4))
        image = node.GetImageData()
        return (node.GetID(), image.GetMTime() if image is not None else 0, place)
    if node.IsA("vtkMRMLSegmentationNode"):
        # Not the times of the segmentation itself: it is changed by being looked at, for instance in 3D.
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
        told = tuple(
            (one.GetName(), one.GetTerminology(), tuple(one.GetColor()), one.GetLabelValue(), _data_time(one))
            for one in segments
        )
        return (node.GetID(), told, place)
    return (node.GetID(), node.GetMTime(), place)


def _data_time(segment: Any) -> int:
    data = segment.GetRepresentation(export_labels.BINARY)
    return data.GetMTime() if data is not None else 0


_EMPTY_LABELS: dict[str, Callable[[ImageFile], Label]] = {
    "segmentation": SegmentationLabel,
    "detection": lambda _nothing: BoxesLabel(()),
    "landmarks": lambda _nothing: LandmarksLabel(()),
    "reconstruction": TargetLabel,
}
