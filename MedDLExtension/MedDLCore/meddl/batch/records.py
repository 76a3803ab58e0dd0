"""What a finished case leaves behind, so that the next run knows it is finished."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import JobError, VolumeError
from meddl.volume import read_volume, whole_file

logger = logging.getLogger(__name__)

FOLDER = "records"
MAX_DEATHS = 3
"""A case that ended its process so often is left out once."""

_VERSION = 1
_BLOCK = 1 << 20


def fingerprint(path: Path) -> str:
    """Return a SHA-256 of an image: of its file, or of all files of a DICOM folder whatever their names.

    A file that stands for others (a header without its voxels, a slice of a DICOM series) is told apart from what they
    hold, too.

    Raises:
        VolumeError: it cannot be read.
    """
    from meddl.volume.dicom_frames import is_dicom, read_header
    from meddl.volume.dicom_picture import is_flat

    try:
        if path.is_file() and path.name.lower().endswith((".nhdr", ".mhd")):
            volume = read_volume(path, multichannel=True)
            digest = hashlib.sha256(repr((volume.array.shape, volume.affine.tolist())).encode())
            digest.update(np.ascontiguousarray(volume.array).data)
            return digest.hexdigest()
        if path.is_file() and is_dicom(path):
            header = read_header(path)
            if header is not None and not is_flat(header):
                path = path.parent
        if path.is_dir():
            files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
            return hashlib.sha256("\n".join(sorted(_sha256(file) for file in files)).encode()).hexdigest()
        return _sha256(path)
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error


def read_record(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a case, or None if there is none that can be understood."""
    try:
        record = json.loads(_path(folder, name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        logger.debug("no record: %s", type(error).__name__)
        return None
    return record if isinstance(record, dict) and record.get("version") == _VERSION else None


def write_record(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write the record of a case: the last thing of all, for it says that everything else is there."""
    (folder / FOLDER).mkdir(exist_ok=True)
    text = json.dumps({"version": _VERSION, **facts}, indent=1)
    with whole_file(_path(folder, name)) as file:
        file.write(f"{text}\n".encode())


def is_finished(record: Mapping[str, Any] | None, made_from: Mapping[str, Any], folder: Path) -> bool:
    """Say whether a record is of the same images, model and options, and its files are as they were written."""
    if record is None or record.get("made_from") != made_from or not isinstance(record.get("files"), Mapping):
        return False
    try:
        return all(_sha256(folder / Path(str(name)).name) == digest for name, digest in record["files"].items())
    except OSError:
        return False


def file_digests(files: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of files by their names."""
    return {file.name: _sha256(file) for file in files}


@contextmanager
def attempt(folder: Path, name: str) -> Iterator[None]:
    """Leave a mark while a case is worked on, which outlives the process if that dies.

    Raises:
        JobError: the case has ended its process :data:`MAX_DEATHS` times; the mark is taken away, so that a batch
            started later tries it anew.
    """
    mark = folder / FOLDER / f"{name}.started"
    mark.parent.mkdir(exist_ok=True)
    deaths = _deaths(mark)
    if deaths >= MAX_DEATHS:
        mark.unlink(missing_ok=True)
        raise JobError(
            f"The process ended {deaths} times in the middle of this case, so it was left out. "
            "Most likely the memory did not suffice: crop the image or choose another device."
        )
    mark.write_text(str(deaths + 1), encoding="ascii")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def forget_attempt(folder: Path, name: str) -> None:
    """Take the mark of :func:`attempt` away: the process is ended on purpose."""
    (folder / FOLDER / f"{name}.started").unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove unfinished files that a killed run left in ``folder`` and beside its records."""
    for place in (folder, folder / FOLDER):
        if place.is_dir():
            for file in place.glob(".*.part"):
                if len(file.name) == len(".0123456789abcdef.part"):
                    file.unlink(missing_ok=True)


def _deaths(mark: Path) -> int:
    try:
        return int(mark.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _path(folder: Path, name: str) -> Path:
    return folder / FOLDER / f"{name}.json"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
