"""Images whose right answer is known in closed form, and the places a test puts images at."""

from __future__ import annotations

import itertools

import numpy as np
from meddl.volume import Volume


def place(spacing: tuple[float, float, float], origin: tuple[float, float, float], *angles: float) -> np.ndarray:
    """Return an affine of voxel edges ``spacing``, first voxel at ``origin`` and turned about x, y, z by ``angles``."""
    affine = np.eye(4)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        a, b = [n for n in range(3) if n != axis]
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    return affine


PLACES = {
    "straight": place((1, 1, 1), (0, 0, 0)),
    "anisotropic": place((0.4, 0.7, 6.5), (-100, 20, 33.3)),
    "oblique": place((0.9, 1.1, 3.0), (12.5, -80, 41), 0.3, -0.7, 1.1),
    "flipped": place((-1.0, 2.0, -3.0), (90, -10, 5)),
    "oblique and left-handed": place((-1.0, 1.5, 2.0), (3, 4, 5), 0.2, 0.1, -0.4),
}
SHEARED = place((1.0, 1.2, 2.5), (10, 20, -30), 0.2, 0.4, 0.0) @ np.array(
    [[1, 0, 0.3, 0], [0, 1, -0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
)


def axis_orders() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return all 48 ways to order and flip three axes: (permutation, -1 or 1 for each axis)."""
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def reordered(volume: Volume, permutation: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """Return the same image stored in another axis order: every voxel stays where it is in the patient."""
    array = volume.array.transpose(0, *(axis + 1 for axis in permutation))
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for new, (old, sign) in enumerate(zip(permutation, signs, strict=True)):
        index[old, new] = sign
        if sign < 0:
            index[old, 3] = volume.shape[old] - 1
            array = np.flip(array, new + 1)
    return Volume(array, volume.affine @ index)


def world_of(volume_affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the RAS mm coordinates (3, I, J, K) of all voxel centers."""
    index = np.indices(shape, dtype=np.float64).reshape(3, -1)
    return (volume_affine[:3, :3] @ index + volume_affine[:3, 3:]).reshape(3, *shape)


def ramp(affine: np.ndarray, shape: tuple[int, int, int], dtype: type = np.float64) -> Volume:
    """Return an image of 2x - 3y + 5z + 7 at the point (x, y, z) of the patient: linear sampling is exact on it."""
    x, y, z = world_of(affine, shape)
    return Volume((2 * x - 3 * y + 5 * z + 7).astype(dtype)[np.newaxis], affine)


def numbered(affine: np.ndarray, shape: tuple[int, int, int] = (4, 5, 6), dtype: type = np.int16) -> Volume:
    """Return an image with another value in each voxel."""
    return Volume(np.arange(np.prod(shape)).reshape(1, *shape).astype(dtype), affine)
