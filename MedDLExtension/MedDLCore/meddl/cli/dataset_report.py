"""What a command that writes a dataset says in the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from meddl.models.metadata_values import printable

if TYPE_CHECKING:
    from meddl.augmentation.adding import VariantSummary
    from meddl.datasets import ExportSummary


def tell_export(summary: ExportSummary) -> int:
    """Print what became of an export, but where it is; return the exit code: 1 says that a case is not in there."""
    there = f", {len(summary.skipped)} were there already" if summary.skipped else ""
    print(f"{len(summary.done)} case{'s' if len(summary.done) != 1 else ''} written{there}")
    for what, cases in (("Left out", summary.left_out), ("Failed", summary.failed)):
        for name, reason in cases.items():
            print(printable(f"  {what}: {name}: {reason}"))
    for note in summary.notes:
        print(printable(f"Note: {note}"))
    return int(bool(summary.failed or summary.left_out))


def tell_made(summary: VariantSummary, what: str, *, as_json: bool = False) -> int:
    """Print what became of making cases from others, and where they are; return the exit code."""
    if as_json:
        print(json.dumps({**summary.to_dict(), "root": str(summary.root)}, indent=2))
        return int(bool(summary.failed))
    there = f", {len(summary.skipped)} were there already" if summary.skipped else ""
    print(f"{len(summary.done)} {what}{'s' if len(summary.done) != 1 else ''} made{there}")
    for name, reason in summary.failed.items():
        print(printable(f"  Failed: {name}: {reason}"))
    for name, warnings in summary.warnings.items():
        print(printable(f"  {name}: {' '.join(warnings)}"))
    for note in summary.notes:
        print(printable(f"Note: {note}"))
    print(f"Dataset: {summary.root}")
    return int(bool(summary.failed))
