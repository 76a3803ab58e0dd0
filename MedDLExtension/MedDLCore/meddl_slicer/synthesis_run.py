"""Synthetic images and lesions: from nodes to a job, and from what it made to nodes that say what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import slicer
import slicer.util
from meddl.errors import VolumeError
from meddl.synthesis.task import INSERT_LESION, SAMPLE_SYNTHESIZER

from meddl_slicer import export_labels, maps, nodes, provenance, segmentation, study
from meddl_slicer.i18n import tr as _
from meddl_slicer.scene_guard import SceneChange, alive

if TYPE_CHECKING:
    from meddl.volume import Volume

#: Node reference from a synthetic segmentation to its image.
IMAGE_ROLE = provenance.PREFIX + "image"
_SAME = 1e-4


class SynthesisRun:
    """What a job needs to know to make something, and where it goes.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.
        pairs: what came of it: volume and segmentation nodes, the latter None without labels.
        folder: of the subject hierarchy that they lie in.
        notes: what the user should know, in sentences.
    """

    task = SAMPLE_SYNTHESIZER

    def __init__(self, title: str, kind: str, sources: Sequence[slicer.vtkMRMLNode | None]) -> None:
        self.title, self.kind = title, kind
        self.sources = [node for node in sources if node is not None]
        self.params: dict[str, Any] = {}
        self.pairs: list[tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLSegmentationNode | None]] = []
        self.folder = 0
        self.notes: tuple[str, ...] = ()

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is what is made from."""
        return any(node is each for each in self.sources)

    def apply(self, result: Mapping[str, Any]) -> list[Any]:
        """Bring the job's result into the scene and return the pairs of nodes."""
        for _step in self.steps(result):
            pass
        return self.pairs

    def steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Do as :meth:`apply`, but in short steps: the caller may let the application work after each ``yield``.

        Where it ends early (an error, a generator that is closed), the scene is as it was before.
        """
        self._check_sources()
        change = SceneChange()
        folder = _new_folder(self.title, self._beside())
        made: list[tuple[Any, Any]] = []
        try:
            for number, each in enumerate(result["made"], 1):
                with change.step():
                    image = self._image(each, number, len(result["made"]), folder)
                yield
                self._check_sources()
                with change.step():
                    made.append((image, self._labels(each, image, folder)))
                yield
                self._check_sources()
        except BaseException:
            change.undo()
            study.remove_empty(folder)
            raise
        change.finish()
        self.pairs, self.folder = made, folder
        told = (text for each in result["made"] for text in each["facts"].get("notes", ()))
        self.notes = tuple(dict.fromkeys(map(str, [*result.get("notes", ()), *told])))

    def _image(self, made: Mapping[str, Any], number: int, count: int, folder: int) -> slicer.vtkMRMLScalarVolumeNode:
        name = f"{self.title} {number}" if count > 1 else self.title
        like = self._beside()
        node = nodes.add_volume_node(made["image"], name, like=like, take_over=True)
        if isinstance(like, slicer.vtkMRMLScalarVolumeNode):
            maps.window_like(node, like)
        self._sign(node, made)
        study.place_in(node, folder)
        return node

    def _labels(
        self, made: Mapping[str, Any], image: slicer.vtkMRMLScalarVolumeNode, folder: int
    ) -> slicer.vtkMRMLSegmentationNode | None:
        if made["labels"] is None:
            return None
        told = {"labels": made["labels"], "segments": made["segments"], "provenance": _facts(made["facts"])}
        node = segmentation.apply_segmentation(told, image)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(f"{image.GetName()} labels"))
        node.SetNodeReferenceID(IMAGE_ROLE, image.GetID())
        self._sign(node, made)
        study.place_in(node, folder)
        return node

    def _sign(self, node: slicer.vtkMRMLNode, made: Mapping[str, Any]) -> None:
        node.SetAttribute(provenance.SYNTHETIC, self.kind)
        provenance.write(node, {"task": "synthesis", "synthetic": self.kind, **_facts(made["facts"])})

    def _beside(self) -> slicer.vtkMRMLNode | None:
        return self.sources[0] if self.sources else None

    def _check_sources(self) -> None:
        for node in self.sources:
            if alive(node) is None:
                raise VolumeError(
                    f'"{node.GetName()}" was removed from the scene in the meantime, so the result was discarded.'
                )


class ImagesRun(SynthesisRun):
    """Whole images out of a generator.

    Args:
        model: id of the generator, or where it is.
        name: what it is called.
        segmentation: what the images shall show, for a generator that takes label maps.
        image: whose grid they shall have, if not that of the segmentation.

    Raises:
        VolumeError: the segmentation or image cannot be used; the message says why.
    """

    def __init__(
        self,
        model: str,
        name: str,
        count: int = 1,
        seed: int = 0,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        image: slicer.vtkMRMLScalarVolumeNode | None = None,
    ) -> None:
        super().__init__(
            _("Synthetic {name} (seed {seed})").format(name=name, seed=seed), "image", [image, segmentation]
        )
        self.params = {"model": model, "count": count, "seed": seed}
        if segmentation is None:
            self.sources = []
            return
        labels, self.params["segments"] = labels_of(segmentation, image)
        self.params["labels"] = labels
        grid = image or reference_image(segmentation)
        if grid is not None:
            shape = tuple(grid.GetImageData().GetDimensions())
            affine = nodes.affine_to_world(grid)
            if shape != labels.shape or abs(affine - labels.affine).max() > _SAME:
                self.params["grid"] = {"shape": shape, "affine": affine}


class LesionRun(SynthesisRun):
    """Lesions in an image.

    Args:
        image: it is not changed.
        segmentation: what is where in it.
        options: as :class:`meddl.synthesis.lesions.LesionOptions` has them.
        model: generator that draws the inside; "" for none.
        example: a segmentation of a real lesion, and the name of its segment.

    Raises:
        VolumeError: the image, segmentation or example cannot be used; the message says why.
    """

    task = INSERT_LESION

    def __init__(
        self,
        image: slicer.vtkMRMLScalarVolumeNode,
        segmentation: slicer.vtkMRMLSegmentationNode | None,
        options: Mapping[str, Any],
        model: str = "",
        example: tuple[slicer.vtkMRMLSegmentationNode, str] | None = None,
    ) -> None:
        title = _("{image} with {lesion} (synthetic, seed {seed})").format(
            image=image.GetName(), lesion=str(options["name"]).casefold(), seed=options["seed"]
        )
        super().__init__(title, "lesion", [image, segmentation])
        self.params = {"image": nodes.volume_from_node(image), "options": dict(options)}
        if segmentation is not None:
            self.params["labels"], self.params["segments"] = labels_of(segmentation, image)
        if model:
            self.params["model"] = model
        if example is not None:
            self.params["example"] = _example(*example)


def labels_of(
    node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkMRMLVolumeNode | None = None
) -> tuple[Volume, list[dict[str, Any]]]:
    """Return the label maps of a segmentation, one channel per layer, and what their values mean.

    Args:
        image: the volume that it belongs to; the one it was made on by default.

    Raises:
        VolumeError: there are no segments or voxels, or no image is known where one is needed.
    """
    image = image or reference_image(node)
    try:
        label, _notes = export_labels.segmentation_label(node, image)
    except (RuntimeError, AttributeError) as error:
        if image is not None:
            raise
        raise VolumeError(
            f'The segments of "{node.GetName()}" lie on different grids, and the image that it was made on is gone. '
            "Choose an image whose grid the result shall have."
        ) from error
    return label.source, [asdict(each) for each in label.segments]


def _example(node: slicer.vtkMRMLSegmentationNode, name: str) -> dict[str, Any]:
    image = reference_image(node)
    if image is None:
        raise VolumeError(f'The image that "{node.GetName()}" was made on is not in the scene. Load it, too.')
    labels, segments = labels_of(node, image)
    found = next((each for each in segments if each["name"] == name), None)
    if found is None:
        raise VolumeError(f'"{node.GetName()}" has no segment "{name}".')
    return {"image": nodes.volume_from_node(image), "labels": labels, "segment": found}


def reference_image(node: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Return the image that a segmentation was made on, or None where it is gone."""
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) if node is not None else None
    return image if image is not None and image.GetImageData() is not None else None


def structure_names(node: slicer.vtkMRMLSegmentationNode | None) -> list[str]:
    """Return the names of a segmentation's segments."""
    if node is None:
        return []
    content = node.GetSegmentation()
    return [content.GetSegment(each).GetName() for each in content.GetSegmentIDs()]


def show(image: slicer.vtkMRMLScalarVolumeNode, fit: bool) -> None:
    """Show an image in all slice views."""
    if getattr(slicer, "app", None) is None or slicer.app.layoutManager() is None:
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetBackgroundVolumeID(image.GetID())
        return
    slicer.util.setSliceViewerLayers(background=image, fit=fit)


def show_labels(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show a synthetic image's segmentation as outlines, and no other one: the image is what there is to see."""
    for each in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = each.GetDisplayNode()
        if display is not None:
            display.SetVisibility(each is node)
    node.GetDisplayNode().SetVisibility2DFill(False)


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts with the generator where provenance looks for the model."""
    drawn = [texture for each in facts.get("lesions", ()) for texture in each.get("texture", {}).values()]
    told = next((each for each in (facts, *drawn) if "generator" in each), {})
    model = {"name": told.get("generator", ""), "version": told.get("generator_version", "")}
    return {**facts, "model": {**model, "sha256": told.get("generator_sha256", "")}}


def _new_folder(name: str, beside: slicer.vtkMRMLNode | None) -> int:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return 0
    parent = study.folder_of(beside) if beside is not None else hierarchy.GetSceneItemID()
    return hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(name))
