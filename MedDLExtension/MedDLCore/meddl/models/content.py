"""The files of a bundle and the one number that stands for all of them.

The digest covers every file below the bundle's folder, hidden ones and ``__pycache__`` included, since Python would
import them too: whatever is added or changes, the digest changes, and with it goes the user's consent.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from meddl.errors import ModelError

MAX_FILES = 50_000
MAX_DEPTH = 32

Signature = Mapping[str, tuple[int, int, int, int]]
"""Relative path -> (size, mtime_ns, ctime_ns, inode): when it is the same, the bytes are."""


def list_files(root: Path, only: Collection[str] | None = None) -> tuple[str, ...]:
    """Return all files below ``root``, or those in ``only``, as sorted relative paths with forward slashes.

    Raises:
        ModelError: a link leads out of the folder, something is neither file nor folder, or one of ``only`` is missing.
    """
    if only is not None:
        for name in only:
            inside(root, name)
        return tuple(sorted(only))
    found: list[str] = []
    _walk(root, root.resolve(), "", found, 0)
    return tuple(sorted(found))


def signature(root: Path, only: Collection[str] | None = None) -> Signature:
    """Return sizes, times and inodes of all files: cheap, and different when a file was written to."""
    result = {}
    for name in list_files(root, only):
        try:
            status = (root / name).stat()
        except OSError as error:
            raise ModelError(f"The model's file {name!a} cannot be read: {error.strerror}.") from error
        result[name] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return result


def digest(root: Path, only: Collection[str] | None = None) -> str:
    """Return the SHA-256 (64 hexadecimal digits) over the sorted relative paths and bytes of all files in ``root``.

    Args:
        root: the model's folder.
        only: the files that count; all by default.
    """
    total = hashlib.sha256(b"meddl bundle 1\n")
    for name in list_files(root, only):
        path = root / name
        # Length first, so that no two sets of files give the same stream of bytes.
        encoded = name.encode("utf-8", "surrogateescape")
        total.update(len(encoded).to_bytes(8, "big") + encoded)
        if path.is_symlink():
            total.update(b"link" + os.fsencode(path.readlink()) + b"\0")
        try:
            total.update(b"file" + bytes.fromhex(file_sha256(path)))
        except OSError as error:
            raise ModelError(f"The model's file {name!a} cannot be read: {error.strerror}.") from error
    return total.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(root: Path, path: Path | str) -> Path:
    """Return ``path`` (absolute, or relative to ``root``) as an existing file inside ``root``, links resolved.

    Raises:
        ModelError: it lies elsewhere or does not exist.
    """
    text = str(path)
    if "\0" in text:
        raise ModelError("The model names a file with a NUL character in its name.")
    outside = ModelError(f"The model names a file outside its own folder ({text[:200]!a}), which is not read.")
    # By its text first: only asking whether \\\\host\\share or /net/host is there would call that computer.
    plain = Path(os.path.normpath(root / text))
    if not any(plain.is_relative_to(os.path.normpath(home)) for home in (root, root.resolve())):
        raise outside
    try:
        real = (root / text).resolve()
    except (OSError, RuntimeError) as error:
        raise ModelError(f"The model names a file that cannot be found: {str(error)[:200]!a}.") from error
    if not real.is_relative_to(root.resolve()):
        raise outside
    if not real.is_file():
        raise ModelError(f"The model's file {real.relative_to(root.resolve()).as_posix()[:200]!a} is missing.")
    return real


def _walk(folder: Path, root: Path, prefix: str, found: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ModelError(f"The model's folders are nested more than {MAX_DEPTH} deep.")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ModelError(f"The model's folder {prefix or folder.name!a} cannot be read: {error.strerror}.") from error
    for entry in entries:
        name = f"{prefix}{entry.name}"
        if entry.is_symlink():
            _check_link(Path(entry.path), root, name)
            found.append(name)
        elif entry.is_dir(follow_symlinks=False):
            _walk(Path(entry.path), root, f"{name}/", found, depth + 1)
        elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            found.append(name)
        else:
            raise ModelError(f"The model holds {name!a}, which is neither a file nor a folder.")
        if len(found) > MAX_FILES:
            raise ModelError(f"The folder holds more than {MAX_FILES} files, so it is hardly a model.")


def _check_link(link: Path, root: Path, name: str) -> None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"The model holds the link {name!a}, which leads nowhere.") from error
    if not target.is_relative_to(root):
        raise ModelError(f"The model holds the link {name!a} to something outside its folder. Replace it by the file.")
    if not target.is_file():
        raise ModelError(f"The model holds the link {name!a} to a folder. Replace it by the folder.")
