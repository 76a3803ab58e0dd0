"""The table of cases as text and nodes, as the scene keeps it: without the names of patients and studies.

Who belongs together is kept as numbers; names come back from the subject hierarchy, or stay away. Cases from files are
not kept: their paths may name people, and a scene is handed on more lightly than a list of files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from meddl.datasets.case import ClassLabel, ImageFile

from meddl_slicer.export_cases import CaseRow, SceneLabel
from meddl_slicer.export_suggestions import home_of
from meddl_slicer.i18n import tr as _

_SHORTEST_NAME = 3


def to_text(rows: Sequence[CaseRow]) -> tuple[str, list[slicer.vtkMRMLNode]]:
    """Return rows as JSON, and the nodes that it counts."""
    nodes: list[slicer.vtkMRMLNode] = []
    people = {"patient": _Numbers(), "study": _Numbers()}

    def number(node: slicer.vtkMRMLNode) -> int:
        if node.GetScene() is None:
            return -1
        if node not in nodes:
            nodes.append(node)
        return nodes.index(node)

    told = []
    for row in (row for row in rows if not _has_files(row)):
        entry: dict[str, Any] = {
            "name": _nameless(row, len(told) + 1),
            "site": row.site,
            "split": row.split,
            "included": row.included,
            "notes": list(row.notes),
            **{kind: numbers.of(getattr(row, kind)) for kind, numbers in people.items()},
        }
        entry["images"] = {
            channel: number(image) if isinstance(image, slicer.vtkMRMLNode) else -1
            for channel, image in row.images.items()
        }
        if isinstance(row.label, SceneLabel):
            entry["task"], entry["label"] = row.label.task, [number(node) for node in row.label.nodes]
        elif isinstance(row.label, ClassLabel):
            entry["classes"] = list(row.label.names)
        told.append(entry)
    return json.dumps({"version": 1, "cases": told}, sort_keys=True), nodes


def from_text(text: str, nodes: Sequence[slicer.vtkMRMLNode | None]) -> list[CaseRow]:
    """Return the rows that :func:`to_text` described; of a text that is none of these, nothing."""
    try:
        told = json.loads(text)["cases"] if text else []
        return [_row(entry, nodes) for entry in told]
    except (ValueError, KeyError, TypeError, IndexError):
        return []


def _row(entry: Mapping[str, Any], nodes: Sequence[slicer.vtkMRMLNode | None]) -> CaseRow:
    def node(index: int) -> slicer.vtkMRMLNode | None:
        return nodes[index] if 0 <= index < len(nodes) else None

    images: dict[str, Any] = {channel: node(index) for channel, index in entry["images"].items()}
    label: Any = None
    if "label" in entry:
        found = tuple(one for one in (node(index) for index in entry["label"]) if one is not None)
        label = SceneLabel(entry["task"], found) if found else None
    elif "classes" in entry:
        label = ClassLabel(tuple(entry["classes"]))
    first = next((image for image in images.values() if isinstance(image, slicer.vtkMRMLNode)), None)
    home = home_of(first) if first is not None else None
    patient = (home.patient if home else "") or _numbered(_("Patient {number}"), entry["patient"])
    study = (home.study if home else "") or _numbered(_("Study {number}"), entry["study"])
    return CaseRow(
        entry["name"],
        images,
        label,
        patient,
        study,
        entry["site"],
        entry["split"],
        entry["included"],
        tuple(entry["notes"]),
    )


class _Numbers:
    """Numbers for names, from 1 on; 0 for no name."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, name: str) -> int:
        return self._known.setdefault(name, len(self._known) + 1) if name else 0


def _numbered(text: str, number: int) -> str:
    return text.format(number=number) if number else ""


def _nameless(row: CaseRow, number: int) -> str:
    """Return a case's name, or a number where the patient's name or ID is part of it and no node says it anyway."""
    if any(isinstance(image, slicer.vtkMRMLNode) and image.GetName() == row.name for image in row.images.values()):
        return row.name
    parts = [part for part in _parts(row.patient) if len(part) >= _SHORTEST_NAME]
    if any(part in row.name.casefold() for part in parts):
        return _("Case {number}").format(number=number)
    return row.name


def _parts(text: str) -> list[str]:
    return "".join(char if char.isalnum() else " " for char in text.casefold()).split()


def _has_files(row: CaseRow) -> bool:
    return any(isinstance(image, ImageFile) for image in row.images.values())
