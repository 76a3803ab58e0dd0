"""Unpacking a zip archive that comes from anywhere, without letting it out of its folder or filling the disk.

Everything is judged from the archive's directory before the first byte is written, and counted again while writing.
Archives inside the archive are files like any other: they are never unpacked.
"""

from __future__ import annotations

import re
import shutil
import stat
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from meddl.errors import ModelError


@dataclass(frozen=True)
class Limits:
    """What an archive may ask for. Sizes in bytes."""

    files: int = 20_000
    total_bytes: int = 16 << 30
    ratio: float = 200.0
    ratio_from_bytes: int = 64 << 20
    """Small archives may compress well (a config file does); the ratio counts from this size on."""
    path_length: int = 400
    free_bytes: int = 256 << 20
    """What has to stay free on the disk."""


_DEVICE_NAMES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_BAD_CHARACTERS = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_FLAG_ENCRYPTED = 0x1
_CHUNK = 1 << 20


def extract_zip(archive: Path, folder: Path, limits: Limits | None = None) -> None:
    """Unpack ``archive`` into the new folder ``folder``; nothing is left behind when it is refused.

    Raises:
        ModelError: the archive is broken, too large, or holds names or entries that are not plain files.
    """
    limits = limits or Limits()
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = [(entry, safe_member(entry.orig_filename)) for entry in zipped.infolist()]
            _check_entries(entries, archive, limits)
            _check_space(entries, folder, limits)
            folder.mkdir(parents=True)
            try:
                for entry, name in entries:
                    _write_entry(zipped, entry, folder.joinpath(*name.parts))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    except ModelError as error:
        raise ModelError(f"The archive {archive.name} was refused: {error.message}", error.details) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ModelError(f"The archive {archive.name} is damaged and could not be unpacked.", str(error)) from error
    except Exception as error:  # zlib.error and OSError have nothing better in common
        raise ModelError(f"The archive {archive.name} could not be unpacked: {error}.") from error


def safe_member(name: str) -> PurePosixPath:
    """Return the path of an archive member, relative and plain on every platform.

    Raises:
        ModelError: the name is absolute, climbs out with ``..``, or means something else on another system.
    """
    shown = ascii(name[:120])
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise ModelError(f"it holds the absolute path {shown}.")
    if _BAD_CHARACTERS.search(name):
        raise ModelError(f"the name {shown} has characters that are not allowed in file names.")
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        raise ModelError(f"the path {shown} leads out of the archive.")
    for part in parts:
        if part in ("", ".") or part != part.rstrip(" .") or len(part.encode("utf-8", "replace")) > 255:
            raise ModelError(f"the path {shown} is not a plain one.")
        if _DEVICE_NAMES.fullmatch(part):
            raise ModelError(f"the name {shown} is a device on Windows.")
    return PurePosixPath(*parts)


def _check_entries(entries: list[tuple[zipfile.ZipInfo, PurePosixPath]], archive: Path, limits: Limits) -> None:
    if len(entries) > limits.files:
        raise ModelError(f"it holds {len(entries)} entries; {limits.files} are allowed.")
    packed = unpacked = 0
    for entry, name in entries:
        if entry.flag_bits & _FLAG_ENCRYPTED:
            raise ModelError(f"{str(name)!a} is encrypted.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelError(f"{str(name)!a} is compressed in an unusual way.")
        mode = stat.S_IFMT(entry.external_attr >> 16)
        if mode not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
            raise ModelError(f"{str(name)!a} is a link or device, not a file.")
        if len(str(name)) > limits.path_length:
            raise ModelError(f"a path in it is longer than {limits.path_length} characters.")
        packed += entry.compress_size
        unpacked += entry.file_size
    if unpacked > limits.total_bytes:
        raise ModelError(f"it would unpack to {unpacked >> 20} MB, which is more than allowed.")
    if packed > archive.stat().st_size:
        raise ModelError("its entries overlap, as those of an archive bomb do.")
    if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(1, packed):
        raise ModelError(f"it would unpack to {unpacked >> 20} MB from {packed >> 10} kB, as an archive bomb does.")
    _check_collisions(entries)


def _check_collisions(entries: list[tuple[zipfile.ZipInfo, PurePosixPath]]) -> None:
    """Refuse names that are the same file on some system, and files that other entries use as folders."""
    files: set[str] = set()
    folders: set[str] = set()
    for entry, name in entries:
        key = unicodedata.normalize("NFC", str(name)).casefold()
        parents = {"/".join(key.split("/")[:count]) for count in range(1, len(name.parts))}
        if (not entry.is_dir() and (key in files or key in folders)) or (entry.is_dir() and key in files):
            raise ModelError(f"it holds {str(name)!a} twice, or twice but for upper and lower case.")
        if parents & files:
            raise ModelError(f"{str(name)!a} lies in something that is a file.")
        (folders if entry.is_dir() else files).add(key)
        folders |= parents


def _check_space(entries: list[tuple[zipfile.ZipInfo, PurePosixPath]], folder: Path, limits: Limits) -> None:
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    needed = sum(entry.file_size for entry, _ in entries)
    if shutil.disk_usage(place).free < needed + limits.free_bytes:
        raise ModelError(f"there is not enough free disk space for its {needed >> 20} MB.")


def _write_entry(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, goal: Path) -> None:
    if entry.is_dir():
        goal.mkdir(parents=True, exist_ok=True)
        return
    goal.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    # "x": an entry never writes over another one.
    with zipped.open(entry) as source, goal.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise ModelError(f"{entry.filename!a} is longer than the archive says.")
            sink.write(chunk)
    if left:
        raise ModelError(f"{entry.filename!a} is shorter than the archive says.")
