"""Boxes and points out of files: Slicer's markups (.mrk.json, .fcsv) and what MedDL itself writes (.json, .csv)."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError
from meddl.inference.prediction import Box, Landmark

logger = logging.getLogger(__name__)

MAX_BYTES = 64 << 20
_MAX_FINDINGS = 100_000
_FLIP = np.array([-1.0, -1.0, 1.0])
_SYSTEMS = {"LPS": _FLIP, "1": _FLIP, "RAS": np.ones(3), "0": np.ones(3)}
_COUNTED = re.compile(r"(?<=\S)(?:[ _-]+\d+(?:\.\d+)?)+$")
_FCSV = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Return the boxes in a file: Slicer's ROI markups, or what ``meddl infer`` writes.

    A markup's label is its name without the count or score at its end ("nodule 0.93", "nodule-2" are both "nodule").

    Raises:
        VolumeError: there are none in it, or it is damaged.
    """
    return boxes_in(_bytes_of(path), path.name)


def read_points(path: Path) -> tuple[Landmark, ...]:
    """Return the named points in a file: Slicer's point lists, or what ``meddl infer`` writes.

    Raises:
        VolumeError: it is damaged, no list of points, or two points have one name.
    """
    return points_in(_bytes_of(path), path.name)


def boxes_in(data: bytes, name: str) -> tuple[Box, ...]:
    """Return the boxes in the bytes of a file called ``name``, see :func:`read_boxes`."""
    if name.lower().endswith(".csv"):
        return tuple(_box_of_row(row, name) for row in _rows(_text(data, name), ("label",), name))
    content = _json(data, name)
    if "markups" in content:
        found = [(markup, place) for markup, place in _markups(content, name) if markup.get("type") == "ROI"]
        return tuple(_box_of_markup(markup, place, name) for markup, place in found)
    boxes = content.get("boxes")
    if not isinstance(boxes, list):
        raise VolumeError(f"{name} holds no boxes. Give ROIs that Slicer saved (.mrk.json), or a detection of MedDL.")
    return tuple(_box_of_json(box, name) for box in _limited(boxes, name))


def points_in(data: bytes, name: str) -> tuple[Landmark, ...]:
    """Return the points in the bytes of a file called ``name``, see :func:`read_points`."""
    lower = name.lower()
    if lower.endswith(".fcsv"):
        points = _fcsv(_text(data, name), name)
    elif lower.endswith(".csv"):
        rows = _rows(_text(data, name), ("name",), name)
        points = [
            Landmark(row["name"], _numbers([row.get(f"{axis} (mm)") for axis in "RAS"], 3, name), _score(row))
            for row in rows
        ]
    else:
        points = _json_points(_json(data, name), name)
    names = [point.name for point in points]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise VolumeError(f"{name} has two points called {twice[:60]!r}, so that nobody knows which is meant. "
                          "Give each a name of its own.")  # fmt: skip
    return tuple(points)


def _json_points(content: Mapping[str, Any], name: str) -> list[Landmark]:
    points: list[Landmark] = []
    if "markups" in content:
        for markup, place in _markups(content, name):
            if markup.get("type", "Fiducial") != "Fiducial":
                continue
            for point in _limited(markup.get("controlPoints", []), name):
                if isinstance(point, dict) and point.get("positionStatus", "defined") == "defined":
                    label = _line(point.get("label")) or f"Point {len(points) + 1}"
                    points.append(Landmark(label, _numbers(point.get("position"), 3, name) * place, 1.0))
        return points
    found = content.get("points")
    if not isinstance(found, list):
        raise VolumeError(f"{name} holds no points. Give a point list that Slicer saved (.mrk.json, .fcsv), or "
                          "landmarks of MedDL.")  # fmt: skip
    for each in _limited(found, name):
        if not isinstance(each, dict):
            raise _damaged(name)
        position = _numbers(each.get("position"), 3, name)
        points.append(Landmark(_line(each.get("name")), position, _probability(each.get("score", 1.0))))
    return points


def _markups(content: Mapping[str, Any], name: str) -> list[tuple[Mapping[str, Any], np.ndarray]]:
    """Return each markup and the signs that bring its coordinates to RAS."""
    markups: list[tuple[Mapping[str, Any], np.ndarray]] = []
    for markup in _limited(content["markups"], name):
        if not isinstance(markup, dict):
            raise _damaged(name)
        system = str(markup.get("coordinateSystem", "LPS")).upper()
        if system not in _SYSTEMS:
            raise VolumeError(f"{name} gives coordinates of a system that is not known. Save it again from Slicer.")
        if markup.get("coordinateUnits", "mm") not in ("mm", ["mm", "mm", "mm"]):
            raise VolumeError(f"{name} gives its coordinates not in mm. Save it with lengths in mm.")
        markups.append((markup, _SYSTEMS[system]))
    return markups


def _box_of_markup(markup: Mapping[str, Any], place: np.ndarray, name: str) -> Box:
    if markup.get("roiType", "Box") != "Box":
        raise VolumeError(f"{name} has an ROI that is no plain box. Give boxes.")
    points = _limited(markup.get("controlPoints", []), name)
    label = _line(points[0].get("label")) if points and isinstance(points[0], dict) else ""
    center = _numbers(markup.get("center"), 3, name) * place
    axes = _numbers(markup.get("orientation", (1, 0, 0, 0, 1, 0, 0, 0, 1)), 9, name).reshape(3, 3)
    axes = axes * place[:, np.newaxis]
    # Mirroring two axes keeps the box and makes plain boxes plain again.
    axes = axes * np.where(np.diag(axes) < 0, -1.0, 1.0)
    return _box(label, 1.0, center, _numbers(markup.get("size"), 3, name), axes, name)


def _box_of_json(data: Any, name: str) -> Box:
    if not isinstance(data, dict):
        raise _damaged(name)
    axes = np.array([_numbers(row, 3, name) for row in _rows_of(data.get("axes", np.eye(3).tolist()), name)])
    center, size = (_numbers(data.get(key), 3, name) for key in ("center", "size"))
    return _box(_line(data.get("label")), _probability(data.get("score", 1.0)), center, size, axes, name)


def _rows_of(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != 3:
        raise _damaged(name)
    return value


def _box_of_row(row: Mapping[str, str], name: str) -> Box:
    center = _numbers([row.get(f"center {way} (mm)") for way in "RAS"], 3, name)
    size = _numbers([row.get(f"size {n} (mm)") for n in (1, 2, 3)], 3, name)
    axes = np.eye(3)
    if row.get("axis 1 R"):
        axes = _numbers([row.get(f"axis {n} {way}") for n in (1, 2, 3) for way in "RAS"], 9, name).reshape(3, 3).T
    return _box(row["label"], _score(row), center, size, axes, name)


def _box(label: str, score: float, center: np.ndarray, size: np.ndarray, axes: np.ndarray, name: str) -> Box:
    if not (size > 0).all() or np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
        raise VolumeError(f"{name} has a box without a size, or with edges that are not at right angles. Draw it anew.")
    return Box(_COUNTED.sub("", label) or "object", score, center, size, axes)


def _fcsv(text: str, name: str) -> list[Landmark]:
    place, columns = np.ones(3), _FCSV.split(",")
    points: list[Landmark] = []
    for row in csv.reader(io.StringIO(text)):
        line = ",".join(row)
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "CoordinateSystem":
                if value.strip().upper() not in _SYSTEMS:
                    raise VolumeError(f"{name} gives coordinates of a system that is not known. Save it again.")
                place = _SYSTEMS[value.strip().upper()]
            elif key.strip() == "columns":
                columns = [each.strip() for each in value.split(",")]
        elif row:
            cells = dict(zip(columns, row, strict=False))
            position = _numbers([cells.get(axis) for axis in "xyz"], 3, name) * place
            points.append(Landmark(_line(cells.get("label")) or f"Point {len(points) + 1}", position, 1.0))
            _limited(points, name)
    return points


def _rows(text: str, needed: Sequence[str], name: str) -> list[dict[str, str]]:
    header, _, _ = text.partition("\n")
    try:
        delimiter = max(",;\t", key=header.count)
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise _damaged(name) from error
    if any(key not in [each.strip().lower() for each in header.split(delimiter)] for key in needed):
        raise VolumeError(f"{name} has no column {needed[0]!r}. Give a table as 'meddl infer' writes it.")
    plain = [{str(key).strip(): _line(value) for key, value in row.items() if key} for row in _limited(rows, name)]
    return [{**{key: "" for key in needed}, **row} for row in plain]


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise VolumeError(f"{path.name} is too large for a list of boxes or points. Give the right file.")
        return path.read_bytes()
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _damaged(name) from error


def _json(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        content = json.loads(_text(data, name))
    except (ValueError, RecursionError) as error:
        raise _damaged(name) from error
    if not isinstance(content, dict):
        raise _damaged(name)
    return content


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _damaged(name) from error
    if len(numbers) != count or not (np.abs(numbers) < 1e6).all():
        raise VolumeError(
            f"{name} has a position or size that is no {count} numbers within a kilometer. Save it again."
        )
    return numbers


def _score(row: Mapping[str, str]) -> float:
    return _probability(row.get("score") or 1.0)


def _probability(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 1.0
    return number if math.isfinite(number) else 1.0


def _line(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(value or "")).split())


def _limited(values: Any, name: str) -> Any:
    if not isinstance(values, list):
        raise _damaged(name)
    if len(values) > _MAX_FINDINGS:
        raise VolumeError(f"{name} holds {len(values)} entries, more than can be meant. Give the right file.")
    return values


def _damaged(name: str) -> VolumeError:
    return VolumeError(f"{name} is damaged, or no list of boxes or points that is known. Save it again.")
