"""Tables and JSON that list what is in a dataset: the same content gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord
from meddl.errors import UsageError
from meddl.spreadsheet import safe_cell

MONAI_KEYS = {"train": "training", "validation": "validation", "test": "test"}
"""What MONAI calls the parts of a dataset."""

SYNTHETIC = "synthetic"
"""The list of cases made from others, where there are folds."""

CLASS_SEPARATOR = "|"
"""Between the classes of one case in a table, which cases can be collected from again."""

_LARGEST = 1 << 28


def json_bytes(data: Any) -> bytes:
    """Return a JSON file, in ASCII: MONAI and nnU-Net read it in whatever encoding the system has."""
    return (json.dumps(data, indent=1) + "\n").encode("ascii")


def table_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]], *, delimiter: str = ",") -> bytes:
    """Return a table; None is an empty cell, and no cell is a formula to a spreadsheet."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow(["" if cell is None else safe_cell(cell) for cell in row])
    return file.getvalue().encode("utf-8")


def check_columns(channels: Sequence[str], columns: Sequence[str], title: str) -> None:
    """Find out whether a table can have a column for each channel beside its own.

    Raises:
        UsageError: a channel is called as one of ``columns``.
    """
    for channel in channels:
        if channel.casefold() in columns:
            raise UsageError(f"A channel is called {channel!r}, as a column of the table in {title}. Rename it.")


def about(options: ExportOptions) -> dict[str, Any]:
    """Return what the user said about the dataset, by the names that MONAI and the Decathlon have for it."""
    return {"name": options.name, "description": options.description, "licence": options.license}


def monai_parts(items: Iterable[tuple[CaseRecord, Mapping[str, Any]]], needed: str) -> dict[str, list[dict[str, Any]]]:
    """Return MONAI's lists by their names, without those that are empty.

    A case of training or validation that lacks ``needed`` could not be trained with: it goes under "unlabeled". Cases
    made from others go under "synthetic" where there are folds: who takes the cases of a fold out of "training" to
    validate with them must not get those.
    """
    parts: dict[str, list[dict[str, Any]]] = {}
    for record, item in items:
        key = MONAI_KEYS[record.case.split]
        if needed not in item and key != "test":
            key = "unlabeled"
        if record.case.source and record.case.fold is not None:
            key = SYNTHETIC
        made = {"synthetic_of": record.case.source} if record.case.source else {}
        fold = {} if record.case.fold is None else {"fold": record.case.fold}
        parts.setdefault(key, []).append(
            {**item, **fold, "case": record.case.name, "patient": record.case.patient, **made}
        )
    return {key: parts[key] for key in (*MONAI_KEYS.values(), SYNTHETIC, "unlabeled") if key in parts}


def read_json(root: Path, path: str) -> Any:
    """Return what is in a JSON file of a dataset.

    Raises:
        ValueError: it is not there or damaged, with a sentence that says so.
    """
    try:
        if (root / path).stat().st_size > _LARGEST:
            raise ValueError("too large")
        return json.loads((root / path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON. Verify the dataset, or export it again.") from error


def read_table(root: Path, path: str, *, delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a table of a dataset.

    Raises:
        ValueError: it is not there or damaged, with a sentence that says so.
    """
    try:
        with (root / path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter=delimiter, strict=True))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or 'the system refused it'}.") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: it is no table. Verify the dataset, or export it again.") from error
    if any(None in row or None in row.values() for row in rows):
        raise ValueError(f"{path} is damaged: its rows differ in length. Verify the dataset, or export it again.")
    return rows
