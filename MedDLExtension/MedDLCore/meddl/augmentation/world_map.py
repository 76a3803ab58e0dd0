"""Movements of content in the world, RAS mm: where each point goes, and where what is seen at a point came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from meddl.errors import VolumeError
from meddl.randomness import uniform_field
from meddl.volume import Grid

_ROUNDS = 60
_CLOSE_MM = 1e-5
_LITTLE = 1 << 21


class WorldMap(ABC):
    """A movement without folds: each point goes to a place of its own."""

    @abstractmethod
    def moved(self, points: np.ndarray, error_mm: float = _CLOSE_MM) -> np.ndarray:
        """Return where points ``(N, 3)`` go.

        Args:
            error_mm: how near is near enough, where the place is searched for step by step.
        """

    @abstractmethod
    def origins(self, points: np.ndarray) -> np.ndarray:
        """Return where what is at ``points`` ``(N, 3)`` afterwards was before."""


@dataclass(frozen=True, eq=False)
class LinearMap(WorldMap):
    """Turning, scaling, shearing, shifting, mirroring: ``matrix`` (4x4) times the point."""

    matrix: np.ndarray

    def moved(self, points: np.ndarray, error_mm: float = _CLOSE_MM) -> np.ndarray:
        """Return where points go."""
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def origins(self, points: np.ndarray) -> np.ndarray:
        """Return where points came from."""
        inverse = np.linalg.inv(self.matrix)
        return points @ inverse[:3, :3].T + inverse[:3, 3]


@dataclass(frozen=True, eq=False)
class ElasticMap(WorldMap):
    """A cubic B-spline of displacements: what is at ``x`` afterwards was at ``x + u(x)`` before.

    Attributes:
        lattice: affine from the index of a control point to RAS mm.
        shape: number of control points along the lattice's axes.
        token: names the field that the displacements are taken from.
        amplitude_mm: greatest displacement along each axis of the lattice. Below 0.4 of the distance of the control
            points nothing folds (Choi and Lee 2000, Injectivity conditions of 2D and 3D uniform cubic B-spline
            functions, Graphical Models 62:411).
        is_inverse: the movement the other way round.
    """

    lattice: np.ndarray
    shape: tuple[int, int, int]
    token: str
    amplitude_mm: tuple[float, float, float]
    is_inverse: bool = False
    _coefficients: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axes = self.lattice[:3, :3] / np.sqrt((self.lattice[:3, :3] ** 2).sum(axis=0))
        along = uniform_field(self.token, (*self.shape, 3)) * np.asarray(self.amplitude_mm)
        object.__setattr__(self, "_coefficients", along @ axes.T)

    def moved(self, points: np.ndarray, error_mm: float = _CLOSE_MM) -> np.ndarray:
        """Return where points go."""
        return points + self._at(points) if self.is_inverse else self._solved(points, error_mm)

    def origins(self, points: np.ndarray) -> np.ndarray:
        """Return where points came from."""
        return self._solved(points) if self.is_inverse else points + self._at(points)

    def displacements(self, grid: Grid) -> np.ndarray | None:
        """Return ``u`` (float32, ``(I, J, K, 3)``, mm) at all voxels of a grid along the lattice, else None."""
        index = np.linalg.inv(self.lattice) @ grid.affine
        steps = np.diag(index[:3, :3])
        if self.is_inverse or np.abs(index[:3, :3] - np.diag(steps)).max() > 1e-6:
            return None
        values = self._coefficients.astype(np.float32)
        # First the axis along which most is summed up, for instance that across a slice: the rest is less work then.
        for axis in sorted(range(3), key=lambda axis: grid.shape[axis] / self.shape[axis]):
            weights = _spline(index[axis, 3] + steps[axis] * np.arange(grid.shape[axis]), self.shape[axis])
            values = np.moveaxis(_summed(weights, np.moveaxis(values, axis, 0)), 0, axis)
        return values

    def _solved(self, points: np.ndarray, error_mm: float = _CLOSE_MM) -> np.ndarray:
        """Return the ``y`` with ``y + u(y) = points``."""
        found = points.copy()
        for _ in range(_ROUNDS):
            step = points - found - self._at(found)
            found += step
            if not step.size or np.abs(step).max() < error_mm:
                break
        return found

    def _at(self, points: np.ndarray) -> np.ndarray:
        from scipy.ndimage import map_coordinates

        inverse = np.linalg.inv(self.lattice)
        index = inverse[:3, :3] @ points.T + inverse[:3, 3:]
        # Beyond the lattice the displacement stays as it is at its end.
        index = np.clip(index, 1.0, np.array(self.shape)[:, np.newaxis] - 2.0)
        parts = [
            map_coordinates(self._coefficients[..., axis], index, order=3, prefilter=False, mode="nearest")
            for axis in range(3)
        ]
        return np.stack(parts, axis=-1)


def _summed(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ``(N, ...)``: sums of ``values`` ``(M, ...)`` with ``weights`` ``(N, M)``."""
    if weights.shape[0] * values[0].size > _LITTLE:
        return np.tensordot(weights, values, axes=(1, 0))
    # For a slice, waking the threads of a matrix product takes longer than the product.
    return np.asarray(np.einsum("nm,m...->n...", weights, values))


def _spline(positions: np.ndarray, count: int) -> np.ndarray:
    """Return the weights (float32) of ``count`` control points at positions along an axis of the lattice."""
    positions = np.clip(positions, 1.0, count - 2.0)
    away = np.abs(positions[:, np.newaxis] - np.arange(count))
    near = 2.0 / 3.0 - away**2 + away**3 / 2.0
    weights: np.ndarray = np.where(away < 1, near, np.where(away < 2, (2.0 - away) ** 3 / 6.0, 0.0))
    return weights.astype(np.float32)


class Movement:
    """Several movements, one after the other, seen at once: voxels are interpolated once only.

    Args:
        maps: in the order in which they happen.
    """

    def __init__(self, maps: Sequence[WorldMap]) -> None:
        self.maps = tuple(maps)
        self._last: tuple[tuple[object, ...], np.ndarray, np.ndarray | None] | None = None

    def moved(self, points: np.ndarray, error_mm: float = _CLOSE_MM) -> np.ndarray:
        """Return where points ``(N, 3)`` go; ``error_mm`` as of :meth:`WorldMap.moved`."""
        for each in self.maps:
            points = each.moved(points, error_mm)
        return points

    def index_map(self, source: Grid, target: Grid) -> np.ndarray | None:
        """Return the 4x4 matrix from the index of a target voxel to that of its origin, None where none does it."""
        matrix = target.affine
        for each in reversed(self.maps):
            if not isinstance(each, LinearMap):
                return None
            matrix = np.linalg.inv(each.matrix) @ matrix
        return np.asarray(np.linalg.inv(source.affine) @ matrix)

    def indices(self, source: Grid, target: Grid) -> np.ndarray:
        """Return, for all voxels of ``target``, the index of their origin in ``source``: float32 ``(I, J, K, 3)``."""
        # Relative to the grid's first voxel: 32 bits hold a thousandth of a voxel, wherever the patient lies.
        start = target.affine[:3, 3]
        matrix, places = self._origins(target)
        to_index = np.linalg.inv(source.affine)
        to_index[:3, 3] += to_index[:3, :3] @ start
        return _positions(to_index @ matrix, target.shape) if places is None else _times(to_index, places)

    def _origins(self, target: Grid) -> tuple[np.ndarray, np.ndarray | None]:
        """Return where voxels of ``target`` came from, in mm from its first voxel: as a matrix, or ``(I, J, K, 3)``.

        The last answer is kept: images and labels of a sample ask for the same.
        """
        key = (target.shape, target.affine.tobytes())
        if self._last is not None and self._last[0] == key:
            return self._last[1:]
        start = target.affine[:3, 3].copy()
        matrix = target.affine.copy()
        matrix[:3, 3] = 0.0
        places: np.ndarray | None = None
        for each in reversed(self.maps):
            if isinstance(each, LinearMap):
                inverse = np.linalg.inv(each.matrix)
                inverse[:3, 3] += inverse[:3, :3] @ start - start
                if places is None:
                    matrix = inverse @ matrix
                else:
                    places = _times(inverse, places)
                continue
            assert isinstance(each, ElasticMap)
            if places is None:
                there = matrix.copy()
                there[:3, 3] += start
                along = each.displacements(Grid(target.shape, there))
                places = _positions(matrix, target.shape)
                if along is not None:
                    places += along
                    continue
            flat = places.reshape(-1, 3).astype(np.float64) + start
            places = (each.origins(flat) - start).astype(np.float32).reshape(places.shape)
        self._last = (key, matrix, places)
        return matrix, places


def _positions(matrix: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    i, j, k = (np.arange(count)[:, np.newaxis] * matrix[:3, axis] for axis, count in enumerate(shape))
    plane = (i + matrix[:3, 3])[:, np.newaxis] + j
    places: np.ndarray = plane.astype(np.float32)[:, :, np.newaxis] + k.astype(np.float32)
    return places


def _times(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    # One product of all rows: of an array of four axes numpy would make as many products as there are places.
    rows = places.reshape(-1, 3) @ matrix[:3, :3].T.astype(np.float32)
    rows += matrix[:3, 3].astype(np.float32)
    return rows.reshape(places.shape)


def checked_matrix(numbers: object) -> np.ndarray:
    """Return a 4x4 matrix that turns space into space.

    Raises:
        VolumeError: it is none.
    """
    matrix = np.asarray(numbers, dtype=np.float64)
    is_map = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.allclose(matrix[3], (0, 0, 0, 1))
    if not is_map or abs(np.linalg.det(matrix)) < 1e-6:
        raise VolumeError("A recorded movement is no matrix that turns space into space. The record is damaged.")
    return matrix
