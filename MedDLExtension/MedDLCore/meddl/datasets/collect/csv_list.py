"""Cases out of a list: a CSV file with a line per case."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    Label,
    LandmarksLabel,
    SegmentationLabel,
    Split,
    TargetLabel,
)
from meddl.datasets.collect.dicom_folder import with_dicom_facts
from meddl.datasets.collect.entries import SPLIT_WORDS
from meddl.datasets.collect.finding_files import read_boxes, read_points
from meddl.datasets.collect.image_names import SCENE_SUFFIXES, looks_like_image, stem_of
from meddl.datasets.collect.scene_file import one_channel_where_names_differ, scene_cases
from meddl.errors import UsageError, VolumeError

MAX_BYTES = 64 << 20
MAX_ROWS = 200_000
_FACTS = ("case", "patient", "study", "site", "split", "series")
_LABELS = {
    "segmentation": "segmentation", "label": "segmentation", "mask": "segmentation", "class": "class",
    "boxes": "boxes", "landmarks": "landmarks", "target": "target",
}  # fmt: skip


def listed_cases(path: Path) -> list[Case]:
    """Return the cases of a CSV list with a header; paths in it are relative to the list.

    Columns, in any order and case: ``case``, ``patient``, ``study``, ``site``, ``split`` (train, validation, test),
    ``series`` (UID, for folders of several DICOM series); one of ``segmentation`` (or ``label``, ``mask``), ``class``
    (several with ``|``), ``boxes``, ``landmarks``, ``target``; and a column for each image channel by its name, or
    ``image``. Of columns that hold no files nothing is taken; the cases' notes say so. An image may be a scene (.mrb),
    which brings its own segmentation.

    Raises:
        UsageError: the list is no such list, or names a file that is not there; the message has the line.
    """
    rows, columns = _rows(path)
    images, unused = _image_columns(rows, columns, path)
    note = (f"Not used of the list: {', '.join(unused)} (no images).",) if unused else ()
    cases: list[Case] = []
    of_scenes: list[int] = []
    for line, row in rows:
        found, from_scene = _cases(row, line, images, path)
        of_scenes += range(len(cases), len(cases) + len(found)) if from_scene else ()
        cases += [replace(case, notes=case.notes + note) for case in found]
    for place, case in zip(of_scenes, one_channel_where_names_differ(cases[n] for n in of_scenes), strict=True):
        cases[place] = case
    return cases


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Return (line, cells by column in lower case for what is known) of each line that says something."""
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path.name} is too large for a list of cases ({path.stat().st_size >> 20} MB). "
                         "Give the right file.")  # fmt: skip
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path.name} is no text in UTF-8. Save the list as CSV (UTF-8).") from error
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)  # spreadsheets write what their country uses
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [_column(name) for name in next(reader, [])]
        if len({name.lower() for name in columns}) < len(columns):
            raise UsageError(f"{path.name} has two columns of the same name. Give each its own.")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                raise UsageError(f"Line {reader.line_num} of {path.name} has more entries than the list has columns.")
            rows.append((reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=False))))
            if len(rows) > MAX_ROWS:
                raise UsageError(f"{path.name} lists more than {MAX_ROWS} cases. Split the list.")
    except csv.Error as error:
        raise UsageError(f"{path.name} is damaged: it is no CSV list. Save it again as CSV.") from error
    return rows, columns


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in ("image", *_FACTS, *_LABELS) else name


def _image_columns(
    rows: list[tuple[int, dict[str, str]]], columns: list[str], path: Path
) -> tuple[list[str], list[str]]:
    """Return the columns that name images, and those that nothing is taken from."""
    images: list[str] = []
    unused: list[str] = []
    for name in columns:
        if name in _FACTS or name in _LABELS or not name:
            continue
        cells = [row.get(name, "") for _, row in rows]
        is_image = name.lower() in ("image", "images") or any(
            cell and (looks_like_image(cell) or "/" in cell or "\\" in cell or _absolute(cell, path.parent).exists())
            for cell in cells
        )
        (images if is_image else unused).append(name)
    if not images:
        raise UsageError(f"{path.name} has no column of images. Name it 'image', or one for each channel by its name.")
    kinds = [name for name in columns if name in _LABELS]
    if len(kinds) > len({_LABELS[name] for name in kinds}):
        raise UsageError(f"{path.name} has several columns for one thing: {', '.join(kinds)}. Leave one of them.")
    return images, unused


def _cases(row: Mapping[str, str], line: int, images: list[str], path: Path) -> tuple[list[Case], bool]:
    """Return the cases of a line, and whether they are those of a scene."""
    where = f"Line {line} of {path.name}"
    found = {name: _file(row[name], path.parent, where) for name in images if row.get(name)}
    if not found:
        raise UsageError(f"{where} names no image.")
    label = _label(row, path.parent, where)
    split = _split(row.get("split", ""), where)
    given = {"patient": row.get("patient", ""), "study": row.get("study", ""), "site": row.get("site", "")}
    first = next(iter(found.values()))
    if first.name.lower().endswith(SCENE_SUFFIXES) and first.is_file():
        if label is not None or len(found) > 1:
            raise UsageError(f"{where} gives a scene together with other images or labels. A scene brings its own.")
        return [_told(case, given, split) for case in scene_cases(first, row.get("case", ""))], True
    series = row.get("series") or None
    files = {name: ImageFile(each, series) for name, each in found.items()}
    case = Case(row.get("case") or stem_of(first), files, label, split=split)
    return [_told(with_dicom_facts(case), given, split)], False


def _told(case: Case, given: Mapping[str, str], split: Split | Literal[""]) -> Case:
    """Return ``case`` with what the list says of it, which goes before what its files say."""
    facts = {key: value for key, value in given.items() if value}
    return replace(case, **facts, split=split or case.split)  # type: ignore[arg-type]


def _label(row: Mapping[str, str], folder: Path, where: str) -> Label | None:
    given = {_LABELS[name]: value for name, value in row.items() if name in _LABELS and value}
    if len(given) > 1:
        raise UsageError(f"{where} gives several kinds of labels ({', '.join(given)}), of which a case has one.")
    if not given:
        return None
    kind, text = next(iter(given.items()))
    if kind == "class":
        names = tuple(dict.fromkeys(each.strip() for each in text.replace(";", "|").split("|") if each.strip()))
        if not names:
            raise UsageError(f"{where} gives a class without a name.")
        return ClassLabel(names)
    if kind == "segmentation" and not looks_like_image(text) and not _absolute(text, folder).exists():
        raise UsageError(f"{where} names no file of a segmentation. What kind of image it is belongs in a column "
                         "'class'.")  # fmt: skip
    file = _file(text, folder, where)
    try:
        if kind == "boxes":
            return BoxesLabel(read_boxes(file))
        if kind == "landmarks":
            return LandmarksLabel(read_points(file))
    except VolumeError as error:
        raise UsageError(f"{where}: {error.message}", error.details) from error
    return SegmentationLabel(ImageFile(file)) if kind == "segmentation" else TargetLabel(ImageFile(file))


def _split(text: str, where: str) -> Split | Literal[""]:
    if not text:
        return ""
    if text.lower() not in SPLIT_WORDS:
        raise UsageError(f"{where} wants the case in {text[:40]!r}. Choose one of: train, validation, test.")
    return SPLIT_WORDS[text.lower()]


def _file(text: str, folder: Path, where: str) -> Path:
    path = _absolute(text, folder)
    if not (path.is_file() or path.is_dir()):  # nor a pipe or a device, which have no end
        raise UsageError(f"{where} names {path.name[:100]!r}, which is not there. Paths are relative to the list.")
    return path


def _absolute(text: str, folder: Path) -> Path:
    try:
        path = (folder / Path(text).expanduser()).absolute()
        if "\\" in text and not path.exists():  # a list that was made on Windows
            path = (folder / text.replace("\\", "/")).absolute()
        return path
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"The list names {text[:100]!a}, which can be no file here.") from error
