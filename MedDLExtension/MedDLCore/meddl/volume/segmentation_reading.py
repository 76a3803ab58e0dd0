"""Reading segmentations: Slicer's .seg.nrrd with names, colors and layers, and plain label maps of any format."""

from __future__ import annotations

import colorsys
import os
import re
from pathlib import Path

import numpy as np

from meddl.errors import VolumeError

from .data import Segment, Volume
from .nrrd_file import read_nrrd
from .reading import read_volume

MAX_LABEL = int(np.iinfo(np.uint16).max)
_MAX_HEADER = 1 << 22
_ENTRY = re.compile(r"Segment(\d{1,5})_(\w+):=(.*)")
_TERMINOLOGY = re.compile(r"(?:^|\|)TerminologyEntry:([^|]*)")


def read_segmentation(path: str | os.PathLike[str]) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the label map in a file and what its labels mean.

    Slicer's .seg.nrrd and DICOM SEG files name their segments, which may overlap: each then says in which layer it is
    (a DICOM SEG reaches from its first slice that holds something to its last). The labels of
    other images (.nrrd, .nii, .nii.gz, .mha, ...) are called "Label 1", "Label 2", ... in colors of their own.

    Args:
        path: the file.

    Returns:
        The labels ``(L, I, J, K)``, one channel per layer, uint8 or uint16, 0 is background; and the segments in the
        file's order (by label, where it has none).

    Raises:
        VolumeError: it is not there or damaged, or it is an image and no label map: negative, fractional or very large
            values.

    Example:
        >>> import numpy as np
        >>> from meddl.volume import write_segmentation
        >>> labels = Volume(np.ones((1, 2, 2, 2), np.uint8), np.eye(4))
        >>> write_segmentation(labels, [Segment(1, "Brain", (0.98, 0.98, 0.88))], "brain.seg.nrrd")
        >>> labels, segments = read_segmentation("brain.seg.nrrd")
        >>> segments[0].name
        'Brain'
    """
    path = Path(path)
    if _is_dicom(path):
        from .dicom_seg_reading import read_dicom_seg

        return read_dicom_seg(path)
    is_nrrd = path.name.lower().endswith((".nrrd", ".nhdr")) and path.is_file()
    facts = _segment_facts(path) if is_nrrd else []
    if facts:
        volume = read_nrrd(path, multichannel=True)
        labels = _labels(volume, path.name)
        return labels, _named(facts, labels, path.name)
    labels = _labels(read_volume(path), path.name)
    if labels.channels > 1:
        raise VolumeError(
            f"{path.name} has {labels.channels} values per voxel and does not say which structures they are. "
            "Save it as one label map, or from Slicer as .seg.nrrd."
        )
    present = np.flatnonzero(np.bincount(labels.array.ravel(order="K")))
    return labels, tuple(Segment(int(n), f"Label {n}", _color(int(n))) for n in present if n)


def _is_dicom(path: Path) -> bool:
    from .dicom_frames import is_dicom

    try:
        return path.is_file() and is_dicom(path)
    except (OSError, ValueError):
        return False  # reading it will tell why


def _segment_facts(path: Path) -> list[dict[str, str]]:
    """Return the header's entries of each segment, in order; none for a file that is no segmentation."""
    try:
        with path.open("rb") as file:
            start = file.read(_MAX_HEADER)
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error
    ends = [at for mark in (b"\n\n", b"\n\r\n") if (at := start.find(mark)) >= 0]
    header = start[: min(ends, default=len(start))].decode("utf-8", "replace")
    found: dict[int, dict[str, str]] = {}
    for line in header.splitlines():
        if match := _ENTRY.fullmatch(line.rstrip("\r")):
            found.setdefault(int(match[1]), {}).setdefault(match[2], _unescaped(match[3]))
    # As Slicer does: segments are counted from 0 on as long as each has an ID.
    facts: list[dict[str, str]] = []
    while (entry := found.get(len(facts))) and "ID" in entry:
        facts.append(entry)
    return facts


def _named(facts: list[dict[str, str]], labels: Volume, name: str) -> tuple[Segment, ...]:
    segments = []
    for number, entry in enumerate(facts):
        try:
            label, layer = int(entry.get("LabelValue", "1")), int(entry.get("Layer", number))
        except ValueError:
            label, layer = 0, -1
        if not 0 < label <= MAX_LABEL or not 0 <= layer < labels.channels:
            raise VolumeError(f"{name} is damaged: its header gives segment {number} a label or layer it cannot have.")
        terminology = _TERMINOLOGY.search(entry.get("Tags", ""))
        title = " ".join("".join(c if c.isprintable() else " " for c in entry.get("Name", "")).split())
        segments.append(
            Segment(
                label,
                title or entry["ID"],
                _written_color(entry.get("Color", "")) or _color(number + 1),
                terminology[1] if terminology else "",
                layer,
            )
        )
    if len({(segment.layer, segment.label) for segment in segments}) < len(segments):
        raise VolumeError(f"{name} is damaged: two of its segments are the same label of the same layer.")
    return tuple(segments)


def _labels(volume: Volume, name: str) -> Volume:
    array = volume.array
    if array.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.rint(array)
        if not np.array_equal(whole, array):  # NaN is no whole number either
            raise VolumeError(f"{name} is no label map: it holds fractions. Choose a segmentation.")
        array = whole
    low, high = (0, 1) if array.dtype.kind == "b" else (array.min(), array.max())
    if low < 0 or high > MAX_LABEL:
        what = "negative values" if low < 0 else f"values above {MAX_LABEL}"
        raise VolumeError(f"{name} is no label map: it holds {what}. Choose a segmentation.")
    return volume.with_array(array.astype(np.uint8 if high <= 255 else np.uint16, copy=False))


def _written_color(text: str) -> tuple[float, float, float] | None:
    try:
        red, green, blue = (min(1.0, max(0.0, float(part))) for part in text.split())
    except ValueError:
        return None
    return None if any(np.isnan(part) for part in (red, green, blue)) else (red, green, blue)


def _color(number: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55, 0.9)


def _unescaped(value: str) -> str:
    return re.sub(r"\\(n|\\)", lambda match: "\n" if match[1] == "n" else "\\", value)
