"""``meddl evaluate``: compare a segmentation with a reference."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.evaluation import SegmentationAgreement, StructureAgreement

_COLUMNS = ("Dice", "HD95 mm", "mean mm", "NSD", "ml", "reference ml", "difference")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("evaluate", parents=[common], help="compare a segmentation with a reference")
    files = "a segmentation (.seg.nrrd) or label map (.nrrd, .nii, .nii.gz, .mha, ...)"
    parser.add_argument("--prediction", required=True, type=Path, help=files)
    parser.add_argument("--reference", required=True, type=Path, help="the same of the same patient, on any grid")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write the table to a file")
    parser.add_argument(
        "--tolerance-mm",
        type=float,
        default=1.0,
        metavar="MM",
        help="up to which distance surfaces count as the same (default: 1)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from meddl.evaluation import compare_segmentations
    from meddl.volume import check_writable, read_segmentation

    if options.csv:
        check_writable(options.csv, (".csv",))
    prediction, segments = read_segmentation(options.prediction)
    reference, known = read_segmentation(options.reference)
    agreement = compare_segmentations(prediction, reference, segments, known, tolerance_mm=options.tolerance_mm)
    if options.csv:
        agreement.write_csv(options.csv)
    if options.json:
        print(json.dumps(agreement.to_dict(), indent=2))
        return 0
    print_table(agreement)
    if options.csv:
        print(f"Written: {options.csv}")
    return 0


def print_table(agreement: SegmentationAgreement) -> None:
    """Print a row per structure, and what is to be known about them."""
    lines = [("", *_COLUMNS), *((row.name, *_cells(row)) for row in agreement.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join((line[0].ljust(widths[0]), *cells)).rstrip())
    print(f"NSD: part of both surfaces within {agreement.tolerance_mm:g} mm of each other.")
    for row in agreement.rows:
        if row.note:
            print(f"Note: {row.name}: {row.note}")
    for note in agreement.notes:
        print(f"Note: {note}")


def _cells(row: StructureAgreement) -> tuple[str, ...]:
    percent = "" if math.isnan(row.difference_percent) else f" ({row.difference_percent:+.1f} %)"
    return (
        _number(row.dice, ".3f"),
        _number(row.hd95_mm, ".2f"),
        _number(row.mean_distance_mm, ".2f"),
        _number(row.nsd, ".3f"),
        _number(row.prediction_ml, ".2f"),
        _number(row.reference_ml, ".2f"),
        f"{_number(row.difference_ml, '+.2f')}{percent}",
    )


def _number(value: float, how: str) -> str:
    return "-" if math.isnan(value) else format(value, how)
