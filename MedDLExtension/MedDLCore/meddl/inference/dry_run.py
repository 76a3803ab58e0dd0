"""Trying a bundle without its weights: random numbers in the network, a phantom as the image.

Shows that every step of a model can be made and run here, before gigabytes are downloaded. The answer means nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import MedDLError, ModelError
from meddl.models import InferenceParts, ModelBundle, TrustStore, inference_parts
from meddl.models.config_tree import put
from meddl.models.metadata_values import image_format, own_part
from meddl.volume import Volume

if TYPE_CHECKING:
    from meddl.inference.options import RunOptions
    from meddl.inference.prediction import Prediction

MAX_WINDOW = 128**3
"""Voxels of a window up to which it is tried as it is; larger ones are cut to ``SMALL_WINDOW``."""
SMALL_WINDOW = 96
MAX_SIDE = 96
MAX_FLAT_SIDE = 1024
DEFAULT_SIDE = 64
SEED = 0


@dataclass(frozen=True)
class DryRun:
    """How trying a bundle went.

    Attributes:
        ran: whether it ran to the end.
        sentence: what came out, or why it did not run.
        phantom: size in voxels ``(C, I, J, K)`` and spacing in mm of the image it ran on; empty when it came to none.
        seconds: for making and running it.
        notes: what a user would be told of the run.
    """

    ran: bool
    sentence: str
    phantom: Mapping[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def dry_run(bundle: ModelBundle, *, trust: TrustStore | None = None, options: RunOptions | None = None) -> DryRun:
    """Run a bundle with random weights on a phantom that fits its metadata; a window or two, never its weights.

    Args:
        bundle: the model. One that brings code runs only with recorded trust, as ever.
        trust: the user's consents.
        options: where and how to run.

    Returns:
        What happened; errors of the bundle are told, not raised.
    """
    import torch

    from meddl.inference.predictor import Predictor

    started = time.perf_counter()
    phantom: dict[str, Any] = {}
    try:
        trial, cut = _with_small_window(bundle)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            predictor = Predictor(trial, options, trust, random_weights=True)
        image = make_phantom(trial)
        phantom = {"shape": list(image.array.shape), "spacing_mm": [round(float(each), 4) for each in image.spacing]}
        prediction = predictor.predict(image, frames=[image] * _more_frames(bundle))
        notes = tuple(str(note) for note in prediction.provenance.get("notes", ()))
        sentence, ran = f"It ran and answered {_told(prediction)}.{cut}", True
    except MedDLError as error:
        sentence, ran, notes = error.message, False, ()
    except Exception as error:  # a bundle's own steps may raise anything, and that is what is to be told
        line = ascii(str(error).strip().split("\n")[0][:200])[1:-1]
        sentence, ran, notes = f"It failed with {type(error).__name__}: {line}", False, ()
    return DryRun(ran, sentence, phantom, round(time.perf_counter() - started, 2), notes)


def make_phantom(bundle: ModelBundle) -> Volume:
    """Return an image that the bundle could have been made for: an ellipsoid body with a ball in it.

    Its channels, dimensions, spacing and range of values are those that metadata and preprocessing speak of; its size
    is that of a window, and never large. The axes point left, posterior, superior, as those of most scanners do.
    """
    parts = inference_parts(bundle)
    image = image_format(bundle.metadata, "inputs")
    channels = bundle.input_channels or len(parts.input_keys)
    spacing = _spacing(bundle)
    sides = _sides(bundle, parts, image)
    body = _body(sides)
    low, high = _values(image)
    rng = np.random.default_rng(SEED)
    texture = rng.normal(0.0, 0.03, (channels, *sides))
    array = low + (high - low) * np.clip(0.05 + 0.9 * body + texture * (body > 0), 0.0, 1.0)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [0.5 * side * step for side, step in zip(sides, spacing, strict=True)] * np.array([1, 1, -1])
    return Volume(array.astype(np.float32), affine, "phantom")


def _with_small_window(bundle: ModelBundle) -> tuple[ModelBundle, str]:
    """Return the bundle, with smaller windows where its own are too large for a trial, and a sentence about it."""
    roi = _roi(bundle, inference_parts(bundle))
    if type(bundle) is not ModelBundle or roi is None or len(roi) != 3 or np.prod(roi) <= MAX_WINDOW:
        return bundle, ""
    small = [min(size, SMALL_WINDOW) for size in roi]
    tree = bundle.config()
    put(tree, f"{inference_parts(bundle).inferer_id}::roi_size", small)
    configs = {"inference": tree}
    if bundle.cascade is not None:
        configs[bundle.cascade.localizer] = bundle.config(bundle.cascade.localizer)
    trial = ModelBundle(bundle.path, bundle.metadata, bundle.name, configs=configs)
    shown = " x ".join(map(str, roi))
    return trial, f" Its windows of {shown} voxels were cut to {' x '.join(map(str, small))} for the trial."


def _roi(bundle: ModelBundle, parts: InferenceParts) -> list[int] | None:
    if not parts.inferer_id:
        return None
    value = _value(bundle, f"{parts.inferer_id}::roi_size")
    value = [value] * parts.spatial_dims if isinstance(value, int) else value
    if isinstance(value, list | tuple) and value and all(isinstance(size, int) for size in value):
        return [size if size > 0 else DEFAULT_SIDE for size in value]
    return None


def _sides(bundle: ModelBundle, parts: InferenceParts, image: Mapping[str, Any]) -> tuple[int, int, int]:
    shape = image.get("spatial_shape")
    roi = _roi(bundle, parts)
    told = [side for side in shape if isinstance(side, int)] if isinstance(shape, list) else []
    wanted = roi or told
    if parts.spatial_dims == 2 or len(wanted) == 2:
        first, second = (*wanted, DEFAULT_SIDE, DEFAULT_SIDE)[:2]
        # Slice by slice two slices will do; a flat network takes one.
        return min(first, MAX_FLAT_SIDE), min(second, MAX_FLAT_SIDE), 1 if parts.spatial_dims == 2 else 2
    first, second, third = (*wanted, DEFAULT_SIDE, DEFAULT_SIDE, DEFAULT_SIDE)[:3]
    if roi is None:
        first, second, third = (min(side, DEFAULT_SIDE) for side in (first, second, third))
    return min(first, MAX_SIDE), min(second, MAX_SIDE), min(third, MAX_SIDE)


def _spacing(bundle: ModelBundle) -> tuple[float, float, float]:
    """Return the spacing that the preprocessing resamples to, or 1 mm."""
    config = bundle.restricted_config()
    for id in config.ids_of_class({"Spacing", "Spacingd"}):
        value = _value(bundle, f"{id}::pixdim")
        value = [value] * 3 if isinstance(value, int | float) else value
        if isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(each, int | float) for each in value):
            first, second, third = (float(each) if each > 0 else 1.0 for each in value)
            return first, second, third
    return 1.0, 1.0, 1.0


def _value(bundle: ModelBundle, id: str) -> Any:
    config = bundle.restricted_config()
    try:
        return config.get(id) if id in config else None
    except ModelError:
        return None


def _values(image: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range of the phantom's values, as files of this kind hold them."""
    words = f"{image.get('format', '')} {image.get('modality', '')}".lower()
    if "hounsfield" in words or "ct" in words.split():
        return -1000.0, 400.0
    return (0.0, 255.0) if "rgb" in words else (0.0, 1000.0)


def _body(sides: tuple[int, int, int]) -> np.ndarray:
    axes = [(np.arange(side) + 0.5) / side * 2 - 1 for side in sides]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    body = ((i / 0.8) ** 2 + (j / 0.7) ** 2 + (k / 0.9) ** 2 < 1) * 0.7
    ball = (i - 0.2) ** 2 + (j + 0.1) ** 2 + k**2 < 0.06
    return np.where(ball, 1.0, body)


def _more_frames(bundle: ModelBundle) -> int:
    if bundle.sequence_axis != "frames":
        return 0
    length = own_part(bundle.metadata, "sequence").get("length")
    return min(length, 8) - 1 if isinstance(length, int) and length > 1 else 2


def _told(prediction: Prediction) -> str:
    facts = prediction.to_dict()
    if prediction.task == "segmentation":
        size = " x ".join(map(str, facts["labels"].shape))
        return f"labels for {size} voxels, {_count(facts['segments'], 'structure')}"
    if prediction.task == "classification":
        return _count(facts["classes"], "class", "classes")
    if prediction.task == "detection":
        return _count(facts["boxes"], "box", "boxes")
    if prediction.task == "landmarks":
        return _count(facts["points"], "point")
    return f"an image of {' x '.join(map(str, facts['image'].shape))} voxels"


def _count(things: Sequence[Any], one: str, many: str = "") -> str:
    return f"{len(things)} {one if len(things) == 1 else many or f'{one}s'}"
