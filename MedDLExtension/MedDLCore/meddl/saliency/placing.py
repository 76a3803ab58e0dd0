"""What is given beside an image (masks, segmentations, another image), on the grid that the network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import UsageError
from meddl.volume import Grid, Segment, Volume

if TYPE_CHECKING:
    import torch

    from meddl.inference import Predictor
    from meddl.inference.stage import Prepared


def grid_of(prepared: Prepared) -> Grid:
    """Return the grid of an image as the network gets it."""
    size = prepared.image.shape[1:]
    return Grid((int(size[0]), int(size[1]), int(size[2])), prepared.affine)


def mask_on(mask: Volume, grid: Grid) -> np.ndarray:
    """Return a mask ``(1, I, J, K)`` on another grid, as ``(i, j, k)`` bool: where at least half of it is at a voxel.

    What is too small or too thin for that is where its voxels lie, so that only what is outside of the grid is lost.
    """
    from meddl.volume import resample_to

    there = mask.array[0] > 0
    inside: np.ndarray = resample_to(mask.with_array(there[None].astype(np.float32)), grid).array[0] >= 0.5
    return inside if inside.any() else _where_voxels_lie(there, mask.affine, grid)


class Structures:
    """The structures of a segmentation on another grid.

    Args:
        labels: ``(L, I, J, K)`` on any grid.
        segments: of them.
        grid: where they are wanted.

    Attributes:
        names: of the structures, in their order.
    """

    def __init__(self, labels: Volume, segments: Sequence[Segment], grid: Grid) -> None:
        from meddl.volume import resample_to

        if wrong := [each.name for each in segments if each.layer >= labels.channels]:
            raise UsageError(f"The segmentation has no layer for {wrong[0]!r}. Save it again, or choose another one.")
        self.names = tuple(each.name for each in segments)
        if labels.array.dtype.kind != "u":
            labels = labels.with_array(np.clip(labels.array, 0, None).astype(np.uint32))  # numbers of tables
        self._labels, self._segments, self._grid = labels, tuple(segments), grid
        self._placed = resample_to(labels, grid, interpolation="nearest").array

    def mask(self, index: int) -> np.ndarray:
        """Return where a structure is, ``(i, j, k)`` bool, whatever others overlap it; nowhere if outside."""
        segment = self._segments[index]
        inside: np.ndarray = self._placed[segment.layer] == segment.label
        if inside.any():
            return inside
        return _where_voxels_lie(self._labels.array[segment.layer] == segment.label, self._labels.affine, self._grid)

    def regions(self) -> torch.Tensor:
        """Return ``(i, j, k)`` numbers of the structures from 1 on, 0 for the rest.

        Where they overlap the smaller one wins: a lesion is part of its organ, and would be lost otherwise.
        """
        import torch

        # By tables, not structure by structure: there may be thousands.
        here, given = (_counts(each, self._segments) for each in (self._placed, self._labels.array))
        lost = {index: self.mask(index) for index in range(len(here)) if given[index] and not here[index]}
        sizes = [int(lost[index].sum()) if index in lost else here[index] for index in range(len(here))]
        order = sorted(range(len(sizes)), key=lambda each: -sizes[each])
        rank = {index: place + 1 for place, index in enumerate(order)}
        highest = np.zeros(self._grid.shape, dtype=np.int64)
        for layer, labels in enumerate(self._placed):
            table = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
            for index, segment in enumerate(self._segments):
                if segment.layer == layer and segment.label < len(table):
                    table[segment.label] = rank[index]
            np.maximum(highest, table[labels.astype(np.int64)], out=highest)
        for index, mask in lost.items():
            highest[mask] = np.maximum(highest[mask], rank[index])
        return torch.from_numpy(np.array([0, *(index + 1 for index in order)])[highest])


def reference_on(
    reference: Volume, image: Volume, prepared: Prepared, predictor: Predictor, slice_index: int | None
) -> torch.Tensor:
    """Return a reference image as the network gets it, ``(C, i, j, k)`` on the grid of the prepared image.

    Args:
        reference: of the same region as ``image``, on any grid.
        slice_index: which slice of the image the network gets, for networks that look at single slices.

    Raises:
        UsageError: it holds nothing where the image lies.
    """
    import torch

    from meddl.inference.predictor import numbers_only
    from meddl.volume import resample_to

    reference, _ = numbers_only(reference)
    if not reference.grid.same_as(image.grid):
        reference = resample_to(reference, image.grid, default=float(reference.array.min()))
    if reference.array.min() == reference.array.max():
        raise UsageError("The reference image holds nothing where the image lies. Choose one of the same region.")
    _, ready = predictor.prepared(reference, slice_index=slice_index)
    if grid_of(ready).same_as(grid_of(prepared)):
        return ready.image
    # Preprocessing that looks for the body, or a first stage, has cut it elsewhere.
    cut = Volume(ready.image.numpy(), ready.affine)
    placed = resample_to(cut, grid_of(prepared), default=float(cut.array.min()))
    return torch.from_numpy(np.ascontiguousarray(placed.array))


def _counts(labels: np.ndarray, segments: Sequence[Segment]) -> list[int]:
    """Return how many voxels each segment has in ``(L, i, j, k)`` labels."""
    counts = [np.bincount(layer.ravel().astype(np.int64)) for layer in labels]
    return [int(counts[each.layer][each.label]) if each.label < len(counts[each.layer]) else 0 for each in segments]


def _where_voxels_lie(mask: np.ndarray, affine: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the voxels ``(i, j, k)`` of ``grid`` that those of a mask ``(I, J, K)`` lie in."""
    inside = np.zeros(grid.shape, dtype=bool)
    to_grid = np.linalg.inv(grid.affine) @ affine
    index = np.rint(np.argwhere(mask) @ to_grid[:3, :3].T + to_grid[:3, 3]).astype(int)
    seen = ((index >= 0) & (index < grid.shape)).all(axis=1)
    inside[tuple(index[seen].T)] = True
    return inside
