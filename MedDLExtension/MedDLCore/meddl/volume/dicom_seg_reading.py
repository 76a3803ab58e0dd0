"""Reading a DICOM SEG back, frame by frame, with nothing but pydicom."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .data import Segment, Volume
from .dicom_frames import frame_count, numbers_of, quiet_pydicom, read_header
from .geometry import flip_lps_ras
from .terminology import Code, Terminology, serialize_terminology

logger = logging.getLogger(__name__)

_KINDS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_MAX_VOXELS = 1 << 31
_MAX_LAYERS = 256
_GRAY = (0.5, 0.5, 0.5)


def read_dicom_seg(path: Path) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the labels (segment numbers) of a DICOM SEG and what they mean.

    The volume reaches from the first slice with a frame to the last; slices without frames between them are empty.
    Segments that overlap lie in layers of their own. Of fractional segments, half and more counts.

    Raises:
        VolumeError: it is no DICOM SEG, is damaged, or its frames make no regular volume.
    """
    import pydicom

    try:
        with quiet_pydicom():
            header = read_header(path)  # which refuses what is deflated as a whole
            if header is not None and _pixels(header.dataset) > max(path.stat().st_size * 2000, 1 << 26):
                raise VolumeError(f"{path.name} has sizes in its header that its file cannot hold. Export it again.")
            dataset = pydicom.dcmread(path)
            if str(dataset.get("SOPClassUID")) not in _KINDS:
                raise VolumeError(f"{path.name} is no DICOM segmentation. Choose a DICOM SEG file.")
            return _read(dataset, path.name)
    except VolumeError:
        raise
    except Exception as error:
        logger.debug("%s: %r", path, error)
        raise VolumeError(
            f"{path.name} is damaged or not a DICOM SEG: it cannot be decoded. Export or copy it again.",
            details=type(error).__name__,
        ) from error


def _pixels(dataset: Any) -> int:
    return int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)


def _read(dataset: Any, name: str) -> tuple[Volume, tuple[Segment, ...]]:
    described = {int(item.SegmentNumber): item for item in dataset.SegmentSequence}
    described.pop(0, None)  # a label map's background
    count = frame_count(dataset)
    groups = dataset.PerFrameFunctionalGroupsSequence
    pixels = dataset.pixel_array.reshape(count, int(dataset.Rows), int(dataset.Columns))
    if len(groups) != count:
        raise VolumeError(f"{name} is damaged: it does not say where all of its frames lie. Export it again.")
    labelmap = str(dataset.SegmentationType) == "LABELMAP"
    if str(dataset.SegmentationType) == "FRACTIONAL":
        pixels = pixels * 2 >= int(dataset.MaximumFractionalValue)
    levels, slices, affine = _places(dataset, groups, name)
    dtype = np.uint8 if max(described, default=0) < 256 else np.uint16
    layers: list[np.ndarray] = []
    layer_of: dict[int, int] = {}
    numbers = sorted(described)
    masks: dict[int, list[tuple[int, np.ndarray]]] = {number: [] for number in numbers}
    for frame, level, group in zip(pixels, levels, groups, strict=True):
        if labelmap:
            layers = layers or [_layer(0, (slices, *pixels.shape[1:]), dtype, name)]
            if not set(np.unique(frame).tolist()) <= {0, *numbers}:
                raise VolumeError(f"{name} is damaged: it has labels of segments that it does not describe.")
            layers[0][level] = np.where(layers[0][level] == 0, frame, layers[0][level])
        else:
            identity = _item(dataset, group, "SegmentIdentificationSequence")
            masks[int(identity.ReferencedSegmentNumber)].append((level, frame > 0))
    for number in numbers:
        layer = next((n for n, array in enumerate(layers) if _fits(array, masks[number])), len(layers))
        if layer == len(layers):
            layers.append(_layer(layer, (slices, *pixels.shape[1:]), dtype, name))
        layer_of[number] = layer
        for level, mask in masks[number]:
            layers[layer][level][mask] = number
    if not layers:
        raise VolumeError(f"{name} describes no segments. Export it again.")
    array = np.stack(layers).transpose(0, 3, 2, 1)
    segments = tuple(_segment(number, described[number], layer_of[number]) for number in numbers)
    return Volume(array, affine, meta={"format": "dicom", "modality": "SEG"}), segments


def _layer(number: int, shape: tuple[int, ...], dtype: type, name: str) -> np.ndarray:
    """Return an empty layer; a few far frames, or segments one over the other, must not fill the memory."""
    if number >= _MAX_LAYERS or (number + 1) * math.prod(shape) > _MAX_VOXELS:
        raise VolumeError(
            f"{name} spreads its frames over {shape[0]} slices and {number + 1} layers of overlapping segments, more "
            "than can be meant. Export it again."
        )
    return np.zeros(shape, dtype)


def _fits(array: np.ndarray, masks: list[tuple[int, np.ndarray]]) -> bool:
    """Say whether a segment overlaps nothing that is in a layer already."""
    return not any((array[level][mask] > 0).any() for level, mask in masks)


def _places(dataset: Any, groups: Any, name: str) -> tuple[list[int], int, np.ndarray]:
    """Return the slice of each frame, how many slices there are, and voxel index to RAS mm."""
    measures = _item(dataset, groups[0], "PixelMeasuresSequence")
    down, right = (1.0, 1.0)
    if measures is not None and measures.get("PixelSpacing"):
        down, right = numbers_of(measures.PixelSpacing, 2, "pixel size")
    plane = _item(dataset, groups[0], "PlaneOrientationSequence")
    if plane is None:  # a radiograph, which is nowhere
        if len({int(_item(dataset, group, "FrameContentSequence").get("StackPosition", 1)) for group in groups}) > 1:
            raise VolumeError(f"{name} has frames that have no places in space. Export it again.")
        return [0] * len(groups), 1, flip_lps_ras(np.diag([right, down, 1.0, 1.0]))
    axes = numbers_of(plane.ImageOrientationPatient, 6, "orientation").reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    positions = np.array(
        [numbers_of(_item(dataset, g, "PlanePositionSequence").ImagePositionPatient, 3, "position") for g in groups]
    )
    heights = (positions - positions[0]) @ normal
    first, last = positions[int(heights.argmin())], positions[int(heights.argmax())]
    distinct = np.unique(np.round(heights - heights.min(), 3))
    step = _step(np.diff(distinct), measures, name)
    levels = np.rint((heights - heights.min()) / step).astype(int)
    slices = int(levels.max()) + 1
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = axes[0] * right, axes[1] * down
    lps[:3, 2] = (last - first) / (slices - 1) if slices > 1 else normal * step
    lps[:3, 3] = first
    return levels.tolist(), slices, flip_lps_ras(lps)


def _step(gaps: np.ndarray, measures: Any, name: str) -> float:
    """Return mm between slices: what the header says if the frames agree, else what the frames say."""
    told = [abs(float(measures.get(key) or 0)) for key in ("SpacingBetweenSlices", "SliceThickness")]
    steps = [told[0], *([float(gaps.min())] if len(gaps) else []), told[1]]
    for step in steps:
        if step > 1e-3 and (np.abs(gaps - np.rint(gaps / step) * step) <= 0.05 * step).all():
            return step
    raise VolumeError(f"{name} has slices at uneven distances, which make no regular volume. Export it again.")


def _item(dataset: Any, group: Any, keyword: str) -> Any:
    """Return the first item of a functional group of one frame, else of all frames, else None."""
    for holder in (group, *(dataset.get("SharedFunctionalGroupsSequence") or ())):
        if holder.get(keyword):
            return holder[keyword][0]
    return None


def _segment(number: int, item: Any, layer: int) -> Segment:
    codes = Terminology()
    category = _code(item.get("SegmentedPropertyCategoryCodeSequence"))
    kind = _code(item.get("SegmentedPropertyTypeCodeSequence"))
    if category and kind:
        types, regions = item.SegmentedPropertyTypeCodeSequence[0], item.get("AnatomicRegionSequence") or [{}]
        codes = Terminology(
            category,
            kind,
            _code(types.get("SegmentedPropertyTypeModifierCodeSequence")),
            _code(item.get("AnatomicRegionSequence")),
            _code(regions[0].get("AnatomicRegionModifierSequence")),
        )
    name = "".join(c if c.isprintable() else " " for c in str(item.get("SegmentLabel") or "")).strip()
    name = name or f"Segment {number}"
    return Segment(number, name, _color(item), serialize_terminology(codes), layer)


def _code(sequence: Any) -> Code | None:
    if not sequence:
        return None
    item = sequence[0]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
    parts = (item.get("CodingSchemeDesignator"), value, item.get("CodeMeaning"))
    return Code(*(str(part) for part in parts)) if all(parts) else None


def _color(item: Any) -> tuple[float, float, float]:
    """Return red, green, blue in 0..1 of the recommended CIELab color.

    The standard means white to be D50, but highdicom and dcmqi write D65, and so do nearly all files.
    """
    values = item.get("RecommendedDisplayCIELabValue")
    if values is None or len(values) != 3:
        return _GRAY
    light, a, b = float(values[0]) / 65535 * 100, float(values[1]) / 257 - 128, float(values[2]) / 257 - 128
    y = (light + 16) / 116
    ratios = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(ratios > 6 / 29, ratios**3, 3 * (6 / 29) ** 2 * (ratios - 4 / 29)) * (0.95047, 1.0, 1.08883)
    matrix = np.array(  # XYZ to linear sRGB, IEC 61966-2-1
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    linear = np.clip(matrix @ xyz, 0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return float(red), float(green), float(blue)
