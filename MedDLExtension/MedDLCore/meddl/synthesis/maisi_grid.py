"""The grid on which MAISI makes an image: one of the sizes it knows, with voxels it knows, round a label map."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from meddl.datasets.geometry.target_grid import oriented, straightened
from meddl.errors import UsageError
from meddl.volume import Grid


@dataclass(frozen=True)
class KnownSizes:
    """What images a model makes, by its authors.

    Attributes:
        across: voxels along R and A, the same along both.
        along: voxels along S.
        across_mm, along_mm: the least and largest lengths of a voxel.
        head_mm, body_mm: the least width of an image of a head, and of anything else; beyond the label map is air.
        good_mm: across and along, what is coarse enough to save and fine enough to see: of the sizes that are
            recommended the coarsest.
    """

    across: tuple[int, ...] = (256, 384, 512)
    along: tuple[int, ...] = (128, 256, 384, 512, 640, 768)
    across_mm: tuple[float, float] = (0.5, 3.0)
    along_mm: tuple[float, float] = (0.5, 5.0)
    head_mm: float = 256.0
    body_mm: float = 384.0
    good_mm: tuple[float, float] = (1.5, 2.5)

    @property
    def most_mm(self) -> tuple[float, float]:
        """How far an image reaches at the most, across and along."""
        return self.across[-1] * self.across_mm[1], self.along[-1] * self.along_mm[1]

    def lengths(self, size: tuple[int, int], extent: tuple[float, float]) -> tuple[float, float]:
        """Return how wide and high voxels are that hold an extent, in mm."""
        return max(extent[0] / size[0], self.across_mm[0]), max(extent[1] / size[1], self.along_mm[0])

    def fitting(self, extent: tuple[float, float]) -> list[tuple[int, int]]:
        """Return the sizes, across and along, that hold an extent, the fewest voxels first."""
        found = [each for each in product(self.across, self.along) if self.fits(self.lengths(each, extent))]
        return sorted(found, key=lambda each: each[0] ** 2 * each[1])

    def fits(self, lengths: tuple[float, float]) -> bool:
        """Say whether voxels are such as the model knows."""
        return lengths[0] <= self.across_mm[1] and lengths[1] <= self.along_mm[1]


MAISI_SIZES = KnownSizes()
"""As its page and its own check of what it is asked for have them."""


def working_grid(grid: Grid, *, head: bool, size: tuple[int, ...] = (), known: KnownSizes = MAISI_SIZES) -> Grid:
    """Return the grid that holds all of a label map's, axes as near to R, A, S as they go.

    Args:
        grid: of the label map, in any direction.
        head: nothing but a head is shown.
        size: wanted; (): the least whose voxels are no coarser than the label map's, or than what is good enough.
        known: to the model.

    Raises:
        UsageError: the map is too large for MAISI, or the size is none that it knows, or does not fit the map.
    """
    if min(grid.shape) < 2:
        raise UsageError("This model makes volumes: give a label map with more than one slice.")
    upright, extent = _extent(grid, head, known)
    most = known.most_mm
    if extent[0] > most[0] or extent[1] > most[1]:
        raise UsageError(f"The label map reaches over {extent[0]:.0f} mm across and {extent[1]:.0f} mm along, and the "
                         f"model's images over {most[0]:.0f} and {most[1]:.0f} mm at the most. Crop it.")  # fmt: skip
    chosen = _checked(size, extent, known) if size else _best(upright, extent, known)
    wide, high = known.lengths(chosen, extent)
    affine = upright.affine.copy()
    affine[:3, :3] = upright.affine[:3, :3] / upright.spacing * (wide, wide, high)
    middle = upright.affine[:3, :3] @ ((np.array(upright.shape) - 1) / 2) + upright.affine[:3, 3]
    shape = (chosen[0], chosen[0], chosen[1])
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def sizes_that_fit(grid: Grid, *, head: bool, known: KnownSizes = MAISI_SIZES) -> list[tuple[int, int, int]]:
    """Return the sizes that an image for a label map can be made with, the fewest voxels first."""
    return [(across, across, along) for across, along in known.fitting(_extent(grid, head, known)[1])]


def told(size: tuple[int, ...]) -> str:
    """Return a size as people write it."""
    return " x ".join(map(str, size))


def _extent(grid: Grid, head: bool, known: KnownSizes) -> tuple[Grid, tuple[float, float]]:
    upright = straightened(oriented(grid, "RAS"))
    extent = np.array(upright.shape) * upright.spacing
    return upright, (
        max(float(extent[0]), float(extent[1]), known.head_mm if head else known.body_mm),
        float(extent[2]),
    )


def _best(upright: Grid, extent: tuple[float, float], known: KnownSizes) -> tuple[int, int]:
    limits = max(known.good_mm[0], float(min(upright.spacing[:2]))), max(known.good_mm[1], float(upright.spacing[2]))

    def too_coarse(each: tuple[int, int]) -> float:
        lengths = known.lengths(each, extent)
        return round(sum(max(0.0, got / most - 1.0) for got, most in zip(lengths, limits, strict=True)), 3)

    return min(known.fitting(extent), key=too_coarse)  # of equal ones the first, which is the smallest


def _checked(size: tuple[int, ...], extent: tuple[float, float], known: KnownSizes) -> tuple[int, int]:
    if size[0] != size[1] or size[0] not in known.across or size[2] not in known.along:
        raise UsageError(f"The model knows no images of {told(size)} voxels: it takes {_either(known.across)} across, "
                         f"twice the same, and {_either(known.along)} along.")  # fmt: skip
    chosen = (size[0], size[2])
    lengths = known.lengths(chosen, extent)
    if not known.fits(lengths):
        across, along = known.fitting(extent)[0]
        wide, high = known.across_mm, known.along_mm
        raise UsageError(f"With {told(size)} voxels these would be {lengths[0]:.1f} mm wide and {lengths[1]:.1f} mm "
                         f"high; the model takes {wide[0]:g} to {wide[1]:g} and {high[0]:g} to {high[1]:g} mm. "
                         f"{told((across, across, along))} would do.")  # fmt: skip
    return chosen


def _either(numbers: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
