"""Reading NRRD files (.nrrd, .nhdr), headers by pynrrd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError

from .data import Volume
from .geometry import flip_lps_ras
from .payload import Encoding, read_voxels, told_plainly

KIND = "a NRRD image"
_MAX_HEADER = 1 << 22
_SIGNS = {  # anatomical directions of a space's axes -> factors to RAS
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "longlong": "i8", "int64": "i8",
    "ulonglong": "u8", "uint64": "u8", "float": "f4", "double": "f8",
}  # fmt: skip
_CHANNEL_KINDS = (
    "vector", "covariant-vector", "normal", "2-vector", "3-vector", "4-vector", "3-normal", "3-gradient", "point",
    "scalar", "stub",
)  # fmt: skip
_COLOR_KINDS = ("rgb-color", "rgba-color", "hsv-color", "xyz-color", "3-color", "4-color")


def read_nrrd(path: Path, *, multichannel: bool) -> Volume:
    """Return the image in a NRRD file, its voxels as stored.

    An axis of a vector kind becomes the channels; a list or an axis of no stated kind does only if ``multichannel``.

    Raises:
        VolumeError: it is damaged, or not placed in the patient's space.
    """
    with told_plainly(path.name, KIND):
        header, offset = _read_header(path)
        shape = tuple(int(n) for n in header["sizes"])
        axes = _axes(header, path.name, len(shape), multichannel)
        affine = _affine(header, path.name, axes)
        dtype = _dtype(header, path.name)
        encoding = _encoding(header, path.name)
        data_path, offset = _data_file(header, path, offset, encoding)
        array = read_voxels(data_path, offset, shape, dtype, encoding)
        channel = [axis for axis in range(len(shape)) if axis not in axes]
        array = np.moveaxis(array, channel[0], 0) if channel else array[np.newaxis]
    return Volume(array, affine, meta={"format": "nrrd"})


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header's fields by lower-case name and where it ends in the file."""
    import nrrd

    with path.open("rb") as file:
        start = file.read(_MAX_HEADER)
    if not start.startswith(b"NRRD"):
        raise VolumeError(f"{path.name} is not {KIND}, whatever its name says: it does not begin with NRRD.")
    ends = [(at + len(mark)) for mark in (b"\n\n", b"\n\r\n") if (at := start.find(mark)) >= 0]
    end = min(ends, default=len(start))  # a detached header may end with the file
    lines = start[:end].decode("utf-8", "replace").splitlines()
    # Private "key:=value" entries may hold anything, also twice and also names: they are left unread.
    lines = [line for line in lines if line.startswith(("NRRD", "#")) or ":=" not in line]
    header = {str(key).strip().lower(): value for key, value in nrrd.read_header(lines).items()}
    missing = [key for key in ("dimension", "type", "sizes", "encoding") if key not in header]
    if missing:
        raise VolumeError(f"{path.name} is damaged: its header lacks the field '{missing[0]}'.")
    if len(header["sizes"]) != header["dimension"] or min(header["sizes"]) < 1:
        raise VolumeError(f"{path.name} is damaged: its 'sizes' are not {header['dimension']} positive numbers.")
    return header, end


def _axes(header: dict[str, Any], name: str, dimension: int, multichannel: bool) -> list[int]:
    """Return the three axes of the file that are axes of space, in order."""
    kinds = [str(kind).lower() for kind in header.get("kinds", ())]
    if "complex" in kinds:
        raise VolumeError(f"{name} holds complex numbers. Save its magnitude or another real part of it instead.")
    if any(kind in _COLOR_KINDS for kind in kinds):
        raise VolumeError(f"{name} is a color image, where one brightness per voxel is needed. Convert it to gray.")
    if any("matrix" in kind for kind in kinds):
        raise VolumeError(f"{name} holds tensors (a matrix per voxel), where one number per voxel is needed.")
    directions = header.get("space directions")
    if directions is None:
        spatial = [axis for axis in range(dimension) if not kinds or kinds[axis] in ("domain", "space")]
        if len(spatial) != 3:
            _refuse_dimensions(name, dimension)
        return spatial
    if len(directions) != dimension:
        raise VolumeError(f"{name} is damaged: it has {dimension} axes and directions for {len(directions)}.")
    axes = [axis for axis, row in enumerate(directions) if row is not None and not np.isnan(row).all()]
    rest = [axis for axis in range(dimension) if axis not in axes]
    if len(axes) != 3 or len(rest) > 1:
        _refuse_dimensions(name, dimension)
    for axis in rest:
        kind = kinds[axis] if axis < len(kinds) else "unknown"
        if kind not in _CHANNEL_KINDS and not multichannel and header["sizes"][axis] > 1:
            raise VolumeError(
                f"{name} is a list of {header['sizes'][axis]} images (4-D), where one 3-D image is needed. "
                "Save the one you mean."
            )
    return axes


def _refuse_dimensions(name: str, dimension: int) -> None:
    raise VolumeError(f"{name} has {dimension} axes, of which not exactly three lie in space. Save a 3-D image.")


def _affine(header: dict[str, Any], name: str, axes: list[int]) -> np.ndarray:
    space = str(header.get("space", "")).lower()
    lacking = {
        "which way its axes point in the patient ('space')": space not in _SIGNS,
        "the directions of its axes ('space directions')": "space directions" not in header,
        "where its first voxel is ('space origin')": "space origin" not in header,
    }
    if any(lacking.values()):
        raise VolumeError(
            f"{name} cannot be placed in space: its header does not say {next(k for k, v in lacking.items() if v)}. "
            "Save the image again from a program that knows it."
        )
    units = {str(unit).strip().lower() for unit in header.get("space units", ())} - {"", "mm", "millimeter", "none"}
    if units:
        raise VolumeError(f"{name} gives its lengths not in mm but in another unit. Save it with lengths in mm.")
    affine = np.eye(4)
    affine[:3, :3] = np.array([header["space directions"][axis] for axis in axes], dtype=np.float64).T
    affine[:3, 3] = np.asarray(header["space origin"], dtype=np.float64)
    if (signs := _SIGNS[space]) == (-1, -1, 1):
        return flip_lps_ras(affine)
    affine[:3] *= np.array(signs, dtype=np.float64)[:, np.newaxis]
    return affine


def _dtype(header: dict[str, Any], name: str) -> np.dtype:
    # The names are C's: "unsigned short int", "ushort", "uint16", "uint16_t" all mean the same.
    kind = "".join(str(header["type"]).lower().replace("unsigned", "u").replace("signed", "").split())
    kind = kind.removesuffix("_t")
    kind = kind.removesuffix("int") if kind not in ("int", "uint") else kind
    if kind not in _TYPES:
        raise VolumeError(f"{name} holds values of type {kind[:20]!r}, not numbers that are known.")
    dtype = np.dtype(_TYPES[kind])
    endian = str(header.get("endian", "")).lower()
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise VolumeError(f"{name} is damaged: its header does not say the byte order (endian) of its voxels.")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _encoding(header: dict[str, Any], name: str) -> Encoding:
    encoding = str(header["encoding"]).lower()
    if encoding not in _ENCODINGS:
        raise VolumeError(
            f"{name} is encoded as {encoding[:20]!r}; only raw, gzip and bzip2 are read. Save it as gzip."
        )
    return _ENCODINGS[encoding]


def _data_file(header: dict[str, Any], path: Path, end: int, encoding: Encoding) -> tuple[Path, int]:
    """Return the file with the voxels and where they begin in it."""
    detached = header.get("data file", header.get("datafile"))
    if int(header.get("line skip", header.get("lineskip", 0))) != 0:
        raise VolumeError(f"{path.name} skips lines before its voxels, which is not supported. Save it again as .nrrd.")
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if detached is None:
        if skip:
            raise VolumeError(f"{path.name} skips bytes before its voxels, which is not supported. Save it again.")
        return path, end
    data_path = sibling(path, str(detached))
    if skip == -1 and encoding == "raw":  # "the voxels are the last bytes of the file"
        count = int(np.prod([int(n) for n in header["sizes"]], dtype=object)) * _dtype(header, path.name).itemsize
        skip = max(data_path.stat().st_size - count, 0)
    if skip < 0 or (skip and encoding != "raw"):
        raise VolumeError(f"{path.name} skips bytes within compressed voxels, which is not supported. Save it again.")
    return data_path, skip


def sibling(header_path: Path, named: str) -> Path:
    """Return the data file that a header names, which must lie in the header's folder or below it.

    Raises:
        VolumeError: it does not exist, is elsewhere (a header from others must not open any file of this computer), or
            the voxels are spread over several files.
    """
    name = header_path.name
    if named.upper().startswith("LIST") or "%" in named:
        raise VolumeError(f"{name} spreads its voxels over several files, which is not supported. Save it as one file.")
    folder = header_path.parent.resolve()
    path = (folder / named).resolve()
    if not path.is_relative_to(folder):
        raise VolumeError(f"{name} refers to voxels outside its folder, which is not allowed. Put both files together.")
    if not path.is_file():
        raise VolumeError(f"{name} keeps its voxels in a second file that is not there. Put both files together.")
    return path
