"""Which slice of an image a slice view shows, and which way round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import slicer
import slicer.util

if TYPE_CHECKING:
    from meddl.volume import Grid

_AXIAL = np.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
_TILTED_DEGREES = 5.0


@dataclass(frozen=True)
class SliceChoice:
    """A slice of voxels, and how it is drawn.

    Attributes:
        axis, index: of the image's voxels.
        across, down: the voxel axes that run to the right and downwards in the picture.
        mirrored: whether they run the other way round, each.
        tilt_degrees: between the slice and the view; an oblique view shows what no slice of voxels does.
    """

    axis: int
    index: int
    across: int
    down: int
    mirrored: tuple[bool, bool]
    tilt_degrees: float

    @property
    def isTilted(self) -> bool:
        """Whether the user should know that the picture is not quite what the view shows."""
        return self.tilt_degrees > _TILTED_DEGREES

    def laid_out(self, array: np.ndarray) -> np.ndarray:
        """Return a slice ``(C, I, J, K)`` of one voxel across as ``(C, height, width)``."""
        flat = np.take(array, 0, axis=1 + self.axis)
        if self.across < self.down:
            flat = flat.swapaxes(1, 2)
        return flat[:, :: -1 if self.mirrored[1] else 1, :: -1 if self.mirrored[0] else 1]


def slice_in_view(grid: Grid, view: slicer.vtkMRMLSliceNode | None) -> SliceChoice:
    """Return the slice of voxels nearest to what a view shows; without one, the axial slice in the middle."""
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    middle = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    if view is None:
        frame, place = _AXIAL, middle
    else:
        matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        frame, place = matrix[:3, :3], matrix[:3, 3]
    along = np.abs(directions.T @ frame[:, 2])
    flat = [axis for axis, count in enumerate(grid.shape) if count == 1]
    axis = flat[0] if len(flat) == 1 else int(np.argmax(along))  # a picture has one slice only
    return SliceChoice(axis, _index(grid, axis, middle, frame[:, 2], place), *_turned(directions, axis, frame),
                       tilt_degrees=float(np.degrees(np.arccos(min(1.0, along[axis])))))  # fmt: skip


def views() -> dict[str, slicer.vtkMRMLSliceNode]:
    """Return the slice views of the layout by name, those that everybody has first."""
    found = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    usual = [name for name in ("Red", "Yellow", "Green") if name in found]
    return {name: found[name] for name in (*usual, *sorted(set(found) - set(usual)))}


def _index(grid: Grid, axis: int, middle: np.ndarray, normal: np.ndarray, place: np.ndarray) -> int:
    """Return where the view's plane meets the line of voxels through the middle of the image."""
    step = grid.affine[:3, axis]
    slope = float(normal @ step)
    shift = float(normal @ (place - middle)) / slope if abs(slope) > 1e-9 else 0.0
    return int(np.clip(round((grid.shape[axis] - 1) / 2 + shift), 0, grid.shape[axis] - 1))


def _turned(directions: np.ndarray, axis: int, frame: np.ndarray) -> tuple[int, int, tuple[bool, bool]]:
    """Return which voxel axes run to the right and down, and whether they run the other way round."""
    others = [each for each in range(3) if each != axis]
    right, down = frame[:, 0], -frame[:, 1]
    score = abs(directions[:, others[0]] @ right) + abs(directions[:, others[1]] @ down)
    other = abs(directions[:, others[1]] @ right) + abs(directions[:, others[0]] @ down)
    across, below = others if score >= other else others[::-1]
    return across, below, (bool(directions[:, across] @ right < 0), bool(directions[:, below] @ down < 0))
