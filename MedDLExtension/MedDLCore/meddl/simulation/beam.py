"""Where X-rays come from, and the plane that their picture is in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from meddl.errors import VolumeError
from meddl.inference.prediction import Box, Landmark
from meddl.simulation.options import Projection
from meddl.volume import Grid

_THICKNESS_MM = 1.0
_WIDEST = 8.0
"""How much a cone may magnify the patient at most: beyond, the source is all but in him."""


@dataclass(frozen=True, eq=False)
class Beam:
    """A beam and its picture, which lies in the plane through the isocenter across the beam.

    What lies in that plane is shown where it is and in its true size. A detector behind the patient would show the same
    picture, larger by its distance.

    Attributes:
        center: the isocenter, RAS mm.
        along: unit vector (RAS) from source to detector.
        right, down: unit vectors (RAS) of the picture's I and J: in frontal views I runs to the patient's left, J to
            the feet.
        source_mm: from source to isocenter; infinite for parallel rays.
        pixel_mm: of the square pixels.
        size: pixels across and down.
    """

    center: np.ndarray
    along: np.ndarray
    right: np.ndarray
    down: np.ndarray
    source_mm: float
    pixel_mm: float
    size: tuple[int, int]

    @property
    def grid(self) -> Grid:
        """Where the picture's pixels are; they count as 1 mm thick."""
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = self.right * self.pixel_mm, self.down * self.pixel_mm
        affine[:3, 2] = np.cross(self.right, self.down) * _THICKNESS_MM
        middle = (np.array(self.size) - 1) / 2
        affine[:3, 3] = self.center - affine[:3, :2] @ middle
        return Grid((*self.size, 1), affine)

    def rays(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a point of each ray and its direction (N, 3), RAS mm, of pixels in the order of a (J, I) array."""
        j, i = np.divmod(np.arange(first, last), self.size[0])
        across, down = ((each - (count - 1) / 2) * self.pixel_mm for each, count in zip((i, j), self.size, strict=True))
        points = self.center + across[:, np.newaxis] * self.right + down[:, np.newaxis] * self.down
        if math.isinf(self.source_mm):
            return points, np.broadcast_to(self.along, points.shape)
        directions = points - (self.center - self.source_mm * self.along)
        return points, directions / np.linalg.norm(directions, axis=1, keepdims=True)

    def projected(self, points: np.ndarray) -> np.ndarray:
        """Return where points (N, 3) are seen in the picture's plane, RAS mm."""
        from_center = np.asarray(points, np.float64) - self.center
        flat = np.stack([from_center @ self.right, from_center @ self.down], axis=1)
        if not math.isinf(self.source_mm):
            flat *= (self.source_mm / (self.source_mm + from_center @ self.along))[:, np.newaxis]
        seen: np.ndarray = self.center + flat @ np.stack([self.right, self.down])
        return seen

    def of_points(self, points: Sequence[Landmark]) -> tuple[Landmark, ...]:
        """Return points where they are seen."""
        return tuple(replace(each, position=self.projected(np.reshape(each.position, (1, 3)))[0]) for each in points)

    def of_boxes(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Return the smallest boxes along the picture's axes that hold what is seen of the boxes' corners."""
        axes = np.stack([self.right, self.down, np.cross(self.right, self.down)], axis=1)
        made = []
        for box in boxes:
            seen = (self.projected(box.corners()) - self.center) @ axes
            low, high = seen.min(axis=0), seen.max(axis=0)
            center = self.center + axes @ ((low + high) / 2)
            made.append(replace(box, center=center, size=np.array([*(high - low)[:2], _THICKNESS_MM]), axes=axes))
        return tuple(made)


def beam_through(
    grid: Grid, options: Projection, primary: float, secondary: float, shown: np.ndarray | None = None
) -> Beam:
    """Return the beam of a view (angles in degrees, see :class:`Projection`) through the middle of an image.

    Args:
        shown: points (N, 3), RAS mm, that the picture is made large enough for where ``options`` leave its size open;
            by default all of the image.

    Raises:
        VolumeError: the source would lie in the image.
    """
    a, b = math.radians(primary), math.radians(secondary)
    # Right, anterior, superior. Primary 0 has the detector in front, and turns to the left: to -R.
    flat = np.array([-math.sin(a), math.cos(a), 0.0])
    along = math.cos(b) * flat + math.sin(b) * np.array([0.0, 0.0, 1.0])
    down = math.sin(b) * flat - math.cos(b) * np.array([0.0, 0.0, 1.0])
    right = np.array([-math.cos(a), -math.sin(a), 0.0])
    if right[0] > 1e-9:  # radiographs are looked at with the patient's left on the right, wherever the source was
        right = -right
    center = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    source = math.inf if options.beam == "parallel" else options.source_mm
    size = (int(options.size[0]), int(options.size[1]))
    beam = Beam(center, along, right, down, source, 1.0, size)
    corners = _outer_corners(grid)
    if not math.isinf(source):
        depth = source + (corners - center) @ along
        if depth.min() < source / _WIDEST:
            raise VolumeError(f"The source of the X-rays, {source:g} mm from the image's middle, would lie in the "
                              "image or right at it. Choose a larger source_mm, or parallel beams.")  # fmt: skip
    pixel = options.field_mm / size[0]
    if not pixel:
        seen = beam.projected(corners if shown is None else shown) - center
        pixel = max(
            2 * float(np.abs(seen @ axis).max()) / count for axis, count in zip((right, down), size, strict=True)
        )
    return replace(beam, pixel_mm=pixel)


def _outer_corners(grid: Grid) -> np.ndarray:
    """Return the corners (8, 3) of the image, at the outer faces of its voxels, RAS mm."""
    index = np.array(np.meshgrid(*[(-0.5, count - 0.5) for count in grid.shape], indexing="ij")).reshape(3, 8)
    return (grid.affine[:3, :3] @ index + grid.affine[:3, 3:]).T
