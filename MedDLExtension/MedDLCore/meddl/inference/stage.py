"""One network of a bundle with its preprocessing, inferer and postprocessing, run in memory.

Bundle configs are written for a runner that goes from file to file. Here the loading and saving steps are left out, the
inversion step is replaced by :mod:`meddl.inference.restore`, and everything else runs as written.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, ModelError
from meddl.inference.restore import Interpolation
from meddl.models import LOADING_TRANSFORMS, SAVING_TRANSFORMS, ModelBundle, TrustStore, load_weights, open_config

if TYPE_CHECKING:
    import torch

    from meddl.inference.cascade import Box
    from meddl.models import RestrictedConfig, TrustedConfig
    from meddl.volume import Volume

logger = logging.getLogger(__name__)

LOADING_STEPS = LOADING_TRANSFORMS | {"EnsureChannelFirst", "EnsureChannelFirstd"}
"""Left out of the preprocessing: a volume is in memory already, with its channels first."""
SAVING_STEPS = SAVING_TRANSFORMS | {"Invertd"}
"""Left out of the postprocessing: nothing is written, and the way back is ours."""
LABEL_STEPS = frozenset({"KeepLargestConnectedComponentd", "FillHolesd", "RemoveSmallObjectsd", "LabelFilterd"})
IDENTITY_STEPS = frozenset({"EnsureTyped", "ToTensord", "ToDeviced", "CopyItemsd", "DeleteItemsd", "SelectItemsd"})

MAX_WINDOWS = 1_000_000

OnWindow = Callable[[int, int], None]
Cancelled = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a network answered: ``(C, i, j, k)`` scores and where their voxels lie (4x4, index to RAS mm)."""

    array: torch.Tensor
    affine: np.ndarray


class Stage:
    """A network that is loaded once and run on many images.

    Args:
        bundle: where it comes from.
        config_name: ``inference`` or a localizer's config.
        device: where it runs.
        trust: the user's consents.
    """

    def __init__(self, bundle: ModelBundle, config_name: str, device: torch.device, trust: TrustStore) -> None:
        self._bundle = bundle
        self._config_name = config_name
        self._device = device
        self._trust = trust
        self._image_key, self._pred_key = _keys(bundle)
        self.network = self._load_network()
        # Made here, so that what cannot be made is refused before the work, and imports don't count as run time.
        self._steps = self._preprocessing({})
        self._postprocessing = self._known_postprocessing()
        self._inferer = self._make_inferer()

    def prepare(self, volume: Volume, box: Callable[[np.ndarray, tuple[int, int, int]], Box] | None = None) -> Any:
        """Return the preprocessed image as a MONAI ``MetaTensor`` ``(C, i, j, k)`` with its affine.

        Args:
            volume: the input image.
            box: for the fine stage of a cascade. Called with the affine and shape that the image has when it comes to
                the config's ``SpatialCropd`` step, it returns what to crop to; passed on as the config's ``roi_start``
                and ``roi_end``.
        """
        import torch
        from monai.data import MetaTensor

        # A copy: steps that work in place must not reach the caller's image.
        array = torch.from_numpy(volume.array.astype(np.float32, order="C"))
        image = MetaTensor(array, affine=torch.tensor(volume.affine))
        data: dict[str, Any] = {self._image_key: image}
        steps = self._steps
        if box is None:
            return _apply(steps, data)[self._image_key]
        crop = next((index for index, step in enumerate(steps) if type(step).__name__ == "SpatialCropd"), None)
        if crop is None:
            raise ModelError(f"The model '{self._bundle.name}' is a cascade, but its second stage crops nothing.")
        data = _apply(steps[:crop], data)
        arrived = data[self._image_key]
        found = box(np.asarray(arrived.affine, dtype=np.float64), tuple(arrived.shape[1:]))
        steps = self._preprocessing({"roi_start": list(found.start), "roi_end": list(found.end)})
        return _apply(steps[crop:], data)[self._image_key]

    def run(self, image: Any, on_window: OnWindow, cancelled: Cancelled) -> Scores:
        """Run the network on a prepared image and return activated scores.

        Args:
            image: as :meth:`prepare` returned it.
            on_window: called with (windows done, windows in all).
            cancelled: asked before each window.

        Raises:
            JobCancelled: on request.
            ModelError: the answer is no label for each voxel of the image.
        """
        import torch

        total = self._window_count(tuple(image.shape[1:]))
        done = 0

        def predictor(window: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            nonlocal done
            if cancelled():
                raise JobCancelled("The run was cancelled.")
            answer = self.network(window, *args, **kwargs)
            done += int(window.shape[0])
            on_window(min(done, total), total)
            return _first_output(answer)

        # A plain tensor: MetaTensor slows every operation of the network down.
        inputs = image.as_tensor()[None].to(self._device)
        with torch.inference_mode():
            scores = self._inferer(inputs=inputs, network=predictor)[0]
            scores = self._activate(scores)
        shape = tuple(scores.shape[1:])
        if shape != tuple(image.shape[1:]):
            raise ModelError(
                f"The network of '{self._bundle.name}' answered on a grid of {shape} voxels for an image of "
                f"{tuple(image.shape[1:])}. Only models that answer voxel for voxel can be used here."
            )
        if scores.shape[0] > 1 and self._keeps_every_channel:
            raise ModelError(
                f"The model '{self._bundle.name}' answers with structures that may overlap, one channel each. "
                "Only models that give each voxel one label can be used here."
            )
        return Scores(scores, np.asarray(image.affine, dtype=np.float64))

    @property
    def _keeps_every_channel(self) -> bool:
        """Whether the config's ``AsDiscreted`` thresholds channels one by one instead of choosing the largest."""
        steps = [step for step in self._postprocessing if type(step).__name__ == "AsDiscreted"]
        return any(step.threshold[0] is not None and not step.argmax[0] for step in steps)

    @cached_property
    def threshold(self) -> float:
        """From which score on a single channel is foreground, from the config's ``AsDiscreted``."""
        for step in self._postprocessing:
            if type(step).__name__ == "AsDiscreted" and step.threshold[0] is not None:
                return float(step.threshold[0])
        return 0.5

    @cached_property
    def interpolation(self) -> Interpolation:
        """How scores are brought to the image's grid, from the config's ``Invertd``."""
        steps = self._config({}).get("postprocessing#transforms", raw=True, default=())
        for step in steps if isinstance(steps, list) else ():
            if isinstance(step, dict) and str(step.get("_target_", "")).rpartition(".")[2] == "Invertd":
                return "nearest" if step.get("nearest_interp", True) is True else "linear"
        return "linear"

    def finish_labels(self, labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Apply the config's steps on label maps (largest component, holes, ...) to ``(I, J, K)`` labels."""
        import torch
        from monai.data import MetaTensor

        steps = [step for step in self._postprocessing if type(step).__name__ in LABEL_STEPS]
        box = _foreground_box(labels)
        if not steps or box is None:
            return labels
        # Nothing outside the foreground's box can change: components and holes lie inside it.
        part = MetaTensor(torch.from_numpy(np.ascontiguousarray(labels[box]))[None], affine=torch.tensor(affine))
        done = _apply(steps, {self._pred_key: part})[self._pred_key]
        out = np.zeros_like(labels)
        out[box] = np.asarray(done)[0]
        return out

    def _config(self, overrides: dict[str, Any]) -> RestrictedConfig | TrustedConfig:
        overrides = {"device": self._device, **overrides}
        return open_config(self._bundle, self._config_name, overrides=overrides, trust=self._trust)

    def _load_network(self) -> Any:
        import torch

        network = self._config({}).get("network_def")
        # A TorchScript program comes with its weights; for other networks they lie in a file of their own.
        if not isinstance(network, torch.jit.ScriptModule):
            weights = self._bundle.weights_path
            if weights is None:
                raise ModelError(f"The model '{self._bundle.name}' has no weights.")
            try:
                network.load_state_dict(load_weights(weights, trusted=self._trust.is_trusted(self._bundle)))
            except RuntimeError as error:
                raise ModelError(
                    f"The weights of '{self._bundle.name}' do not fit its network: the model is damaged or incomplete.",
                    details=str(error),
                ) from error
        return network.to(self._device).eval()

    def _preprocessing(self, overrides: dict[str, Any]) -> list[Any]:
        return _steps(self._config(overrides).get("preprocessing", drop=LOADING_STEPS, default=None))

    def _make_inferer(self) -> Any:
        from monai.inferers import SimpleInferer

        return self._config({}).get("inferer", default=None) or SimpleInferer()

    def _known_postprocessing(self) -> list[Any]:
        steps = _steps(self._config({}).get("postprocessing", drop=SAVING_STEPS, default=None))
        known = {"Activationsd", "AsDiscreted"} | LABEL_STEPS | IDENTITY_STEPS
        for step in steps:
            if type(step).__name__ not in known:
                raise ModelError(
                    f"The model '{self._bundle.name}' has the postprocessing step {type(step).__name__}, "
                    "which the segmentation task does not know."
                )
        return steps

    def _activate(self, scores: torch.Tensor) -> torch.Tensor:
        for step in self._postprocessing:
            if type(step).__name__ == "Activationsd":
                return step({self._pred_key: scores})[self._pred_key]
        return scores

    def _window_count(self, shape: tuple[int, ...]) -> int:
        roi = getattr(self._inferer, "roi_size", None)
        if roi is None:
            return 1
        roi = [roi] * len(shape) if isinstance(roi, int) else list(roi)
        overlap = self._inferer.overlap
        overlaps = list(overlap) if isinstance(overlap, Sequence) else [overlap] * len(shape)
        count = 1
        for size, window, shared in zip(shape, roi, overlaps, strict=True):
            window = size if not window or window < 0 else window
            step = max(1, int(window * (1 - shared)))
            count *= 1 + max(0, math.ceil((size - window) / step))
        if count > MAX_WINDOWS:
            raise ModelError(
                f"The model '{self._bundle.name}' looks at an image of this size in {count} windows, "
                "which would take days. Crop the image, or use another model."
            )
        return count


def _keys(bundle: ModelBundle) -> tuple[str, str]:
    formats = bundle.metadata.get("network_data_format", {})
    image = next(iter(formats.get("inputs", {})), "image")
    return image, next(iter(formats.get("outputs", {})), "pred")


def _steps(part: Any) -> list[Any]:
    """Return the transforms of a config's part: a ``Compose``, a list, or a single transform."""
    if part is None:
        return []
    return list(getattr(part, "transforms", part if isinstance(part, list) else [part]))


def _apply(steps: Sequence[Any], data: dict[str, Any]) -> dict[str, Any]:
    for step in steps:
        data = step(data)
    return data


def _first_output(answer: Any) -> torch.Tensor:
    """Networks with deep supervision answer a list, some a dictionary: the first is the full-resolution one."""
    if isinstance(answer, dict):
        answer = next(iter(answer.values()))
    if isinstance(answer, list | tuple):
        answer = answer[0]
    return answer


def _foreground_box(labels: np.ndarray) -> tuple[slice, slice, slice] | None:
    box = []
    foreground = labels != 0
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        indices = np.flatnonzero(foreground.any(axis=others))
        if indices.size == 0:
            return None
        box.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return (box[0], box[1], box[2])
