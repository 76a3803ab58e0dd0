"""The files of a folder and its subfolders, each once, in an order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from meddl.errors import UsageError

_MAX_FILES = 2_000_000
_MAX_DEPTH = 64
_SKIPPED = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


def files_below(folder: Path, exclude: frozenset[Path] = frozenset()) -> list[Path]:
    """Return the files in a folder and its subfolders.

    Hidden files and folders are left out, and links that lead nowhere. Folders that links lead to are searched once.

    Args:
        exclude: resolved folders that are not searched.

    Raises:
        UsageError: a folder cannot be read: cases would be missing, and nobody would know.
    """
    files: list[Path] = []
    for path in _walk(folder, exclude, set(), 0):
        files.append(path)
        if len(files) > _MAX_FILES:
            raise UsageError(f"{folder.name} holds more than {_MAX_FILES} files. Choose a folder further down.")
    return files


def _walk(folder: Path, exclude: frozenset[Path], seen: set[Path], depth: int) -> Iterator[Path]:
    try:
        place = folder.resolve()
        if place in seen or place in exclude or depth > _MAX_DEPTH:
            return
        seen.add(place)
        entries = sorted(folder.iterdir())
        folders = [entry for entry in entries if entry.is_dir()]
        files = [entry for entry in entries if entry.is_file()]
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go round in a circle
        why = getattr(error, "strerror", None) or "the system refused it"
        raise UsageError(f"The folder {folder.name!r} cannot be read: {why}. Cases may lie in it: allow reading it, "
                         "or move it away.") from error  # fmt: skip
    yield from (file for file in files if not file.name.startswith("."))
    for entry in folders:
        if not entry.name.startswith(".") and entry.name not in _SKIPPED:
            yield from _walk(entry, exclude, seen, depth + 1)
