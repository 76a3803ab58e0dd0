"""Another scanner's images of an image of the scene: from nodes to a job's parameters, and from its result to nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import slicer
import slicer.util
from meddl.errors import VolumeError
from meddl.simulation.task import SIMULATE

from meddl_slicer import nodes, provenance, segmentation
from meddl_slicer.augmentation_case import SceneCase
from meddl_slicer.augmentation_run import window_of
from meddl_slicer.i18n import tr as _
from meddl_slicer.runs import SOURCE_ROLE
from meddl_slicer.scene_guard import SceneChange, alive


class SimulationRun:
    """What a job needs to know to simulate scans of an image, and where they go.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.
        made: the new volumes, each with its segmentation (of projections with labels) or None; set by :meth:`steps`.

    Args:
        image: a magnitude MR image or a CT in Hounsfield units.
        options: as :meth:`meddl.simulation.SimulationOptions.to_dict` tells them.
        labels: what is projected along; of scans on the image's own grid, its labels fit as they are.

    Raises:
        VolumeError: an image or segmentation cannot be used; the message says why.
    """

    task = SIMULATE

    def __init__(
        self,
        image: slicer.vtkMRMLScalarVolumeNode,
        options: Mapping[str, Any],
        labels: slicer.vtkMRMLSegmentationNode | None = None,
    ) -> None:
        self._isProjection = options["method"] == "projection"
        self._case = SceneCase([image], labels if self._isProjection else None)
        sample = self._case.sample()
        self.params: dict[str, Any] = {"volume": nodes.volume_from_node(image), "options": dict(options)}
        if "labels" in sample:
            self.params |= {"labels": sample["labels"], "segments": sample["segments"]}
        self.made: list[tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode | None]] = []

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is what it is made of."""
        return self._case.uses(node)

    def apply(self, result: Mapping[str, Any]) -> list[Any]:
        """Bring the result into the scene and return :attr:`made`."""
        for _step in self.steps(result):
            pass
        return self.made

    def steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Bring the result into the scene in short steps. Where it ends early, the scene is as it was before."""
        change = SceneChange()
        try:
            for each in result["simulated"]:
                if alive(self._case.image) is None:
                    raise VolumeError(
                        f'"{self._case.image.GetName()}" was removed from the scene in the meantime, so the result was '
                        "discarded."
                    )
                with change.step():
                    image = self._image(each)
                yield
                with change.step():
                    self.made.append((image, self._labels(each, image)))
                yield
        except BaseException:
            change.undo()
            raise
        change.finish()

    def _image(self, made: Mapping[str, Any]) -> slicer.vtkMRMLScalarVolumeNode:
        source = self._case.image
        window = None if self._isProjection else window_of(source)
        name = f"{source.GetName()} {_suffix(made['facts'])}"
        node = nodes.add_volume_node(made["image"], name, like=source, take_over=True, window=window)
        _sign(node, source, made["facts"])
        return node

    def _labels(
        self, made: Mapping[str, Any], image: slicer.vtkMRMLScalarVolumeNode
    ) -> slicer.vtkMRMLSegmentationNode | None:
        source = self._case.segmentation
        if made["labels"] is None or source is None:
            return None
        answer = {"labels": made["labels"], "segments": made["segments"], "provenance": {}}
        node = segmentation.apply_segmentation(answer, image)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(f"{source.GetName()} {_suffix(made['facts'])}"))
        _sign(node, source, made["facts"])
        return node


def show(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show a volume in the slice views; one of a single slice in the view that faces it most nearly."""
    layout = slicer.app.layoutManager()
    if layout is None:
        return
    if min(node.GetImageData().GetDimensions()) > 1:
        slicer.util.setSliceViewerLayers(background=node)
        return
    affine = nodes.affine_to_world(node)
    normal = affine[:3, int(np.argmin(node.GetImageData().GetDimensions()))]
    names = [name for name in ("Red", "Yellow", "Green") if name in layout.sliceViewNames()]
    if not names:
        return
    logics = {name: layout.sliceWidget(name).sliceLogic() for name in names}

    def facing(name: str) -> float:
        frame = slicer.util.arrayFromVTKMatrix(logics[name].GetSliceNode().GetSliceToRAS())
        return abs(float(frame[:3, 2] @ normal))

    logic = logics[max(names, key=facing)]
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(node.GetID())
    logic.GetSliceNode().RotateToVolumePlane(node)
    logic.FitSliceToBackground()
    logic.SnapSliceOffsetToIJK()


def _suffix(facts: Mapping[str, Any]) -> str:
    method = facts["options"]["method"]
    if method == "projection":
        views = facts["options"]["views"]
        return _("X-ray {view}").format(view=views[int(facts["number"]) % len(views)])
    return {"undersampling": _("undersampled"), "rician": _("noisy"), "low_dose": _("low dose")}.get(method, method)


def _sign(node: slicer.vtkMRMLNode, source: slicer.vtkMRMLNode, facts: Mapping[str, Any]) -> None:
    provenance.write(node, {"synthetic": "simulation", **facts})
    node.SetAttribute(provenance.SYNTHETIC, "simulation")
    node.SetNodeReferenceID(SOURCE_ROLE, source.GetID())
