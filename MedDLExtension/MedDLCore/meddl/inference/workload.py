"""How much a run has to compute, read off the model's files and the image's size alone. No torch, nothing is run."""

from __future__ import annotations

import ast
import json
import logging
import math
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import MedDLError
from meddl.inference.sliding_window import WindowPlan, WindowRule
from meddl.models import inference_parts
from meddl.models.config_tree import MISSING, find, reference_of
from meddl.models.metadata_values import as_mapping, image_format

if TYPE_CHECKING:
    from meddl.models import ModelBundle

logger = logging.getLogger(__name__)

DEFAULT_WIDTH = 32
"""Features at full resolution where the network does not tell."""
_WIDTHS = ("channels", "filters", "features", "init_filters", "feature_size", "base_num_features", "init_features")


@dataclass(frozen=True)
class Workload:
    """What there is to compute.

    Attributes:
        voxels: of the input.
        prepared: shape of the image as the network gets it.
        windows: how many windows.
        window: size of one, in voxels.
        rows: shape of the scores that lie in memory at once.
        batch: windows at once.
        channels: in and out.
        width: features at full resolution.
        weight_bytes: of all parameters.
    """

    voxels: int
    prepared: tuple[int, ...]
    windows: int
    window: int
    rows: tuple[int, ...]
    batch: int
    channels: tuple[int, int]
    width: int
    weight_bytes: int

    @property
    def activation_bytes(self) -> int:
        """About what one window takes while it goes through the network, in float32.

        At full resolution some four maps of features live at once; the coarser levels add little.
        """
        return 4 * self.window * (4 * self.width + 2 * self.channels[1] + self.channels[0])

    @property
    def score_bytes(self) -> int:
        """What the blended scores take."""
        return 4 * self.channels[1] * math.prod(self.rows)


def workload(bundle: ModelBundle, shape: Sequence[int], spacing: Sequence[float]) -> Workload:
    """Return what running ``bundle`` on an image takes.

    Args:
        bundle: the model.
        shape: voxels (I, J, K) of the image.
        spacing: their edges in mm.
    """
    tree: Any = {}
    parts = None
    try:
        parts = inference_parts(bundle)
        tree = bundle.config()
    except MedDLError as error:
        logger.debug("no config to read: %s", error)
    steps = _steps(tree, parts.preprocessing_id) if parts else []
    prepared = _prepared(tree, steps, tuple(map(int, shape)), tuple(map(float, spacing)))
    rule = _rule(tree, parts.inferer_id if parts else "", len(prepared))
    try:
        plan = rule.plan(prepared)
    except MedDLError:
        plan = WindowPlan(prepared, prepared, ((0, 0),) * len(prepared), ((0,),) * len(prepared))
    network = find(tree, parts.network_id) if parts and parts.network_id else {}
    outputs = image_format(bundle.metadata, "outputs").get("num_channels")
    if outputs is None:
        outputs = _value(tree, as_mapping(network).get("out_channels"))
    return Workload(
        voxels=math.prod(map(int, shape)),
        prepared=prepared,
        windows=plan.count,
        window=math.prod(plan.window),
        rows=(plan.window[0], *plan.padded[1:]),
        batch=rule.batch,
        channels=(bundle.input_channels or 1, outputs if isinstance(outputs, int) and outputs > 0 else 2),
        width=_width(tree, network),
        weight_bytes=weight_bytes(bundle.weights_path),
    )


def weight_bytes(path: Path | None) -> int:
    """Return how many bytes the parameters take, from the file's table of contents; 0 if there is no file."""
    if path is None or not path.is_file():
        return 0
    try:
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(size, 100_000_000)))
            spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
            return max((int(end) for _, end in spans), default=0)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return sum(item.file_size for item in archive.infolist() if Path(item.filename).parent.name in _STORES)
    except (OSError, ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile) as error:
        logger.debug("weights not read: %s", error)
    return path.stat().st_size


_STORES = ("data", "constants", "tensors")
"""Folders in torch's archives that hold numbers."""


def _prepared(
    tree: Any, steps: list[Mapping[str, Any]], shape: tuple[int, ...], spacing: tuple[float, ...]
) -> tuple[int, ...]:
    """Follow the steps that change the size; what depends on the image's content (crops) counts as nothing cut."""
    for step in steps:
        name = str(step.get("_target_", "")).rpartition(".")[2].removesuffix("d")
        if name == "Spacing":
            pixdim = _numbers(tree, step.get("pixdim"), len(shape))
            if pixdim and min(pixdim) > 0:
                shape = tuple(
                    max(1, round(size * old / new)) for size, old, new in zip(shape, spacing, pixdim, strict=False)
                )
                spacing = tuple(pixdim)
        elif name in ("Resize", "ResizeWithPadOrCrop"):
            size = _numbers(tree, step.get("spatial_size"), len(shape))
            if size:
                shape = tuple(int(new) if new > 0 else old for new, old in zip(size, shape, strict=False))
        elif name == "SpatialPad":
            size = _numbers(tree, step.get("spatial_size"), len(shape))
            if size:
                shape = tuple(max(int(new), old) for new, old in zip(size, shape, strict=False))
        elif name == "CenterSpatialCrop":
            size = _numbers(tree, step.get("roi_size"), len(shape))
            if size:
                shape = tuple(min(int(new), old) if new > 0 else old for new, old in zip(size, shape, strict=False))
    return shape


def _rule(tree: Any, inferer_id: str, dims: int) -> WindowRule:
    node = as_mapping(_value(tree, find(tree, inferer_id)) if inferer_id else {})
    roi = _value(tree, node.get("roi_size"))
    if roi is None:
        return WindowRule((None,) * dims, overlap=(0.25,) * dims)
    sizes: list[Any] = [_value(tree, each) for each in roi] if isinstance(roi, list | tuple) else [roi] * dims
    if len(sizes) == dims - 1:
        axis = _value(tree, node.get("spatial_dim", 0))
        # A slice at a time, or a flat network on a single slice.
        sizes.insert(axis if "Slice" in str(node.get("_target_")) and isinstance(axis, int) else dims, 1)
    overlap = _numbers(tree, node.get("overlap", 0.25), dims) or [0.25] * dims
    batch = _value(tree, node.get("sw_batch_size", 1))
    return WindowRule(
        tuple(size if isinstance(size, int) else None for size in sizes),
        batch=batch if isinstance(batch, int) and batch > 0 else 1,
        overlap=tuple(overlap),
    )


def _width(tree: Any, network: Any) -> int:
    node = as_mapping(network)
    for name in _WIDTHS:
        value = _value(tree, node.get(name))
        if isinstance(value, list | tuple) and value:
            value = _value(tree, value[0])
        if isinstance(value, int) and 0 < value < 4096:
            return value
    return DEFAULT_WIDTH


def _steps(tree: Any, id: str) -> list[Mapping[str, Any]]:
    node = _value(tree, find(tree, id)) if id else None
    if isinstance(node, Mapping):
        node = _value(tree, node.get("transforms", [node]))
    nodes = node if isinstance(node, list) else []
    return [step for step in (_value(tree, each) for each in nodes) if isinstance(step, Mapping)]


def _numbers(tree: Any, value: Any, dims: int) -> list[float]:
    value = _value(tree, value)
    values = value if isinstance(value, list | tuple) else [value] * dims
    values = [_value(tree, each) for each in values][:dims]
    return [float(each) for each in values] if values and all(isinstance(each, int | float) for each in values) else []


def _value(tree: Any, value: Any, depth: int = 0) -> Any:
    """Follow references; text to be calculated counts only if it is a number or list as it stands."""
    if not isinstance(value, str) or depth > 20:
        return None if value is MISSING else value
    reference = reference_of(value)
    if reference is not None:
        return _value(tree, find(tree, reference), depth + 1)
    if value.startswith("$"):
        try:
            return ast.literal_eval(value[1:].strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return value
