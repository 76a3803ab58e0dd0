"""What images are compared by: their voxels at a low resolution, or what a network sees in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import JobCancelled, ModelError, UsageError
from meddl.inference.features import FeatureMonitor

if TYPE_CHECKING:
    from torch import nn

    from meddl.models import ModelBundle, TrustStore

CELLS = {2: 16, 3: 8}
"""Of an image at a low resolution, along each axis."""
_BATCH = 32


def pixel_features(images: np.ndarray) -> np.ndarray:
    """Return ``(N, F)`` means of an image's blocks, 16 along each axis of a slice and 8 of a patch.

    Args:
        images: ``(N, 1, *size)``.
    """
    import torch

    dimensions = images.ndim - 2
    pool = torch.nn.functional.adaptive_avg_pool2d if dimensions == 2 else torch.nn.functional.adaptive_avg_pool3d
    cells = tuple(min(CELLS[dimensions], each) for each in images.shape[2:])
    return pool(torch.from_numpy(images.astype(np.float32)), cells).flatten(1).double().numpy()


def network_features(
    network: nn.Module,
    layer: str,
    images: np.ndarray,
    device: Any = "cpu",
    cancelled: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Return ``(N, F)`` channels of a network's layer, averaged over the image.

    Args:
        network: from ``(B, 1, *size)``.
        layer: name of one of its modules.
        images: ``(N, 1, *size)`` float32 as it takes them.
    """
    import torch

    network = network.eval()
    with torch.inference_mode(), FeatureMonitor(network, layer) as monitor:
        for start in range(0, len(images), _BATCH):
            if cancelled():
                raise JobCancelled("The judgement was cancelled.")
            network(torch.from_numpy(images[start : start + _BATCH].astype(np.float32)).to(device))
    return monitor.features().astype(np.float64)


class BundleFeatures:
    """The features of a model's network, each image prepared as the model wants it.

    The layer is the deepest that still has a grid, as for saliency; its channels are averaged over the image.

    Args:
        bundle: a model for single slices.
        low, high: values of an image at -1 and at 1.
        spacing_mm: of an image's voxels.
        trust: the user's consents.
        device: where it runs.

    Raises:
        ModelError: the network cannot be loaded, or its layers cannot be watched.
        UsageError: it is no model for such images.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        low: float,
        high: float,
        spacing_mm: float,
        trust: TrustStore | None = None,
        device: str = "auto",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        from meddl.inference.device import resolve_device
        from meddl.inference.stage import Stage
        from meddl.models import TrustStore
        from meddl.saliency.layers import choose_layer, no_layers
        from meddl.saliency.scorer import Scorer

        self.name = f"features of {bundle.name}"
        self._low, self._high, self._spacing = low, high, spacing_mm
        self._cancelled = cancelled
        self._device = resolve_device(device)
        self._stage = Stage(bundle, "inference", self._device, trust or TrustStore())
        if not self._stage.flat:
            raise UsageError(f"The model '{bundle.name}' takes volumes, and these are slices. Choose one for slices.")
        self._network = self._stage.network.to(self._device).eval()
        scorer = Scorer(self._network, lambda answer: answer.flatten(1)[:, 0], slice_axis=2, device=self._device)
        if why := no_layers(scorer):
            raise ModelError(f"Images cannot be compared by the features of '{bundle.name}'. {why}")
        probe = self._prepared(np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64))
        self.layer = choose_layer(scorer, probe[None]).name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return ``(N, F)`` of slices ``(N, 1, i, j)`` in -1..1."""
        import torch

        rows = []
        for image in images:
            if self._cancelled():
                raise JobCancelled("The judgement was cancelled.")
            prepared = self._prepared(image[0])
            with torch.inference_mode(), FeatureMonitor(self._network, self.layer) as monitor:
                self._network(prepared[..., 0][None].to(self._device))
            rows.append(monitor.features()[0])
        return np.stack(rows).astype(np.float64)

    def _prepared(self, image: np.ndarray) -> Any:
        from meddl.volume import Volume

        values = self._low + (image.astype(np.float32) + 1) / 2 * (self._high - self._low)
        affine = np.diag([self._spacing] * 3 + [1.0])
        prepared = self._stage.prepare(Volume(values[None, ..., None], affine)).image
        if prepared.shape[0] != 1:
            raise UsageError(f"The model '{self._stage.bundle.name}' takes several images at once, and here is one.")
        return prepared
