"""Distances between the surfaces of two structures.

The definitions are those of MONAI's metrics: a surface is made of the foreground voxels with a face towards the
background; the 95th percentile of the distances is taken in each direction, and the larger one counts; the normalized
surface distance is the part of both surfaces within a tolerance of each other (Nikolov S, Blackwell S, Zverovitch A, et
al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. J Med Internet Res 23 (2021) e26151,
whose own code weighs surface elements by their area, which here count alike). Which figure suits which question:
Maier-Hein L, Reinke A, Godau P, et al. Metrics reloaded. Nature Methods 21 (2024) 195-212.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SurfaceAgreement:
    """Distances in mm between two surfaces.

    Attributes:
        hd95_mm: the 95th percentile of the distances to the other surface, of the direction in which it is larger.
        mean_distance_mm: the mean of the distances from each surface to the other, both together.
        within_tolerance: part (0 to 1) of both surfaces that is within the tolerance of the other.
    """

    hd95_mm: float
    mean_distance_mm: float
    within_tolerance: float


def compare_surfaces(
    prediction: np.ndarray, reference: np.ndarray, affine: np.ndarray, tolerance_mm: float
) -> SurfaceAgreement:
    """Return the distances between the surfaces of two masks that are not empty.

    Distances are measured in the patient, so that the grid may have any spacing, be oblique or sheared.

    Args:
        prediction, reference: ``(i, j, k)`` bool on one grid. An axis of a single voxel is not looked along: surfaces
            are then the outlines in the slice.
        affine: 4x4, voxel index to RAS mm.
        tolerance_mm: for :attr:`SurfaceAgreement.within_tolerance`; a distance equal to it counts as within.
    """
    there, here = _surface(prediction), _surface(reference)
    forth, back = _distances(there, here, affine), _distances(here, there, affine)
    both = np.concatenate([forth, back])
    return SurfaceAgreement(
        float(max(np.percentile(forth, 95), np.percentile(back, 95))),
        float(both.mean()),
        # Distances carry rounding errors that must not decide at the tolerance itself.
        float(np.mean(both <= tolerance_mm + 1e-6)),
    )


def _surface(mask: np.ndarray) -> np.ndarray:
    """Return the foreground voxels with a background voxel, or the end of the image, at one of their faces."""
    from scipy.ndimage import binary_erosion, generate_binary_structure

    cross = generate_binary_structure(mask.ndim, 1)
    for axis, size in enumerate(mask.shape):
        if size == 1:
            cross = cross.take([1], axis)
    return mask & ~binary_erosion(mask, cross)


def _distances(surface: np.ndarray, other: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the distance in mm of each voxel of ``surface`` to the nearest one of ``other``."""
    from scipy.spatial import cKDTree

    distances = np.zeros(int(np.count_nonzero(surface)))
    apart = surface & ~other  # voxels that both surfaces share need no search
    if apart.any():
        tree = cKDTree(_points(other, affine), leafsize=32)
        distances[: int(np.count_nonzero(apart))] = tree.query(_points(apart, affine))[0]
    return distances


def _points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return np.argwhere(mask) @ np.asarray(affine)[:3, :3].T
