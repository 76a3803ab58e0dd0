"""Which images and labels of the scene go together as a case: by references, the subject hierarchy, and place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from meddl.errors import VolumeError

from meddl_slicer import export_labels, nodes, provenance, study
from meddl_slicer.export_cases import CaseRow, SceneLabel, unique_names
from meddl_slicer.i18n import tr as _

_PATIENT, _STUDY = "Patient", "Study"  # levels of the subject hierarchy, as DICOM calls them
_SEQUENCES = ("t1ce", "t1c", "t1gd", "t1", "t2flair", "flair", "t2star", "swi", "t2", "pd", "adc", "dwi", "b0", "pet")
_GRID_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Home:
    """Whose an image is, by the folders of the subject hierarchy: "" where they do not tell."""

    patient: str = ""
    study: str = ""
    folder: int = 0


def home_of(node: slicer.vtkMRMLNode) -> Home:
    """Return patient, study and folder of a node.

    Patients of the same name are told apart by their ID; a study is told apart by its UID, or by its name within its
    patient.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if not item:
        return Home()
    patient = hierarchy.GetItemAncestorAtLevel(item, _PATIENT)
    study = hierarchy.GetItemAncestorAtLevel(item, _STUDY)
    patient_text = ""
    if patient:
        patient_text = hierarchy.GetItemName(patient)
        uid = hierarchy.GetItemUID(patient, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName())
        if uid and uid not in patient_text:
            patient_text = f"{patient_text} ({uid})".strip()
    study_text = ""
    if study:
        uid = hierarchy.GetItemUID(study, slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName())
        study_text = uid or f"{patient_text} {hierarchy.GetItemName(study)}".strip()
    parent = hierarchy.GetItemParent(item)
    return Home(patient_text, study_text, 0 if parent == hierarchy.GetSceneItemID() else parent)


def volumes_in_scene() -> list[slicer.vtkMRMLVolumeNode]:
    """Return the volumes that can be images of a case: scalar volumes and color pictures that hold voxels."""
    kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() in kinds and not node.GetHideFromEditors() and node.GetImageData() is not None
    ]


def suggest(task: str, together: bool = False) -> list[CaseRow]:
    """Return the cases that the scene seems to hold.

    A segmentation goes with the volume that it names as its reference geometry, or whose DICOM images it was drawn on;
    else with the only volume of its study or folder, else the one it lies in; a label map with one of the same grid.
    Boxes and points go with the volume of their study or folder that they lie in.

    Args:
        task: what a model shall learn, see :data:`meddl_slicer.export_labels.LABEL_CLASSES`.
        together: the volumes of a study are channels of one case; else each volume is a case of its own.
    """
    volumes = volumes_in_scene()
    homes = {node.GetID(): home_of(node) for node in volumes}
    labels = _labels_by_volume(task, volumes, homes)
    groups = _studies(volumes, homes) if together else [[node] for node in volumes]
    if task == "reconstruction" and not together:
        groups = [[node] for node in volumes if labels.get(node.GetID())]
    names = _channel_names(groups) if together else {}
    usual = _usual_channel(volumes)
    rows: list[CaseRow] = []
    for group in groups:
        found = [choice for node in group for choice in labels.get(node.GetID(), ())]
        images = {names.get(node.GetID(), usual): node for node in group}
        rows += _rows_of(images, found, homes[group[0].GetID()], task)
    return unique_names([_left_out_if_synthetic(row) for row in rows])


def relabeled(rows: Sequence[CaseRow], task: str) -> list[CaseRow]:
    """Return rows of another task with the labels that the scene suggests for this one; cases from files stay."""
    volumes = volumes_in_scene()
    homes = {node.GetID(): home_of(node) for node in volumes}
    labels = {key: list(choices) for key, choices in _labels_by_volume(task, volumes, homes).items()}
    found = []
    for row in rows:
        isOther = row.task not in ("", task) and isinstance(row.label, SceneLabel)
        images = [image for image in row.images.values() if isinstance(image, slicer.vtkMRMLNode)]
        if not images or not (isOther or row.label is None):
            found.append(row)
            continue
        choices = next((labels[one.GetID()] for one in images if labels.get(one.GetID())), [])
        chosen = SceneLabel(task, tuple(choices.pop(0))) if choices else None
        found.append(row if chosen is None and row.label is None else row.changed(label=chosen))
    return found


def is_known(row: CaseRow, rows: Iterable[CaseRow]) -> bool:
    """Tell whether the same images with the same label are among ``rows`` already."""
    mine = {node.GetID() for node in row.nodes}
    return any(mine == {node.GetID() for node in other.nodes if node.GetScene()} for other in rows)


def _left_out_if_synthetic(row: CaseRow) -> CaseRow:
    """Return a row without its check mark if no scanner has made it: nothing synthetic is to be validated with."""
    if not any(provenance.is_synthetic(node) for node in row.nodes):
        return row
    note = _(
        "This is synthetic. In a dataset it could come into validation; MedDL Augmentation adds such cases safely."
    )
    return row.changed(included=False, notes=(*row.notes, note))


def _rows_of(
    images: dict[str, slicer.vtkMRMLVolumeNode],
    labels: Sequence[tuple[slicer.vtkMRMLNode, ...]],
    home: Home,
    task: str,
) -> list[CaseRow]:
    name = _common_name([node.GetName() or "" for node in images.values()])
    if not labels:
        return [CaseRow(name, images, None, home.patient, home.study)]
    rows = []
    for index, chosen in enumerate(labels):
        notes: tuple[str, ...] = ()
        if len(labels) > 1:
            others = ", ".join(f'"{one[0].GetName()}"' for one in labels if one is not chosen)
            notes = (_("There are other labels for this image: {names}.").format(names=others),)
        label = SceneLabel(task, tuple(chosen))
        rows.append(CaseRow(name, images, label, home.patient, home.study, included=index == 0, notes=notes))
    return rows


def _labels_by_volume(
    task: str, volumes: Sequence[slicer.vtkMRMLVolumeNode], homes: dict[str, Home]
) -> dict[str, list[tuple[slicer.vtkMRMLNode, ...]]]:
    """Return the labels of each volume, each as the nodes it is made of, by the volume's ID."""
    found: dict[str, list[tuple[slicer.vtkMRMLNode, ...]]] = {}
    if task == "reconstruction":
        return _targets(volumes, homes)
    together: dict[str, list[slicer.vtkMRMLNode]] = {}
    for kind in export_labels.LABEL_CLASSES.get(task, ()):
        for node in slicer.util.getNodesByClass(kind):
            if node.GetHideFromEditors():
                continue
            volume = volume_of(node, volumes, homes)
            if volume is None:
                continue
            if task == "segmentation":
                found.setdefault(volume.GetID(), []).append((node,))
            else:
                together.setdefault(volume.GetID(), []).append(node)
    found.update({identifier: [tuple(markups)] for identifier, markups in together.items()})
    return found


def _targets(
    volumes: Sequence[slicer.vtkMRMLVolumeNode], homes: dict[str, Home]
) -> dict[str, list[tuple[slicer.vtkMRMLNode, ...]]]:
    """Pair the two volumes of a study or folder that have one grid: the first is to become the second."""
    found = {}
    for group in _studies(volumes, homes):
        if len(group) == 2 and _same_grid(group[0], group[1]):
            found[group[0].GetID()] = [(group[1],)]
    return found


def volume_of(
    label: slicer.vtkMRMLNode,
    volumes: Sequence[slicer.vtkMRMLVolumeNode],
    homes: dict[str, Home] | None = None,
) -> slicer.vtkMRMLVolumeNode | None:
    """Return the volume that a segmentation, label map, ROI or point list belongs to, or None."""
    homes = homes if homes is not None else {node.GetID(): home_of(node) for node in volumes}
    if label.IsA("vtkMRMLSegmentationNode"):
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        named = label.GetNodeReference(role)
        if any(named is node for node in volumes):
            return named
    referenced = _referenced(label, volumes)
    if referenced is not None:
        return referenced
    home = home_of(label)
    near = [node for node in volumes if _belong_together(home, homes[node.GetID()])]
    if label.IsA("vtkMRMLVolumeNode"):
        same = [node for node in near or volumes if _same_grid(label, node)]
        if same:
            return same[0]
    if len(near) == 1 and (home.study or home.folder):
        return near[0]
    around = [node for node in near or volumes if _inside(label, node)]
    return around[0] if around else None


def _referenced(
    label: slicer.vtkMRMLNode, volumes: Sequence[slicer.vtkMRMLVolumeNode]
) -> slicer.vtkMRMLVolumeNode | None:
    """Return the volume whose DICOM images the label was drawn on, by what its DICOM object said."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(label) if hierarchy is not None else 0
    if not item:
        return None
    items = vtk.vtkIdList()
    hierarchy.GetItemsReferencedFromItemByDICOM(item, items)
    found = [hierarchy.GetItemDataNode(items.GetId(index)) for index in range(items.GetNumberOfIds())]
    return next((node for node in volumes if any(node is one for one in found)), None)


def _belong_together(one: Home, other: Home) -> bool:
    if one.study or other.study:
        return one.study == other.study
    if one.patient or other.patient:
        return one.patient == other.patient
    return one.folder == other.folder


def _studies(
    volumes: Sequence[slicer.vtkMRMLVolumeNode], homes: dict[str, Home]
) -> list[list[slicer.vtkMRMLVolumeNode]]:
    """Return the volumes by study, else by folder; what lies in neither is by itself."""
    groups: dict[object, list[slicer.vtkMRMLVolumeNode]] = {}
    for node in volumes:
        home = homes[node.GetID()]
        groups.setdefault(home.study or home.patient or home.folder or node.GetID(), []).append(node)
    return list(groups.values())


def _channel_names(groups: Sequence[Sequence[slicer.vtkMRMLVolumeNode]]) -> dict[str, str]:
    """Return a channel for each volume: the MR sequence in its name, else the word that tells it from the others."""
    names: dict[str, str] = {}
    for group in groups:
        if len(group) == 1:
            names[group[0].GetID()] = _sequence(group[0].GetName() or "") or "image"
            continue
        words = [_words(node.GetName() or "") for node in group]
        common = set.intersection(*(set(each) for each in words))
        taken: Counter[str] = Counter()
        for node, each in zip(group, words, strict=True):
            own = _sequence(node.GetName() or "") or "_".join(word for word in each if word not in common) or "image"
            taken[own] += 1
            names[node.GetID()] = own if taken[own] == 1 else f"{own}_{taken[own]}"
    return names


def _usual_channel(volumes: Sequence[slicer.vtkMRMLVolumeNode]) -> str:
    """Return how the one image of a case is called: by its modality where all have the same."""
    modalities = {study.image_facts(node).get("modality", "") for node in volumes}
    return modalities.pop() if len(modalities) == 1 and all(modalities) else "image"


def _sequence(name: str) -> str:
    words = _words(name)
    return next((sequence for sequence in _SEQUENCES if sequence in words), "")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.casefold())


def _common_name(names: Sequence[str]) -> str:
    """Return what the names begin with in common, else the first."""
    first = names[0]
    length = next((n for n in range(len(first), 0, -1) if all(name.startswith(first[:n]) for name in names)), 0)
    common = first[:length].rstrip(" _-.:")
    return common if len(common) >= 3 else first


def _same_grid(one: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode) -> bool:
    if one.GetImageData() is None or other.GetImageData() is None:
        return False
    if one.GetImageData().GetDimensions() != other.GetImageData().GetDimensions():
        return False
    try:
        return bool(np.allclose(nodes.affine_to_world(one), nodes.affine_to_world(other), atol=_GRID_TOLERANCE_MM))
    except VolumeError:
        return False


def _inside(label: slicer.vtkMRMLNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether the middle of a label lies in a volume."""
    bounds = [0.0] * 6
    label.GetRASBounds(bounds)
    if bounds[0] > bounds[1]:
        return False
    middle = np.array([*np.reshape(bounds, (3, 2)).mean(axis=1), 1.0])
    try:
        index = np.linalg.solve(nodes.affine_to_world(volume), middle)[:3]
    except (VolumeError, np.linalg.LinAlgError):
        return False
    return bool(np.all(index > -0.5) and np.all(index < np.array(volume.GetImageData().GetDimensions()) - 0.5))
