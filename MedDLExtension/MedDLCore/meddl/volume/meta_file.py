"""Reading MetaImage files (.mha, .mhd).

The few header lines are read here, not by ITK, which fills in what is missing (spacing 1, no rotation) and prints
where it should refuse. Offset and TransformMatrix are LPS mm, as ITK reads and writes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from meddl.errors import VolumeError

from .data import Volume
from .geometry import flip_lps_ras
from .nrrd_file import sibling
from .payload import Encoding, read_voxels, told_plainly

KIND = "a MetaImage"
_MAX_HEADER = 1 << 20
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
_ALIASES = {
    "Position": "Offset", "Origin": "Offset", "Orientation": "TransformMatrix", "Rotation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def read_meta(path: Path) -> Volume:
    """Return the image in a MetaImage file, its voxels as stored; several values per voxel become channels.

    Raises:
        VolumeError: it is damaged, or not placed in the patient's space.
    """
    with told_plainly(path.name, KIND):
        fields, end = _read_header(path)
        shape, channels = _shape(fields, path.name)
        affine = _affine(fields, path.name)
        dtype = _dtype(fields, path.name)
        encoding: Encoding = "zlib" if _true(fields.get("CompressedData", "False")) else "raw"
        data_path, offset, stored = _data_file(fields, path, end)
        array = read_voxels(data_path, offset, (channels, *shape), dtype, encoding, stored)
    return Volume(array, affine, meta={"format": "metaimage"})


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields and where it ends in the file."""
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        newline = start.find(b"\n", end)
        line = start[end : newline if newline >= 0 else len(start)].decode("ascii", "replace")
        key, equals, value = line.partition("=")
        key = _ALIASES.get(key.strip(), key.strip())
        if not equals or (newline < 0 and key != "ElementDataFile"):
            raise VolumeError(f"{path.name} is damaged or not {KIND}: its header cannot be read. Export it again.")
        if key in fields:
            raise VolumeError(f"{path.name} is damaged: its header says {key[:30]!r} twice.")
        fields[key] = value.strip()
        end = newline + 1 if newline >= 0 else len(start)
    return fields, end


def _shape(fields: dict[str, str], name: str) -> tuple[tuple[int, ...], int]:
    shape = tuple(int(n) for n in fields["DimSize"].split())
    dimensions = int(fields["NDims"])
    if dimensions != len(shape) or min(shape) < 1:
        raise VolumeError(f"{name} is damaged: its DimSize is not {dimensions} positive numbers.")
    if dimensions != 3:
        raise VolumeError(f"{name} has {dimensions} dimensions, where one 3-D image is needed. Save the one you mean.")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels < 1:
        raise VolumeError(f"{name} is damaged: it has {channels} values per voxel.")
    return shape, channels


def _affine(fields: dict[str, str], name: str) -> np.ndarray:
    # ElementSize is the voxel's extent, which older files give instead of the distance of voxels.
    spacing = fields.get("ElementSpacing", fields.get("ElementSize"))
    for key, value in (("ElementSpacing", spacing), ("Offset", 0), ("TransformMatrix", 0)):
        if value is None or (value == 0 and key not in fields):
            raise VolumeError(
                f"{name} cannot be placed in space: its header has no {key}. "
                "Save the image again from a program that knows its place."
            )
    assert spacing is not None
    steps = _numbers(spacing, 3, "ElementSpacing", name)
    if (steps <= 0).any():
        raise VolumeError(f"{name} cannot be placed in space: its ElementSpacing {spacing[:60]} is not positive.")
    # Each triple of the file is the direction of one voxel axis: a column of the matrix.
    axes = _numbers(fields["TransformMatrix"], 9, "TransformMatrix", name).reshape(3, 3).T
    lengths = np.sqrt((axes**2).sum(axis=0))
    if np.abs(lengths - 1).max() > 1e-3:
        raise VolumeError(f"{name} cannot be placed in space: the rows of its TransformMatrix are not of length 1.")
    lps = np.eye(4)
    lps[:3, :3] = axes * steps
    lps[:3, 3] = _numbers(fields["Offset"], 3, "Offset", name)
    return flip_lps_ras(lps)


def _numbers(text: str, count: int, key: str, name: str) -> np.ndarray:
    numbers = np.array([float(word) for word in text.split()])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise VolumeError(f"{name} cannot be placed in space: its {key} is not {count} finite numbers.")
    return numbers


def _dtype(fields: dict[str, str], name: str) -> np.dtype:
    element = fields.get("ElementType", "")
    if element not in _TYPES:
        raise VolumeError(f"{name} has voxels of type {element[:30]!r}, which is not supported.")
    if fields.get("ElementToIntensityFunctionSlope", "1").strip() not in ("1", "0") or (
        fields.get("ElementToIntensityFunctionOffset", "0").strip() != "0"
    ):
        raise VolumeError(f"{name} asks for its values to be rescaled, which is not supported. Save the true values.")
    if not _true(fields.get("BinaryData", "True")):
        raise VolumeError(f"{name} stores its voxels as text, which is not supported. Save it as binary.")
    return np.dtype(_TYPES[element]).newbyteorder(">" if _true(fields.get("BinaryDataByteOrderMSB", "False")) else "<")


def _data_file(fields: dict[str, str], path: Path, end: int) -> tuple[Path, int, int | None]:
    """Return the file with the voxels, where they begin in it, and how many bytes they are if the header tells."""
    named = fields["ElementDataFile"]
    size = fields.get("CompressedDataSize")
    stored = int(size) if size and _true(fields.get("CompressedData", "False")) else None
    skip = int(fields.get("HeaderSize", "0"))
    if named.upper() == "LOCAL":
        if skip:
            raise VolumeError(f"{path.name} skips bytes before its voxels, which is not supported. Save it again.")
        data_path, offset = path, end
    else:
        data_path = sibling(path, named)
        offset = skip
        if skip == -1:  # "the voxels are the last bytes of the file"
            shape, channels = _shape(fields, path.name)
            count = int(np.prod([channels, *shape], dtype=object)) * _dtype(fields, path.name).itemsize
            offset = max(data_path.stat().st_size - count, 0)
    if offset < 0 or (stored is not None and stored > data_path.stat().st_size - offset):
        raise VolumeError(f"{path.name} is truncated: it is shorter than its header says. Export or copy it again.")
    return data_path, offset, stored


def _true(text: str) -> bool:
    return text.strip().lower() in ("true", "1", "t", "y", "yes")
