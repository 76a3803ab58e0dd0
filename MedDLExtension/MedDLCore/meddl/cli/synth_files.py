"""What the actions of ``meddl synth`` read and write alike."""

from __future__ import annotations

import json
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


def write_synthetic(made: Sequence[Synthetic], folder: Path, suffix: str) -> tuple[tuple[Path, ...], ...]:
    """Write images, their labels and the facts of each into a folder; return the files by image, the image first."""
    from meddl.inference.files import VOLUME_SUFFIXES
    from meddl.volume import write_segmentation, write_volume

    if suffix not in VOLUME_SUFFIXES:
        raise UsageError(f"Images cannot be written as {suffix!r}. Choose one of: {', '.join(VOLUME_SUFFIXES)}.")
    make_folder(folder)
    written = []
    for number, each in enumerate(made, 1):
        stem = f"synthetic_{number:03d}"
        paths = [folder / f"{stem}{suffix}"]
        write_volume(each.image, paths[0])
        if each.labels is not None:
            paths.append(folder / f"{stem}.seg.nrrd")
            write_segmentation(each.labels, each.segments, paths[-1])
        paths.append(folder / f"{stem}.json")
        write_facts(each.facts, paths[-1])
        written.append(tuple(paths))
    return tuple(written)


def write_facts(facts: Mapping[str, Any], path: Path) -> None:
    """Write facts as JSON, whole or not at all."""
    from meddl.volume import whole_file

    with whole_file(path) as file:
        file.write((json.dumps(dict(facts), indent=2, sort_keys=True) + "\n").encode())


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
