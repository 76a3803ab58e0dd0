"""DICOM headers as plain checked facts: one :class:`Frame` per slice, whether it has a file of its own or shares one.

Only the few elements needed are parsed (none that names a patient), and no number of a header is used before it is
known to be finite and sane: damaged and crafted decimal strings do occur.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .modalities import known_modality
from .rescale import checked_scaling

logger = logging.getLogger(__name__)

WHO = "The DICOM series"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_NOT_IMAGES = {"SEG": "a segmentation", "RTDOSE": "a dose map", "RTSTRUCT": "a set of contours"}


@dataclass(frozen=True)
class Header:
    """The parsed elements of one DICOM file with an image in it."""

    path: Path
    dataset: Any
    series_uid: str
    modality: str
    transfer_syntax: Any


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice and where it is.

    Attributes:
        header: the file it is in.
        index: its number in that file, from 0.
        size: (columns, rows).
        position: LPS mm (3,) of its first voxel.
        axes: LPS unit vectors (2, 3): along a row (column index grows), along a column.
        spacing: mm between columns, mm between rows.
        thickness: mm of the slice as the header says, else the distance of slices, or 0.
        scaling: rescale slope and intercept.
    """

    header: Header
    index: int
    size: tuple[int, int]
    position: np.ndarray
    axes: np.ndarray
    spacing: tuple[float, float]
    thickness: float
    scaling: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """LPS unit vector at right angles to the slice."""
        normal = np.cross(self.axes[0], self.axes[1])
        return normal / np.linalg.norm(normal)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom's warnings, which quote header values, off the console."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_dicom(path: Path) -> bool:
    """Say whether the file carries DICOM's mark."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_header(path: Path) -> Header | None:
    """Return the header of a DICOM file, or None if there is no image in it (a report, a directory, ...).

    Raises:
        VolumeError: the file is damaged.
    """
    import pydicom
    from pydicom.filereader import read_file_meta_info

    try:
        with quiet_pydicom():
            syntax = read_file_meta_info(path).TransferSyntaxUID
            if syntax == _DEFLATED:
                raise VolumeError(
                    f"{WHO} is deflated as a whole, which is not supported. Export it uncompressed or as JPEG 2000."
                )
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            if dataset.get("Rows") is None or dataset.get("Columns") is None:
                return None
            return Header(
                path,
                dataset,
                str(dataset.get("SeriesInstanceUID") or "").strip(),
                known_modality(str(dataset.get("Modality") or "")),
                syntax,
            )
    except VolumeError:
        raise
    except Exception as error:
        logger.debug("%s: %r", path, error)
        raise VolumeError(
            f"{WHO} has a damaged file that cannot be decoded. Export or copy the series again.",
            details=type(error).__name__,
        ) from error


@contextmanager
def understood(header: Header) -> Iterator[None]:
    """Turn what pydicom says of a broken element, which it decodes only when it is asked for, into a sentence."""
    try:
        with quiet_pydicom():
            yield
    except VolumeError:
        raise
    except Exception as error:
        logger.debug("%s: %r", header.path, error)
        raise VolumeError(
            f"{WHO} has broken values in its header. Export the series again.", details=type(error).__name__
        ) from error


def frames_of(header: Header) -> list[Frame]:
    """Return the slices in a file, in stored order.

    Raises:
        VolumeError: they are no gray images, have no place in space, or broken numbers in their header.
    """
    with understood(header):
        _check_pixels(header)
        return _classic(header) if frame_count(header.dataset) == 1 and not _enhanced(header) else _multi(header)


def _check_pixels(header: Header) -> None:
    dataset = header.dataset
    check_image(header)
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise VolumeError(f"{WHO} is in color, where one brightness per voxel is needed. Choose a gray series.")
    if photometric == "MONOCHROME1" and header.transfer_syntax.is_encapsulated:
        # GDCM would turn the values round, so that they are no modality values any more.
        raise VolumeError(f"{WHO} is stored as a negative, compressed, which is not supported. Export it uncompressed.")
    if dataset.get("ModalityLUTSequence"):
        raise VolumeError(f"{WHO} gives its values by a lookup table, which is not supported. Export the true values.")
    check_storage(header)


def check_image(header: Header) -> None:
    """Refuse what has pixels but is no image."""
    if header.modality in _NOT_IMAGES:
        raise VolumeError(f"{WHO} is {_NOT_IMAGES[header.modality]}, not an image. Choose the series it was made from.")


def check_storage(header: Header, samples: int = 1) -> None:
    """Refuse bits that are not understood, and sizes that the file cannot hold; ``samples`` are values per pixel."""
    dataset = header.dataset
    allocated = int(dataset.get("BitsAllocated") or 0)
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") if dataset.get("HighBit") is not None else stored - 1)
    sign = int(dataset.get("PixelRepresentation") or 0)
    if (
        allocated not in (8, 16, 32)
        or not 1 <= stored <= allocated
        or not stored - 1 <= high < allocated
        or sign not in (0, 1)
    ):
        raise VolumeError(f"{WHO} stores its voxels in a way that is not supported ({stored} of {allocated} bits).")
    pixels = int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
    need = pixels * samples * allocated // 8
    size = header.path.stat().st_size
    # No codec makes a whole image vanish: 2000 to 1 is beyond all of them for images large enough to hurt.
    if pixels < 1 or need > (max(size * 2000, 1 << 26) if header.transfer_syntax.is_encapsulated else size):
        raise VolumeError(
            f"{WHO} has a truncated file, or sizes in its header that its file cannot hold. Export it again."
        )


def frame_count(dataset: Any) -> int:
    """Return how many images a file holds, as its header says."""
    count = dataset.get("NumberOfFrames")
    return 1 if count in (None, "") else int(count)


def _enhanced(header: Header) -> bool:
    return bool(header.dataset.get("PerFrameFunctionalGroupsSequence"))


def _classic(header: Header) -> list[Frame]:
    dataset = header.dataset
    return [
        _frame(header, 0, dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient"), dataset, dataset)
    ]


def _multi(header: Header) -> list[Frame]:
    """Return the frames of an enhanced CT, MR or PET file, placed by their functional groups."""
    dataset = header.dataset
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if len(groups) != frame_count(dataset):
        raise VolumeError(
            f"{WHO} is a multi-frame file whose frames have no places in space (a clip, or an older kind). "
            "Export it as single-frame or enhanced DICOM."
        )
    if header.transfer_syntax.is_encapsulated:
        raise VolumeError(f"{WHO} is a compressed multi-frame file, which is not supported. Export it uncompressed.")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]

    def item(group: Any, keyword: str) -> Any:
        for holder in (group, shared):
            sequence = holder.get(keyword) if holder is not None else None
            if sequence:
                return sequence[0]
        return {}

    return [
        _frame(
            header,
            index,
            item(group, "PlanePositionSequence").get("ImagePositionPatient"),
            item(group, "PlaneOrientationSequence").get("ImageOrientationPatient"),
            item(group, "PixelMeasuresSequence"),
            item(group, "PixelValueTransformationSequence"),
        )
        for index, group in enumerate(groups)
    ]


def _frame(header: Header, index: int, position: Any, orientation: Any, measures: Any, scaling: Any) -> Frame:
    where = numbers_of(position, 3, "position (ImagePositionPatient)")
    axes = numbers_of(orientation, 6, "orientation (ImageOrientationPatient)").reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise VolumeError(f"{WHO} cannot be placed in space: the axes of its orientation are not at right angles.")
    row_step, column_step = numbers_of(measures.get("PixelSpacing"), 2, "voxel size (PixelSpacing)")
    if not (row_step > 0 and column_step > 0):
        raise VolumeError(f"{WHO} cannot be placed in space: its voxel size (PixelSpacing) is not positive.")
    slope, intercept = (
        _number(scaling.get(key), usual) for key, usual in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
    )
    return Frame(
        header,
        index,
        (int(header.dataset.Columns), int(header.dataset.Rows)),
        where,
        axes / lengths[:, np.newaxis],
        (float(column_step), float(row_step)),
        _number(measures.get("SliceThickness"), 0.0) or abs(_number(measures.get("SpacingBetweenSlices"), 0.0)),
        checked_scaling(slope, intercept, WHO),
    )


def numbers_of(value: Any, count: int, what: str) -> np.ndarray:
    """Return ``count`` finite numbers of a header, or raise VolumeError that names ``what`` is missing or broken."""
    try:
        numbers = np.array([float(number) for number in value])
    except (TypeError, ValueError):
        numbers = np.array([])
    if len(numbers) != count or not np.isfinite(numbers).all():
        said = "no" if value is None or value == "" else "a broken"
        raise VolumeError(f"{WHO} cannot be placed in space: it has {said} {what}. Export it again or choose another.")
    return numbers


def _number(value: Any, usual: float) -> float:
    """Return a single number of a header, ``usual`` where there is none, NaN where it is no number."""
    if value is None or value == "":
        return usual
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
