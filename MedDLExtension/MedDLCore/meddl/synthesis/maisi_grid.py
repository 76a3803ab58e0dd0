"""The grid on which MAISI makes an image: one of the sizes it knows, with voxels it knows, round a label map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from meddl.datasets.geometry.target_grid import oriented, straightened
from meddl.errors import UsageError
from meddl.volume import Grid

SIZES = (256, 384, 512)
"""Voxels along R and A."""
SLICES = (128, 256, 384, 512, 640, 768)
_ACROSS_MM = (0.5, 3.0)
_ALONG_MM = (0.5, 5.0)
_LEAST_MM = 256.0
_ADVISED_MM = 384.0
"""Of the field of view, but for heads."""
_GOOD_MM = (1.5, 2.5)
"""What is coarse enough to save and fine enough to see: of the sizes that its page recommends the coarsest."""


@dataclass(frozen=True)
class WorkingGrid:
    """Where an image is made.

    Attributes:
        grid: axes as near to R, A, S as they go, both axes across with the same voxels.
        notes: what the user should know, in sentences.
    """

    grid: Grid
    notes: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """In mm."""
        a, b, c = (float(each) for each in self.grid.spacing)
        return a, b, c


def working_grid(grid: Grid, size: tuple[int, ...] = ()) -> WorkingGrid:
    """Return the grid that holds all of a label map's.

    Args:
        grid: of the label map, in any direction.
        size: wanted; (): the least whose voxels are no coarser than the label map's, or than 1.5 mm across and 2.5 mm
            along, which is what MAISI's authors recommend.

    Raises:
        UsageError: the map is too large for MAISI, or the size is none that it knows, or does not fit the map.
    """
    if min(grid.shape) < 2:
        raise UsageError("This model makes volumes: give a label map with more than one slice.")
    upright = straightened(oriented(grid, "RAS"))
    extent = np.array(upright.shape) * upright.spacing
    across, along = max(float(extent[0]), float(extent[1]), _LEAST_MM), float(extent[2])
    if across > SIZES[-1] * _ACROSS_MM[1] or along > SLICES[-1] * _ALONG_MM[1]:
        raise UsageError(f"The label map reaches over {across:.0f} mm across and {along:.0f} mm along, and the model's "
                         f"images over {SIZES[-1] * _ACROSS_MM[1]:.0f} and {SLICES[-1] * _ALONG_MM[1]:.0f} mm at the "
                         "most. Crop it.")  # fmt: skip
    chosen = _checked(size, across, along) if size else _fitting(upright, across, along)
    lengths = _lengths(chosen, across, along)
    affine = upright.affine.copy()
    affine[:3, :3] = upright.affine[:3, :3] / upright.spacing * (lengths[0], lengths[0], lengths[1])
    middle = upright.affine[:3, :3] @ ((np.array(upright.shape) - 1) / 2) + upright.affine[:3, 3]
    shape = (chosen[0], chosen[0], chosen[1])
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    field = chosen[0] * lengths[0]
    notes = []
    if field < _ADVISED_MM:
        notes.append(f"The image is {field:.0f} mm wide: but for heads, {_ADVISED_MM:.0f} mm and more are advised.")
    return WorkingGrid(Grid(shape, affine), tuple(notes))


def sizes_that_fit(grid: Grid) -> list[tuple[int, int, int]]:
    """Return the sizes that a label map can be made with, the smallest first."""
    upright = straightened(oriented(grid, "RAS"))
    extent = np.array(upright.shape) * upright.spacing
    across, along = max(float(extent[0]), float(extent[1]), _LEAST_MM), float(extent[2])
    found = [each for each in product(SIZES, SLICES) if _fits(_lengths(each, across, along))]
    return [(a, a, b) for a, b in sorted(found, key=lambda each: each[0] ** 2 * each[1])]


def told(size: tuple[int, ...]) -> str:
    """Return a size as people write it."""
    return " x ".join(map(str, size))


def _fitting(upright: Grid, across: float, along: float) -> tuple[int, int]:
    limits = (max(_GOOD_MM[0], float(min(upright.spacing[:2]))), max(_GOOD_MM[1], float(upright.spacing[2])))

    def cost(each: tuple[int, int]) -> tuple[float, int]:
        lengths = _lengths(each, across, along)
        too_coarse = sum(max(0.0, got / most - 1.0) for got, most in zip(lengths, limits, strict=True))
        return round(too_coarse, 3), each[0] ** 2 * each[1]

    return min((each for each in product(SIZES, SLICES) if _fits(_lengths(each, across, along))), key=cost)


def _checked(size: tuple[int, ...], across: float, along: float) -> tuple[int, int]:
    if size[0] != size[1] or size[0] not in SIZES or size[2] not in SLICES:
        raise UsageError(f"The model knows no images of {told(size)} voxels: it takes {_either(SIZES)} across, twice "
                         f"the same, and {_either(SLICES)} along.")  # fmt: skip
    chosen = (size[0], size[2])
    lengths = _lengths(chosen, across, along)
    if not _fits(lengths):
        good = next(each for each in sorted(product(SIZES, SLICES), key=lambda n: n[0] ** 2 * n[1])
                    if _fits(_lengths(each, across, along)))  # fmt: skip
        raise UsageError(f"With {told(size)} voxels these would be {lengths[0]:.1f} mm wide and {lengths[1]:.1f} mm "
                         f"high; the model takes {_ACROSS_MM[0]:g} to {_ACROSS_MM[1]:g} and {_ALONG_MM[0]:g} to "
                         f"{_ALONG_MM[1]:g} mm. {told((good[0], *good))} would do.")  # fmt: skip
    return chosen


def _lengths(size: tuple[int, int], across: float, along: float) -> tuple[float, float]:
    """Return how wide and high voxels are that hold all of it, in mm."""
    return max(across / size[0], _ACROSS_MM[0]), max(along / size[1], _ALONG_MM[0])


def _fits(lengths: tuple[float, float]) -> bool:
    return lengths[0] <= _ACROSS_MM[1] and lengths[1] <= _ALONG_MM[1]


def _either(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"
