"""Networks that MONAI lacks. Importing this package needs neither PyTorch nor MONAI: names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.networks.denoising import DenoisingCNN
    from meddl.networks.folded import Folded
    from meddl.networks.image_from_noise import ImageFromNoise
    from meddl.networks.labels_to_image import LabelsToImage
    from meddl.networks.onnx_network import OnnxNetwork
    from meddl.networks.recurrent import RecurrentClassifier
    from meddl.networks.vector_to_image import VectorToImage

__all__ = [
    "DenoisingCNN",
    "Folded",
    "ImageFromNoise",
    "LabelsToImage",
    "OnnxNetwork",
    "RecurrentClassifier",
    "VectorToImage",
]

_HOMES = {
    "DenoisingCNN": "meddl.networks.denoising",
    "Folded": "meddl.networks.folded",
    "ImageFromNoise": "meddl.networks.image_from_noise",
    "LabelsToImage": "meddl.networks.labels_to_image",
    "OnnxNetwork": "meddl.networks.onnx_network",
    "RecurrentClassifier": "meddl.networks.recurrent",
    "VectorToImage": "meddl.networks.vector_to_image",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
