"""Two-dimensional DICOM images: radiographs, mammograms, ultrasound, secondary captures, photos, and clips of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .data import Volume
from .dicom_frames import WHO, Header, check_image, check_storage, frame_count, numbers_of, understood
from .dicom_pixels import by_gdcm, decoding, used_bits
from .geometry import flip_lps_ras
from .rescale import checked_scaling, rescaled

logger = logging.getLogger(__name__)

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_FLAT = (
    "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "3.1", "6.1", "12.1", "12.2", "77.1.1", "77.1.1.1", "77.1.2",
    "77.1.4", "77.1.4.1", "77.1.5.1", "77.1.5.2",
)  # fmt: skip
"""Classes whose images never make a volume: CR, DX, MG, IO, US, XA, XRF, endoscopy, photography, the eye."""
_CAPTURES = ("7", "7.1", "7.2", "7.3", "7.4", "6", "3")
"""Secondary captures (and retired ultrasound): flat unless they say where they are."""

_PHOTOMETRIC = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT",
}  # fmt: skip
_CENTIMETERS = 3
_RLE = "1.2.840.10008.1.2.5"


def is_flat(header: Header) -> bool:
    """Say whether a file's image is two-dimensional by its kind."""
    with understood(header):
        if header.dataset.get("PerFrameFunctionalGroupsSequence"):
            return False
        kind = str(header.dataset.get("SOPClassUID") or "").removeprefix(_STORAGE)
    return kind in _FLAT or (kind in _CAPTURES and not is_placed(header))


def is_placed(header: Header) -> bool:
    """Say whether a file tells where its image is in the patient."""
    with understood(header):
        return any(header.dataset.get(key) for key in ("ImagePositionPatient", "ImageOrientationPatient"))


def is_clip(header: Header) -> bool:
    """Say whether a file holds several frames."""
    with understood(header):
        return frame_count(header.dataset) > 1


def read_flat(header: Header) -> tuple[Volume, ...]:
    """Return the frames of a two-dimensional image, each ``(C, I, J, 1)``: I along the rows, J down the columns.

    Bright is bright: a negative (MONOCHROME1) is turned round within the range its bits allow, as ITK and so Slicer
    do; ``meta["photometric"]`` says so. The modality's slope and intercept or lookup table are applied, windows (VOI)
    are not. Color comes as red, green and blue. Pixels are as large as PixelSpacing, else ImagerPixelSpacing (at the
    detector, without the magnification), else an ultrasound region says; ``meta["spacing"]`` tells which, or
    "unknown" for 1 mm. An image that does not say where it is lies at the origin, as a picture file does.

    Raises:
        VolumeError: it is no image, is damaged, or is stored in a way that is not supported.
    """
    with decoding(header):
        _check(header)
        pixels, dataset, meta = _decoded(header)
        affine, notes = _place(dataset)
    meta = {"format": "dicom", "modality": header.modality, **notes, **meta}
    if pixels.shape[-1] == 3:
        meta["color"] = "RGB"
    return tuple(
        Volume(frame.transpose(2, 1, 0)[:, :, :, np.newaxis], affine, name=header.modality, meta=meta)
        for frame in pixels
    )


def _check(header: Header) -> None:
    check_image(header)
    dataset = header.dataset
    photometric, samples = str(dataset.get("PhotometricInterpretation") or ""), int(dataset.get("SamplesPerPixel") or 1)
    color = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if photometric not in _PHOTOMETRIC or samples != (3 if color else 1):
        raise VolumeError(f"{WHO} has colors of a kind that is not supported. Export it in gray or RGB.")
    subsampled = photometric == "YBR_FULL_422" and not header.transfer_syntax.is_encapsulated
    check_storage(header, 2 if subsampled else samples)


def _decoded(header: Header) -> tuple[np.ndarray, Any, dict[str, str]]:
    """Return modality values as (frames, rows, columns, channels), the whole header, and notes for the meta."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    dataset = pydicom.dcmread(header.path)
    pixels, finished = _pixels(header, dataset)
    color = int(dataset.get("SamplesPerPixel") or 1) == 3
    if pixels.ndim == (3 if color else 2):
        pixels = pixels[np.newaxis]
    frames = frame_count(dataset)
    if pixels.shape[:3] != (frames, dataset.Rows, dataset.Columns) or pixels.ndim != (4 if color else 3):
        raise VolumeError(f"{WHO} has a damaged file: its image is not of the size its header says.")
    if color:
        return pixels, dataset, {}
    photometric = str(dataset.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)[..., :3]
        if pixels.dtype == np.uint16 and pixels.max() > 255:
            pixels = (pixels >> 8).astype(np.uint8)
        return pixels, dataset, {"palette": "expanded"}
    meta = {}
    if photometric == "MONOCHROME1":
        meta["photometric"] = "MONOCHROME1, turned round: bright is bright"
    lut = bool(dataset.get("ModalityLUTSequence"))
    if photometric == "MONOCHROME1" and not finished and not lut:
        pixels = _negative(pixels, dataset)
    if lut:
        pixels = apply_modality_lut(pixels, dataset)
        if photometric == "MONOCHROME1":
            pixels = pixels.max() + pixels.min() - pixels
        meta["rescaled"] = "by a lookup table"
    elif not finished:
        pixels, note = rescaled(pixels, *_scaling(dataset), WHO)
        meta.update(note)
    elif _scaling(dataset) != (1.0, 0.0):
        meta["rescaled"] = "by slope and intercept"
    return pixels[..., np.newaxis], dataset, meta


def _pixels(header: Header, dataset: Any) -> tuple[np.ndarray, bool]:
    """Return the stored pixels, color as RGB, and whether they are finished modality values, the right way round."""
    from pydicom.pixels import pixel_array

    try:
        pixels = pixel_array(dataset)
    except Exception as error:
        by_others = header.transfer_syntax.is_encapsulated and header.transfer_syntax != _RLE
        if not by_others or dataset.get("ModalityLUTSequence"):
            raise
        logger.debug("%s: %r", header.path, error)
        return _by_gdcm(header, dataset)  # lossless JPEG, 12 bits in JPEG
    if not header.transfer_syntax.is_encapsulated and pixels.dtype.kind in "iu" and dataset.SamplesPerPixel == 1:
        pixels = used_bits(pixels, dataset)
    return pixels, False


def _by_gdcm(header: Header, dataset: Any) -> tuple[np.ndarray, bool]:
    try:
        pixels = by_gdcm(header, color=dataset.get("SamplesPerPixel") == 3)
    except VolumeError:
        raise
    except Exception as error:
        raise VolumeError(
            f"{WHO} cannot be decoded: it is damaged, or compressed in a way that is not supported "
            f"({header.transfer_syntax.name}). Export it uncompressed.",
            details=type(error).__name__,
        ) from error
    if frame_count(dataset) == 1 and pixels.shape[0] == 1:
        pixels = pixels[0]
    return pixels, True


def _negative(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Return stored values turned round within the range that their bits allow."""
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    ends = -1 if int(dataset.get("PixelRepresentation") or 0) else (1 << bits) - 1  # lowest plus highest
    return (ends - pixels.astype(np.int64)).astype(pixels.dtype)


def _scaling(dataset: Any) -> tuple[float, float]:
    values = (dataset.get(key) for key in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = (
        usual if value in (None, "") else float(value) for value, usual in zip(values, (1.0, 0.0), strict=True)
    )
    return checked_scaling(slope, intercept, WHO)


def _place(dataset: Any) -> tuple[np.ndarray, dict[str, str]]:
    """Return voxel index to RAS mm, and what is to be said about it."""
    (columns_apart, rows_apart), note = _spacing(dataset)
    notes = {"spacing": note} if note else {}
    thickness = dataset.get("SliceThickness")
    lps = np.diag([columns_apart, rows_apart, 1.0, 1.0])
    if thickness not in (None, "") and 0 < float(thickness) < 1000:
        lps[2, 2] = float(thickness)
    position, orientation = dataset.get("ImagePositionPatient"), dataset.get("ImageOrientationPatient")
    if not position or not orientation:
        return flip_lps_ras(lps), {**notes, "place": "unknown"}
    axes = numbers_of(orientation, 6, "orientation (ImageOrientationPatient)").reshape(2, 3)
    if np.abs(np.linalg.norm(axes, axis=1) - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise VolumeError(f"{WHO} cannot be placed in space: the axes of its orientation are not at right angles.")
    turn = np.eye(4)
    turn[:3, :3] = np.stack([axes[0], axes[1], np.cross(axes[0], axes[1])], axis=1)
    turn[:3, 3] = numbers_of(position, 3, "position (ImagePositionPatient)")
    return flip_lps_ras(turn @ lps), notes


def _spacing(dataset: Any) -> tuple[tuple[float, float], str]:
    """Return mm between columns and between rows, and where that is from if not from the patient's own plane."""
    for keyword, note in (
        ("PixelSpacing", ""),
        ("ImagerPixelSpacing", "at the detector"),
        ("NominalScannedPixelSpacing", "of the scanned film"),
    ):
        if dataset.get(keyword):
            down, right = numbers_of(dataset.get(keyword), 2, f"pixel size ({keyword})")
            if down > 0 and right > 0:
                return (float(right), float(down)), note
            raise VolumeError(f"{WHO} has a pixel size ({keyword}) that is not positive. Export it again.")
    regions = [_region(region) for region in dataset.get("SequenceOfUltrasoundRegions") or ()]
    sizes = {region for region in regions if region}
    if len(sizes) == 1:
        return sizes.pop(), "of the ultrasound region"
    return (1.0, 1.0), "unknown"


def _region(region: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the mm between columns and rows of an ultrasound region, None for one not measured in length."""
    units = {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")}
    if units != {_CENTIMETERS}:
        return None
    right, down = (abs(float(region.get(key) or 0)) * 10 for key in ("PhysicalDeltaX", "PhysicalDeltaY"))
    return (right, down) if right > 0 and down > 0 else None
