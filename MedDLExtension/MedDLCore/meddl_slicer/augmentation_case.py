"""Images of the scene with their labels, as the jobs of augmentation take them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import slicer
from meddl.errors import VolumeError

from meddl_slicer import export_labels, nodes
from meddl_slicer.export_cases import CaseRow, SceneLabel, signature
from meddl_slicer.scene_guard import alive

if TYPE_CHECKING:
    from meddl.volume import Segment


class SceneCase:
    """One or more images that move together, and what is labeled in them.

    Attributes:
        images: by channel, called as the nodes are; the first one's grid counts.
        segmentation: or None.
    """

    def __init__(
        self,
        images: Sequence[slicer.vtkMRMLVolumeNode],
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
    ) -> None:
        self.images: Mapping[str, slicer.vtkMRMLVolumeNode] = _named(images)
        self.segmentation = segmentation

    @property
    def image(self) -> slicer.vtkMRMLVolumeNode:
        """The first image."""
        return next(iter(self.images.values()))

    @property
    def key(self) -> str:
        """Another text as soon as voxels, place, names or codes are other ones."""
        label = SceneLabel("segmentation", (self.segmentation,)) if self.segmentation is not None else None
        told = signature(CaseRow("", self.images, label))
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is part of it."""
        return any(one is node for one in (*self.images.values(), self.segmentation))

    def sample(self) -> dict[str, Any]:
        """Return voxels as views of the nodes' memory, in world coordinates.

        Raises:
            VolumeError: an image or the segmentation cannot be used; the message says why.
        """
        for node in (*self.images.values(), self.segmentation):
            if node is not None and alive(node) is None:
                raise VolumeError(f'"{node.GetName()}" was removed from the scene.')
        found: dict[str, Any] = {"images": {name: nodes.volume_from_node(one) for name, one in self.images.items()}}
        if self.segmentation is not None and self.segmentation.GetSegmentation().GetNumberOfSegments():
            # Only what is filled: the worker brings it to the image's grid.
            label, _notes = export_labels.segmentation_label(self.segmentation, self.image, as_stored=True)
            found["labels"] = label.source
            found["segments"] = [_plain(each) for each in label.segments]
        return found


def _plain(segment: Segment) -> dict[str, Any]:
    return {**asdict(segment), "color": tuple(segment.color)}


def _named(images: Sequence[slicer.vtkMRMLVolumeNode]) -> dict[str, slicer.vtkMRMLVolumeNode]:
    found: dict[str, slicer.vtkMRMLVolumeNode] = {}
    for node in images:
        name, number = node.GetName() or "image", 2
        while name in found:
            name, number = f"{node.GetName()} ({number})", number + 1
        found[name] = node
    return found
