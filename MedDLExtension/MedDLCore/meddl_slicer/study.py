"""Where a node belongs: the patient and study folders of the subject hierarchy."""

from __future__ import annotations

import slicer

#: DICOM facts of an image that say nothing about the person.
_FACTS = {"modality": "DICOM.Modality"}


def place_beside(node: slicer.vtkMRMLNode, reference: slicer.vtkMRMLNode) -> None:
    """Move ``node`` into the folder (patient, study, ...) that ``reference`` lies in."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    reference_item = hierarchy.GetItemByDataNode(reference)
    # Volumes loaded out of a folder may not be in the hierarchy in a scene without application.
    folder = hierarchy.GetItemParent(reference_item) if reference_item else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, folder)
    else:
        hierarchy.CreateItem(folder, node)


def image_facts(node: slicer.vtkMRMLNode) -> dict[str, str]:
    """Return what is known of the image and does not identify the patient, for instance ``{"modality": "MR"}``."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
    facts = {}
    for name, attribute in _FACTS.items():
        value = (hierarchy.GetItemAttribute(item, attribute) if item else "") or node.GetAttribute(attribute)
        if value:
            facts[name] = value
    return facts
