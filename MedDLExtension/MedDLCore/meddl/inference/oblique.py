"""Labels on a grid that is turned against the network's: no axis can be handled by itself."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from meddl.inference.strongest import strongest
from meddl.inference.tiles import contenders

if TYPE_CHECKING:
    import torch

_TILE = 32


def oblique_labels(kept: torch.Tensor, index_map: np.ndarray, interpolation: str, labels: np.ndarray) -> None:
    """Write the labels at all voxels whose center lies in the field of view.

    Args:
        kept: for ``linear`` scores ``(C, i, j, k)``: of several channels the largest wins; where there are as many as
            layers, each is foreground above zero. For ``nearest`` the labels ``(L, i, j, k)`` themselves.
        index_map: 4x4, index on the wanted grid to index on the network's.
        interpolation: ``linear`` or ``nearest``.
        labels: ``(L, I, J, K)``, changed in place.
    """
    if interpolation == "nearest":
        _nearest(kept.cpu().numpy(), index_map, labels)
        return
    shape = labels.shape[1:]
    for corner in product(*(range(0, size, _TILE) for size in shape)):
        target = tuple(slice(at, min(at + _TILE, size)) for at, size in zip(corner, shape, strict=True))
        found = block_of(kept, target, index_map)
        if found is None:
            continue
        block, where, inside = found
        if kept.shape[0] == labels.shape[0]:
            for layer, channel in zip(labels, block, strict=True):
                if float(channel.amax()) > 0:
                    layer[target] = inside & (_sampled(channel[None], where)[0] > 0).cpu().numpy()
        else:
            labels[0][target] = np.where(inside, _winner(block, where), 0)


def _winner(block: torch.Tensor, where: torch.Tensor) -> np.ndarray:
    kept = contenders(block)
    if len(kept) == 1:
        return np.full(where.shape[1:4], kept[0], dtype=np.int16)
    return np.asarray(kept)[strongest(_sampled(block[kept], where))[0].cpu().numpy()]


def _sampled(block: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import grid_sample

    return grid_sample(block[None].float(), where, "bilinear", "border", align_corners=False)[0]


def block_of(
    kept: torch.Tensor, target: tuple[slice, ...], index_map: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray] | None:
    """Return what a range of target voxels is interpolated from; None if it lies outside the field of view.

    Returns:
        The block ``(C, i, j, k)`` of ``kept``, where to sample it (for ``grid_sample``), and which target voxels lie in
        the field of view.
    """
    import torch

    sizes = np.array(kept.shape[1:])
    source, inside = _source_of(target, index_map, sizes)
    if not inside.any():
        return None
    source = np.clip(source, 0, sizes - 1)
    low = np.floor(source.reshape(-1, 3).min(axis=0)).astype(int)
    high = np.minimum(np.floor(source.reshape(-1, 3).max(axis=0)).astype(int) + 1, sizes - 1)
    block = kept[(slice(None), *(slice(a, b + 1) for a, b in zip(low, high, strict=True)))]
    # grid_sample wants -1..1 and the last axis first.
    scaled = 2 * (source - low + 0.5) / (high - low + 1) - 1
    where = torch.from_numpy(np.ascontiguousarray(scaled[..., ::-1], dtype=np.float32))[None].to(kept.device)
    return block, where, inside


def _nearest(kept: np.ndarray, index_map: np.ndarray, labels: np.ndarray) -> None:
    sizes = np.array(kept.shape[1:])
    shape = labels.shape[1:]
    for first in range(0, shape[0], 8):
        target = (slice(first, min(first + 8, shape[0])), slice(0, shape[1]), slice(0, shape[2]))
        source, inside = _source_of(target, index_map, sizes)
        index = np.clip(np.floor(source + 0.5 + 1e-6).astype(np.int64), 0, sizes - 1)
        for layer, decided in zip(labels, kept, strict=True):
            layer[target] = np.where(inside, decided[index[..., 0], index[..., 1], index[..., 2]], 0)


def _source_of(
    target: tuple[slice, ...], index_map: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return source indices ``(n, m, l, 3)`` of a range of target voxels, and which lie in the field of view."""
    # Outer sums of three small tables: a matrix product for every voxel takes longer.
    along = [np.arange(part.start, part.stop)[:, None] * index_map[:3, axis] for axis, part in enumerate(target)]
    source = (along[0] + index_map[:3, 3])[:, None, None] + along[1][None, :, None] + along[2][None, None]
    inside = ((source >= -0.5 - 1e-9) & (source <= sizes - 0.5 + 1e-9)).all(axis=-1)
    return source, inside
