"""A picture of a head before and after its face was removed, for the user to judge; it is not for the dataset."""

from __future__ import annotations

import io

import numpy as np

from meddl.volume import Grid, Volume, resample_to

_VOXEL_MM = 1.5
_GAP = 6


def defacing_picture(before: Volume, after: Volume) -> bytes:
    """Return a PNG: above before, below after; a sagittal and an axial slice, and the surface seen from the front.

    Example:
        >>> head = Volume(np.pad(np.ones((1, 60, 60, 60)), ((0, 0), (20, 20), (20, 20), (20, 20))), np.eye(4))
        >>> defacing_picture(head, head)[:4]
        b'\\x89PNG'
    """
    from PIL import Image

    grid = _upright(before)
    low, high = (float(each) for each in np.percentile(before.array[0], [1, 99.5]))
    rows = []
    for volume in (before, after):
        array = resample_to(_gray(volume, low, high), grid).array[0]
        rows.append(_row(array))
    gap = np.zeros((_GAP, rows[0].shape[1]), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(np.concatenate([rows[0], gap, rows[1]])).save(sink, "PNG")
    return sink.getvalue()


def _gray(volume: Volume, low: float, high: float) -> Volume:
    values = np.nan_to_num(volume.array[:1].astype(np.float32), posinf=high, neginf=low)
    return volume.with_array(np.clip((values - low) / max(high - low, 1e-6), 0, 1))


def _upright(volume: Volume) -> Grid:
    """Return a grid of axes R, A, S that holds the volume."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape])).reshape(3, -1)
    world = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    right, ahead, up = (int(n) for n in np.minimum(np.ceil((high - low) / _VOXEL_MM) + 1, 400))
    affine = np.diag([_VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = low
    return Grid((right, ahead, up), affine)


def _row(array: np.ndarray) -> np.ndarray:
    middle = array.shape[0] // 2
    sagittal = array[middle].T[::-1, ::-1]
    # At about the height of the eyes, of a head that fills the image.
    axial = array[:, :, int(array.shape[2] * 0.45)].T[::-1, ::-1]
    pictures = [(each * 255).astype(np.uint8) for each in (sagittal, axial, _surface(array))]
    height = max(each.shape[0] for each in pictures)
    framed = [np.pad(each, ((0, height - each.shape[0]), (0, _GAP))) for each in pictures]
    return np.concatenate(framed, axis=1)


def _surface(array: np.ndarray) -> np.ndarray:
    """Return the skin as seen from the front, lit from there: ``(S, R)`` in 0 to 1."""
    from scipy import ndimage

    solid = ndimage.gaussian_filter(array, 1.0) > 0.15
    seen = solid[:, ::-1, :]  # the first along the second axis is the most anterior
    hit = seen.any(axis=1)
    depth = np.where(hit, seen.argmax(axis=1), seen.shape[1]).astype(np.float64)
    across, along = np.gradient(ndimage.gaussian_filter(depth, 0.7))
    light = 1 / np.sqrt(1 + across**2 + along**2)
    return np.asarray((np.where(hit, 0.15 + 0.85 * light, 0)).T[::-1, ::-1])
