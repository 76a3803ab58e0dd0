"""A variant of images of the scene: from a draw to a job's parameters, and from its result to nodes beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import slicer
from meddl.augmentation.task import MAKE_VARIANT
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance, segmentation, study
from meddl_slicer.augmentation_case import SceneCase
from meddl_slicer.i18n import tr as _
from meddl_slicer.runs import SOURCE_ROLE
from meddl_slicer.scene_guard import SceneChange, alive


class VariantRun:
    """What a job needs to know to make a whole variant of a case, and where it goes.

    Attributes:
        task: to be given to :meth:`meddl.jobs.JobRunner.submit`, with :meth:`params`.
        images, segmentation: the new nodes, set by :meth:`steps`.

    Args:
        case: what it is made of.
        what: ``{"draw": ...}``, or ``{"plan": ..., "seed": ..., "number": ...}``, see
            :func:`meddl.augmentation.task.make_variant`.
        name: of the variant, for instance "variant 2": written behind the names of its sources.
    """

    task = MAKE_VARIANT

    def __init__(self, case: SceneCase, what: Mapping[str, Any], name: str) -> None:
        self.case, self._what, self._name = case, dict(what), name
        self.images: list[slicer.vtkMRMLVolumeNode] = []
        self.segmentation: slicer.vtkMRMLSegmentationNode | None = None

    def params(self, with_voxels: bool = True) -> dict[str, Any]:
        """Return the job's parameters; voxels are views of the nodes' memory.

        Args:
            with_voxels: whether they have to be sent. If not, the result may say that they are ``missing``.

        Raises:
            VolumeError: an image or the segmentation cannot be used.
        """
        found = {"case": self.case.key, **self._what}
        return {**found, "sample": self.case.sample()} if with_voxels else found

    def apply(self, result: Mapping[str, Any]) -> list[slicer.vtkMRMLVolumeNode]:
        """Bring the result into the scene and return the new images."""
        for _step in self.steps(result):
            pass
        return self.images

    def steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Bring the result into the scene in short steps. Where it ends early, the scene is as it was before."""
        self._check()
        change = SceneChange()
        try:
            for (channel, source), volume in zip(self.case.images.items(), result["images"].values(), strict=True):
                self._check()
                with change.step():
                    self.images.append(self._volume(source, volume, self._facts(channel, result)))
                yield
            if result["labels"] is not None:
                with change.step():
                    self.segmentation = self._labels(result)
                yield
        except BaseException:
            change.undo()
            raise
        change.finish()

    def _check(self) -> None:
        for node in (*self.case.images.values(), self.case.segmentation):
            if node is not None and alive(node) is None:
                raise VolumeError(
                    f'"{node.GetName()}" was removed from the scene while its variant was being made, so the variant '
                    "was discarded."
                )

    def _volume(self, source: slicer.vtkMRMLVolumeNode, volume: Any, facts: dict[str, Any]) -> Any:
        node = nodes.add_volume_node(volume, self._named(source), like=source, take_over=True, window=window_of(source))
        shown, like = node.GetDisplayNode(), source.GetDisplayNode()
        if like is not None and like.GetColorNodeID():
            shown.SetAndObserveColorNodeID(like.GetColorNodeID())
        _sign(node, source, facts)
        return node

    def _labels(self, result: Mapping[str, Any]) -> slicer.vtkMRMLSegmentationNode:
        source = self.case.segmentation
        facts = self._facts(None, result)
        answer = {"labels": result["labels"], "segments": result["segments"], "provenance": facts}
        node = segmentation.apply_segmentation(answer, self.images[0])
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self._named(source)))
        study.place_beside(node, source)
        # Both at once would lie over one another in the views.
        node.GetDisplayNode().SetVisibility(False)
        _sign(node, source, facts)
        return node

    def _named(self, source: slicer.vtkMRMLNode) -> str:
        return f"{source.GetName()} {self._name}"

    def _facts(self, channel: str | None, result: Mapping[str, Any]) -> dict[str, Any]:
        realism = {name: value for name, value in result["realism"].items() if name != "histogram" or channel}
        return {"synthetic": "augmentation", "channel": channel or "", "draw": dict(result["draw"]), "realism": realism,
                "notes": list(result["notes"])}  # fmt: skip


def draw_of(node: slicer.vtkMRMLNode) -> dict[str, Any] | None:
    """Return what made a variant, as :meth:`meddl.augmentation.Draw.from_dict` takes it; None for other nodes."""
    found = (provenance.read(node) or {}).get("draw")
    return dict(found) if found else None


def window_of(node: slicer.vtkMRMLVolumeNode) -> tuple[float, float] | None:
    """Return the gray values that are black and white; None where nobody has said."""
    display = node.GetDisplayNode()
    if display is None or not hasattr(display, "GetWindowLevelMin"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (low, high) if high > low else None


def said_of(titles: list[str]) -> str:
    """Return what happened to a sample in a few words."""
    return ", ".join(dict.fromkeys(titles)) or _("nothing happened")


def _sign(node: slicer.vtkMRMLNode, source: slicer.vtkMRMLNode, facts: Mapping[str, Any]) -> None:
    provenance.write(node, facts)
    node.SetAttribute(provenance.SYNTHETIC, str(facts["synthetic"]))
    node.SetNodeReferenceID(SOURCE_ROLE, source.GetID())
