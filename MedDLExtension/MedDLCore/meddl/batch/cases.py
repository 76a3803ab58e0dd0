"""Which cases a list or a folder holds."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.errors import UsageError, VolumeError
from meddl.volume.reading import READABLE

if TYPE_CHECKING:
    from meddl.models.channels import Channel

_OWN_COLUMNS = ("case", "model", "reference", "series")
_DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
_NO_IMAGES = (".seg.nrrd",)
_LOOKED_AT = 50
"""Files of a folder that are opened to see whether it is a DICOM series."""


@dataclass(frozen=True)
class BatchCase:
    """One case of a batch.

    Attributes:
        id: its name, unique in the batch; the files of its result are named after it.
        inputs: the image of each input channel by the channel's name; "image" where there is one.
        models: run these instead of the batch's models, if any.
        reference: what the result is to be compared with, or None.
        series_uid: which series of a DICOM folder, or None.
    """

    id: str
    inputs: Mapping[str, Path] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    reference: Path | None = None
    series_uid: str | None = None


def cases_from(
    source: Path, channels: Sequence[Channel] = (), *, exclude: Sequence[Path] = ()
) -> tuple[BatchCase, ...]:
    """Return the cases of a list or a folder.

    A list is a CSV file with a header: ``image`` (or one column per input channel, by its name), and if wanted
    ``case``, ``model`` (several with ``;``), ``reference`` and ``series`` (a UID). Paths are relative to the list.

    In a folder each image file is a case, and each subfolder that holds images. A folder of DICOM files is one case,
    but of radiographs and the like (each an image by itself) each file is. For models of
    several channels, files that differ only in the channel's name, in one of its hints or in a number (``_0000``,
    ``_0001``, ...) belong to one case. Segmentations (.seg.nrrd, DICOM SEG) are left out.

    Args:
        channels: of the model, where it has several.
        exclude: folders to leave out, for instance the one results go to.

    Raises:
        UsageError: there is no such list or folder, it holds no case, or names a case twice.
    """
    try:
        if source.is_file():
            cases = _listed(source)
        elif source.is_dir():
            skipped = {path.resolve() for path in exclude}
            cases = _found(source, channels, skipped)
        else:
            raise UsageError(f"There is no list or folder {source.name!r} of cases. Check its path.")
    except OSError as error:
        raise UsageError(f"{source.name} cannot be read: {error.strerror}.") from error
    if not cases:
        raise UsageError(f"{source.name} holds no cases. Give a folder of images, or a CSV list with a column 'image'.")
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise UsageError(f"The case {case.id!r} is there twice. Give each a name of its own, in a column 'case'.")
        seen.add(case.id)
    return tuple(cases)


def _listed(path: Path) -> list[BatchCase]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name} is no text in UTF-8. Save the list as CSV (UTF-8).") from error
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)  # spreadsheets write what their country uses
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise UsageError(f"{path.name} is damaged: it is no CSV list. Save it again as CSV.") from error
    columns = [name.strip() for name in reader.fieldnames or () if name]
    inputs = [name for name in columns if name.lower() not in _OWN_COLUMNS]
    if len({name.lower() for name in columns}) < len(columns):
        raise UsageError(f"{path.name} has two columns of the same name. Give each its own.")
    if not inputs:
        raise UsageError(f"{path.name} has no column of images. Name it 'image', or after the model's channels.")
    return [_row(row, number, inputs, path) for number, row in enumerate(rows, start=2) if any(row.values())]


def _row(row: Mapping[str | None, str | list[str] | None], number: int, inputs: list[str], path: Path) -> BatchCase:
    if None in row:
        raise UsageError(f"Line {number} of {path.name} has more entries than the list has columns.")
    cells = {str(key).strip(): str(value or "").strip() for key, value in row.items()}
    own = {key.lower(): value for key, value in cells.items() if key.lower() in _OWN_COLUMNS}
    images = {name: _absolute(cells[name], path.parent) for name in inputs if cells.get(name)}
    if not images:
        raise UsageError(f"Line {number} of {path.name} names no image.")
    return BatchCase(
        own.get("case") or _stem(next(iter(images.values()))),
        images,
        tuple(_model(each.strip(), path.parent) for each in own.get("model", "").split(";") if each.strip()),
        _absolute(own["reference"], path.parent) if own.get("reference") else None,
        own.get("series") or None,
    )


def _absolute(text: str, folder: Path) -> Path:
    try:
        return (folder / Path(text).expanduser()).absolute()
    except RuntimeError as error:
        raise UsageError(f"The list names {text[:200]!a}, in the folder of a user who is not known here.") from error


def _model(text: str, folder: Path) -> str:
    """Return a model as it is to be resolved: one beside the list by its path, else the catalog's id."""
    beside = folder / text
    return str(beside.absolute()) if beside.exists() else text


def _found(folder: Path, channels: Sequence[Channel], skipped: set[Path]) -> list[BatchCase]:
    cases = _cases_in(folder, channels)
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith(".") and entry.resolve() not in skipped:
            inner = _cases_in(entry, channels)
            if len(inner) == 1:
                cases.append(BatchCase(entry.name, inner[0].inputs))
            else:
                cases += [BatchCase(f"{entry.name}_{case.id}", case.inputs) for case in inner]
    return cases


def _cases_in(folder: Path, channels: Sequence[Channel]) -> list[BatchCase]:
    """Return the cases right in a folder: its images, or the one DICOM series that it is."""
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    images = [file for file in files if _is_image(file)]
    if images:
        return _grouped(images, channels)
    looked_at = [file for file in files if file.name.lower().endswith(_DICOM_SUFFIXES)] or files[:_LOOKED_AT]
    kinds = {file: _dicom_kind(file) for file in looked_at[:_LOOKED_AT]}
    kind = next((kind for kind in kinds.values() if kind in ("slice", "flat", "broken")), None)
    if kind is None:
        return []
    if kind == "flat":
        kinds |= {file: _dicom_kind(file) for file in looked_at[_LOOKED_AT:]}
        return [BatchCase(_stem(file), {"image": file.absolute()}) for file in looked_at if kinds[file] == "flat"]
    return [BatchCase(folder.name, {"image": folder.absolute()})]


def _is_image(file: Path) -> bool:
    name = file.name.lower()
    return name.endswith(READABLE) and not name.endswith(_NO_IMAGES)


def _dicom_kind(file: Path) -> str:
    """Return what a file is: a "slice" of a series, "flat" (an image by itself), "broken", or "other"."""
    from meddl.volume.dicom_frames import check_image, is_dicom, read_header
    from meddl.volume.dicom_picture import is_flat

    if not is_dicom(file):
        return "broken" if file.name.lower().endswith(_DICOM_SUFFIXES) else "other"
    try:
        header = read_header(file)
        if header is None:
            return "other"
        flat = is_flat(header)
    except VolumeError:
        return "broken"  # its case will tell
    try:
        check_image(header)
    except VolumeError:
        return "other"  # segmentations, doses
    return "flat" if flat else "slice"


def _grouped(files: Sequence[Path], channels: Sequence[Channel]) -> list[BatchCase]:
    """Return a case per file, or per group of files that are the channels of one image."""
    if len(channels) < 2:
        return [BatchCase(_stem(file), {"image": file.absolute()}) for file in files]
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    alone = []
    for file in files:
        found = _channel_of(_stem(file), channels)
        if found is None or found[1] in groups[found[0]]:
            alone.append(file)
        else:
            groups[found[0]][found[1]] = file.absolute()
    cases = [BatchCase(name or _stem(next(iter(inputs.values()))), inputs) for name, inputs in groups.items() if inputs]
    return cases + [BatchCase(_stem(file), {"image": file.absolute()}) for file in alone]


def _channel_of(stem: str, channels: Sequence[Channel]) -> tuple[str, str] | None:
    """Return the case and the channel that a file's name tells, or None."""
    number = re.fullmatch(r"(.*?)[ _.-]?(\d{4})", stem)
    if number and int(number[2]) < len(channels):
        return number[1], channels[int(number[2])].name
    found = []
    for channel in channels:
        for hint in {channel.name.lower(), *channel.hints}:
            match = re.search(rf"(?:^|[ _.-]){re.escape(hint)}(?=$|[ _.-])", stem.lower())
            if match:
                found.append((len(hint), stem[: match.start()] + stem[match.end() :], channel.name))
    if not found:
        return None
    _, case, name = max(found)
    return case.strip(" _.-"), name


def _stem(path: Path) -> str:
    """Return a file's name without the suffix that says what kind of image it is."""
    name = path.name
    suffix = next((each for each in (*READABLE, *_DICOM_SUFFIXES) if name.lower().endswith(each)), "")
    if name.lower().endswith(".nii.gz"):
        suffix = ".nii.gz"
    return name[: -len(suffix)] if suffix and len(suffix) < len(name) else name
