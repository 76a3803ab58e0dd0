"""Images that change with time: the frames of a sequence as values, and results as sequences beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance, study

if TYPE_CHECKING:
    from meddl.volume import Volume

#: Node reference from a result's main node, which shows one frame, to the sequence of all.
SEQUENCE_ROLE = provenance.PREFIX + "sequence"


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: its index value as the sequence writes it, for instance "1.25", and its image."""

    index: str
    volume: Volume


def sequence_of(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLSequenceNode | None:
    """Return the sequence that ``node`` is or shows a frame of, or None."""
    if node is None or isinstance(node, slicer.vtkMRMLSequenceNode):
        return node
    browser = _browser_of_proxy(node)
    return browser.GetSequenceNode(node) if browser is not None else None


def is_volume_sequence(node: slicer.vtkMRMLNode | None) -> bool:
    """Tell whether ``node`` is a sequence of images, or shows a frame of one."""
    sequence = sequence_of(node)
    return sequence is not None and sequence.GetNumberOfDataNodes() > 0 and _is_volume(sequence.GetNthDataNode(0))


def shown_volume(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLVolumeNode | None:
    """Return the volume in the scene that ``node`` is or, for a sequence, that shows one of its frames; else None."""
    if not isinstance(node, slicer.vtkMRMLSequenceNode):
        return node if _is_volume(node) else None
    browser = browser_of(node)
    proxy = browser.GetProxyNode(node) if browser is not None else None
    return proxy if _is_volume(proxy) else None


def browser_of(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode | None:
    """Return the first browser that plays ``sequence``, or None."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.IsSynchronizedSequenceNodeID(sequence.GetID(), True):
            return browser
    return None


def frames(node: slicer.vtkMRMLNode) -> list[Frame]:
    """Return all frames of the sequence that ``node`` is or shows; their arrays are views of its memory.

    Raises:
        VolumeError: it is no sequence of images.
    """
    sequence = sequence_of(node)
    if sequence is None or not is_volume_sequence(node):
        raise VolumeError(f'"{node.GetName()}" is no sequence of images. Choose a volume, or a sequence of volumes.')
    shown = shown_volume(sequence)
    placed = nodes.parent_to_world(shown) if shown is not None else None
    found = []
    for position in range(sequence.GetNumberOfDataNodes()):
        volume = nodes.volume_from_node(sequence.GetNthDataNode(position))
        if placed is not None:  # what is kept in the sequence knows nothing of the transform that its frames lie under
            volume = type(volume)(volume.array, placed @ volume.affine, name=volume.name, meta=volume.meta)
        found.append(Frame(sequence.GetNthIndexValue(position), volume))
    return found


def show(sequence: slicer.vtkMRMLSequenceNode) -> slicer.vtkMRMLSequenceBrowserNode:
    """Return the browser of ``sequence``; one is made, and the first frame shown, where there is none."""
    browser = browser_of(sequence)
    if browser is None:
        name = slicer.mrmlScene.GenerateUniqueName(f"{sequence.GetName()} browser")
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", name)
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        if browser.GetProxyNode(sequence) is None:  # Slicer makes one by itself where its module is at work
            browser.AddProxyNode(sequence.GetNthDataNode(0), sequence, True)
        browser.SetSelectedItemNumber(0)
    return browser


def shown_position(browser: slicer.vtkMRMLSequenceBrowserNode, sequence: slicer.vtkMRMLSequenceNode) -> int:
    """Return which frame of ``sequence`` its browser shows, from 0."""
    leader, item = browser.GetMasterSequenceNode(), max(browser.GetSelectedItemNumber(), 0)
    if leader is not sequence and item < leader.GetNumberOfDataNodes():
        item = sequence.GetItemNumberFromIndexValue(leader.GetNthIndexValue(item), False)
    return min(max(item, 0), sequence.GetNumberOfDataNodes() - 1)


class Recorder:
    """Collects one node per frame; at the end they become a sequence that is played together with the input.

    Args:
        source: the sequence that the result belongs to.
        former: the sequence of a former run, which is written anew; a new one when ``None``.
    """

    def __init__(self, source: slicer.vtkMRMLSequenceNode, former: slicer.vtkMRMLSequenceNode | None = None) -> None:
        self._source = source
        self._former = former
        self._recorded: list[tuple[str, slicer.vtkMRMLNode]] = []

    def record(self, node: slicer.vtkMRMLNode, index: str) -> None:
        """Keep ``node``, which is not part of the scene, for the frame with index value ``index``."""
        self._recorded.append((index, node))

    def finish(self, node: slicer.vtkMRMLNode) -> Iterator[None]:
        """Write the sequence and let ``node`` show the frame that the input's browser shows, from now on.

        Goes in steps; where it ends early, a former sequence has its frames again.
        """
        sequence = self._former
        if sequence is None:
            name = slicer.mrmlScene.GenerateUniqueName(f"{node.GetName()} sequence")
            sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            study.place_beside(sequence, self._source)
        count = sequence.GetNumberOfDataNodes()
        former = [(sequence.GetNthIndexValue(each), sequence.GetNthDataNode(each)) for each in range(count)]
        try:
            yield from self._write(sequence)
            browser = show(self._source)
            if not browser.IsSynchronizedSequenceNodeID(sequence.GetID()):
                # In one step: for a sequence that is played without a node, Slicer would make one of its own.
                browser.AddProxyNode(node, sequence, False)
            browser.SetOverwriteProxyName(sequence, False)
            node.SetNodeReferenceID(SEQUENCE_ROLE, sequence.GetID())
            yield
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        except BaseException:
            sequence.RemoveAllDataNodes()
            for index, each in former:
                sequence.SetDataNodeAtValue(each, index)
            raise

    def _write(self, sequence: slicer.vtkMRMLSequenceNode) -> Iterator[None]:
        sequence.RemoveAllDataNodes()
        for what in ("IndexName", "IndexUnit", "IndexType"):
            getattr(sequence, f"Set{what}")(getattr(self._source, f"Get{what}")())
        while self._recorded:
            index, recorded = self._recorded.pop(0)
            sequence.SetDataNodeAtValue(recorded, index)
            yield


def _browser_of_proxy(node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSequenceBrowserNode | None:
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.GetSequenceNode(node) is not None:
            return browser
    return None


def _is_volume(node: Any) -> bool:
    return isinstance(node, slicer.vtkMRMLScalarVolumeNode) and not isinstance(node, slicer.vtkMRMLLabelMapVolumeNode)
