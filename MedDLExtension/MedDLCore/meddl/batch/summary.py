"""What became of a batch's cases, and the table that tells it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meddl.spreadsheet import safe_cell
from meddl.volume import whole_file

SUMMARY = "summary.csv"


@dataclass(frozen=True)
class CaseResult:
    """What became of one case with one model (or ensemble).

    Attributes:
        case: its name.
        model: the model's name.
        status: "done", "skipped" (it was done before), "failed", "cancelled" or "not run".
        record: of a case that is done, see :func:`meddl.batch.task.run_case`.
        error: the sentence for a case that failed.
    """

    case: str
    model: str
    status: str
    record: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class BatchSummary:
    """All results in the order of the cases, and where they are.

    Attributes:
        results: one for each case and model.
        folder: of the results.
        stopped: why the batch ended early, or "".
    """

    results: tuple[CaseResult, ...]
    folder: Path
    stopped: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many cases came to which end."""
        return dict(Counter(result.status for result in self.results))

    @property
    def path(self) -> Path:
        """The table: :data:`SUMMARY` in the folder."""
        return self.folder / SUMMARY

    def rows(self) -> list[dict[str, Any]]:
        """Return the table: a row per case and model, with all facts that any of them has."""
        rows = []
        for result in self.results:
            record = result.record
            model = (record.get("provenance") or {}).get("model") or {}
            rows.append(
                {
                    "case": result.case,
                    "model": result.model,
                    "model version": model.get("version", ""),
                    "status": result.status,
                    **dict(record.get("row") or {}),
                    "seconds": record.get("seconds", ""),
                    "warnings": " ".join(record.get("warnings") or ()),
                    "notes": " ".join(record.get("notes") or ()),
                    "error": result.error,
                    "files": " ".join(record.get("files") or ()),
                    "model sha256": model.get("sha256", ""),
                }
            )
        return rows

    def write(self) -> None:
        """Write the table to :attr:`path`, whole or not at all."""
        rows = self.rows()
        first = ["case", "model", "model version", "status"]
        last = ["seconds", "warnings", "notes", "error", "files", "model sha256"]
        facts = list(dict.fromkeys(key for row in rows for key in row if key not in (*first, *last)))
        text = io.StringIO()
        columns = [*first, *facts, *last]
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writerow({key: safe_cell(key) for key in columns})  # structures' names come from the model
        writer.writerows({key: safe_cell(value) for key, value in row.items()} for row in rows)
        with whole_file(self.path) as file:
            file.write(text.getvalue().encode("utf-8"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as the job's result carries it."""
        counts = self.counts
        return {
            "rows": self.rows(),
            "counts": counts,
            **{status: counts.get(status, 0) for status in ("done", "skipped", "failed")},
            "errors": [{"case": each.case, "message": each.error} for each in self.results if each.status == "failed"],
            "summary": self.path,
            "stopped": self.stopped,
            "cancelled": "cancelled" in counts,
        }
