"""The voxels of DICOM slices: uncompressed ones by pydicom, compressed ones by SimpleITK's GDCM."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .dicom_frames import WHO, Frame, Header, quiet_pydicom
from .rescale import rescaled

logger = logging.getLogger(__name__)


def read_stack(frames: list[Frame]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the modality values of ``frames`` as (1, I, J, K) and a note on the rescaling for the volume's meta.

    Raises:
        VolumeError: a file is truncated or its voxels cannot be decoded.
    """
    columns, rows = frames[0].size
    stack: np.ndarray | None = None
    scalings = []
    opened: tuple[Header, np.ndarray, bool] | None = None  # the frames of one file mostly follow each other
    for k, frame in enumerate(frames):
        if opened is None or opened[0] is not frame.header:
            opened = (frame.header, *_decode(frame.header))
        _, pixels, done = opened
        plane = pixels[frame.index]
        if plane.shape != (rows, columns):
            raise VolumeError(f"{WHO} has a damaged file: its image is not of the size its header says.")
        if stack is None:
            stack = np.empty((len(frames), rows, columns), dtype=plane.dtype)
        elif stack.dtype != plane.dtype:
            stack = stack.astype(np.promote_types(stack.dtype, plane.dtype), copy=False)
        stack[k] = plane
        scalings.append((1.0, 0.0) if done else frame.scaling)
    assert stack is not None
    if len(set(scalings)) == 1:
        stack, note = rescaled(stack, *scalings[0], WHO)
        if frames[0].scaling != scalings[0]:
            note = {"rescaled": "by slope and intercept"}
    else:  # PET: a slope for each slice
        stack = np.stack([rescaled(plane, *scaling, WHO)[0] for plane, scaling in zip(stack, scalings, strict=True)])
        stack, note = stack.astype(np.float32, copy=False), {"rescaled": "by a slope and intercept for each slice"}
    return stack.T[np.newaxis], note


def _decode(header: Header) -> tuple[np.ndarray, bool]:
    """Return the images (frames, rows, columns) in a file and whether they are rescaled already."""
    with decoding(header):
        return (by_gdcm(header), True) if header.transfer_syntax.is_encapsulated else (_by_pydicom(header), False)


@contextmanager
def decoding(header: Header) -> Iterator[None]:
    """Turn whatever goes wrong while a file's image is read into a :class:`VolumeError`."""
    try:
        with quiet_pydicom():
            yield
    except VolumeError:
        raise
    except MemoryError as error:
        raise VolumeError(f"{WHO} does not fit into memory. Close other programs.") from error
    except Exception as error:
        logger.debug("%s: %r", header.path, error)
        raise VolumeError(
            f"{WHO} has a truncated or damaged file, whose image cannot be decoded. Export or copy it again.",
            details=type(error).__name__,
        ) from error


def _by_pydicom(header: Header) -> np.ndarray:
    import pydicom

    dataset = pydicom.dcmread(header.path)
    pixels = dataset.pixel_array
    excess = len(dataset.get("PixelData", b"")) - pixels.nbytes
    if excess > 1 and excess >= dataset.Columns * pixels.itemsize:  # scanners pad, but not by whole rows
        raise VolumeError(f"{WHO} is damaged: a file holds more voxels than its header announces. Export it again.")
    pixels = used_bits(pixels, dataset)
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels


def used_bits(pixels: np.ndarray, dataset: Any) -> np.ndarray:
    """Return ``pixels`` without the bits that are not part of them (old scanners keep overlays there)."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or dataset.BitsAllocated)
    high = int(dataset.get("HighBit") if dataset.get("HighBit") is not None else stored - 1)
    if stored == allocated or pixels.dtype.kind not in "iu" or pixels.dtype.itemsize * 8 != allocated:
        return pixels
    # Up, so that the sign bit is the highest, and down again: fills with the sign where there is one.
    return (pixels << (allocated - 1 - high)) >> (allocated - stored)


def by_gdcm(header: Header, *, color: bool = False) -> np.ndarray:
    """Return the images (frames, rows, columns) in a file as ITK reads them: rescaled, negatives turned round.

    With ``color``, the images are (frames, rows, columns, 3).
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(header.path))
    loud = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its warnings print the path, which may name the patient
    try:
        pixels = sitk.GetArrayFromImage(reader.Execute())
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(loud)
    if pixels.dtype == np.int32 and header.dataset.BitsAllocated <= 16 and abs(pixels).max() < 2**15:
        pixels = pixels.astype(np.int16)  # GDCM allows for all values the header allows; CT needs no 32 bits
    if pixels.ndim - color not in (2, 3):
        raise VolumeError(f"{WHO} is compressed in a way that is not supported. Export it uncompressed.")
    return pixels[np.newaxis] if pixels.ndim - color == 2 else pixels
