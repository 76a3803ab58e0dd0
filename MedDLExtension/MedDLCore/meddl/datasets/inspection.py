"""Looking at a case before anything is written: what its images and its label are like, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meddl.datasets.case import BoxesLabel, ClassLabel, LandmarksLabel, LoadedCase
from meddl.datasets.content_digest import label_digest
from meddl.datasets.coverage import covered_fraction, is_same_grid, outside_fraction
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.datasets.image_digest import image_digest
from meddl.datasets.inspected_structures import inspect_structures, overlapping, undescribed
from meddl.volume import Grid, Volume
from meddl.volume.modalities import known_modality

_EXACT = 1 << 24
"""Up to so many voxels the percentiles of fractions are exact; of larger images they are those of every n-th voxel."""
_LISTED = 5
_HARDLY = 0.01


def inspect_case(loaded: LoadedCase, seen: Sequence[str] = ()) -> CaseFacts:
    """Return what there is to know about a case.

    Args:
        loaded: the case, its images and its label in memory.
        seen: identifying texts found with it, for :attr:`CaseFacts.seen`.

    Example:
        >>> from meddl.datasets.case import Case
        >>> image = Volume(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), np.eye(4))
        >>> facts = inspect_case(LoadedCase(Case("a", {"CT": image}), {"CT": image}))
        >>> facts.channels["CT"].shape, facts.channels["CT"].maximum
        ((2, 3, 4), 23.0)
    """
    case = loaded.case
    channels = {name: _channel(volume) for name, volume in loaded.images.items()}
    grids = [volume.grid for volume in loaded.images.values()]
    structures, combinations, outside, unknown = _segmentation(loaded, grids[0])
    others = [*grids[1:], *([loaded.target.grid] if loaded.target is not None else [])]
    all_grids = [*others, *([loaded.labels.grid] if loaded.labels is not None else [])]
    facts = CaseFacts(
        id=case.id,
        task=case.task,
        channels=channels,
        structures=structures,
        combinations=combinations,
        label_outside=outside,
        same_grid=all(is_same_grid(grids[0], each) for each in all_grids),
        overlap=min((covered_fraction(grids[0], by=each) for each in others), default=1.0),
        classes=case.label.names if isinstance(case.label, ClassLabel) else (),
        boxes=tuple(box.label for box in case.label.boxes) if isinstance(case.label, BoxesLabel) else (),
        points=tuple(point.name for point in case.label.points) if isinstance(case.label, LandmarksLabel) else (),
        label_digest=label_digest(loaded),
        seen=tuple(seen),
    )
    away = _marks_outside(loaded, grids[0])
    warnings = (*_of_images(facts), *_of_label(facts, loaded, unknown, away))
    return CaseFacts(**{**vars(facts), "problems": _problems(facts), "warnings": warnings})


def _channel(volume: Volume) -> ChannelFacts:
    array = volume.array.view(np.uint8) if volume.array.dtype.kind == "b" else volume.array
    shape, spacing = volume.shape, tuple(float(f"{length:.6g}") for length in volume.spacing)
    finite = array.ravel(order="K")  # as it lies in memory: no copy
    finite = finite[np.isfinite(finite)] if array.dtype.kind == "f" else finite
    numbers = dict.fromkeys(("minimum", "maximum", "mean", "p1", "p50", "p99"), 0.0)
    if finite.size:
        low, middle, high = _percentiles(finite, (1, 50, 99))
        mean = _rounded(float(finite.mean(dtype=np.float64)))
        numbers = {"minimum": float(finite.min()), "maximum": float(finite.max()), "mean": mean,
                   "p1": low, "p50": middle, "p99": high}  # fmt: skip
    return ChannelFacts(
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        orientation=volume.orientation,
        modality=known_modality(str(volume.meta.get("modality", ""))),
        dtype=array.dtype.name if volume.array.dtype.kind != "b" else "bool",
        not_finite=int(array.size - finite.size),
        digest=image_digest(volume),
        **numbers,
    )


def _percentiles(values: np.ndarray, wanted: Sequence[float]) -> list[float]:
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:  # counting is exact, and many times as fast as sorting
        low = int(values.min())
        counts = np.zeros(int(values.max()) - low + 1, dtype=np.int64)
        for part in np.array_split(values, max(1, values.size >> 24)):
            counts += np.bincount(part.astype(np.int32) - low, minlength=counts.size)
        ends = np.cumsum(counts)
        positions = [share / 100 * (values.size - 1) for share in wanted]
        below = [float(low + np.searchsorted(ends, np.floor(at), side="right")) for at in positions]
        above = [float(low + np.searchsorted(ends, np.ceil(at), side="right")) for at in positions]
        return [_rounded(a + (b - a) * (at % 1)) for a, b, at in zip(below, above, positions, strict=True)]
    values = values[:: -(-values.size // _EXACT)]
    return [_rounded(float(each)) for each in np.percentile(values.astype(np.float64), wanted)]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")  # sums differ in their last digits from one processor to the next


def _segmentation(
    loaded: LoadedCase, image: Grid
) -> tuple[tuple[StructureFacts, ...], dict[tuple[str, ...], int], float, int]:
    """Return structures, overlaps, the fraction outside of the image, and how many values no segment describes."""
    if loaded.labels is None:
        return (), {}, 0.0, 0
    from meddl.datasets.structure_keys import keys_within

    labels, segments = loaded.labels, loaded.segments
    key_of = keys_within(segments)
    structures = inspect_structures(labels, segments, key_of)
    combinations = overlapping(labels, segments, key_of)
    return structures, combinations, outside_fraction(labels, image), undescribed(labels, segments)


def _marks_outside(loaded: LoadedCase, image: Grid) -> int:
    """Return how many boxes or points lie outside of the image, boxes by their center."""
    label = loaded.case.label
    if isinstance(label, BoxesLabel):
        places = [np.asarray(box.center, dtype=np.float64) for box in label.boxes]
    elif isinstance(label, LandmarksLabel):
        places = [np.asarray(point.position, dtype=np.float64) for point in label.points]
    else:
        places = []
    inverse = np.linalg.inv(image.affine)
    index = [inverse[:3, :3] @ place + inverse[:3, 3] for place in places]
    return sum(bool((at < -0.5).any() or (at > np.array(image.shape) - 0.5).any()) for at in index)


def _problems(facts: CaseFacts) -> tuple[str, ...]:
    found = []
    for name, channel in facts.channels.items():
        voxels = int(np.prod(channel.shape))
        if channel.not_finite >= voxels:
            found.append(f'Image "{name}" holds no numbers. Choose another file.')
    if facts.overlap <= 0:
        what = "target" if facts.task == "reconstruction" else "another image"
        found.append(f"The first image and {what} lie at different places. Check which files belong together.")
    if facts.label_outside >= 1:
        found.append("The label lies outside of the image. Check that it belongs to this image.")
    return tuple(found)


def _of_images(facts: CaseFacts) -> list[str]:
    found = []
    for name, channel in facts.channels.items():
        if channel.not_finite:
            found.append(f'Image "{name}" has {channel.not_finite} voxels that are no numbers.')
        if channel.minimum == channel.maximum:
            found.append(f'Image "{name}" has the same value everywhere.')
    if 0 < facts.overlap < 1 - _HARDLY:
        found.append(f"Only {facts.overlap:.0%} of the first image are covered by all others.")
    if not facts.same_grid:
        found.append("Images and label lie on different grids: they are brought to one.")
    return found


def _of_label(facts: CaseFacts, loaded: LoadedCase, unknown: int, away: int) -> list[str]:
    found = []
    if 0 < facts.label_outside < 1:
        found.append(f"{max(facts.label_outside, 0.001):.1%} of the label lie outside of the image.")
    if unknown:
        found.append(f"The label map has {unknown} values without a name: they are left out.")
    if loaded.labels is not None and not any(each.voxels for each in facts.structures):
        found.append("The label is empty.")
    else:
        found += _told("Empty", [each.name for each in facts.structures if not each.voxels])
        found += _told(
            "Pieces of one voxel in", [each.name for each in facts.structures if each.debris_voxels and each.voxels > 1]
        )
    if facts.combinations:
        voxels = sum(facts.combinations.values())
        found.append(f"Structures overlap in {voxels} voxels.")
    if away:
        one, more = ("box lies", "boxes lie") if facts.task == "detection" else ("point lies", "points lie")
        found.append(f"{away} {one if away == 1 else more} outside of the image.")
    return found


def _told(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [f"{what}: {', '.join(names[:_LISTED])}{more}."]
