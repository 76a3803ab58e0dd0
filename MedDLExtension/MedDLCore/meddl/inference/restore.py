"""From the network's grid back to the image's: scores in, a label map on the wanted grid out.

Both grids are known by their affines, so one map of voxel indices holds whatever the preprocessing did (reorient,
resample, resize, crop, pad). Scores are interpolated before the decision, never labels after it, except where the model
asks for nearest neighbor, in which case the two orders agree. Voxels outside the network's field of view, which ends
half a voxel beyond its outer voxel centers, are background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from meddl.errors import ModelError
from meddl.inference.index_map import AxisMap, axis_maps
from meddl.inference.oblique import oblique_labels
from meddl.inference.restore_numbers import restore_values
from meddl.inference.strongest import strongest
from meddl.inference.tiles import Along, largest_channel, positive

if TYPE_CHECKING:
    import torch

    from meddl.volume import Grid

__all__ = ["Interpolation", "RestoreLabels", "restore_labels", "restore_values"]

Interpolation = Literal["linear", "nearest"]

_FLOAT_BYTES = 1_000_000_000
"""Scores that must be kept whole, for grids turned against each other, are halved above it."""


def restore_labels(
    scores: torch.Tensor,
    source_affine: np.ndarray,
    grid: Grid,
    *,
    threshold: float = 0.5,
    interpolation: Interpolation = "linear",
    nearest_axes: tuple[int, ...] = (),
) -> np.ndarray:
    """Return the label map of ``scores`` on ``grid``: of several channels the largest wins (the first is background).

    Args:
        scores: ``(C, i, j, k)`` on the network's grid.
        source_affine: 4x4, the network grid's voxel index to RAS mm.
        grid: where the labels are wanted.
        threshold: for a single channel only: label 1 is where it is reached.
        interpolation: of the scores.
        nearest_axes: source axes along which the nearest slice counts instead.

    Returns:
        ``(I, J, K)`` uint8, or uint16 for more than 255 labels; 0 outside the network's field of view.
    """
    restore = RestoreLabels(
        source_affine, grid, threshold=threshold, interpolation=interpolation, nearest_axes=nearest_axes
    )
    restore.begin(int(scores.shape[0]), tuple(scores.shape[1:]))
    restore.add(0, scores)
    return restore.labels


class RestoreLabels:
    """A sink for scores that keeps the label map only: what is finished is decided, and the scores are let go.

    The label is that of ``interpolate(activate(scores)).argmax``, voxel for voxel, see :mod:`meddl.inference.tiles`;
    two channels are decided by their interpolated difference, which is the same but for rounding.

    Args:
        source_affine: 4x4, the network grid's voxel index to RAS mm.
        grid: where the labels are wanted.
        threshold: for a single channel, and for each of several with ``multilabel``: from where on it is foreground.
        interpolation: of the scores.
        activate: applied to scores ``(C, n, j, k)`` before anything else; voxel by voxel, for the rows come in parts.
        multilabel: structures may overlap: every channel is thresholded by itself and becomes a layer.
        nearest_axes: source axes along which the nearest slice counts instead, where the two grids' axes are parallel.
    """

    def __init__(
        self,
        source_affine: np.ndarray,
        grid: Grid,
        *,
        threshold: float = 0.5,
        interpolation: Interpolation = "linear",
        activate: Callable[[torch.Tensor], torch.Tensor] | None = None,
        multilabel: bool = False,
        nearest_axes: tuple[int, ...] = (),
    ) -> None:
        self._index_map = np.linalg.inv(source_affine) @ grid.affine
        self._shape = grid.shape
        self._threshold = threshold
        self._interpolation = interpolation
        self._activate = activate
        self._multilabel = multilabel
        self._nearest_axes = nearest_axes
        self._source = (0, 0, 0)
        self._axes: tuple[AxisMap, ...] | None = None
        self._labels: np.ndarray | None = None
        self._last: torch.Tensor | None = None
        self._collected: torch.Tensor | None = None
        self._arrived = 0

    @property
    def labels(self) -> np.ndarray:
        """``(I, J, K)`` uint8, or uint16 for more than 255 labels; with ``multilabel`` ``(L, I, J, K)`` of 0 and 1."""
        if self._labels is None or self._arrived < self._source[0]:
            raise ModelError("The network's answer is not complete.")
        if self._collected is not None:
            oblique_labels(self._collected, self._index_map, self._interpolation, self._labels)
            self._collected = None
        return self._labels if self._multilabel else self._labels[0]

    def begin(self, channels: int, shape: tuple[int, ...]) -> None:
        self._source = (int(shape[0]), int(shape[1]), int(shape[2]))
        self._axes = axis_maps(self._index_map, self._source, self._shape, nearest_axes=self._nearest_axes)
        self._labels = self._last = self._collected = None
        self._arrived = 0

    def add(self, start: int, scores: torch.Tensor) -> None:
        if self._activate is not None:
            scores = self._activate(scores)
        if self._labels is None:
            layers = int(scores.shape[0]) if self._multilabel else 1
            kind = np.uint8 if self._multilabel or scores.shape[0] <= 256 else np.uint16
            self._labels = np.zeros((layers, *self._shape), dtype=kind)
        scores = self._margins(scores)
        if self._axes is None:
            self._collect(start, scores)
        elif self._interpolation == "nearest":
            self._pick(start, scores, self._axes)
        else:
            self._interpolate(start, scores, self._axes)
        self._arrived = start + int(scores.shape[1])

    def _margins(self, scores: torch.Tensor) -> torch.Tensor:
        """Return scores such that a single channel, or each of several layers, is foreground where it is above zero.

        Two competing channels become their difference: interpolation is linear, so half of it can be saved.
        """
        if self._multilabel or scores.shape[0] == 1:
            # "Reached" includes equality, which "above zero" does not.
            return scores.float() - float(np.nextafter(np.float32(self._threshold), np.float32(-np.inf)))
        if scores.shape[0] == 2:
            return scores[1:].float() - scores[:1].float()
        return scores

    def _interpolate(self, start: int, scores: torch.Tensor, axes: tuple[AxisMap, ...]) -> None:
        import torch

        assert self._labels is not None
        end = start + int(scores.shape[1])
        block = scores if self._last is None else torch.cat([self._last, scores], dim=1)
        base = end - int(block.shape[1])
        self._last = scores[:, -1:].clone()
        # Each plane when the later of its two rows is here. Along a flipped axis the indices fall.
        planes = np.flatnonzero((axes[0].high >= start) & (axes[0].high < end))
        if planes.size == 0:
            return
        chosen = slice(int(planes[0]), int(planes[-1]) + 1)
        along = (Along.of(axes[0], chosen, base), Along.of(axes[1]), Along.of(axes[2]))
        # The axis that shrinks most goes first: the others then have less to do.
        order = tuple(sorted(range(3), key=lambda axis: len(axes[axis]) / self._source[axis]))
        if self._multilabel or block.shape[0] == 1:
            for layer, channel in zip(self._labels, block, strict=True):
                positive(channel, along, order, _region(layer, axes, chosen))
        else:
            largest_channel(block, along, order, _region(self._labels[0], axes, chosen))

    def _pick(self, start: int, scores: torch.Tensor, axes: tuple[AxisMap, ...]) -> None:
        assert self._labels is not None
        planes = np.flatnonzero((axes[0].nearest >= start) & (axes[0].nearest < start + scores.shape[1]))
        if planes.size == 0:
            return
        chosen = slice(int(planes[0]), int(planes[-1]) + 1)
        indices = np.ix_(axes[0].nearest[chosen] - start, axes[1].nearest, axes[2].nearest)
        for layer, decided in zip(self._labels, self._decided(scores), strict=True):
            _region(layer, axes, chosen)[...] = decided[indices]

    def _decided(self, scores: torch.Tensor) -> np.ndarray:
        """Return the labels ``(L, n, j, k)`` of scores where they are."""
        assert self._labels is not None
        if self._multilabel or scores.shape[0] == 1:
            return (scores > 0).cpu().numpy().astype(self._labels.dtype)
        return strongest(scores)[0][None].cpu().numpy().astype(self._labels.dtype)

    def _collect(self, start: int, scores: torch.Tensor) -> None:
        import torch

        assert self._labels is not None
        if self._interpolation == "nearest":
            kept = torch.from_numpy(self._decided(scores).astype(np.int16))
        else:
            kept = scores
        if self._collected is None:
            count = int(kept.shape[0]) * int(np.prod(self._source))
            kind = kept.dtype if not kept.is_floating_point() else torch.float32
            if kept.is_floating_point() and 4 * count > _FLOAT_BYTES:
                kind = torch.float16
            self._collected = torch.empty((int(kept.shape[0]), *self._source), dtype=kind, device=kept.device)
        self._collected[:, start : start + kept.shape[1]] = kept


def _region(layer: np.ndarray, axes: tuple[AxisMap, ...], chosen: slice) -> np.ndarray:
    """Return the part of ``(I, J, K)`` that the maps reach as a view in the source's axis order."""
    view = layer.transpose([axis.target for axis in axes])
    inside = [axis.inside for axis in axes]
    first = inside[0].start
    return view[first + chosen.start : first + chosen.stop, inside[1], inside[2]]
