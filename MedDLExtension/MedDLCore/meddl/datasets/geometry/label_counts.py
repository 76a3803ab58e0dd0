"""What becomes of each structure on another grid: nothing small or thin vanishes without a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.volume import Grid, Volume

_SHRUNK = 0.75
_GROWN = 1.5
_CUT = 0.01
_SLAB_VOXELS = 1 << 22
Parts = Mapping[str, Sequence[tuple[int, int]]]
"""(Layer, value) pairs that make up each structure, by its name."""


@dataclass(frozen=True)
class Shares:
    """How much there was of each structure.

    Attributes:
        all_ml: on the grid it came on.
        inside_ml: of it, what lies within the new grid.
    """

    all_ml: Mapping[str, float]
    inside_ml: Mapping[str, float]


def count_shares(labels: Volume, target: Grid, names: Parts) -> Shares:
    """Return how much of each structure lies within ``target``, by the centers of its voxels."""
    everything = _counted(labels)
    within = everything if _all_within(labels, target) else _counted(labels, target)
    return Shares(_volumes(everything, labels, names), _volumes(within, labels, names))


def shrunk_notes(shares: Shares, after: Volume, names: Parts, *, is_resampled: bool) -> list[str]:
    """Return sentences on the structures that were cut off, vanished or changed their volume by much."""
    volumes = _volumes(_counted(after), after, names)
    outside, cut, vanished, changed = [], [], [], []
    for name, before in shares.all_ml.items():
        inside, now = shares.inside_ml[name], volumes[name]
        if not before:
            continue
        if not inside:
            outside.append(f"'{name}' ({before:.3g} ml)")
            continue
        if inside < (1 - _CUT) * before:
            cut.append(f"'{name}' ({100 * (1 - inside / before):.2g} %)")
        if not now:
            vanished.append(f"'{name}' ({inside:.3g} ml)")
        elif is_resampled and not _SHRUNK <= now / inside <= _GROWN:
            changed.append(f"'{name}' ({inside:.3g} to {now:.3g} ml)")
    notes = []
    if outside:
        notes.append(f"Lost, for it lies wholly outside of the exported image: {', '.join(outside)}.")
    if cut:
        notes.append(f"Cut off in part, for it reaches beyond the exported image: {', '.join(cut)}.")
    if vanished:
        notes.append(
            f"Vanished, too small or thin for the voxels of the exported image: {', '.join(vanished)}. "
            "Choose a smaller spacing to keep it."
        )
    if changed:
        notes.append(
            f"Changed much in volume, small or thin for the voxels of the exported image: {', '.join(changed)}. "
            "Choose a smaller spacing to keep it."
        )
    return notes


def _volumes(counts: Sequence[np.ndarray], labels: Volume, names: Parts) -> dict[str, float]:
    return {
        name: labels.voxel_volume_ml * sum(int(counts[layer][value]) for layer, value in parts
                                           if value < len(counts[layer]))
        for name, parts in names.items()
    }  # fmt: skip


def _counted(labels: Volume, within: Grid | None = None) -> list[np.ndarray]:
    """Return how many voxels each label has in each layer; those whose centers lie within a grid only, if given."""
    size = int(labels.array.max()) + 1
    counts = [np.zeros(size, dtype=np.int64) for _ in range(labels.channels)]
    axis = int(np.argmax([abs(step) for step in labels.array.strides[1:]]))
    thick = max(1, _SLAB_VOXELS * labels.shape[axis] // labels.array[0].size)
    for start in range(0, labels.shape[axis], thick):
        part = tuple(slice(start, start + thick) if n == axis else slice(None) for n in range(3))
        for layer, count in zip(labels.array, counts, strict=True):
            values = layer[part]
            if within is not None:
                values = values[_inside(values, labels.affine, start, axis, within)]
            count += np.bincount(values.ravel(order="K"), minlength=size)
    return counts


def _inside(values: np.ndarray, affine: np.ndarray, start: int, axis: int, within: Grid) -> tuple[np.ndarray, ...]:
    """Return the indices of the voxels of a slab that are labeled and lie within a grid."""
    found = np.nonzero(values)
    index_map = np.linalg.inv(within.affine) @ affine
    index = np.array(found, dtype=np.float64)
    index[axis] += start
    at = index_map[:3, :3] @ index + index_map[:3, 3:]
    last = np.array(within.shape)[:, None] - 0.5
    keep = ((at >= -0.5 - 1e-6) & (at <= last + 1e-6)).all(axis=0)
    return tuple(each[keep] for each in found)


def _all_within(labels: Volume, target: Grid) -> bool:
    index = np.linalg.inv(target.affine)[:3] @ np.vstack([labels.grid.corners(), np.ones(8)])
    return bool((index >= -0.5 - 1e-6).all() and (index <= np.array(target.shape)[:, None] - 0.5 + 1e-6).all())
