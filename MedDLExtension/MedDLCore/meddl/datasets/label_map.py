"""From a case's segments, which may overlap, to one label map with the dataset's values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.scheme_check import check_scheme
from meddl.datasets.structure_keys import folded, keys_within, structure_key
from meddl.errors import UsageError, VolumeError
from meddl.volume import Segment, Volume

_NOTHING, _IGNORE = -1, -2
_SLAB_VOXELS = 1 << 22


def apply_scheme(labels: Volume, segments: Sequence[Segment], scheme: LabelScheme) -> Volume:
    """Return the label map of a case as the dataset has it, on the same grid.

    Where structures overlap, the first in the scheme's order wins; with "regions" each combination has its own value.
    The ignore label covers all. Dropped structures are background.

    Args:
        labels: ``(L, I, J, K)``, one channel per layer, 0 is background.
        segments: what the labels of each layer are.
        scheme: of the dataset.

    Returns:
        ``(1, I, J, K)`` uint8, or uint16 where the scheme (not: this case) has more than 255 values.

    Raises:
        VolumeError: a label in the map that no segment describes, or a segment in a layer that is not there.
        UsageError: a structure of which the scheme says nothing, or, with "regions", a combination it has no value for.
            :func:`meddl.datasets.scheme_editing.completed` makes it say.

    Example:
        >>> from meddl.datasets.label_scheme import Structure
        >>> two = Volume(np.array([[1, 1, 0], [0, 1, 1]], np.uint8).reshape(2, 3, 1, 1), np.eye(4))
        >>> segments = [Segment(1, "Liver", (1, 0, 0)), Segment(1, "Tumor", (0, 1, 0), layer=1)]
        >>> scheme = LabelScheme((Structure("tumor", (0, 1, 0), "", ("tumor",)),
        ...                       Structure("liver", (1, 0, 0), "", ("liver",))))
        >>> apply_scheme(two, segments, scheme).array.ravel().tolist()
        [2, 1, 1]
    """
    check_scheme(scheme)
    tables = [_table(layer, number, segments, scheme) for number, layer in enumerate(labels.array)]
    combine = _first if scheme.overlaps == "order" else _Combinations(scheme)
    dtype = np.uint8 if _highest(scheme) <= 255 else np.uint16
    out = np.empty_like(labels.array[:1], dtype=dtype)
    for part in _slabs(labels.array[0]):
        places = [table[layer[part]] for table, layer in zip(tables, labels.array, strict=True)]
        out[0][part] = combine(places, scheme)
    return labels.with_array(out)


def _table(layer: np.ndarray, number: int, segments: Sequence[Segment], scheme: LabelScheme) -> np.ndarray:
    """Return, by label of a layer, the structure it becomes (int32), or one of ``_NOTHING`` and ``_IGNORE``."""
    seen = np.zeros(int(layer.max()) + 1, dtype=bool)
    for part in _slabs(layer):
        seen[layer[part]] = True
    places = {key: index for index, each in enumerate(scheme.structures) for key in each.sources}
    places |= dict.fromkeys(scheme.dropped, _NOTHING) | dict.fromkeys(scheme.ignore, _IGNORE)
    key_of = keys_within(segments)
    table = np.full(len(seen), _NOTHING, dtype=np.int32)
    described = np.zeros(len(seen), dtype=bool)
    described[0] = True
    for segment in segments:
        if segment.layer != number or segment.label >= len(seen):
            continue
        described[segment.label] = True
        plain, name = structure_key(segment), folded(segment.name)
        # A scheme made by hand or for other cases may know the segment by less, or by more, than it has here.
        keys = [key for key in (key_of(segment), plain, f"{plain} {name}", name) if key in places]
        if keys:
            table[segment.label] = places[keys[0]]
        elif seen[segment.label]:
            raise UsageError(
                f"The labels of the dataset say nothing of '{segment.name}'. Add it to them, or drop it there."
            )
    if unknown := np.flatnonzero(seen & ~described).tolist():
        listed = ", ".join(map(str, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
        raise VolumeError(f"The label map has labels that no segment describes: {listed}. Name them, or remove them.")
    return table


def _first(places: Sequence[np.ndarray], scheme: LabelScheme) -> np.ndarray:
    """Return the value of the first structure at each voxel; the ignore label is before all."""
    count = len(scheme.structures)
    first = np.full(places[0].shape, count, dtype=np.int32)
    for place in places:
        rank = np.where(place == _NOTHING, count, place)  # ignore has the least number of all
        np.minimum(first, rank, out=first)
    values = np.zeros(count + 3, dtype=np.int32)
    values[:count] = np.arange(1, count + 1)
    values[_IGNORE] = scheme.ignore_value or 0
    return values[first]


class _Combinations:
    """Values of sets of structures. Each set that is met gets a number, and joining a layer is a look-up in a table."""

    def __init__(self, scheme: LabelScheme) -> None:
        self._sets: list[frozenset[int]] = [frozenset()]
        self._numbers = {frozenset[int](): 0}
        self._values = {frozenset[int](): 0, frozenset({_IGNORE}): scheme.ignore_value or 0}
        self._values |= {frozenset({index}): index + 1 for index in range(len(scheme.structures))}
        first = 1 + len(scheme.structures)
        self._values |= {frozenset(members): first + n for n, members in enumerate(scheme.combinations)}

    def __call__(self, places: Sequence[np.ndarray], scheme: LabelScheme) -> np.ndarray:
        state = np.zeros(places[0].shape, dtype=np.int64)
        width = len(scheme.structures) + 2
        for place in places:
            # A pair of a set and a place as one number; the two negative places come first.
            pairs = state * width + (place + 2)
            met = np.flatnonzero(np.bincount(pairs.ravel(), minlength=1))
            table = np.zeros(int(met[-1]) + 1, dtype=np.int64)
            for pair in met.tolist():
                table[pair] = self._joined(self._sets[pair // width], pair % width - 2)
            state = table[pairs]
        values = np.zeros(len(self._sets), dtype=np.int32)
        for number in np.flatnonzero(np.bincount(state.ravel())).tolist():
            values[number] = self._value(self._sets[number], scheme)
        return values[state]

    def _joined(self, members: frozenset[int], place: int) -> int:
        if place != _NOTHING:
            members = frozenset({_IGNORE}) if _IGNORE in members or place == _IGNORE else members | {place}
        if members not in self._numbers:
            self._numbers[members] = len(self._sets)
            self._sets.append(members)
        return self._numbers[members]

    def _value(self, members: frozenset[int], scheme: LabelScheme) -> int:
        if members not in self._values:
            names = " and ".join(f"'{scheme.structures[index].name}'" for index in sorted(members))
            raise UsageError(
                f"{names} overlap in a case, and the dataset has no label for that. Make its labels anew from all "
                "cases, or let an order decide."
            )
        return self._values[members]


def _highest(scheme: LabelScheme) -> int:
    return len(scheme.structures) + len(scheme.combinations) + bool(scheme.ignore)


def _slabs(array: np.ndarray) -> Iterator[tuple[slice, ...]]:
    """Yield parts of ``(I, J, K)`` that lie together in memory: temporary arrays stay small."""
    axis = int(np.argmax([abs(step) for step in array.strides]))
    thick = max(1, _SLAB_VOXELS * array.shape[axis] // array.size)
    for start in range(0, array.shape[axis], thick):
        yield tuple(slice(start, start + thick) if n == axis else slice(None) for n in range(3))
