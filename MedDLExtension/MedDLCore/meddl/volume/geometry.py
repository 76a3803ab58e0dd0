"""Where voxels are: affines from voxel index to RAS millimeters, what makes one usable, and grids of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meddl.errors import VolumeError

MIN_SPACING_MM = 1e-3
MAX_SPACING_MM = 1e3
MAX_COORDINATE_MM = 1e6
"""A kilometer from the scanner's center: beyond it a header is damaged, not a patient far away."""

_LPS_RAS = np.array([-1.0, -1.0, 1.0])
_LAST_ROW = np.array([0.0, 0.0, 0.0, 1.0])
_LAST_ROW_MAY_DIFFER = 1e-6 + 1e-5 * _LAST_ROW


def flip_lps_ras(points: np.ndarray) -> np.ndarray:
    """Return ``points`` (rows x, y, z on the first axis: a vector, 3xN or 4x4) from LPS to RAS or from RAS to LPS."""
    flipped = np.array(points, dtype=np.float64)
    flipped[:3] *= _LPS_RAS.reshape((3,) + (1,) * (flipped.ndim - 1))
    return flipped


def checked_affine(affine: object) -> np.ndarray:
    """Return ``affine`` as a read-only 4x4 float64 matrix that places every voxel at its own point of the patient.

    Raises:
        VolumeError: it is no finite 4x4 matrix ending in 0 0 0 1, a voxel edge is not between 0.001 and 1000 mm, the
            axes lie in one plane, or the first voxel is more than a kilometer away.
    """
    try:
        matrix = np.array(affine, dtype=np.float64)
    except (TypeError, ValueError):
        raise VolumeError("The image cannot be placed in space: its affine is not a matrix of numbers.") from None
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise VolumeError("The image cannot be placed in space: its affine must be a 4x4 matrix of finite numbers.")
    if (np.abs(matrix[3] - _LAST_ROW) > _LAST_ROW_MAY_DIFFER).any():  # np.allclose takes longer than all the rest
        raise VolumeError("The image cannot be placed in space: the last row of its affine must be 0 0 0 1.")
    matrix[3] = (0, 0, 0, 1)
    spacing = spacing_of(matrix)
    if (spacing < MIN_SPACING_MM).any() or (spacing > MAX_SPACING_MM).any():
        raise VolumeError(
            f"The image cannot be placed in space: its voxel size {' x '.join(f'{s:.4g}' for s in spacing)} mm is "
            f"outside {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm. Correct the spacing in its header."
        )
    if abs(np.linalg.det(matrix[:3, :3] / spacing)) < 1e-4:
        raise VolumeError(
            "The image cannot be placed in space: its affine is not invertible, because its axes lie in one plane."
        )
    if np.abs(matrix[:3, 3]).max() > MAX_COORDINATE_MM:
        raise VolumeError("The image cannot be placed in space: its origin is more than a kilometer away.")
    matrix.setflags(write=False)
    return matrix


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Return the lengths (3,) in mm of a voxel's edges along I, J and K."""
    return np.sqrt((affine[:3, :3] ** 2).sum(axis=0))


def is_sheared(affine: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Say whether the voxel axes are not at right angles: the cosine between two of them exceeds ``tolerance``."""
    axes = affine[:3, :3] / spacing_of(affine)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > tolerance)


def orientation_code(affine: np.ndarray) -> str:
    """Return the anatomical direction that I, J and K nearest point to, for instance ``"RAS"`` or ``"PIR"``.

    As in nibabel, the rotation nearest to the affine decides, and each world axis is given out once.
    """
    axes = np.asarray(affine, dtype=np.float64)[:3, :3]
    left, _, right = np.linalg.svd(axes / spacing_of(affine))
    rotation = left @ right
    code = ["?", "?", "?"]
    free = np.abs(rotation)
    for column in np.argsort(-np.abs(rotation).max(axis=0), kind="stable"):
        row = int(np.argmax(free[:, column]))
        code[column] = ("LR", "PA", "IS")[row][int(rotation[row, column] > 0)]
        free[row] = -1.0
    return "".join(code)


@dataclass(frozen=True, eq=False)
class Grid:
    """Where an image's voxels are, without the voxels.

    Attributes:
        shape: number of voxels along I, J, K.
        affine: 4x4 float64 (read-only), voxel index to RAS mm.

    Raises:
        VolumeError: the affine places no voxels in space (see :func:`checked_affine`) or the shape is not three
            positive whole numbers.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise VolumeError(f"A grid needs three positive numbers of voxels, not {tuple(self.shape)}.")
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", checked_affine(self.affine))

    @property
    def spacing(self) -> np.ndarray:
        """Lengths (3,) in mm of a voxel's edges along I, J, K."""
        return spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Anatomical direction code of I, J, K, for instance ``"RAS"``."""
        return orientation_code(self.affine)

    def corners(self) -> np.ndarray:
        """Return the RAS mm coordinates (3, 8) of the centers of the eight corner voxels."""
        last = np.array(self.shape) - 1
        index = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(3, 8)
        return self.affine[:3, :3] @ index + self.affine[:3, 3:]

    def same_as(self, other: Grid, tol: float = 1e-4) -> bool:
        """Say whether ``other`` has as many voxels and every one of them within ``tol`` mm of ours."""
        if self.shape != other.shape:
            return False
        # The distance is affine in the voxel index, so it is largest at a corner.
        return bool(np.sqrt(((self.corners() - other.corners()) ** 2).sum(axis=0)).max() <= tol)
