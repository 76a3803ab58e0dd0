"""Where a lesion can lie, and which voxels are in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from meddl.errors import UsageError
from meddl.randomness import Stream
from meddl.synthesis.lesion_shapes import Shape, radius_of
from meddl.volume import Volume

_APART_MM = 3.0
_SHELL_MM = 8.0
_DEEP = 0.7
_LOOKED_AT = 2_000_000

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Place:
    """A lesion's voxels.

    Attributes:
        box: part of the image that the lesion and its surroundings lie in.
        lesion: ``box``, bool.
        allowed: ``box``, bool: where it may have an influence.
        depth: ``box``, mm below the lesion's surface, negative outside.
        points: ``box`` and 3: mm from the center.
        center: RAS mm.
        radius: of a ball as large as it should be.
        shape: of which it is.
    """

    box: Box
    lesion: np.ndarray
    allowed: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    center: np.ndarray
    radius: float
    shape: Shape


def body_of(image: Volume) -> np.ndarray:
    """Return where a patient is in an image, bool ``(I, J, K)``: what is bright, without holes, less its skin."""
    from scipy import ndimage

    from meddl.datasets.geometry.foreground import threshold

    array = np.nan_to_num(image.array[0].astype(np.float32))
    least = threshold(array.reshape(-1))
    bright = array > (array.min() if least is None else least)
    pieces, count = ndimage.label(bright)
    if count > 1:
        bright = pieces == 1 + int(np.argmax(np.bincount(pieces.reshape(-1))[1:]))
    for axis in range(3):  # what is open at the image's ends is closed in the slices across
        filled = [ndimage.binary_fill_holes(each) for each in np.moveaxis(bright, axis, 0)]
        bright = bright | np.moveaxis(np.stack(filled), 0, axis)
    deep: np.ndarray = ndimage.distance_transform_edt(bright, sampling=image.spacing) > 4.0
    return deep


def find_place(
    image: Volume, allowed: np.ndarray, taken: np.ndarray, volume_ml: float, shape: Shape, stream: Stream, what: str
) -> Place:
    """Return a place for a lesion.

    Args:
        allowed: ``(I, J, K)`` bool.
        taken: likewise: lesions that are there, which it keeps away from.
        volume_ml: of the lesion.
        what: ``allowed``, for people.

    Raises:
        UsageError: there is not enough room.
    """
    from scipy import ndimage

    radius = radius_of(volume_ml)
    wanted = max(1, round(volume_ml / image.voxel_volume_ml))
    if taken.any():
        allowed = allowed & ~_round(taken, image)
    if np.count_nonzero(allowed) < 1.5 * wanted:
        room = np.count_nonzero(allowed) * image.voxel_volume_ml
        raise UsageError(f"There is no room for a lesion of {volume_ml:.2g} ml in {what}, which has {room:.2g} ml. "
                         "Choose smaller lesions.")  # fmt: skip
    middle = _middle(allowed, image, radius, stream)
    center = image.affine[:3, :3] @ middle + image.affine[:3, 3]
    box = _box(image, middle, 2.5 * radius + _SHELL_MM)
    points = _points(image, box) - center
    level = shape.level(points.reshape(-1, 3), radius).reshape(points.shape[:3])
    level[~allowed[box]] = np.inf
    flat = np.sort(level[np.isfinite(level)], kind="stable")
    lesion = level <= flat[min(wanted, len(flat)) - 1]
    pieces, count = ndimage.label(lesion)
    if count > 1:
        own = pieces[tuple(int(m - side.start) for m, side in zip(middle, box, strict=True))]
        lesion = pieces == (own or 1 + int(np.argmax(np.bincount(pieces.reshape(-1))[1:])))
    depth = _signed_depth(lesion, image.spacing)
    return Place(box, lesion, allowed[box], depth, points, center, radius, shape)


def _middle(allowed: np.ndarray, image: Volume, radius: float, stream: Stream) -> np.ndarray:
    """Return a voxel deep enough in what is allowed, or one of the deepest."""
    from scipy import ndimage

    used = [np.flatnonzero(allowed.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    low = np.array([each[0] for each in used])
    part = allowed[tuple(slice(each[0], each[-1] + 1) for each in used)]
    # Of a large structure not every voxel is looked at: a middle need not be found to the voxel.
    step = np.array([max(1, math.ceil((part.size / _LOOKED_AT) ** (1 / 3)))] * 3)
    step = np.minimum(step, np.maximum(1, (radius / (2 * image.spacing)).astype(int)))
    part = part[tuple(slice(None, None, each) for each in step)]
    # The image's end is no end of the structure, but a lesion cut off there would be none.
    depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=image.spacing * step)[1:-1, 1:-1, 1:-1]
    deep = np.argwhere(depth >= min(_DEEP * radius, 0.9 * float(depth.max())))
    return np.asarray(low + step * deep[stream.whole((0, len(deep) - 1))])


def _signed_depth(lesion: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    half = 0.5 * float(spacing.min())
    inside = ndimage.distance_transform_edt(lesion, sampling=spacing) - half
    outside = ndimage.distance_transform_edt(~lesion, sampling=spacing) - half
    depth = np.where(lesion, inside, -outside).astype(np.float32)
    # Steps of voxels are none of the lesion's; thick slices stay apart.
    return np.asarray(ndimage.gaussian_filter(depth, 0.8 * float(spacing.min()) / spacing))


def _round(taken: np.ndarray, image: Volume) -> np.ndarray:
    """Return lesions that are there with what lies close round them."""
    from scipy import ndimage

    out = np.zeros(taken.shape, bool)
    used = [np.flatnonzero(taken.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    reach = np.ceil(_APART_MM / image.spacing).astype(int)
    box = tuple(slice(max(0, each[0] - r), each[-1] + r + 1) for each, r in zip(used, reach, strict=True))
    out[box] = ndimage.distance_transform_edt(~taken[box], sampling=image.spacing) <= _APART_MM
    return out


def _box(image: Volume, middle: np.ndarray, reach_mm: float) -> Box:
    # How far along each voxel axis a ball reaches, also where the axes are oblique.
    inverse = np.linalg.inv(image.affine[:3, :3])
    reach = np.ceil(reach_mm * np.sqrt((inverse**2).sum(axis=1))).astype(int)
    first, second, third = (
        slice(max(0, int(m - r)), min(n, int(m + r) + 1)) for m, r, n in zip(middle, reach, image.shape, strict=True)
    )
    return first, second, third


def _points(image: Volume, box: Box) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in box), indexing="ij"), axis=-1)
    return np.asarray(index @ image.affine[:3, :3].T + image.affine[:3, 3])
