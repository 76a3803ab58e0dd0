"""Connected components of label maps: the same answers as MONAI's transforms, all labels in one pass.

``keep_largest`` is ``KeepLargestConnectedComponent``, ``fill_holes`` is ``FillHoles``, for label maps (not one-hot).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np


def keep_largest(
    labels: np.ndarray,
    applied_labels: Iterable[int] | int | None = None,
    *,
    independent: bool = True,
    connectivity: int | None = None,
    num_components: int = 1,
) -> np.ndarray:
    """Return a copy in which only the largest components are left.

    Args:
        labels: ``(I, J, K)`` of a whole-number type; 0 is background.
        applied_labels: which labels are cleaned, the others stay; None: all.
        independent: each label by itself; otherwise their union is one foreground.
        connectivity: 1 for neighbors by faces, 2 by edges too, 3 (or None) by corners too.
        num_components: how many are kept. Of two alike, the one that begins later in the array.
    """
    import cc3d

    box = foreground_box(labels)
    out = labels.copy()
    if box is None:
        return out
    part = np.ascontiguousarray(labels[box])
    wanted = _wanted(part, applied_labels)
    if not independent:
        part = wanted.astype(np.uint8)
    elif applied_labels is not None:
        part = np.where(wanted, part, 0)
    components, count = cc3d.connected_components(part, connectivity=_neighbors(connectivity), return_N=True)
    flat = components.ravel()
    sizes = np.bincount(flat, minlength=count + 1)
    owners = np.zeros(count + 1, dtype=np.int64)
    owners[flat] = part.ravel()
    kept = np.zeros(count + 1, dtype=bool)
    for owner in np.unique(owners[1:]):
        own = np.flatnonzero(owners == owner)
        own = own[own > 0]
        if len(own) > num_components:
            own = _largest(own, sizes, flat, num_components)
        kept[own] = True
    out[box][wanted & ~kept[components]] = 0
    return out


def fill_holes(
    labels: np.ndarray, applied_labels: Iterable[int] | int | None = None, *, connectivity: int | None = None
) -> np.ndarray:
    """Return a copy in which what a label encloses belongs to it; smaller labels go first.

    Args:
        labels: ``(I, J, K)`` of a whole-number type; 0 is background.
        applied_labels: whose holes are filled; None: all.
        connectivity: through which neighbors a hole is open to the outside: 1 faces, 2 edges too, 3 (or None) corners
            too. At the array's edge it is always open.
    """
    import cc3d

    out = labels.copy()
    for label in _numbers(labels, applied_labels):
        box = foreground_box(out == label)
        if box is None:
            continue
        # One voxel all around: there is the outside. No hole reaches beyond the label's box.
        other = np.pad(out[box] != label, 1, constant_values=True)
        components = cc3d.connected_components(other, connectivity=_neighbors(connectivity))
        inner = components[1:-1, 1:-1, 1:-1]
        out[box][(inner != components[0, 0, 0]) & (inner != 0)] = label
    return out


def foreground_box(labels: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Return the smallest box around all that is not 0; None if nothing is."""
    box = []
    foreground = labels if labels.dtype == bool else labels != 0
    for axis in range(3):
        others = tuple(each for each in range(3) if each != axis)
        indices = np.flatnonzero(foreground.any(axis=others))
        if indices.size == 0:
            return None
        box.append(slice(int(indices[0]), int(indices[-1]) + 1))
    return box[0], box[1], box[2]


def _wanted(labels: np.ndarray, applied: Iterable[int] | int | None) -> np.ndarray:
    if applied is None:
        return labels != 0
    return np.isin(labels, _numbers(labels, applied))


def _numbers(labels: np.ndarray, applied: Iterable[int] | int | None) -> list[int]:
    if applied is None:
        applied = np.unique(labels).tolist()
    numbers = [applied] if isinstance(applied, int) else list(applied)
    return sorted({int(each) for each in numbers} - {0})


def _neighbors(connectivity: int | None) -> Literal[6, 18, 26]:
    return 6 if connectivity == 1 else 18 if connectivity == 2 else 26


def _largest(own: np.ndarray, sizes: np.ndarray, flat: np.ndarray, count: int) -> np.ndarray:
    """Return the ``count`` largest of the components ``own``."""
    ranked = own[np.argsort(-sizes[own], kind="stable")]
    least = sizes[ranked[count - 1]]
    if count == len(ranked) or sizes[ranked[count]] < least:
        return ranked[:count]
    # A tie for the last place: by where the components begin.
    tied = [int(each) for each in ranked if sizes[each] == least]
    begins = {each: int(np.argmax(flat == each)) for each in tied}
    larger = ranked[sizes[ranked] > least]
    return np.concatenate([larger, sorted(tied, key=lambda each: -begins[each])[: count - len(larger)]]).astype(int)
