"""Detection by MONAI's RetinaNet: boxes out of anchors, as lung nodules are found in CT.

After Lin et al. 2017, "Focal loss for dense object detection". Network, anchors and the choice of boxes are those of
the bundle's ``detector``; its steps from and to files are replaced by our own, which keep boxes in world coordinates.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, ModelError
from meddl.inference.prediction import Box, DetectionPrediction
from meddl.inference.run import Run
from meddl.inference.tasks.input_image import refuse_stack, straightened
from meddl.inference.tasks.peaks import to_world
from meddl.models import class_names, inference_parts

if TYPE_CHECKING:
    import torch

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
        self._watched = _watched(self._stage.network)
        self._detector = self._make_detector()

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
        detector.network = self._watched
        return detector.eval()

    def _detect(self, prepared: Prepared, run: Run) -> dict[str, torch.Tensor]:
        """Return the detector's answer: boxes ``(N, 2 dims)`` in voxels of the prepared image, labels and scores."""
        import torch

        image = prepared.image[..., 0] if self._stage.flat else prepared.image
        window = _window(self._detector)
        # As the bundles of this kind do it: an image that is smaller than a window goes through in one piece.
        in_windows = window is not None and image[0].numel() >= math.prod(window)
        total = _window_count(tuple(image.shape[1:]), self._detector.inferer) if in_windows else 1
        self._watched.watch(run.windows(0.1, 0.9, "Looking for boxes"), run.cancelled, total)
        with torch.inference_mode():
            found: dict[str, torch.Tensor] = self._detector(image[None].to(self._device), use_inferer=in_windows)[0]
        return found

    def _boxes(self, found: Mapping[str, torch.Tensor], prepared: Prepared) -> list[Box]:
        detector = self._detector
        corners = found[detector.target_box_key].float().cpu().numpy().astype(np.float64)
        labels = found[detector.target_label_key].cpu().numpy()
        scores = found[detector.pred_score_key].float().cpu().numpy()
        names = class_names(self._bundle)
        spacing = np.linalg.norm(prepared.affine[:3, :3], axis=0)
        axes = prepared.affine[:3, :3] / spacing
        boxes = []
        for corner, label, score in zip(corners, labels, scores, strict=True):
            half = len(corner) // 2
            low, high = corner[:half], corner[half:]
            if half == 2:  # a box on a slice is as thick as the slice
                low, high = np.append(low, -0.5), np.append(high, 0.5)
            if not np.isfinite(corner).all() or (high <= low).any():
                continue
            center, size = to_world((low + high) / 2, prepared.affine), (high - low) * spacing
            boxes.append(
                Box(_name(names, int(label), detector.num_classes), round(float(score), 6), center, size, axes)
            )
        return boxes


def _name(names: tuple[str, ...], label: int, classes: int) -> str:
    if label < len(names):
        return names[label]
    return UNNAMED if classes == 1 else f"class {label}"


def _watched(network: torch.nn.Module) -> Any:
    """Return the network inside one that tells of each window and can be stopped."""
    import torch

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def watch(self, on_window: Any, cancelled: Any, total: int) -> None:
            self._on_window, self._cancelled, self._total, self._done = on_window, cancelled, total, itertools.count(1)

        def forward(self, image: torch.Tensor) -> Any:
            if self._cancelled():
                raise JobCancelled("The run was cancelled.")
            answer = self.network(image)
            self._on_window(min(next(self._done), self._total), self._total)
            return answer

    return Watched()


def _window(detector: Any) -> tuple[int, ...] | None:
    roi = getattr(detector.inferer, "roi_size", None)
    if roi is None:
        return None
    return (roi,) * detector.spatial_dims if isinstance(roi, int) else tuple(roi)


def _window_count(shape: tuple[int, ...], inferer: Any) -> int:
    roi, overlap = inferer.roi_size, inferer.overlap
    count = 1
    for axis, size in enumerate(shape):
        window = roi if isinstance(roi, int) else roi[axis]
        shared = overlap[axis] if isinstance(overlap, list | tuple) else overlap
        count *= 1 + math.ceil(max(0, size - window) / max(1, int(window * (1 - shared))))
    return math.ceil(count / inferer.sw_batch_size)


def _check_numbers(arguments: Mapping[str, Any], name: str) -> None:
    """Refuse a window that no memory would hold."""
    roi = arguments.get("roi_size")
    sizes = [roi] * 3 if isinstance(roi, int) else list(roi) if isinstance(roi, list | tuple) else []
    if math.prod(size for size in sizes if isinstance(size, int)) > MAX_WINDOW_VOXELS:
        raise ModelError(f"The model '{name}' looks at {ascii(roi)[:60]} voxels at once, which is too much.")
