"""Where a node belongs: the patient and study folders of the subject hierarchy."""

from __future__ import annotations

import slicer

#: DICOM facts of an image that say nothing about the person.
_FACTS = {"modality": "DICOM.Modality"}
#: DICOM facts that folders of the hierarchy hold, by their level, and that say who it is.
_PERSONAL = {
    "Patient": ("PatientName", "PatientID", "PatientBirthDate"),
    "Study": ("StudyID", "StudyDate", "StudyInstanceUID"),
}


def place_beside(node: slicer.vtkMRMLNode, reference: slicer.vtkMRMLNode) -> None:
    """Move ``node`` into the folder (patient, study, ...) that ``reference`` lies in."""
    place_in(node, folder_of(reference))


def place_in(node: slicer.vtkMRMLNode, folder: int) -> None:
    """Move ``node`` into a folder; 0 is the scene itself."""
    hierarchy = _hierarchy()
    if hierarchy is None:
        return
    folder = folder or hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def folder_of(node: slicer.vtkMRMLNode) -> int:
    """Return the folder that ``node`` lies in; the scene's own for one that is not filed, 0 without a hierarchy."""
    hierarchy = _hierarchy()
    if hierarchy is None:
        return 0
    item = hierarchy.GetItemByDataNode(node)
    # Volumes loaded out of a folder may not be in the hierarchy in a scene without application.
    return hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()


def new_folder(name: str, reference: slicer.vtkMRMLNode) -> int:
    """Make a folder beside ``reference`` and return it."""
    hierarchy = _hierarchy()
    return hierarchy.CreateFolderItem(folder_of(reference), name) if hierarchy is not None else 0


def remove_empty(folder: int) -> None:
    """Remove a folder that holds nothing; the scene's own stays."""
    hierarchy = _hierarchy()
    if hierarchy is None or not folder or folder == hierarchy.GetSceneItemID():
        return
    if not hierarchy.GetNumberOfItemChildren(folder) and hierarchy.GetItemLevel(folder) == "Folder":
        hierarchy.RemoveItem(folder)


def image_facts(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """Return what is known of the image and does not identify the patient, for instance ``{"modality": "MR"}``."""
    hierarchy = _hierarchy()
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    facts = {}
    for name, attribute in _FACTS.items():
        value = (hierarchy.GetItemAttribute(item, attribute) if item else "") or node.GetAttribute(attribute)
        if value:
            facts[name] = value
    return facts


def identifying_texts(node: slicer.vtkMRMLNode) -> tuple[str, ...]:
    """Return what the folders of patient and study say of the person: names, numbers, dates. Never to be written."""
    hierarchy = _hierarchy()
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    if not item:
        return ()
    found: dict[str, None] = {}
    for level, attributes in _PERSONAL.items():
        folder = hierarchy.GetItemAncestorAtLevel(item, level)
        if folder:
            found[hierarchy.GetItemUID(folder, "DICOM")] = None
            found.update(dict.fromkeys(hierarchy.GetItemAttribute(folder, f"DICOM.{name}") for name in attributes))
    return tuple(sorted(text for text in found if text.strip()))


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode | None:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
