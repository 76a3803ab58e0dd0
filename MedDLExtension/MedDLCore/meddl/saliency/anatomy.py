"""Which anatomy the evidence lies in: the shares of a map in each structure of a segmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.errors import UsageError
from meddl.saliency.attribution import AnatomyShare
from meddl.volume import Segment, Volume

OUTSIDE = "outside all"
"""Name of the last share: the image without any of the structures."""

_VOXELS_AT_ONCE = 1 << 21
_NOTABLE = 0.005
_MOST_NAMED = 4


def anatomy_shares(map: Volume, labels: Volume, segments: Sequence[Segment]) -> tuple[AnatomyShare, ...]:
    """Return the share of each structure in a map, and that of the rest of the image.

    Both are taken as made of voxels of one value each, and are added up over the finer of the two grids, wherever
    the other one lies in the patient; on the same grid that is exact. Where structures overlap, each gets all of what
    lies in it, so that shares can add up to more than 1. What of a structure lies outside of the map counts for its
    volume only.

    Args:
        map: ``(1, I, J, K)`` attribution, signed or not; several channels are added up, what is no number counts as 0.
        labels: ``(L, I, J, K)`` integers on any grid.
        segments: of them.

    Returns:
        The structures in the order of ``segments``, then :data:`OUTSIDE`. Densities are of the absolute attribution.

    Raises:
        UsageError: a segment is in a layer that ``labels`` has not.

    Example:
        >>> spot = np.zeros((1, 4, 4, 4), dtype=np.float32)
        >>> spot[0, 1, 1, 1] = 3
        >>> spot[0, 3, 3, 3] = 1
        >>> lesion = (spot > 2).astype(np.uint8)
        >>> where = np.eye(4)
        >>> shares = anatomy_shares(Volume(spot, where), Volume(lesion, where), [Segment(1, "lesion", (1, 0, 0))])
        >>> [(share.name, share.positive, share.density) for share in shares]
        [('lesion', 0.75, 48.0), ('outside all', 0.25, 0.25396825396825395)]
    """
    for segment in segments:
        if segment.layer >= labels.channels:
            raise UsageError(f"The segmentation has no layer {segment.layer}, where {segment.name!r} should be.")
    values = np.nan_to_num(np.asarray(map.array.sum(axis=0, dtype=np.float64)), nan=0.0, posinf=0.0, neginf=0.0)
    sums = _Sums(labels.channels)
    finer_labels = labels.voxel_volume_ml < map.voxel_volume_ml * 0.999
    walked = labels if finer_labels else map
    for part in _walk(map, labels, finer_labels):
        sums.add(values[part.of_map], labels.array[(slice(None), *part.of_labels)], segments)
    per_voxel = walked.voxel_volume_ml / map.voxel_volume_ml  # of the map's voxels, the unit of all sums
    whole = np.array([values.clip(min=0).sum(), -values.clip(max=0).sum(), values.size])
    rows = []
    for segment in segments:
        count = np.count_nonzero(labels.array[segment.layer] == segment.label)
        inside = sums.of(segment) * per_voxel
        rows.append(_share(segment.name, inside, whole, float(count * labels.voxel_volume_ml)))
    outside = (whole - sums.any * per_voxel).clip(min=0)
    rows.append(_share(OUTSIDE, outside, whole, float(outside[2] * map.voxel_volume_ml)))
    return tuple(rows)


def anatomy_sentence(shares: Sequence[AnatomyShare]) -> str:
    """Return what :func:`anatomy_shares` found, in words.

    Example:
        >>> cyst, fat = AnatomyShare("cyst", 0.62, 0, 31, 2.0), AnatomyShare("fat", 0.03, 0, 0.4, 900.0)
        >>> anatomy_sentence([cyst, fat, AnatomyShare(OUTSIDE, 0.35, 0, 0.4, 5000.0)])
        '62 % of the evidence lies in cyst (31 times its share of the volume), 3 % in fat, 35 % outside all structures.'
    """
    structures = [share for share in shares if share.name != OUTSIDE]
    outside = next((share for share in shares if share.name == OUTSIDE), None)
    if not sum(share.positive for share in shares) and not sum(share.negative for share in shares):
        return "The map is empty: there is no evidence to share out."
    against = any(share.negative for share in shares)
    if any(share.positive for share in shares):
        # Densities are of all evidence: beside the share of one sign they need words of their own.
        how = (
            " (where all evidence is {} times as dense as by chance)"
            if against
            else " ({} times its share of the volume)"
        )
        sentence = _told(structures, outside, "the evidence", lambda share: share.positive, how)
    else:
        sentence = "Nothing speaks for the answer."
    if against:
        sentence += " " + _told(structures, outside, "what speaks against it", lambda share: share.negative)
    return sentence


def _told(
    structures: Sequence[AnatomyShare],
    outside: AnatomyShare | None,
    what: str,
    of: Callable[[AnatomyShare], float],
    density: str = "",
) -> str:
    named = sorted((each for each in structures if of(each) >= _NOTABLE), key=lambda each: -of(each))
    parts = [f"{_percent(of(each))} in {each.name}" for each in named[:_MOST_NAMED]]
    if named and named[0].density >= 2:
        parts[0] += density.format(f"{named[0].density:.0f}")
    if outside is not None:
        parts.append(f"{_percent(of(outside))} outside all structures")
    if not parts:
        return f"None of {what} lies in any structure."
    head, _, tail = parts[0].partition(" % ")
    return ", ".join([f"{head} % of {what} lies {tail}", *parts[1:]]) + "."


def _percent(share: float) -> str:
    # What is nearly all, or nearly nothing, is not all or nothing.
    shown = 100 * share
    return f"{shown:.1f} %" if 0 < shown < 1 or 99 < shown < 100 else f"{shown:.0f} %"


def _share(name: str, inside: np.ndarray, whole: np.ndarray, volume_ml: float) -> AnatomyShare:
    positive, negative = (float(inside[n] / whole[n]) if whole[n] > 0 else 0.0 for n in (0, 1))
    amount, place = inside[0] + inside[1], inside[2] / whole[2]
    everything = whole[0] + whole[1]
    density = float(amount / everything / place) if place > 0 and everything > 0 else 0.0
    # Voxels of another grid cover a structure up to rounding.
    return AnatomyShare(name, min(positive, 1.0), min(negative, 1.0), density, volume_ml)


class _Sums:
    """Positive and negative attribution and voxels of each label of each layer."""

    def __init__(self, layers: int) -> None:
        self._sums = [np.zeros((3, 1)) for _ in range(layers)]
        self.any = np.zeros(3)

    def add(self, values: np.ndarray, labels: np.ndarray, segments: Sequence[Segment]) -> None:
        """Add voxels: values ``(...)`` of the map, labels ``(L, ...)``."""
        values, covered = values.reshape(-1), np.zeros(values.size, dtype=bool)
        amounts = (values.clip(min=0), -values.clip(max=0), None)
        for layer, each in enumerate(labels):
            wanted = np.array([segment.label for segment in segments if segment.layer == layer], dtype=np.int64)
            if not len(wanted):
                continue
            numbers = each.reshape(-1).astype(np.int64)
            numbers[(numbers < 0) | (numbers > wanted.max())] = 0
            counted = np.stack([np.bincount(numbers, amount, wanted.max() + 1) for amount in amounts])
            self._sums[layer] = self._sums[layer] + counted  # the first zeros have one column
            table = np.zeros(wanted.max() + 1, dtype=bool)
            table[wanted] = True
            covered |= table[numbers]
        self.any += [amounts[0][covered].sum(), amounts[1][covered].sum(), np.count_nonzero(covered)]

    def of(self, segment: Segment) -> np.ndarray:
        """Return (positive, negative, voxels) of a structure."""
        sums = self._sums[segment.layer]
        return sums[:, segment.label] if segment.label < sums.shape[1] else np.zeros(3)


@dataclass(frozen=True, eq=False)
class _Part:
    """The same places on both grids, as indices."""

    of_map: tuple[np.ndarray | slice, ...]
    of_labels: tuple[np.ndarray | slice, ...]


def _walk(map: Volume, labels: Volume, finer_labels: bool) -> Iterator[_Part]:
    """Yield the voxels of the finer grid that both grids cover, some at a time; of labels only those that are set."""
    walked, other = (labels, map) if finer_labels else (map, labels)
    slabs = max(_VOXELS_AT_ONCE // (walked.shape[1] * walked.shape[2]), 1)
    same = map.grid.same_as(labels.grid)
    to_other = np.linalg.inv(other.affine) @ walked.affine
    for start in range(0, walked.shape[0], slabs):
        stop = min(start + slabs, walked.shape[0])
        if same:
            part = (slice(start, stop), slice(None), slice(None))
            yield _Part(part, part)
            continue
        if finer_labels:
            index = np.stack(np.nonzero(labels.array[:, start:stop].any(axis=0)))
        else:
            index = np.indices((stop - start, *walked.shape[1:])).reshape(3, -1)
        index[0] += start
        found = np.rint(to_other[:3, :3] @ index + to_other[:3, 3:]).astype(np.int64)
        seen = ((found >= 0) & (found < np.array(other.shape)[:, None])).all(axis=0)
        here, there = tuple(index[:, seen]), tuple(found[:, seen])
        yield _Part(there, here) if finer_labels else _Part(here, there)
