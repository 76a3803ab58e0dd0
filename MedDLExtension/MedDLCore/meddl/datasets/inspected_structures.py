"""What a segmentation consists of: size and pieces of each structure, and which of them overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from meddl.datasets.facts import StructureFacts
from meddl.volume import Segment, Volume


def inspect_structures(
    labels: Volume, segments: Sequence[Segment], key_of: Callable[[Segment], str]
) -> tuple[StructureFacts, ...]:
    """Return what there is of each of ``segments`` in ``labels`` ``(L, I, J, K)``, in their order.

    Args:
        key_of: what equal structures of several cases have in common.
    """
    counts = {layer: _pieces(labels.array[layer]) for layer in sorted({segment.layer for segment in segments})}
    facts = []
    for segment in segments:
        voxels, components, debris = counts[segment.layer].get(segment.label, (0, 0, 0))
        volume = float(f"{voxels * labels.voxel_volume_ml:.9g}")
        facts.append(
            StructureFacts(
                key_of(segment), segment.name, segment.terminology, segment.color, voxels, volume, components, debris
            )
        )
    return tuple(facts)


def overlapping(labels: Volume, segments: Sequence[Segment], key_of: Callable[[Segment], str]) -> dict[
    tuple[str, ...], int
]:  # fmt: skip
    """Return how many voxels lie in exactly these structures (their keys, sorted), where they lie in several."""
    layers = sorted({segment.layer for segment in segments})
    if len(layers) < 2:
        return {}
    keys = {(segment.layer, segment.label): key_of(segment) for segment in segments}
    array = labels.array[layers]
    columns = array[:, np.count_nonzero(array, axis=0) > 1].T  # (voxels, layers)
    rows, counts = np.unique(columns, axis=0, return_counts=True) if len(columns) else (columns, np.zeros(0, int))
    found: dict[tuple[str, ...], int] = {}
    for row, count in zip(rows, counts, strict=True):
        pairs = ((layer, int(label)) for layer, label in zip(layers, row, strict=True))
        names = tuple(sorted({keys[pair] for pair in pairs if pair in keys}))
        if len(names) > 1:
            found[names] = found.get(names, 0) + int(count)
    return dict(sorted(found.items()))


def undescribed(labels: Volume, segments: Sequence[Segment]) -> int:
    """Return how many values of ``labels`` no segment describes."""
    known = {(segment.layer, segment.label) for segment in segments}
    values = ((layer, int(value)) for layer, each in enumerate(labels.array) for value in np.unique(each))
    return sum(pair not in known for pair in values if pair[1])


def _pieces(labels: np.ndarray) -> Mapping[int, tuple[int, int, int]]:
    """Return voxels, 26-connected pieces and voxels in pieces of one voxel by each value of ``(I, J, K)`` but 0."""
    import cc3d

    from meddl.inference.components import foreground_box

    box = foreground_box(labels)
    if box is None:
        return {}
    part = np.ascontiguousarray(labels[box])
    components, count = cc3d.connected_components(part, connectivity=26, return_N=True)
    flat = components.ravel()
    sizes = np.bincount(flat, minlength=count + 1)
    owners = np.zeros(count + 1, dtype=np.int64)
    owners[flat] = part.ravel()
    owners, sizes = owners[1:], sizes[1:]
    found = {}
    for value in np.unique(owners):
        own = sizes[owners == value]
        found[int(value)] = (int(own.sum()), len(own), int((own == 1).sum()))
    return found
