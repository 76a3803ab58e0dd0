"""Detection by MONAI's RetinaNet: boxes out of anchors, as lung nodules are found in CT.

After Lin et al. 2017, "Focal loss for dense object detection". Network, anchors and the choice of boxes are those of
the bundle's ``detector``; its steps from and to files are replaced by our own, which keep boxes in world coordinates.
The network is run by the executor, with its engines, precisions and ladder; the detector blends the windows.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, ModelError
from meddl.inference.prediction import Box, DetectionPrediction
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import refuse_stack, straightened
from meddl.inference.tasks.peaks import to_world
from meddl.inference.tasks.retinanet_candidates import Candidate, CandidateTrace
from meddl.models import class_names, inference_parts

if TYPE_CHECKING:
    import torch

    from meddl.inference.executor import Ask
    from meddl.inference.sliding_window import WindowRule
    from meddl.inference.stage import Prepared, Stage
    from meddl.inference.tasks.make import StageMaker
    from meddl.models import ModelBundle
    from meddl.volume import Volume

SETTERS = ("set_box_coder_weights", "set_box_selector_parameters", "set_sliding_window_inferer", "set_target_keys")
"""Methods of the detector that a config may call to set it up; the others are for training."""
UNNAMED = "finding"
"""What a detector's only class is called where the bundle does not tell."""
MAX_WINDOW_VOXELS = 1 << 29


class RetinaNetTask:
    """Runs a RetinaNet."""

    def __init__(self, bundle: ModelBundle, make_stage: StageMaker) -> None:
        self._bundle = bundle
        self._stage = make_stage("inference")
        self.stages: tuple[Stage, ...] = (self._stage,)
        self._device = next(self._stage.network.parameters()).device
        self._heads = _Heads()
        self._detector = self._make_detector()
        self._trace = CandidateTrace(self._detector)
        self._numbers: dict[Box, int] = {}
        self._inferer = self._detector.inferer
        one_answer = _one_answer(self._stage.network, (self._detector.cls_key, self._detector.box_reg_key), self._heads)
        # MONAI adds windows up in the precision of the image.
        self._stage.executor = self._stage.make_executor(one_answer, self._inferer, half_scores=False)

    def predict(self, image: Volume, run: Run, *, frames: tuple[Volume, ...] = ()) -> DetectionPrediction:
        """Return the boxes of one image."""
        refuse_stack(image, self._stage)
        image = straightened(image, run)
        run.tell(0.05, "Preparing the image")
        with run.watch.step("preprocess"):
            prepared = self._stage.prepare(image)
        with run.watch.step("network"):
            found = self._detect(prepared, run)
        with run.watch.step("postprocess"):
            boxes = self._boxes(found, prepared)
        if not boxes:
            run.note("The model found nothing in this image.")
        return DetectionPrediction(tuple(sorted(boxes, key=lambda box: -box.score)), {})

    def origin(self, box: Box) -> Candidate | None:
        """Return which candidate a box of the last image came from; None for boxes of other images."""
        number = self._numbers.get(box)
        return self._trace.candidate(number, self._heads.shapes) if number is not None else None

    def _make_detector(self) -> Any:
        """Return the bundle's detector round the network that the stage has loaded."""
        parts = inference_parts(self._bundle)
        overrides = {parts.network_id: self._stage.network, "device": self._device}
        config = self._bundle.restricted_config(overrides=overrides)
        if parts.detector_id:
            detector = config.get(parts.detector_id)
            calls = config.method_calls(parts.detector_id)
        else:
            raise ModelError(
                f"The model '{self._bundle.name}' has a RetinaNet, but no 'detector' that tells its anchors."
            )
        for name, arguments in calls:
            if name not in SETTERS:
                continue
            method = getattr(detector, name)
            unknown = set(arguments) - set(inspect.signature(method).parameters)
            if unknown:
                raise ModelError(
                    f"The model '{self._bundle.name}' sets up its detector with an unknown {min(unknown)!r}."
                )
            _check_numbers(arguments, self._bundle.name)
            method(**arguments)
        return detector.eval()

    def _detect(self, prepared: Prepared, run: Run) -> dict[str, torch.Tensor]:
        """Return the detector's answer: boxes ``(N, 2 dims)`` in voxels of the prepared image, labels and scores."""
        image = prepared.image[..., 0] if self._stage.flat else prepared.image
        shape = tuple(int(size) for size in image.shape[1:])
        window = _window(self._detector)
        # As the bundles of this kind do it: an image that is smaller than a window goes through in one piece.
        in_windows = window is not None and math.prod(shape) >= math.prod(window)
        tell = run.windows(0.1, 0.9, "Looking for boxes")

        def work(rule: WindowRule, ask: Ask) -> dict[str, torch.Tensor]:
            total = rule.plan(self._padded(shape)).count if in_windows else 1
            done = 0

            def network(batch: torch.Tensor) -> dict[str, list[torch.Tensor]]:
                nonlocal done
                if run.cancelled():
                    raise JobCancelled("The run was cancelled.")
                answer = self._heads.split(ask(batch), tuple(batch.shape[1:]))
                done += int(batch.shape[0])
                tell(min(done, total), total)
                return answer

            self._trace.begin(rule if in_windows else None)
            if in_windows:
                self._detector.inferer = self._cutting(rule)
            own, self._detector.network = self._detector.network, _called(network)
            try:
                found: dict[str, torch.Tensor] = self._detector(image[None], use_inferer=in_windows)[0]
            finally:
                self._detector.network = own
            return found

        return self._stage.executor.lead(shape, work, windows=in_windows)

    def _cutting(self, rule: WindowRule) -> Any:
        """Return the bundle's inferer with the windows of now; it blends on the device that has room for it."""
        inferer = copy.copy(self._inferer)
        inferer.roi_size = [0 if size is None else size for size in rule.roi]
        inferer.sw_batch_size = rule.batch
        inferer.roi_weight_map = None  # of windows of another size
        stitch = self._stage.executor.stitch
        inferer.device = "cpu" if "cpu" in str(self._inferer.device) else stitch
        inferer.sw_device = "cpu"  # the executor takes windows to where the network is
        return inferer

    def _padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size to which the detector pads an image."""
        steps = self._detector.size_divisible
        steps = (steps,) * len(shape) if isinstance(steps, int) else tuple(steps)
        return tuple(-(-size // step) * step for size, step in zip(shape, steps, strict=True))

    def _boxes(self, found: Mapping[str, torch.Tensor], prepared: Prepared) -> list[Box]:
        detector = self._detector
        corners = found[detector.target_box_key].float().cpu().numpy().astype(np.float64)
        labels = found[detector.target_label_key].cpu().numpy()
        scores = found[detector.pred_score_key].float().cpu().numpy()
        names = class_names(self._bundle)
        spacing = np.linalg.norm(prepared.affine[:3, :3], axis=0)
        axes = prepared.affine[:3, :3] / spacing
        boxes = []
        self._numbers = {}
        for number, (corner, label, score) in enumerate(zip(corners, labels, scores, strict=True)):
            half = len(corner) // 2
            low, high = corner[:half], corner[half:]
            if half == 2:  # a box on a slice is as thick as the slice
                low, high = np.append(low, -0.5), np.append(high, 0.5)
            if not np.isfinite(corner).all() or (high <= low).any():
                continue
            center, size = to_world((low + high) / 2, prepared.affine), (high - low) * spacing
            name = _name(names, int(label), detector.num_classes)
            boxes.append(Box(name, round(float(score), 6), center, size, axes))
            self._numbers[boxes[-1]] = number
        return boxes


def _name(names: tuple[str, ...], label: int, classes: int) -> str:
    if label < len(names):
        return names[label]
    return UNNAMED if classes == 1 else f"class {label}"


class _Heads:
    """The shapes of a network's answers, so that they can travel as one array, and what they become again.

    Attributes:
        shapes: of the maps ``(C, ...)`` of classes, then of boxes, that it answers to an image ``(C, ...)``.
    """

    def __init__(self) -> None:
        self._keys: tuple[str, str] = ("", "")
        self.shapes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}

    def join(self, answer: Any, keys: tuple[str, str], shape: tuple[int, ...]) -> torch.Tensor:
        """Return the answer to ``(B, C, ...)`` of this shape (less the batch) as ``(B, 1, N)``."""
        import torch

        if isinstance(answer, Mapping):
            levels = [each if isinstance(each, list | tuple) else [each] for each in (answer[key] for key in keys)]
        else:
            half = len(answer) // 2
            levels = [list(answer[:half]), list(answer[half:])]
        if len(levels[0]) != len(levels[1]):
            raise ModelError("The network answers classes and boxes on different numbers of levels.")
        tensors = [tensor for each in levels for tensor in each]
        self._keys = keys
        self.shapes[shape] = [tuple(int(size) for size in tensor.shape[1:]) for tensor in tensors]
        return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)[:, None]

    def split(self, joined: torch.Tensor, shape: tuple[int, ...]) -> dict[str, list[torch.Tensor]]:
        """Return what :meth:`join` was given, as the detector reads it."""
        shapes = self.shapes[shape]
        parts = joined[:, 0].split([math.prod(each) for each in shapes], dim=1)
        tensors = [part.reshape(part.shape[0], *each) for part, each in zip(parts, shapes, strict=True)]
        half = len(tensors) // 2
        return {self._keys[0]: tensors[:half], self._keys[1]: tensors[half:]}


def _one_answer(network: torch.nn.Module, keys: tuple[str, str], heads: _Heads) -> Any:
    """Return the network with all it answers in one array, as engines take it."""
    import torch

    class OneAnswer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return heads.join(self.network(image), keys, tuple(int(size) for size in image.shape[1:]))

    return OneAnswer().eval()


def _called(function: Callable[[torch.Tensor], Any]) -> Any:
    """Return a module that calls a function: all that a detector takes for a network."""
    import torch

    class Called(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> Any:
            return function(image)

    return Called()


def _window(detector: Any) -> tuple[int, ...] | None:
    roi = getattr(detector.inferer, "roi_size", None)
    if roi is None:
        return None
    return (roi,) * detector.spatial_dims if isinstance(roi, int) else tuple(roi)


def _check_numbers(arguments: Mapping[str, Any], name: str) -> None:
    """Refuse a window that no memory would hold."""
    roi = arguments.get("roi_size")
    sizes = [roi] * 3 if isinstance(roi, int) else list(roi) if isinstance(roi, list | tuple) else []
    if math.prod(size for size in sizes if isinstance(size, int)) > MAX_WINDOW_VOXELS:
        raise ModelError(f"The model '{name}' looks at {ascii(roi)[:60]} voxels at once, which is too much.")
