"""The three networks of MAISI: what takes the noise away, what leads it by a label map, and what decodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError
from meddl.models.bundle import ModelBundle
from meddl.models.trust import TrustStore
from meddl.models.weights import load_checkpoint, state_in
from meddl.synthesis.generators import Cancel, filled
from meddl.synthesis.zoo_reading import weights_file

if TYPE_CHECKING:
    import torch

UNET, CONTROL, DECODER = "diffusion_unet_def", "controlnet_def", "autoencoder_def"
SHRINK = 4
"""How many voxels of the image lie along a side of a voxel of the features."""
_WEIGHTS = {
    UNET: ("trained_diffusion_path", "diff_unet_ckpt", ("unet_state_dict",)),
    CONTROL: ("trained_controlnet_path", "controlnet", ("controlnet_state_dict",)),
    DECODER: ("trained_autoencoder_path", "autoencoder", ("unet_state_dict",)),
}
_PER_MM = 100.0
"""MAISI is told lengths in hundredths of a millimeter, and its parts of the body as 100."""
_REGIONS = 4


@dataclass(frozen=True)
class Windows:
    """How features are decoded: at once, or in windows that overlap.

    Attributes:
        roi: features of a window along each axis; () decodes all at once.
        overlap: of the windows.
    """

    roi: tuple[int, ...]
    overlap: float

    def count(self, shape: Sequence[int]) -> int:
        """Return how many windows there are for features of a shape."""
        if not self.roi:
            return 1
        steps = [max(1, int(n * (1 - self.overlap))) for n in self.roi]
        return math.prod(1 + max(0, math.ceil((n - roi) / step)) for n, roi, step in zip(shape, self.roi, steps,
                                                                                         strict=True))  # fmt: skip


def windows_for(shape: Sequence[int], most: Sequence[int], overlap: float) -> Windows:
    """Return how features of a shape are decoded, by MAISI's own rule.

    Args:
        shape: of the features.
        most: features of a window (``autoencoder_sliding_window_infer_size``).
        overlap: of windows.
    """
    if math.prod(shape) < math.prod(most):
        return Windows((), overlap)
    return Windows(tuple(min(n // SHRINK * 3, limit) for n, limit in zip(shape, most, strict=True)), overlap)


def weights_of(bundle: ModelBundle) -> tuple[Path, ...]:
    """Return where the weights of the three networks are.

    Raises:
        ModelError: one of them is not there.
    """
    found = tuple(weights_file(bundle, (key,), name) for key, name, _ in _WEIGHTS.values())
    if missing := [path for path in found if not path.is_file()]:
        raise ModelError(f"The weights of '{bundle.name}' ({missing[0].name}) are not there. Fetch them as its file "
                         "'large_files.yml' says, and put them into its folder 'models'.")  # fmt: skip
    return found


class MaisiNetworks:
    """The networks with their weights; none of the bundle's scripts is run.

    On a GPU they compute in half precision, as MAISI does; on a processor in single precision, which takes twice the
    memory: there the config's ``norm_float16`` is left out, and attention is computed in parts, too, though MONAI
    offers that for GPUs only.

    Args:
        bundle: with the config and weights.
        trust: the user's consents.
        device: to run on.

    Raises:
        UntrustedModelError: making them takes code of the bundle's own, and the user has not consented.
        ModelError: there are no weights, or they do not fit.
    """

    def __init__(self, bundle: ModelBundle, trust: TrustStore, device: Any) -> None:
        from torch import nn

        self._bundle, self._device = bundle, device
        self._trusted = trust.is_trusted(bundle)
        self._paths = dict(zip(_WEIGHTS, weights_of(bundle), strict=True))
        self._unet, checkpoint = self._loaded(UNET)
        self._control, _ = self._loaded(CONTROL)
        self._decoder, _ = self._loaded(DECODER)
        self._scale = _scale(checkpoint, bundle)
        # The label map is the same at each step: it is looked at once.
        self._look = self._control.controlnet_cond_embedding
        self._control.controlnet_cond_embedding = nn.Identity()

    def answer(
        self, labels: np.ndarray, spacing: Sequence[float], region: tuple[int, int] | None, modality: int
    ) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return what answers features and times ``(1,)`` with what is to be taken away from them.

        Args:
            labels: ``(I, J, K)`` uint8, of the image's size.
            spacing: of its voxels in mm.
            region: the uppermost and lowest part of the body.
            modality: as the network was told while it learned; for networks of several.
        """
        import torch

        unet, control, device = self._unet, self._control, self._device
        bits = next(self._look.parameters()).shape[1]
        with self._precision():
            shown = self._look(bit_planes(labels, bits).to(device))
        told: dict[str, Any] = {}
        if unet.include_spacing_input:
            told["spacing_tensor"] = torch.tensor([spacing], dtype=torch.float32, device=device) * _PER_MM
        for name, wanted in (("top", unet.include_top_region_index_input),
                             ("bottom", unet.include_bottom_region_index_input)):  # fmt: skip
            if wanted:
                assert region is not None
                part = torch.zeros(1, _REGIONS, device=device)
                part[0, region[name == "bottom"]] = _PER_MM
                told[f"{name}_region_index_tensor"] = part
        classes = torch.tensor([modality], device=device)
        sorts = [{} if net.num_class_embeds is None else {"class_labels": classes} for net in (unet, control)]

        def answered(features: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            features, at = features.to(device), at.to(device)
            with self._precision():
                down, middle = control(x=features, timesteps=at, controlnet_cond=shown, **sorts[1])
                taken: torch.Tensor = unet(
                    x=features, timesteps=at, down_block_additional_residuals=down,
                    mid_block_additional_residual=middle, **told, **sorts[0],
                )  # fmt: skip
            return taken

        return answered

    def decoded(
        self, features: torch.Tensor, windows: Windows, cancel: Cancel, progress: Callable[[float], None]
    ) -> np.ndarray:
        """Return the image ``(I, J, K)`` of features, as the decoder has it, float32.

        Args:
            features: ``(1, C, ...)``.
            windows: how they are decoded.
            cancel: called before each window.
            progress: gets the part that is done.
        """
        import torch
        from monai.inferers import sliding_window_inference

        done, count = 0, windows.count(features.shape[2:])

        def decode(part: torch.Tensor) -> torch.Tensor:
            nonlocal done
            cancel()
            progress(min(1.0, done / count))
            done += 1
            with self._precision():
                image: torch.Tensor = self._decoder.decode_stage_2_outputs(part / self._scale)
            return image.float()

        if not windows.roi:
            image = decode(features.to(self._device))
        else:
            image = sliding_window_inference(  # type: ignore[assignment]
                inputs=features, roi_size=windows.roi, sw_batch_size=1, predictor=decode, overlap=windows.overlap,
                mode="gaussian", sw_device=self._device, device=torch.device("cpu"),
            )  # fmt: skip
        array: np.ndarray = image[0, 0].cpu().numpy()
        return array

    def _precision(self) -> Any:
        import torch

        return torch.autocast(self._device.type, torch.float16, enabled=self._device.type == "cuda")

    def _loaded(self, id: str) -> tuple[Any, dict[str, Any]]:
        inner = _WEIGHTS[id][2]
        path = self._paths[id]
        on_gpu = self._device.type == "cuda"
        changes = {} if on_gpu else {f"{id}::use_flash_attention": False}
        if id == DECODER and not on_gpu:
            changes[f"{id}::norm_float16"] = False
        config = self._bundle.restricted_config(overrides={"device": self._device, **changes}, trusted=self._trusted)
        network = config.get(id)
        checkpoint = load_checkpoint(path)
        filled(network, state_in(checkpoint, path.name, inner), self._bundle.name)
        for part in network.modules():
            if hasattr(part, "use_flash_attention"):
                part.use_flash_attention = True  # the same numbers, without a matrix of all voxels by all voxels
        return network.to(self._device).eval(), checkpoint


def bit_planes(labels: np.ndarray, bits: int) -> torch.Tensor:
    """Return a label map as MAISI is shown it, ``(1, bits, I, J, K)`` float32: each bit of the value by itself."""
    import torch

    values = np.ascontiguousarray(labels, np.uint8)
    planes = np.empty((1, bits, *labels.shape), np.float32)
    for bit in range(bits):
        planes[0, bit] = (values >> bit) & 1
    return torch.from_numpy(planes)


def _scale(checkpoint: dict[str, Any], bundle: ModelBundle) -> float:
    """Return what features were multiplied with while the network learned."""
    value = checkpoint.get("scale_factor")
    if value is None and "scale_factor" in bundle.config() and not isinstance(bundle.config()["scale_factor"], str):
        value = bundle.config()["scale_factor"]
    try:
        scale = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        scale = math.nan
    if not (math.isfinite(scale) and scale > 0):
        raise ModelError(f"The weights of '{bundle.name}' do not tell the scale of its features. Fetch them anew.")
    return scale
