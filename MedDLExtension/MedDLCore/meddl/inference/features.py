"""How strange an image is to the network itself: the distance of its features from those of the training images.

After Lee K, Lee K, Lee H, Shin J. A simple unified framework for detecting out-of-distribution samples and adversarial
attacks. NeurIPS 31 (2018) 7167-7177, and for segmentation by windows Gonzalez C, Gotkowski K, Fuchs M, et al.
Distance-based detection of out-of-distribution silent failures for Covid-19 lung lesion segmentation. Med Image Anal 82
(2022) 102596. The features are a layer's channels, averaged over each window; the distance is Mahalanobis's.

A training script writes the statistics like this, with at least three images that the model is made for::

    cases = []
    for image in images:                                  # each prepared as for inference
        with FeatureMonitor(network, "model.2") as monitor:
            inferer(image, network)                       # as many windows as there are
        cases.append(monitor.features())
    metadata["meddl"]["reference"] = reference_statistics(cases, "model.2").to_metadata()

A deep layer is best, the one in the middle of a U-Net for instance: ``dict(network.named_modules())`` has the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.models.metadata_values import own_value

if TYPE_CHECKING:
    import torch
    from torch import nn

MAX_FEATURES = 4096
MAX_COVARIANCE = 64
"""With more features only their variances are kept: a covariance would not fit into a metadata file."""
_SHRINKAGE = 0.1


class FeatureMonitor:
    """Watches a layer while the network runs, and keeps one vector of features per window.

    Nothing else changes; after the block the layer is no longer watched.

    Args:
        network: as it is called on windows ``(B, C, i, j, k)``.
        layer: name of one of its modules. Its answer is averaged over space: all axes after the second, or of
            three axes ``(B, tokens, C)``, as transformers have, the second.

    Raises:
        ModelError: the network has no such layer.
    """

    def __init__(self, network: nn.Module, layer: str) -> None:
        module = dict(network.named_modules()).get(layer)
        if module is None or not layer:
            raise ModelError(f"The model's reference statistics are of a layer {layer[:80]!a}, which it does not have.")
        self._module = module
        self._vectors: list[np.ndarray] = []
        self._handle: Any = None

    def __enter__(self) -> FeatureMonitor:
        self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def features(self) -> np.ndarray:
        """Return ``(windows, features)`` float32 in the order of the windows; no rows if the layer did not run."""
        return np.concatenate(self._vectors) if self._vectors else np.zeros((0, 0), np.float32)

    def _keep(self, module: nn.Module, inputs: Any, answer: Any) -> None:
        while isinstance(answer, list | tuple):
            answer = answer[0]
        if isinstance(answer, dict):
            answer = next(iter(answer.values()))
        self._vectors.append(_pooled(answer).cpu().numpy())


@dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """Where the features of images that a model was made for lie.

    Attributes:
        layer: whose features they are.
        mean: ``(F,)``.
        spread: ``(F, F)`` covariance, or ``(F,)`` variance.
        threshold: of :meth:`distance`, above which an image is unlike them.
        cases: how many images they come from.
    """

    layer: str
    mean: np.ndarray
    spread: np.ndarray
    threshold: float
    cases: int

    def distance(self, features: np.ndarray) -> float:
        """Return how far an image's windows ``(n, F)`` are on average: about 1 for those of the same kind.

        It is Mahalanobis's distance over the root of the number of features.

        Raises:
            ModelError: the layer has another number of features.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ModelError(
                f"The model's reference statistics are of {len(self.mean)} features; its layer {self.layer!a} has "
                f"{features.shape[-1]}."
            )
        apart = features.astype(np.float64) - self.mean
        if self.spread.ndim == 1:
            squared = (apart**2 / self.spread).sum(axis=1)
        else:
            squared = (apart * np.linalg.solve(self.spread, apart.T).T).sum(axis=1)
        return float(np.sqrt(np.maximum(squared, 0) / len(self.mean)).mean())

    def sentence(self, features: np.ndarray) -> str:
        """Return the warning about an image with these features, or "" where they are as expected.

        Where the layer did not run (another engine than PyTorch, a compiled program) it says that.
        """
        if not len(features):
            return "Whether the image looks strange to the network could not be measured with this engine."
        distance = self.distance(features)
        if distance <= self.threshold and math.isfinite(distance):
            return ""
        return (
            f"To the network this image is unlike the {self.cases} it was compared with when it was made "
            f"(distance {distance:.2g}, up to {self.threshold:.2g} is expected): look at the result with care."
        )

    def to_metadata(self) -> dict[str, Any]:
        """Return the entry ``meddl.reference`` of a bundle's metadata."""
        key = "variance" if self.spread.ndim == 1 else "covariance"
        return {
            "layer": self.layer,
            "mean": _rounded(self.mean),
            key: _rounded(self.spread),
            "threshold": float(f"{self.threshold:.5g}"),
            "n": self.cases,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> ReferenceStatistics | None:
        """Return what a bundle's metadata holds, or None where it holds none.

        Raises:
            ModelError: the entry cannot be understood.
        """
        entry: Any = own_value(metadata, "reference")
        if entry is None:
            return None
        try:
            mean = np.array(entry["mean"], dtype=np.float64)
            spread = np.array(entry["covariance"] if "covariance" in entry else entry["variance"], dtype=np.float64)
            layer, threshold, cases = str(entry["layer"]), float(entry["threshold"]), int(entry["n"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError("In metadata.json 'meddl.reference' cannot be understood.") from error
        size = len(mean) if mean.ndim == 1 else 0
        diagonal = np.diag(spread) if spread.shape == (size, size) else spread
        fits = 0 < size <= MAX_FEATURES and diagonal.shape == (size,) and 0 < threshold < math.inf and cases > 0
        if not fits or not np.isfinite(mean).all() or not np.isfinite(spread).all() or diagonal.min() <= 0:
            raise ModelError("In metadata.json 'meddl.reference' has numbers that do not fit together.")
        if spread.ndim == 2 and (not np.allclose(spread, spread.T) or np.linalg.eigvalsh(spread)[0] <= 0):
            raise ModelError("In metadata.json 'meddl.reference.covariance' is no covariance.")
        return cls(layer, mean, spread, threshold, cases)


def reference_statistics(cases: Sequence[np.ndarray], layer: str, *, margin: float = 1.0) -> ReferenceStatistics:
    """Return the statistics of the images a model is made for.

    The threshold is the greatest distance of an image from the statistics of all others, times ``margin``. By chance
    alone, one more image of the same kind is beyond the greatest of n about once in n + 1 times: with few images take a
    margin of 1.5 or more.

    Args:
        cases: for each image the features of its windows ``(windows, F)``, see :class:`FeatureMonitor`. Images
            the network was not trained on are better: features of training images lie closer together.
        layer: the monitored layer.
        margin: factor on the threshold.

    Raises:
        UsageError: fewer than three images, or features that do not fit together.
    """
    arrays = [np.asarray(case, dtype=np.float64) for case in cases]
    if len(arrays) < 3:
        raise UsageError(f"Reference statistics need at least three images, not {len(arrays)}.")
    if any(a.ndim != 2 or not len(a) or a.shape[1] != arrays[0].shape[1] or not np.isfinite(a).all() for a in arrays):
        raise UsageError("Each image needs features of at least one window, all as many and all finite numbers.")
    apart = [
        _fitted(arrays[:index] + arrays[index + 1 :], layer, 1.0).distance(case) for index, case in enumerate(arrays)
    ]
    return _fitted(arrays, layer, margin * max(apart))


def _fitted(arrays: Sequence[np.ndarray], layer: str, threshold: float) -> ReferenceStatistics:
    windows = np.concatenate(arrays)
    mean, count = windows.mean(axis=0), windows.shape[1]
    variance = windows.var(axis=0)
    # A feature that hardly varied in few images is not known to be constant.
    variance = np.maximum(variance, 0.01 * float(variance.mean()) + 1e-12)
    spread = variance
    if count <= MAX_COVARIANCE and len(windows) >= 5 * count:
        centered = windows - mean
        spread = (1 - _SHRINKAGE) * (centered.T @ centered) / len(windows) + _SHRINKAGE * np.diag(variance)
    return ReferenceStatistics(layer, mean, spread, threshold, len(arrays))


def _pooled(answer: torch.Tensor) -> torch.Tensor:
    answer = answer.detach().float()
    if answer.ndim == 2:
        return answer
    return answer.mean(dim=1) if answer.ndim == 3 else answer.flatten(start_dim=2).mean(dim=2)


def _rounded(array: np.ndarray) -> Any:
    if array.ndim == 2:
        return [_rounded(row) for row in array]
    return [float(f"{value:.5g}") for value in array]
