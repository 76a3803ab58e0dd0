"""One run of a model: from nodes to a job's parameters, and from its result back to nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import slicer
import slicer.util
from meddl.errors import MedDLError, VolumeError

from meddl_slicer import (
    boxes,
    classification,
    landmarks,
    maps,
    nodes,
    provenance,
    reconstruction,
    segmentation,
    sequences,
    table,
)
from meddl_slicer.evaluation_run import EVALUATION_ROLE
from meddl_slicer.frames_task import RUN_EACH_FRAME
from meddl_slicer.scene_guard import SceneChange, alive

if TYPE_CHECKING:
    from meddl.volume import Volume

Frames = Literal["one", "each", "whole"]

#: Node reference from a result's main node to the node that was chosen as the (first) image.
SOURCE_ROLE = provenance.PREFIX + "source"
RUN_INFERENCE = "meddl.inference.task:run_inference"
#: The class of the main node of each task's result.
OUTPUT_CLASSES = {
    "segmentation": "vtkMRMLSegmentationNode",
    "classification": "vtkMRMLTableNode",
    "detection": "vtkMRMLTableNode",
    "landmarks": "vtkMRMLMarkupsFiducialNode",
    "reconstruction": "vtkMRMLScalarVolumeNode",
}
#: Weights of red, green and blue in what the eye calls bright (Rec. 601).
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


class InferenceRun:
    """What a job needs to know to run a model on images of the scene, and where its result goes.

    Attributes:
        task, params: to be given to :meth:`meddl.jobs.JobRunner.submit`.
        inputs: the nodes the images come from, in the order of the model's channels.
        output: the result's main node: a segmentation, table, markups or volume; set by :meth:`apply` if a new one is
            made.

    Args:
        inputs: a volume node, or several where the model takes several images.
        model: name in the catalog, or where the model is; a list of these for an ensemble.
        output: the main node of a former result, which is replaced; a new one when it is None or of another class.
        options: as :class:`meddl.inference.RunOptions` takes them, for instance ``{"device": "cpu"}``.
        reference: a volume that a reconstruction is compared with.
        frames: what to do with a sequence: take the image it shows now, or all frames together as the model's input.

    Raises:
        VolumeError: an input or the reference cannot be used; the message says why.

    Example::

        run = InferenceRun(volumeNode, "brain_extraction", options={"uncertainty": "flips"})
        node = run.apply(runner.submit(run.task, run.params).wait())
    """

    task = RUN_INFERENCE

    def __init__(
        self,
        inputs: slicer.vtkMRMLNode | Sequence[slicer.vtkMRMLNode],
        model: str | Path | Sequence[str | Path],
        output: slicer.vtkMRMLNode | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        reference: slicer.vtkMRMLVolumeNode | None = None,
        frames: Frames = "one",
    ) -> None:
        self.inputs = [inputs] if isinstance(inputs, slicer.vtkMRMLNode) or inputs is None else list(inputs)
        self.model = str(model) if isinstance(model, str | Path) else [str(one) for one in model]
        self.output = output
        self.params: dict[str, Any] = {"model": self.model, "options": dict(options or {})}
        if reference is not None:
            self.params["reference"] = nodes.volume_from_node(reference)
        self._frames = frames
        # Views of the nodes' voxels: the runner copies them when the job's turn comes.
        self._read_images()

    def apply(self, result: Mapping[str, Any]) -> slicer.vtkMRMLNode:
        """Bring the job's result into the scene and return its main node.

        Raises:
            VolumeError: the input was removed or changed its size in the meantime; nothing in the scene has changed.
        """
        for _step in self.steps(result):
            pass
        return self.output

    def steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Do as :meth:`apply`, but in short steps: the caller may let the application work after each ``yield``.

        Where it ends early (an error, a generator that is closed), the scene is as it was before.
        """
        self._check_inputs()
        change = SceneChange(_belonging(self.output))
        parts = self._steps(result)
        try:
            while True:
                with change.step():
                    try:
                        next(parts)
                    except StopIteration as end:
                        output = end.value
                        output.SetNodeReferenceID(SOURCE_ROLE, self.inputs[0].GetID())
                        break
                yield
                self._check_inputs()
        except BaseException:
            change.undo()
            raise
        self.output = output
        change.finish()

    @property
    def inputVolume(self) -> slicer.vtkMRMLVolumeNode:
        """The volume in the scene that the result is placed beside."""
        return sequences.shown_volume(self.inputs[0])

    @property
    def tableNode(self) -> slicer.vtkMRMLTableNode | None:
        """The table of the result, once it was applied."""
        return table_of(self.output)

    def uses(self, node: slicer.vtkMRMLNode) -> bool:
        """Tell whether ``node`` is one of the images."""
        return any(node is one or node is sequences.shown_volume(one) for one in self.inputs)

    def _read_images(self) -> None:
        if self._frames == "whole":
            self.params["frames"] = [_plain(frame.volume) for frame in sequences.frames(self.inputs[0])]
            return
        colors = _takes_color(self.model)
        volumes = [_plain(nodes.volume_from_node(sequences.shown_volume(node)), colors) for node in self.inputs]
        if len(volumes) == 1:
            self.params["volume"] = volumes[0]
        else:
            self.params["volumes"] = volumes

    def _steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        """Change the scene and return the main node."""
        output = usable_output(self.output, str(result["task"]))
        return (yield from _in_steps(result, self.inputVolume, output))

    def _check_inputs(self) -> None:
        for node in self.inputs:
            if alive(node) is None:
                raise VolumeError(
                    f'"{node.GetName()}" was removed from the scene while the model was running, so the result was '
                    "discarded."
                )


class EachFrameRun(InferenceRun):
    """A run on each frame of a sequence, whose results become a sequence that is played along with it.

    The table has one row per frame. Boxes and classes, which no single node can show, are in the table only.
    """

    task = RUN_EACH_FRAME

    def _read_images(self) -> None:
        channels = [sequences.frames(node) for node in self.inputs]
        counts = {len(found) for found in channels}
        if len(counts) > 1:
            raise VolumeError(
                f"The sequences have different numbers of frames ({', '.join(map(str, sorted(counts)))}). Choose "
                "sequences that were recorded together."
            )
        colors = _takes_color(self.model)
        self._indices = [frame.index for frame in channels[0]]
        self.params["images"] = [
            [_plain(found[position].volume, colors) for found in channels] for position in range(len(self._indices))
        ]

    def _steps(self, result: Mapping[str, Any]) -> Iterator[None]:
        results = result["frames"]
        source = sequences.sequence_of(self.inputs[0])
        if source.GetNumberOfDataNodes() != len(results):
            raise VolumeError(f'"{source.GetName()}" was changed while the model was running. Run the model again.')
        task = str(results[0]["task"])
        node = usable_output(self.output, task)
        if task not in ("classification", "detection"):
            node = yield from self._record(results, source, node)
            yield
        return self._tabulate(results, source, node)

    def _record(
        self, results: Sequence[Mapping[str, Any]], source: slicer.vtkMRMLSequenceNode, node: slicer.vtkMRMLNode | None
    ) -> Iterator[None]:
        """Show the result of the frame that is shown, record those of all, and return the node that shows them.

        The others are made outside of the scene: no view has to follow them, and nothing is seen of them until all
        are there.
        """
        browser = sequences.show(source)
        task = str(results[0]["task"])
        node = yield from _in_steps(results[sequences.shown_position(browser, source)], self.inputVolume, node)
        recorder = sequences.Recorder(source, node.GetNodeReference(sequences.SEQUENCE_ROLE))
        for position, (index, one) in enumerate(zip(self._indices, results, strict=True)):
            yield
            if source.GetNumberOfDataNodes() != len(results) or alive(node) is None:
                raise VolumeError(f'"{source.GetName()}" or its result was changed meanwhile. Run the model again.')
            recorder.record(_DETACHED[task](one, source.GetNthDataNode(position), node), index)
        yield
        yield from recorder.finish(node)
        return node

    def _tabulate(
        self, results: Sequence[Mapping[str, Any]], source: slicer.vtkMRMLSequenceNode, node: slicer.vtkMRMLNode | None
    ) -> slicer.vtkMRMLNode:
        from meddl.inference.prediction import prediction_from_dict

        rows = [prediction_from_dict(one).row() for one in results]
        names = list(dict.fromkeys(name for row in rows for name in row))
        # All numbers as float: a frame may lack one, which is NaN then.
        kinds = {name: str if any(isinstance(row.get(name), str) for row in rows) else float for name in names}
        unit = source.GetIndexUnit()
        first = f"{source.GetIndexName() or 'frame'}{f' [{unit}]' if unit else ''}"
        columns = [table.Column(first, str), *(table.Column(name, kinds[name]) for name in names)]
        cells = [
            [index, *(row.get(name, float("nan") if kinds[name] is float else "") for name in names)]
            for index, row in zip(self._indices, rows, strict=True)
        ]
        is_table = node is None or isinstance(node, slicer.vtkMRMLTableNode)
        former = node if is_table else node.GetNodeReference(table.TABLE_ROLE)
        written = table.write_table(
            columns, cells, results[0]["provenance"], self.inputVolume or source, "frames", former
        )
        if is_table:
            return written
        node.SetNodeReferenceID(table.TABLE_ROLE, written.GetID())
        return node


def make_run(
    inputs: slicer.vtkMRMLNode | Sequence[slicer.vtkMRMLNode],
    model: str | Path | Sequence[str | Path],
    output: slicer.vtkMRMLNode | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    reference: slicer.vtkMRMLVolumeNode | None = None,
    frames: Frames = "one",
) -> InferenceRun:
    """Return the run that fits: see :class:`InferenceRun` for the arguments.

    Raises:
        VolumeError: an input cannot be used; the message says why.
    """
    kind = EachFrameRun if frames == "each" else InferenceRun
    return kind(inputs, model, output, options, reference=reference, frames=frames)


def table_of(node: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLTableNode | None:
    """Return the table with the numbers of the result whose main node is ``node``, or None."""
    if node is None or isinstance(node, slicer.vtkMRMLTableNode):
        return node
    return node.GetNodeReference(table.TABLE_ROLE)


def companions(node: slicer.vtkMRMLNode) -> list[slicer.vtkMRMLNode]:
    """Return what belongs to a result's main node and means nothing without it: tables, plots and boxes."""
    roles = (
        table.TABLE_ROLE,
        EVALUATION_ROLE,
        boxes.BOX_ROLE,
        classification.EVIDENCE_ROLE,
        classification.PLOT_ROLE,
    )
    return [one for role in roles for one in maps.references(node, role)]


def usable_output(node: slicer.vtkMRMLNode | None, task: str) -> slicer.vtkMRMLNode | None:
    """Return ``node`` if it is still in the scene and can hold a result of ``task``, else None: make a new one.

    What a run of another task has written is left alone: classes and boxes are both tables, but what belongs to the
    one (text in the views, plots) says nothing of the other.
    """
    if task not in OUTPUT_CLASSES:
        raise MedDLError(f"This version of MedDL cannot show results of the task {task[:40]!a}.")
    if alive(node) is None or not node.IsA(OUTPUT_CLASSES[task]):
        return None
    facts = provenance.read(node) or {}
    return node if facts.get("task", task) == task else None


def latest_result(task: str, model: str, source: slicer.vtkMRMLNode | None) -> slicer.vtkMRMLNode | None:
    """Return the main node of the last result of a model on an image, or None.

    Args:
        model: name and version, as :func:`meddl_slicer.provenance.model_title` gives them.
        source: the node that was chosen as the (first) image.
    """
    found = slicer.util.getNodesByClass(OUTPUT_CLASSES[task]) if source is not None else []
    return next((node for node in reversed(found) if is_result_of(node, task, model, source)), None)


def is_result_of(node: slicer.vtkMRMLNode, task: str, model: str, source: slicer.vtkMRMLNode | None) -> bool:
    """Tell whether a run of this model on this image has written ``node``; see :func:`latest_result`."""
    facts = provenance.read(node)
    if facts is None or facts.get("task", task) != task or provenance.model_title(facts) != model:
        return False
    return source is not None and node.GetNodeReference(SOURCE_ROLE) is source


def _in_steps(
    result: Mapping[str, Any], input_node: slicer.vtkMRMLVolumeNode, output: slicer.vtkMRMLNode | None
) -> Iterator[None]:
    """Show one result and return its main node."""
    task = str(result["task"])
    if task == "reconstruction":
        return (yield from reconstruction.in_steps(result, input_node, output))
    if task != "segmentation":
        return _APPLY[task](result, input_node, output)
    former = output.GetNodeReference(table.TABLE_ROLE) if output is not None else None
    output = segmentation.apply_segmentation(result, input_node, output)
    yield
    written = table.volumes_table(result, input_node, former)
    output.SetNodeReferenceID(table.TABLE_ROLE, written.GetID())
    yield
    maps.apply_entropy(result, input_node, output)
    yield from maps.probabilities_in_steps(result, input_node, output)
    return output


def _belonging(node: slicer.vtkMRMLNode | None) -> list[slicer.vtkMRMLNode]:
    """Return the nodes that a new result is written into."""
    if alive(node) is None:
        return []
    roles = (maps.ENTROPY_ROLE, maps.DIFFERENCE_ROLE, maps.PROBABILITY_ROLE)
    found = [node, *companions(node), *(one for role in roles for one in maps.references(node, role))]
    return [one for one in found if not isinstance(one, slicer.vtkMRMLPlotChartNode | slicer.vtkMRMLPlotSeriesNode)]


_DETACHED: dict[str, Callable[..., slicer.vtkMRMLNode]] = {
    "segmentation": segmentation.detached,
    "landmarks": landmarks.detached,
    "reconstruction": maps.detached_image,
}
"""A result as a node outside of the scene, for the tasks whose results can be played."""

_APPLY: dict[str, Callable[..., slicer.vtkMRMLNode]] = {
    "classification": classification.apply_classification,
    "detection": boxes.apply_detection,
    "landmarks": landmarks.apply_landmarks,
}


def _takes_color(model: str | Sequence[str]) -> bool:
    """Tell whether the model's one image has three channels; a model that cannot be read is told of by the job."""
    from meddl.models import resolve_model

    try:
        bundle = resolve_model(model if isinstance(model, str) else model[0])
        return bundle.input_channels == 3 and len(bundle.channels) == 1
    except MedDLError:
        return False


def _plain(volume: Volume, colors: bool = False) -> Volume:
    """Return a color picture as the model takes it: without its opacity, and gray unless the model looks at colors."""
    count = volume.channels
    if count not in (2, 3, 4) or volume.array.dtype != np.uint8:
        return volume
    array = volume.array[: 3 if count >= 3 else 1]
    if array.shape[0] == 3 and not colors:
        gray = np.tensordot(_LUMINANCE, array.astype(np.float32), axes=1)[np.newaxis]
        array = np.round(gray).astype(np.uint8)
    return volume.with_array(array)
