"""Reading NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), headers by nibabel.

Where a voxel is: the sform if it is coded, else the qform. Programs disagree on files whose sform and qform differ
(nibabel and FSL believe the sform; ITK and so Slicer usually the qform); those are refused unless the sform is the
one in scanner coordinates, which all of them believe.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .data import Volume
from .geometry import Grid, spacing_of
from .payload import is_gzipped, read_voxels, told_plainly
from .rescale import rescaled

KIND = "a NIfTI image"
_SCANNER = 1
_VECTOR_INTENTS = (1006, 1007)  # displacement, vector
_COLOR_TYPES = (128, 2304)
_COMPLEX_TYPES = (32, 1792, 2048)
_UNITS = {1: "meters", 3: "micrometers"}


def read_nifti(path: Path, *, multichannel: bool) -> Volume:
    """Return the image in a NIfTI file.

    Stored values stay as they are, unless the header's scl_slope and scl_inter give them another meaning: then those
    are applied, as the standard wants. The components of a vector become channels; the images of a 4-D file do only if
    ``multichannel``.

    Raises:
        VolumeError: it is damaged, or not placed in the patient's space.
    """
    with told_plainly(path.name, KIND):
        header = _read_header(path)
        shape = _shape(header, path.name, multichannel)
        dtype = _dtype(header, path.name)
        affine = _affine(header, path.name, (shape[0], shape[1], shape[2]))
        offset = int(header["vox_offset"])
        if offset < int(header["sizeof_hdr"]) + 4:
            raise VolumeError(f"{path.name} is damaged: its voxels would begin inside its header.")
        encoding = "gzip" if is_gzipped(path) else "raw"
        array = read_voxels(path, offset, shape, dtype, encoding)  # type: ignore[arg-type]
        array = np.moveaxis(array.reshape(*shape[:3], -1, order="F"), -1, 0)
        array, note = rescaled(array, *_scaling(header), path.name)
    return Volume(array, affine, meta={"format": "nifti", **note})


def _read_header(path: Path) -> Any:
    """Return nibabel's header object, taken as it is: nibabel's own repairs would hide what is wrong."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    with gzip.open(path) if is_gzipped(path) else path.open("rb") as file:
        start = file.read(540)
    for cls, size in ((Nifti1Header, 348), (Nifti2Header, 540)):
        for endian in "<>":
            if start[:4] == size.to_bytes(4, "little" if endian == "<" else "big") and len(start) >= size:
                header = cls(start[:size], endianness=endian, check=False)
                magic = bytes(header["magic"])[:3]
                if magic in (b"n+1", b"n+2"):
                    return header
                if magic in (b"ni1", b"ni2"):
                    raise VolumeError(
                        f"{path.name} is half of a pair of files (.hdr and .img). Save it as .nii instead."
                    )
    raise VolumeError(
        f"{path.name} is not {KIND}, whatever its name says: its first bytes are no NIfTI header. Export it again."
    )


def _shape(header: Any, name: str, multichannel: bool) -> tuple[int, ...]:
    """Return (I, J, K) or (I, J, K, 1.., C)."""
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= 7:
        raise VolumeError(f"{name} is damaged: its header gives it {dimensions} dimensions.")
    shape = tuple(int(n) for n in header["dim"][1 : dimensions + 1])
    if min(shape) < 1:
        raise VolumeError(f"{name} is damaged: its header gives it a size of {' x '.join(map(str, shape))} voxels.")
    shape += (1,) * (3 - len(shape))
    if (
        len(shape) > 4
        and shape[3] == 1
        and all(n == 1 for n in shape[5:])
        and int(header["intent_code"]) in _VECTOR_INTENTS
    ):
        return shape[:5]
    if any(n > 1 for n in shape[4:]) or (len(shape) > 3 and shape[3] > 1 and not multichannel):
        count = int(np.prod(shape[3:], dtype=object))
        raise VolumeError(
            f"{name} is a series of {count} images (4-D), where one 3-D image is needed. Save the one you mean."
        )
    return shape[:4]


def _dtype(header: Any, name: str) -> np.dtype:
    code = int(header["datatype"])
    if code in _COLOR_TYPES:
        raise VolumeError(f"{name} is a color image, where one brightness per voxel is needed. Convert it to gray.")
    if code in _COMPLEX_TYPES:
        raise VolumeError(f"{name} holds complex numbers. Save its magnitude or another real part of it instead.")
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8 or dtype.itemsize * 8 != int(header["bitpix"]):
        raise VolumeError(f"{name} is damaged, or its voxels are of a type that is not supported (code {code}).")
    return dtype


def _affine(header: Any, name: str, shape: tuple[int, int, int]) -> np.ndarray:
    unit = int(header["xyzt_units"]) & 7
    if unit in _UNITS:
        raise VolumeError(f"{name} gives its lengths in {_UNITS[unit]}. Save it with lengths in millimeters.")
    sform, sform_code = header.get_sform(coded=True)
    qform = header.get_qform() if int(header["qform_code"]) else None
    if sform is None and qform is None:
        raise VolumeError(
            f"{name} cannot be placed in space: its header has neither an sform nor a qform. "
            "Save the image again from a program that knows its place."
        )
    if sform is None:
        assert qform is not None
        if not (np.abs(header["pixdim"][1:4]) > 0).all():
            raise VolumeError(f"{name} cannot be placed in space: its voxel size (pixdim) is zero or no number.")
        return qform
    grid = Grid(shape, sform)
    if qform is not None and int(sform_code) != _SCANNER:
        # A tenth of a voxel: qforms are stored as rounded quaternions.
        if not grid.same_as(Grid(shape, qform), tol=0.1 * float(grid.spacing.min())):
            raise VolumeError(
                f"{name} is placed in space twice, and differently: its sform and qform disagree, and programs differ "
                "in which they believe. Load it in Slicer and save it again, or set both to the one you mean."
            )
    elif not np.allclose(np.abs(header["pixdim"][1:4]), spacing_of(sform), rtol=0.01):
        raise VolumeError(
            f"{name} has two voxel sizes: those of its sform and of its pixdim disagree. "
            "Save it again from a program that knows the right one."
        )
    return sform


def _scaling(header: Any) -> tuple[float, float]:
    """Return (slope, intercept); a slope of 0 means that there is none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return (1.0, 0.0) if slope == 0 else (slope, intercept)
