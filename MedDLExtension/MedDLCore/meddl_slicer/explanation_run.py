"""One explanation of a model's answer: from nodes to a job's parameters, and from its result to maps in the scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from meddl.errors import VolumeError

from meddl_slicer import explanation_maps, explanation_tables, nodes
from meddl_slicer.evaluation_run import labels_of
from meddl_slicer.explanation_target import mask_of
from meddl_slicer.runs import InferenceRun
from meddl_slicer.scene_guard import SceneChange, alive

RUN_EXPLANATION = "meddl.saliency.task:run_explanation"
LIST_METHODS = "meddl.saliency.task:list_methods"


class ExplanationRun:
    """What a job needs to know to explain a model's answer to images of the scene.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.
        inputs: the images, in the order of the model's channels.
        maps: the volume nodes of the maps, one per method that gave one; set by :meth:`apply`.
        answer: the main node of the model's answer, where it is wanted.
        leftOut: why methods gave no map, in sentences, by their ids; set by :meth:`apply`.

    Args:
        inputs: a volume node, or several where the model takes several images.
        model: name in the catalog, or where the model is.
        methods: ids, see ``meddl.saliency.methods.known.METHODS``.
        target: as :func:`meddl_slicer.explanation_target.target_of` gives it; None for what the model is surest of.
        options: as :class:`meddl.saliency.options.ExplainOptions` takes them.
        reference: image for the baseline "reference".
        segmentation: its segments' shares of the evidence are told, and "ablation" takes them away one by one.
        truth: segmentation of where the evidence should lie; the segments that are shown count.
        measures: how to find out how far to believe the maps, see ``meddl.saliency.faithfulness.known.MEASURES``.
        counterfactual: ask the model again without each segment of ``segmentation``.
        with_answer: bring the model's answer into the scene, too.
        answer: main node of a former answer, which is replaced.

    Raises:
        VolumeError: an image or segmentation cannot be used; the message says why.

    Example::

        run = ExplanationRun(volumeNode, "brain_extraction", ["integrated_gradients"])
        maps = run.apply(runner.submit(run.task, run.params).wait())
    """

    task = RUN_EXPLANATION

    def __init__(
        self,
        inputs: slicer.vtkMRMLNode | Sequence[slicer.vtkMRMLNode],
        model: str | Path,
        methods: Sequence[str],
        target: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        reference: slicer.vtkMRMLVolumeNode | None = None,
        segmentation: slicer.vtkMRMLSegmentationNode | None = None,
        truth: slicer.vtkMRMLSegmentationNode | None = None,
        measures: Sequence[str] = (),
        counterfactual: bool = False,
        with_answer: bool = False,
        answer: slicer.vtkMRMLNode | None = None,
    ) -> None:
        self._images = InferenceRun(inputs, model, answer)  # it reads images as every run does
        self.inputs, self.model = self._images.inputs, str(model)
        self._with_answer, self.answer = with_answer, answer
        self.maps: list[slicer.vtkMRMLScalarVolumeNode] = []
        self.leftOut: dict[str, str] = {}
        images = self._images.params
        self.params: dict[str, Any] = {
            "model": self.model,
            "volumes": images["volumes"] if "volumes" in images else [images["volume"]],
            "methods": list(methods),
            "options": dict(options or {}),
            "faithfulness": list(measures),
            "lenient": True,  # what the others have found in minutes is not lost
        }
        if target is not None:
            self.params["target"] = dict(target)
        if reference is not None:
            self.params["reference"] = nodes.volume_from_node(reference)
        if segmentation is not None:
            self.params["labels"], self.params["segments"] = labels_of(segmentation, self.inputVolume)
            self.params["counterfactual"] = counterfactual
        if truth is not None:
            self.params["truth"] = mask_of(truth, self.inputVolume)

    @property
    def inputVolume(self) -> slicer.vtkMRMLVolumeNode:
        """The volume that the maps are placed beside."""
        return self._images.inputVolume

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is one of the images."""
        return self._images.uses(node)

    def apply(self, result: Mapping[str, Any]) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """Bring the job's result into the scene and return the maps' nodes.

        Raises:
            VolumeError: an image was removed in the meantime; nothing in the scene has changed.
        """
        for _step in self.steps(result):
            pass
        return self.maps

    def steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Do as :meth:`apply`, but in short steps: the caller may let the application work after each ``yield``.

        Where it ends early, the scene is as it was before.
        """
        from meddl.saliency.attribution import Attribution

        source = self.inputVolume
        agreement, counterfactuals = (tuple(result.get(name, ())) for name in ("agreement", "counterfactuals"))
        attributions = [Attribution.from_dict(each) for each in result["attributions"]]
        self._check_inputs()
        formers: list[slicer.vtkMRMLScalarVolumeNode | None] = []
        for each in attributions:
            formers.append(explanation_maps.former_of(each, source, [node for node in formers if node is not None]))
        change = SceneChange(_written(formers))
        made: list[slicer.vtkMRMLScalarVolumeNode] = []
        try:
            for each, former in zip(attributions, formers, strict=True):
                self._check_inputs()
                with change.step():
                    node = explanation_maps.apply_map(each, source, former, agreement, counterfactuals)
                    explanation_tables.apply_tables(node, source, each.to_dict())
                    made.append(node)
                yield
            if self._with_answer:
                yield from self._images.steps(result["prediction"])
                self.answer = self._images.output
        except BaseException:
            change.undo()
            for node in formers:
                if alive(node) is not None:
                    explanation_maps.look_again(node)
            raise
        self.maps = made
        self.leftOut = dict(result.get("left_out") or {})
        change.finish()

    def _check_inputs(self) -> None:
        for node in self.inputs:
            if alive(node) is None:
                raise VolumeError(
                    f'"{node.GetName()}" was removed from the scene while the model was being explained, so the '
                    "explanation was discarded."
                )


def _written(formers: Sequence[slicer.vtkMRMLScalarVolumeNode | None]) -> list[slicer.vtkMRMLNode]:
    """Return the nodes that a new result is written into."""
    found = []
    for node in formers:
        if node is not None:
            roles = (explanation_tables.ANATOMY_ROLE, explanation_tables.MEASURES_ROLE)
            found += [node, *(one for role in roles if (one := node.GetNodeReference(role)) is not None)]
    return found
