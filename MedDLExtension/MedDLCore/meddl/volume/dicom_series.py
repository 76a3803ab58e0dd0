"""Reading a DICOM series: a folder, or any one file of it; or a two-dimensional image by itself.

The slices are sorted by where they are, never by file name. Gantry-tilted stacks keep their shear in the affine.
Anything that would make a wrong volume is refused: gaps, repeated positions, mixed orientations or sizes.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from meddl.errors import UsageError, VolumeError

from .data import Volume
from .dicom_frames import WHO, Frame, Header, frames_of, is_dicom, read_header, understood
from .dicom_picture import is_clip, is_flat, is_placed, read_flat
from .dicom_pixels import read_stack
from .geometry import flip_lps_ras

_SUFFIXES = (".dcm", ".ima", ".dicom")
_LISTED = 8


def read_dicom(path: Path, *, series_uid: str | None = None) -> Volume:
    """Return the image of a DICOM series.

    Values are modality values: the rescale slope and intercept of the header are applied (CT in Hounsfield units), as
    the standard wants; ``meta["rescaled"]`` says so. Slices are ascending along the normal of their plane, as in ITK.
    Nothing that names the patient is kept.

    Args:
        path: a folder (its subfolders are not searched), or one file: then its series in its folder is read.
        series_uid: which series, where there are several.

    Raises:
        VolumeError: there is no image, there are several series, or the one there makes no gapless stack.
        UsageError: ``series_uid`` is not there.
    """
    return volume_of(dicom_headers(path, series_uid=series_uid))


def volume_of(headers: list[Header]) -> Volume:
    """Return the image that the files of one series make, see :func:`read_dicom`."""
    if is_flat_image(headers):
        if is_clip(headers[0]):
            raise VolumeError(
                f"{WHO} is a clip of several frames, which have no places in space. Read it as a sequence, or export "
                "the frame that is wanted."
            )
        return read_flat(headers[0])[0]
    frames, affine = place_stack(headers)
    array, note = read_stack(frames)
    modality = headers[0].modality
    meta = {"format": "dicom", "modality": modality, **note}
    with understood(headers[0]):
        negative = str(headers[0].dataset.get("PhotometricInterpretation")) == "MONOCHROME1"
    if negative:
        meta["photometric"] = "MONOCHROME1"  # small values are meant to look bright; they stay as they are
    return Volume(array, affine, name=modality, meta=meta)


def read_dicom_frames(path: Path, *, series_uid: str | None = None) -> tuple[Volume, ...]:
    """Return the frames of a clip (ultrasound, fluoroscopy) one by one, or the one image of anything else."""
    headers = dicom_headers(path, series_uid=series_uid)
    return read_flat(headers[0]) if is_flat_image(headers) else (read_dicom(path, series_uid=series_uid),)


def dicom_headers(path: Path, *, series_uid: str | None = None) -> list[Header]:
    """Return the headers of the images that ``path`` stands for, as :func:`read_dicom` takes it; never pixels."""
    if path.is_file():
        header = read_header(path)
        if header is None:
            raise VolumeError(
                "The DICOM file holds no image (it may be a report or a directory). Choose an image series."
            )
        if series_uid is not None and series_uid != header.series_uid:
            raise UsageError("The DICOM file is not of the series that was asked for. Give its folder instead.")
        if is_flat(header):
            return [header]
        series_uid = header.series_uid
        path = path.parent
    headers = _choose(_scan(path), series_uid)
    if len(headers) > 1 and is_flat(headers[0]):
        raise VolumeError(
            f"The folder holds {len(headers)} two-dimensional images (views or shots), which make no volume. "
            "Choose one of the files."
        )
    return headers


def place_stack(headers: list[Header]) -> tuple[list[Frame], np.ndarray]:
    """Return the slices of a stack in the order of K, and its affine (voxel index to RAS mm).

    Raises:
        VolumeError: they make no gapless stack.
    """
    frames = [frame for header in headers for frame in frames_of(header)]
    _check_uniform(frames)
    return _stack(frames)


def is_flat_image(headers: list[Header]) -> bool:
    """Say whether this is a two-dimensional image: by its kind, or a lone one that is nowhere."""
    lone = len(headers) == 1 and not is_placed(headers[0]) and not is_clip(headers[0])
    return is_flat(headers[0]) or lone


def _scan(folder: Path) -> list[Header]:
    """Return the headers of all images right in ``folder``."""
    headers = []
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
        for file in files:
            if is_dicom(file):
                header = read_header(file)
                if header is not None:
                    headers.append(header)
            elif file.suffix.lower() in _SUFFIXES:
                raise VolumeError(
                    f"The folder has a file named as DICOM that is none or is damaged, so that slices may be missing "
                    f"({len(files)} files in all). Export or copy the series again."
                )
    except OSError as error:
        raise VolumeError(f"The folder could not be read: {error.strerror}.") from error
    if not headers:
        raise VolumeError(
            "The folder holds no DICOM images. Choose the folder that the images lie in; subfolders are not searched."
        )
    return headers


def _choose(headers: list[Header], series_uid: str | None) -> list[Header]:
    """Return the headers of the one series that is meant."""
    counts = Counter((header.series_uid, header.modality) for header in headers)
    listed = ", ".join(
        f"{_told(uid)} ({modality or 'unknown modality'}, {count} file{'s' * (count > 1)})"
        for (uid, modality), count in list(counts.items())[:_LISTED]
    ) + (f" and {len(counts) - _LISTED} more" if len(counts) > _LISTED else "")
    if series_uid is None:
        uids = {header.series_uid for header in headers}
        if len(uids) > 1:
            raise VolumeError(f"The folder holds {len(uids)} DICOM series, so choose one by its UID: {listed}.")
        return headers
    chosen = [header for header in headers if header.series_uid == series_uid]
    if not chosen:
        raise UsageError(f"The folder has no DICOM series of the UID that was asked for. It has: {listed}.")
    return chosen


def _told(uid: str) -> str:
    """Return ``uid`` for a message; headers may hold anything in its place."""
    if not uid:
        return "without a UID"
    return uid if re.fullmatch(r"[0-9.]{1,64}", uid) else "with a broken UID"


def _check_uniform(frames: list[Frame]) -> None:
    """Refuse slices that are not all of one kind."""
    first = frames[0]
    places = set()
    for frame in frames:
        with understood(frame.header):
            places.add(str(frame.header.dataset.get("FrameOfReferenceUID") or ""))
    differing = {
        "sizes": any(frame.size != first.size for frame in frames),
        "orientations": any(np.abs(frame.axes - first.axes).max() > 1e-3 for frame in frames),
        "voxel sizes": any(not np.allclose(frame.spacing, first.spacing, rtol=1e-3) for frame in frames),
        "modalities": any(frame.header.modality != first.header.modality for frame in frames),
        "frames of reference": len(places) > 1,
    }
    for what, differs in differing.items():
        if differs:
            raise VolumeError(
                f"{WHO} mixes images of different {what} (such as a localizer with its stack), which make no volume. "
                "Keep only the images of one stack."
            )


def _stack(frames: list[Frame]) -> tuple[list[Frame], np.ndarray]:
    """Return the slices in order and the affine (voxel index to RAS mm) of their stack."""
    normal = frames[0].normal
    frames = sorted(frames, key=lambda frame: float(frame.position @ normal))
    first = frames[0]
    positions = np.array([frame.position for frame in frames])
    if len(frames) == 1:
        if not first.thickness > 0:
            raise VolumeError(f"{WHO} has a single slice of unknown thickness, which cannot be placed in space.")
        step = normal * first.thickness
    else:
        _check_gapless(positions @ normal)
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
        off = np.linalg.norm(positions - positions[0] - np.arange(len(frames))[:, np.newaxis] * step, axis=1).max()
        if off > _tolerance(float(step @ normal)):
            raise VolumeError(
                f"{WHO} has slices up to {off:.2g} mm off a straight, even stack, which makes no regular volume. "
                "Choose a series that was not moved or bent."
            )
    lps = np.eye(4)
    lps[:3, 0] = first.axes[0] * first.spacing[0]
    lps[:3, 1] = first.axes[1] * first.spacing[1]
    lps[:3, 2] = step
    lps[:3, 3] = first.position
    return frames, flip_lps_ras(lps)


def _check_gapless(heights: np.ndarray) -> None:
    """Refuse repeated, missing or uneven slices; ``heights`` are mm along the normal, ascending."""
    steps = np.diff(heights)
    distinct = 1 + int((steps > 1e-3).sum())
    if distinct < len(heights):
        raise VolumeError(
            f"{WHO} has {len(heights)} images at only {distinct} positions: several phases, echoes or time points in "
            "one series, or copies. Keep the images of one of them."
        )
    usual = float(np.median(steps))
    if np.abs(steps - usual).max() <= _tolerance(usual):
        return
    missing = np.round(steps / usual) - 1
    if (missing >= 0).all() and np.abs(steps - (missing + 1) * usual).max() <= _tolerance(usual):
        raise VolumeError(
            f"{WHO} has gaps: {int(missing.sum())} of its slices, {usual:.3g} mm apart, are missing. "
            "Export the whole series again."
        )
    raise VolumeError(
        f"{WHO} has slices at uneven distances, from {steps.min():.3g} to {steps.max():.3g} mm: some are missing, or "
        "it is no regular volume. Export the whole series again."
    )


def _tolerance(step: float) -> float:
    """Return how many mm a slice may be off its place: headers are rounded, often to a hundredth."""
    return max(0.05 * abs(step), 0.011)
