"""Reading members of a scene bundle (.mrb), which may come from anybody, one at a time and within bounds.

Nothing is ever unpacked to a path that the archive names: a member goes to a temporary file with a name of our own.
"""

from __future__ import annotations

import logging
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meddl.errors import VolumeError

logger = logging.getLogger(__name__)

MAX_MEMBERS = 50_000
MAX_TEXT_BYTES = 64 << 20
_MAX_IMAGE_BYTES = 64 << 30
_RATIO = 1100.0
"""Deflate's own limit is 1032 to 1. Voxels are weighed once more when they are decompressed."""
_LARGE_BYTES = 2 << 30
_LARGE_RATIO = 250.0
"""An empty mask compresses like nothing else, but none is that large."""
_FREE_BYTES = 256 << 20
_PLAIN_RATIO = 250.0
"""A description of a scene or a list of points does not compress like that."""
_CHUNK = 1 << 20
_FLAG_ENCRYPTED = 0x1
_SUFFIXES = (
    ".seg.nrrd", ".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif", ".tiff",
    ".mrk.json", ".fcsv", ".json", ".csv", ".h5", ".tfm", ".txt", ".dcm",
)  # fmt: skip
_DETACHED = (".nhdr", ".mhd")


def member_names(archive: Path) -> tuple[str, ...]:
    """Return the names of the files in a scene bundle, in the archive's order.

    Raises:
        VolumeError: it is damaged, or made to do harm.
    """
    with _opened(archive) as zipped:
        return tuple(entry.filename for entry in zipped.infolist() if not entry.is_dir())


def read_text_member(archive: Path, member: str, limit: int = MAX_TEXT_BYTES) -> bytes:
    """Return the bytes of a small member.

    Raises:
        VolumeError: there is none, or it is too large, damaged, or made to fill memory.
    """
    with _opened(archive) as zipped:
        entry = _entry(zipped, member, archive.name)
        if entry.file_size > limit or entry.file_size > _PLAIN_RATIO * max(entry.compress_size, 1 << 14):
            raise VolumeError(f"{archive.name} holds a text of {entry.file_size >> 20} MB, more than a scene needs. "
                              "Save the scene again.")  # fmt: skip
        with zipped.open(entry) as source:
            data = source.read(limit + 1)
    if len(data) != entry.file_size:
        raise _damaged(archive.name)
    return data


@contextmanager
def member_file(archive: Path, member: str) -> Iterator[Path]:
    """Give a member of a scene bundle as a file, which is gone when the block ends.

    The file has the member's suffix and a name of ours: what a scene names its files may be a patient's name, or lead
    somewhere else.

    Raises:
        VolumeError: there is none, it is damaged, or made to fill the disk.
    """
    suffix = next((each for each in _SUFFIXES if member.lower().endswith(each)), "")
    if not suffix:
        raise VolumeError(f"A file in {archive.name} is of a kind that is not read from scenes. Save the scene with "
                          "its images as .nrrd.")  # fmt: skip
    if suffix in _DETACHED:
        raise VolumeError(f"{archive.name} keeps an image in two files (header and voxels), which is not read from "
                          "scenes. Save the scene with its images as .nrrd.")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="meddl-") as folder:
        path = Path(folder) / f"image{suffix}"
        with _opened(archive) as zipped:
            entry = _entry(zipped, member, archive.name)
            _check_room(entry, path.parent, archive.name)
            _unpack(zipped, entry, path, archive.name)
        try:
            yield path
        except VolumeError as error:
            # Errors of reading name the file they read, which here is one of ours.
            raise VolumeError(error.message.replace(path.name, f"An image in {archive.name}"), error.details) from error


def _check_room(entry: zipfile.ZipInfo, folder: Path, name: str) -> None:
    size = entry.file_size
    ratio = _RATIO if size < _LARGE_BYTES else _LARGE_RATIO
    if size > _MAX_IMAGE_BYTES or size > ratio * max(entry.compress_size, 1 << 10):
        raise VolumeError(f"{name} holds a file that unpacks to {size >> 20} MB, as an archive bomb does. "
                          "Save the scene again.")  # fmt: skip
    if shutil.disk_usage(folder).free < size + _FREE_BYTES:
        raise VolumeError(f"There is not enough free disk space to unpack {size >> 20} MB of {name}. Free some.")


def _unpack(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, name: str) -> None:
    left = entry.file_size
    try:
        with zipped.open(entry) as source, path.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise _damaged(name)
                sink.write(chunk)
    except OSError as error:
        if error.errno is None:
            raise
        why = error.strerror or "the system refused it"
        raise VolumeError(f"An image in {name} could not be unpacked: {why}. Free some disk space.") from error
    if left:
        raise _damaged(name)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as zipped:
            if len(zipped.infolist()) > MAX_MEMBERS:
                raise VolumeError(f"{archive.name} holds {len(zipped.infolist())} files, more than a scene does.")
            yield zipped
    except VolumeError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            why = error.strerror or "the system refused it"
            raise VolumeError(f"{archive.name} could not be read: {why}.") from error
        raise _damaged(archive.name) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(archive.name) from error
    except Exception as error:  # zlib.error, lzma.LZMAError
        logger.debug("%s: %r", archive, error)
        raise _damaged(archive.name) from error


def _entry(zipped: zipfile.ZipFile, member: str, name: str) -> zipfile.ZipInfo:
    found = [entry for entry in zipped.infolist() if entry.filename == member and not entry.is_dir()]
    if not found:
        raise VolumeError(f"A file that the scene in {name} names is not in it. Save the scene again.")
    if len(found) > 1:
        raise VolumeError(f"{name} holds a file twice under one name. Save the scene again.")
    entry = found[0]
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & _FLAG_ENCRYPTED:
        raise VolumeError(f"{name} is encrypted. Save the scene without a password.")
    if mode not in (0, stat.S_IFREG) or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise VolumeError(f"{name} holds links or is packed in an unusual way. Save the scene again from Slicer.")
    return entry


def _damaged(name: str) -> VolumeError:
    return VolumeError(f"{name} is damaged: it cannot be unpacked. Save or copy the scene again.")
