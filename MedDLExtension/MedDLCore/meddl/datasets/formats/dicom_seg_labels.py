"""The label map of a case as a DICOM SEG beside its series, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from meddl.datasets.label_scheme import LabelScheme
from meddl.volume import Segment, Volume, read_volume, whole_file
from meddl.volume.dicom_seg import Maker, write_dicom_seg

from .dicom_slices import dicom_text
from .label_maps import IGNORE

_NO_DATE = datetime(1900, 1, 1)
"""The standard wants a date; this one tells nothing about anybody."""
_GRAY = (0.5, 0.5, 0.5)
_SAID = (
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip


def structure_masks(labels: Volume, scheme: LabelScheme) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the structures of a label map as segments, in layers of their own where some overlap.

    Where nobody knows what is there, a segment called "ignore" says so.
    """
    structures = [
        (dicom_text(each.name), each.color, each.terminology, scheme.values_of(index))
        for index, each in enumerate(scheme.structures)
    ]
    if scheme.ignore_value is not None:
        structures.append((IGNORE, _GRAY, "", (scheme.ignore_value,)))
    layered = bool(scheme.combinations)
    if not layered:
        segments = [Segment(values[0], name, color, terms) for name, color, terms, values in structures]
        return labels, tuple(segments)
    masks = np.stack([np.isin(labels.array[0], values) for _, _, _, values in structures]).astype(np.uint8)
    segments = [Segment(1, name, color, terms, layer) for layer, (name, color, terms, _) in enumerate(structures)]
    return labels.with_array(masks), tuple(segments)


def write_labels(labels: Volume, scheme: LabelScheme, path: Path, series: Path) -> dict[str, int]:
    """Write the labels as a DICOM SEG of a series that lies in the dataset, and return the voxels of each segment.

    Raises:
        VolumeError: the series cannot be referred to, or is not the one the labels lie on.
    """
    import pydicom

    masks, segments = structure_masks(labels, scheme)
    image = read_volume(series)
    if image.shape[2] == 1 and image.meta.get("place") == "unknown" and image.shape == masks.shape:
        masks = Volume(masks.array, image.affine)
    maker = Maker("Reference labels", created=_NO_DATE, by_hand=True)
    write_dicom_seg(masks, segments, path, source=series, maker=maker)
    source = pydicom.dcmread(sorted(series.iterdir())[0], stop_before_pixels=True)
    dataset = pydicom.dcmread(path)
    for keyword in _SAID:
        if keyword in source:
            dataset[keyword] = source[keyword]
    with whole_file(path) as file:
        dataset.save_as(file, enforce_file_format=True)
    return voxels_of(masks, segments)


def voxels_of(labels: Volume, segments: tuple[Segment, ...]) -> dict[str, int]:
    """Return how many voxels each segment has."""
    counts = [np.bincount(layer.ravel(order="K")) for layer in labels.array]

    def count(segment: Segment) -> int:
        found: np.ndarray = counts[segment.layer]
        return int(found[segment.label]) if segment.label < len(found) else 0

    return {segment.name: count(segment) for segment in segments}


def differing(expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Return the names of segments that have another number of voxels, or are missing or too many."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
