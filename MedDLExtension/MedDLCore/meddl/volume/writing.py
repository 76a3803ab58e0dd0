"""Writing a volume to a file: whole, or not at all.

The voxels go out block by block, compressed on all cores at a fast level (see :mod:`meddl.volume.deflate`): higher ones
cost many times the time and gain little on medical images.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from meddl.errors import UsageError, VolumeError

from .data import Volume
from .deflate import voxel_blocks, voxel_bytes, write_gzip, zlib_pieces
from .geometry import flip_lps_ras, is_sheared, spacing_of
from .itk import storable_dtype

WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")

_NRRD_TYPES = {
    "i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32", "i8": "int64",
    "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip
_META_TYPES = {
    "i1": "MET_CHAR", "u1": "MET_UCHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT", "u4": "MET_UINT",
    "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip


def write_volume(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    facts: Mapping[str, str] | None = None,
    channels: Literal["vector", "list"] = "vector",
) -> None:
    """Write ``volume`` to a file of the format its suffix names: .nrrd, .nii, .nii.gz or .mha.

    The file appears whole or not at all: an older one of that name stays until the new one is complete. The data type
    is kept, but that bool becomes uint8 and float16 float32, which the formats lack. Name and meta are not written. The
    same volume gives the same bytes.

    Args:
        facts: what made the image, for its header: entries in .nrrd, a comment in .mha; .nii has no room for them.
        channels: write several channels as a vector per voxel, or as the list of images of a 4-D file (not in .mha).

    Raises:
        UsageError: another suffix.
        VolumeError: the format cannot hold the volume (.mha with axes that are not at right angles), or the file cannot
            be written (no such folder, no rights, disk full).

    Example:
        >>> write_volume(Volume(np.zeros((1, 2, 3, 4), np.int16), np.eye(4)), "image.nrrd")
    """
    path = Path(path)
    if path.name.lower().endswith(".seg.nrrd"):
        raise UsageError("A .seg.nrrd file needs to know its segments. Write it as a segmentation, or name it .nrrd.")
    suffix = _suffix(path)
    if suffix == ".mha" and channels == "list":
        raise UsageError("An .mha file holds one image, not a list of them. Let the name end in .nrrd or .nii.gz.")
    with whole_file(path) as file:
        if suffix == ".nrrd":
            write_nrrd(volume, file, facts, channels)
        elif suffix == ".mha":
            _write_meta(volume, file, facts or {})
        else:
            _write_nifti(volume, file, channels, compressed=suffix == ".nii.gz")


def check_writable(path: Path, suffixes: Sequence[str] = WRITABLE) -> None:
    """Find out, before long work, whether its result could be written to ``path``.

    Raises:
        UsageError: its suffix is none of ``suffixes``.
        VolumeError: its folder does not exist, or ``path`` is a folder.
    """
    _suffix(path, suffixes)
    if not path.absolute().parent.is_dir():
        raise VolumeError(f"The folder for {path.name} does not exist. Make it first, or choose another place.")
    if path.is_dir():
        raise VolumeError(f"{path.name} is a folder. Give the name of a file in it.")


def _suffix(path: Path, suffixes: Sequence[str] = WRITABLE) -> str:
    suffix = next((suffix for suffix in suffixes if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"{path.name} is no name for what is written here. Let it end in {' or '.join(suffixes)}.")
    return suffix


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of ``path`` when the block ends well, and vanishes when it does not."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # in the same folder: renaming is atomic only within a disk
    try:
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = "its folder does not exist" if not path.parent.is_dir() else error.strerror or "the system refused it"
        raise VolumeError(f"{path.name} could not be written: {reason}. Choose another place.") from error


def write_nrrd(
    volume: Volume,
    file: BinaryIO,
    private: Mapping[str, str] | None = None,
    channels: Literal["vector", "list"] = "vector",
) -> None:
    """Write ``volume`` as NRRD in LPS.

    Args:
        private: the header's own "key:=value" entries.
        channels: the kind of the first axis where there are several: components of one value, or several images.
    """
    array = volume.array.astype(storable_dtype(volume.array.dtype), copy=False)
    if array.shape[0] == 1:
        array = array[0]
    lps = flip_lps_ras(volume.affine)
    vectors = [_vector(lps[:3, axis]) for axis in range(3)]
    is_vector = array.ndim == 4
    header = {
        "type": _NRRD_TYPES[array.dtype.str[1:]],
        "dimension": str(array.ndim),
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)),
        "space directions": " ".join(["none"] * is_vector + vectors),
        "kinds": " ".join([channels] * is_vector + ["domain"] * 3),
        "endian": "little",
        "encoding": "gzip",
        "space origin": _vector(lps[:3, 3]),
    }
    lines = ["NRRD0005", *(f"{key}: {value}" for key, value in header.items())]
    lines += [f"{key}:={_escaped(value)}" for key, value in (private or {}).items()]
    file.write(("\n".join(lines) + "\n\n").encode("utf-8"))
    write_gzip(file, b"", voxel_blocks(array))


def _vector(numbers: np.ndarray) -> str:
    return "(" + ",".join(repr(float(number) + 0.0) for number in numbers) + ")"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")


def _write_nifti(
    volume: Volume, file: BinaryIO, channels: Literal["vector", "list"] = "vector", *, compressed: bool
) -> None:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    array = volume.array.astype(storable_dtype(volume.array.dtype), copy=False)
    is_list = array.shape[0] > 1 and channels == "list"
    is_vector = array.shape[0] > 1 and not is_list
    array = np.moveaxis(array, 0, -1) if is_list or is_vector else array[0]
    array = array[:, :, :, np.newaxis] if is_vector else array
    header = (Nifti1Header if max(array.shape) < 2**15 else Nifti2Header)(endianness="<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    if is_vector:
        header.set_intent("vector")
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = spacing_of(volume.affine)
    header.set_sform(volume.affine, code="scanner")
    if not is_sheared(volume.affine):  # a qform cannot hold shear; without one, all readers take the sform
        header.set_qform(volume.affine, code="scanner")
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = b"n+1" if header.sizeof_hdr == 348 else b"n+2\0\r\n\032\n"
    start = header.binaryblock + bytes(4)
    if compressed:
        write_gzip(file, start, voxel_blocks(array))
    else:
        file.write(start)
        for block in voxel_blocks(array):
            file.write(voxel_bytes(block))


def _write_meta(volume: Volume, file: BinaryIO, facts: Mapping[str, str]) -> None:
    if is_sheared(volume.affine):
        raise VolumeError(
            "The image's axes are not at right angles to each other, which .mha cannot hold. "
            "Write it as .nrrd or .nii.gz."
        )
    array = volume.array.astype(storable_dtype(volume.array.dtype), copy=False)
    lps = flip_lps_ras(volume.affine)
    spacing = spacing_of(lps)
    pieces = zlib_pieces(voxel_blocks(array))  # their size has to stand before them
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        **({"Comment": _comment(facts)} if facts else {}),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        "CompressedDataSize": str(sum(map(len, pieces))),
        "TransformMatrix": _words((lps[:3, :3] / spacing).T.ravel()),
        "Offset": _words(lps[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _words(spacing),
        "DimSize": " ".join(map(str, volume.shape)),
        "ElementNumberOfChannels": str(volume.channels),
        "ElementType": _META_TYPES[array.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }
    file.write("".join(f"{key} = {value}\n" for key, value in header.items()).encode("utf-8"))
    file.writelines(pieces)


def _comment(facts: Mapping[str, str]) -> str:
    return " ".join("; ".join(f"{key} {value}" for key, value in facts.items()).split())[:240]


def _words(numbers: np.ndarray) -> str:
    return " ".join(repr(float(number) + 0.0) for number in numbers)
