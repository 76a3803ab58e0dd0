"""The free texts in the headers of image files: what people and programs wrote there beside the voxels."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

_MAX_HEADER = 1 << 20
_MAX_EXTENSIONS = 1 << 20
_KNOWN_KEYS = re.compile(r"Segment\d+_.*|Segmentation_.*|ITK_.*|NRRD_.*|MedDL\..*")
_KNOWN_COMMENTS = ("Complete NRRD file format", "http://teem")
_META_GEOMETRY = re.compile(
    r"ObjectType|NDims|Binary.*|Compressed.*|TransformMatrix|Offset|CenterOfRotation|AnatomicalOrientation|Element.*|"
    r"DimSize|HeaderSize|Position|Orientation|Rotation|Origin"
)


def header_texts(path: Path) -> Iterator[str]:
    """Yield the free texts of an image file's header: NRRD, NIfTI, MetaImage, PNG, JPEG or TIFF.

    NRRD's comments, ``content`` and own entries; NIfTI's descrip, aux_file, intent_name, db_name and extensions;
    MetaImage's fields that are not about geometry; text chunks and EXIF of pictures.
    """
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")):
        yield from _nrrd(path)
    elif name.endswith((".nii", ".nii.gz")):
        yield from _nifti(path)
    elif name.endswith((".mha", ".mhd")):
        yield from _meta(path)
    elif name.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff")):
        yield from _picture(path)


def _nrrd(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER)
    ends = [at for mark in (b"\n\n", b"\r\n\r\n") if (at := start.find(mark)) >= 0]
    for line in start[: min(ends, default=len(start))].decode("utf-8", "replace").splitlines():
        if line.startswith("#"):
            if not any(each in line for each in _KNOWN_COMMENTS):
                yield line[1:].strip()
        elif ":=" in line:
            key, _, value = line.partition(":=")
            if not _KNOWN_KEYS.fullmatch(key.strip()):
                yield from _values(value)
        elif line.lower().startswith(("content:", "sample units:")):
            yield line.partition(":")[2].strip()


def _nifti(path: Path) -> Iterator[str]:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        start = stream.read(_MAX_EXTENSIONS)
    for cls, size in ((Nifti1Header, 348), (Nifti2Header, 540)):
        for endian in "<>":
            if start[:4] != size.to_bytes(4, "little" if endian == "<" else "big") or len(start) < size:
                continue
            header = cls(start[:size], endianness=endian, check=False)
            names = header.keys()
            for key in ("descrip", "aux_file", "intent_name", "db_name", "data_type"):
                if key in names:
                    yield bytes(header[key].item()).split(b"\0")[0].decode("utf-8", "replace").strip()
            extensions = start[size + 4 : max(size + 4, int(header["vox_offset"]))]
            yield from re.findall(r"[^\x00-\x1f\x7f]{4,}", extensions.decode("utf-8", "ignore"))
            return


def _meta(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER)
    for line in start.split(b"ElementDataFile", 1)[0].decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if not _META_GEOMETRY.fullmatch(key.strip()):
            yield from _values(value)


def _picture(path: Path) -> Iterator[str]:
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG", "TIFF")) as image:
        # Text chunks may follow the pixels, which are decoded for them only where the picture is of a sane size.
        if path.suffix.lower() == ".png" and image.width * image.height < 1 << 26:
            image.load()
        for value in (*image.info.values(), *image.getexif().values()):
            if isinstance(value, bytes):
                value = value[:_MAX_HEADER].decode("utf-8", "ignore")
            if isinstance(value, str):
                yield from _values(value)


def _values(text: str) -> Iterator[str]:
    """Yield a value whole, and the parts of one that is a person's name as DICOM writes it."""
    yield text.strip()
    if "^" in text:
        yield from (part.strip() for part in text.split("^"))
