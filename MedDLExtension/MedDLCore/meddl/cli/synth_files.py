"""What the actions of ``meddl synth`` read and write alike."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.synthesis import Synthetic
    from meddl.volume import Segment, Volume

_NAMELESS = re.compile(r"Label \d+")


def read_labels(path: Path) -> tuple[Volume, tuple[Segment, ...]]:
    """Return a segmentation's labels and what they mean; a label map without names means nothing by itself: ()."""
    from meddl.volume import read_segmentation

    labels, segments = read_segmentation(path)
    return labels, () if all(_NAMELESS.fullmatch(each.name) for each in segments) else segments


def read_settings(path: Path | None) -> dict[str, Any]:
    """Return the names and values in a JSON file; none where there is no file.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    if path is None:
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name} is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path.name} is no object of names and values.")
    return data


def stem_of(number: int) -> str:
    """Return what the files of an image are called; numbers run from 1."""
    return f"synthetic_{number:03d}"


def write_synthetic(made: Sequence[Synthetic], folder: Path, suffix: str) -> tuple[tuple[Path, ...], ...]:
    """Write images, their labels and the facts of each into a folder; return the files by image, the image first."""
    from meddl.volume import write_segmentation, write_volume

    make_folder(folder)
    written = []
    for number, each in enumerate(made, 1):
        stem = stem_of(number)
        paths = [folder / f"{stem}{suffix}"]
        write_volume(each.image, paths[0])
        if each.labels is not None:
            paths.append(folder / f"{stem}.seg.nrrd")
            write_segmentation(each.labels, each.segments, paths[-1])
        paths.append(folder / f"{stem}.json")
        write_facts(each.facts, paths[-1])
        written.append(tuple(paths))
    return tuple(written)


def check_suffix(suffix: str) -> None:
    """Refuse a suffix that images cannot be written with, before they are made."""
    from meddl.inference.files import VOLUME_SUFFIXES

    if suffix not in VOLUME_SUFFIXES:
        raise UsageError(f"Images cannot be written as {suffix!r}. Choose one of: {', '.join(VOLUME_SUFFIXES)}.")


def keep_given(given: Sequence[Path | None], folder: Path, names: Sequence[str]) -> None:
    """Refuse to write over a file that the user has given.

    Args:
        given: the files; None for those that were not.
        folder: that is written into.
        names: of the files that come into it.
    """
    places = {(folder / name).resolve() for name in names}
    for path in given:
        if path is not None and path.resolve() in places:
            raise UsageError(f"{path.name} would be overwritten by what is made. Choose another folder for --output.")


def write_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Write facts as JSON, whole or not at all."""
    from meddl.volume import whole_file

    with whole_file(path) as file:
        file.write((json.dumps(dict(facts), indent=2, sort_keys=True) + "\n").encode())


def check_folder(folder: Path) -> None:
    """Find out, before long work, whether its result could be written into a folder; nothing is made.

    Raises:
        UsageError: it could not.
    """
    try:
        place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    except OSError as error:
        raise UsageError(f"{folder.name} is no name for a folder: {error.strerror}. Choose another.") from error
    if not place.is_dir():
        raise UsageError(f"The folder {folder.name} cannot be made: {place.name} is a file. Choose another.")
    if not os.access(place, os.W_OK):
        raise UsageError(f"The folder {folder.name} cannot be written to. Choose another.")


def make_folder(folder: Path) -> None:
    """Make a folder where there is none.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or "the system refused it"
        raise UsageError(f"The folder {folder.name} cannot be made: {reason}. Choose another.") from error
