"""Small pictures of cases: an axial slice through the label, drawn from a few thousand voxels only.

Needs numpy only, so that the worker draws them of files with the same code.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from meddl.volume import Segment, Volume

SIZE = 56
"""Pixels along an edge."""

_OVERLAY = 0.45


def thumbnail(
    image: Volume,
    layers: Sequence[tuple[Volume, Sequence[Segment]]] = (),
    window: tuple[float, float] | None = None,
    size: int = SIZE,
) -> np.ndarray:
    """Return the slice ``(size, size, 3)`` uint8: right side of the patient on the left, front on top.

    Args:
        image: of one channel, or of three (red, green, blue).
        layers: label maps ``(L, I, J, K)``, each on any grid, with what they mean; drawn over the image.
        window: lowest and highest value that is shown; None for what most of the slice's values lie between.
    """
    places = _picture_places(image, size) if min(image.shape) == 1 else _axial_places(image, layers, size)
    values, inside = _sample(image, places)
    picture = _gray(values, inside, window)
    for labels, segments in reversed(list(layers)):
        marks, within = _sample(labels, places)
        _paint(picture, marks, within, segments)
    return picture


def png(picture: np.ndarray) -> bytes:
    """Return ``(height, width, 3)`` uint8 as a PNG file."""
    height, width = picture.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _axial_places(image: Volume, layers: Sequence[tuple[Volume, Sequence[Segment]]], size: int) -> np.ndarray:
    """Return the places ``(size, size, 3)`` of the pixels in RAS mm: an axial slice through what is labeled."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in image.shape], indexing="ij"), axis=-1).reshape(-1, 3)
    world = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    center = (low + high) / 2
    middles = [middle for labels, _segments in layers if (middle := _label_middle(labels)) is not None]
    if middles:
        center[2] = np.clip(np.median([middle[2] for middle in middles]), low[2], high[2])
    steps = (np.arange(size) - (size - 1) / 2) * (max(high[0] - low[0], high[1] - low[1]) / size)
    places = np.empty((size, size, 3))
    places[..., 0] = center[0] - steps[np.newaxis, :]
    places[..., 1] = center[1] - steps[:, np.newaxis]
    places[..., 2] = center[2]
    return places


def _picture_places(image: Volume, size: int) -> np.ndarray:
    """Return the places of the pixels of a single slice, wherever it lies: its first axis to the right, then down."""
    flat = int(np.argmin(image.shape))
    across, down = (axis for axis in range(3) if axis != flat)
    extent = max(image.shape[axis] * image.spacing[axis] for axis in (across, down))
    index = np.zeros((size, size, 3))
    for axis, shape in ((across, (1, size)), (down, (size, 1))):
        steps = (np.arange(size) - (size - 1) / 2) * extent / size / image.spacing[axis]
        index[..., axis] = (steps + (image.shape[axis] - 1) / 2).reshape(shape)
    return index @ image.affine[:3, :3].T + image.affine[:3, 3]


def _label_middle(labels: Volume) -> np.ndarray | None:
    """Return the middle of what is labeled, by weight, so that one stray voxel does not move the slice away.

    It is looked at coarsely: every few voxels are enough for a thumbnail.
    """
    step = max(1, round((labels.array.size / 500_000) ** (1 / 3)))
    found = np.argwhere(labels.array[:, ::step, ::step, ::step].any(axis=0))
    if not len(found):
        return None
    return np.median((found * step) @ labels.affine[:3, :3].T + labels.affine[:3, 3], axis=0)


def _sample(volume: Volume, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest voxels ``(C, size, size)`` and where there are any ``(size, size)``."""
    to_index = np.linalg.inv(volume.affine)
    index = places @ to_index[:3, :3].T + to_index[:3, 3]
    shape = np.array(volume.shape)
    flat = shape == 1  # a single slice is met wherever it is crossed
    near = np.where(flat, 0, np.round(index)).astype(np.int64)
    inside = np.all((near >= 0) & (near < shape), axis=-1)
    i, j, k = np.where(inside[..., np.newaxis], near, 0).transpose(2, 0, 1)
    return volume.array[:, i, j, k], inside


def _gray(values: np.ndarray, inside: np.ndarray, window: tuple[float, float] | None) -> np.ndarray:
    colors = values[:3].astype(np.float64) if values.shape[0] >= 3 else values[:1].astype(np.float64)
    colors = np.where(np.isfinite(colors), colors, 0.0)
    if window is None:
        shown = colors[:, inside]
        window = tuple(np.percentile(shown, (1, 99))) if shown.size else (0.0, 1.0)
        if values.shape[0] >= 3 and values.dtype == np.uint8:
            window = (0.0, 255.0)
    low, high = window
    scaled = np.clip((colors - low) / max(high - low, 1e-6), 0, 1) * 255
    scaled = np.where(inside, scaled, 0)
    return np.ascontiguousarray(np.broadcast_to(scaled, (3, *inside.shape)).transpose(1, 2, 0)).astype(np.uint8)


def _paint(picture: np.ndarray, marks: np.ndarray, inside: np.ndarray, segments: Sequence[Segment]) -> None:
    for segment in reversed(list(segments)):  # the first lies on top
        if segment.layer >= marks.shape[0]:
            continue
        here = inside & (marks[segment.layer] == segment.label)
        color = 255 * np.asarray(segment.color)
        picture[here] = np.round((1 - _OVERLAY) * picture[here] + _OVERLAY * color).astype(np.uint8)
