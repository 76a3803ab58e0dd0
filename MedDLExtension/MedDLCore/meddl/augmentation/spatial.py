"""Transforms that move content: mirror, affine, elastic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from meddl.augmentation.parameters import Parameter, Setting
from meddl.augmentation.transform import AXES, Drawn, SpatialTransform, axis_along, numbers, words
from meddl.augmentation.world_map import ElasticMap, LinearMap, checked_matrix
from meddl.randomness import Stream
from meddl.volume import Grid

_NO_FOLDS = 0.3
"""Of the distance of control points: below what Choi and Lee (2000) prove, so that the inverse is found fast, too."""


class Flip(SpatialTransform):
    """The mirror image along the voxel axis nearest to a direction of the patient, about the middle of the image.

    Voxels are only reordered: nothing is interpolated. Left and right labels change places with it.
    """

    name = "flip"
    title = "Mirror"
    parameters = (Parameter("axis", ("left-right",), choices=AXES, meaning="directions to choose from"),)

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the mirror as a matrix of the world, and its direction."""
        word = stream.choice(words(settings["axis"]))
        axis = axis_along(grid, word)
        index = np.eye(4)
        index[axis, axis], index[axis, 3] = -1.0, grid.shape[axis] - 1.0
        return {"axis": word, "matrix": (grid.affine @ index @ np.linalg.inv(grid.affine)).tolist()}

    def world_map(self, drawn: Drawn) -> LinearMap:
        """Return the mirror."""
        return LinearMap(checked_matrix(drawn["matrix"]))

    def exchanges_sides(self, drawn: Drawn) -> bool:
        """Say whether it is left and right that change places."""
        return bool(drawn["axis"] == AXES[0])

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return the mirror itself."""
        return drawn


class Affine(SpatialTransform):
    """The patient lies otherwise, and is larger or smaller: turned, scaled, sheared and shifted about the middle."""

    name = "affine"
    title = "Position and size"
    parameters = (
        Parameter("rotation_degrees", (-10.0, 10.0), (-180, 180), "degrees", "about each axis of the patient"),
        Parameter("scale", (0.9, 1.1), (0.2, 5.0), "", "of all axes alike"),
        Parameter("stretch", (1.0, 1.0), (0.5, 2.0), "", "of each axis by itself"),
        Parameter("shear", (0.0, 0.0), (-0.5, 0.5), "", "of each axis along the others"),
        Parameter("shift_mm", (-10.0, 10.0), (-500, 500), "mm", "along each axis of the patient"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the matrix; an image of one slice stays in its plane."""
        flat = [axis for axis, count in enumerate(grid.shape) if count == 1]
        axes = np.linalg.qr(grid.affine[:3, :3])[0]
        axes = axes * np.sign((axes * grid.affine[:3, :3]).sum(axis=0))
        frame = axes if flat else np.eye(3)
        angles = [math.radians(stream.between(numbers(settings["rotation_degrees"]))) for _ in range(3)]
        size = stream.between(numbers(settings["scale"]))
        sizes = np.array([size * stream.between(numbers(settings["stretch"])) for _ in range(3)])
        shears = np.array([stream.between(numbers(settings["shear"])) for _ in range(6)])
        shift = np.array([stream.between(numbers(settings["shift_mm"])) for _ in range(3)])
        for axis in flat:
            angles = [angle if n == axis else 0.0 for n, angle in enumerate(angles)]
            sizes[axis], shift[axis] = 1.0, 0.0
        lean = np.eye(3)
        lean[~np.eye(3, dtype=bool)] = shears
        for axis in flat:
            lean[axis, :], lean[:, axis] = np.eye(3)[axis], np.eye(3)[axis]
        turn = np.eye(3)
        for axis, angle in enumerate(angles):
            turn = rotation(axis, angle) @ turn
        middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
        matrix = np.eye(4)
        matrix[:3, :3] = frame @ turn @ lean @ np.diag(sizes) @ frame.T
        matrix[:3, 3] = middle - matrix[:3, :3] @ middle + frame @ shift
        return {"matrix": matrix.tolist()}

    def world_map(self, drawn: Drawn) -> LinearMap:
        """Return the movement."""
        return LinearMap(checked_matrix(drawn["matrix"]))

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return the way back."""
        return {"matrix": np.linalg.inv(checked_matrix(drawn["matrix"])).tolist()}


class Elastic(SpatialTransform):
    """Soft tissue lies otherwise: a smooth displacement by a cubic B-spline that never folds (Rueckert et al. 1999).

    Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 18:712.
    """

    name = "elastic"
    title = "Elastic deformation"
    parameters = (
        Parameter("spacing_mm", (30.0, 60.0), (2.0, 500.0), "mm", "distance of the points that are shifted"),
        Parameter("amplitude_mm", (2.0, 6.0), (0.0, 100.0), "mm", "how far at most; never so far that tissue folds"),
    )

    def draw(self, settings: Mapping[str, Setting], stream: Stream, grid: Grid) -> Drawn | None:
        """Return the lattice of control points, how far they move, and the name of their displacements."""
        wanted, amplitude = (
            stream.between(numbers(settings["spacing_mm"])),
            stream.between(numbers(settings["amplitude_mm"])),
        )
        token = stream.token()
        lattice, shape, far = np.eye(4), [], []
        for axis, (count, edge) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
            parts = max(1, round((count - 1) * edge / wanted))
            step = (count - 1) / parts if count > 1 else 1.0
            lattice[axis, axis], lattice[axis, 3] = step, -step
            shape.append(parts + 3)
            far.append(min(amplitude, _NO_FOLDS * step * float(edge)) if count > 1 else 0.0)
        return {
            "lattice": (grid.affine @ lattice).tolist(),
            "shape": shape,
            "amplitude_mm": far,
            "token": token,
            "is_inverse": False,
        }

    def world_map(self, drawn: Drawn) -> ElasticMap:
        """Return the movement."""
        a, b, c = (int(each) for each in drawn["shape"])
        x, y, z = (float(each) for each in drawn["amplitude_mm"])
        lattice = checked_matrix(drawn["lattice"])
        return ElasticMap(lattice, (a, b, c), str(drawn["token"]), (x, y, z), bool(drawn["is_inverse"]))

    def inverse(self, drawn: Drawn) -> Drawn:
        """Return the way back."""
        return {**drawn, "is_inverse": not drawn["is_inverse"]}


def rotation(axis: int, angle: float) -> np.ndarray:
    """Return the 3x3 matrix of a turn about an axis by an angle in radians."""
    turn = np.eye(3)
    a, b = (n for n in range(3) if n != axis)
    turn[[a, a, b, b], [a, b, a, b]] = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    return turn
