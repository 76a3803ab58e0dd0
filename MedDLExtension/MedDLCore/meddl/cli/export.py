"""``meddl export``: cases to a dataset that trains."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.datasets import ExportOptions, ExportSummary, LabelScheme

_FORMATS = ("nnunet", "msd", "monai", "classification", "coco", "bids", "dicom")
_EXTRAS = {
    "shift-dates": "shift_dates",
    "clean-descriptors": "clean_descriptors",
    "clean-pixels": "clean_pixels",
    "safe-private": "keep_safe_private",
}


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="make a training dataset of cases",
        description="Make a training dataset of images with their labels, with nobody's name in it.",
    )
    parser.add_argument("--format", required=True, choices=_FORMATS)
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV_OR_FOLDER", help="list or folder of cases")
    parser.add_argument("--pattern", default="", help="how files of a folder are named, e.g. '{case}_{channel}.nii.gz'")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the dataset")
    parser.add_argument("--name", default="Dataset", help="of the dataset")
    parser.add_argument("--number", type=int, default=1, help="of the dataset, where the format counts (1 to 999)")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be written")

    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--labels", type=Path, metavar="FILE", help="JSON table that names, merges and drops structures"
    )
    labels.add_argument("--overlaps", choices=("order", "regions"), default="order", help="what becomes of overlaps")

    grid = parser.add_argument_group("geometry")
    grid.add_argument("--reference", default="", metavar="CHANNEL", help="whose grid all is brought to (the first)")
    grid.add_argument("--orientation", default="", metavar="RAS", help="turn the axes towards these directions")
    grid.add_argument("--spacing", default="", metavar="X,Y,Z", help="resample to these mm")
    grid.add_argument("--crop", choices=("none", "foreground", "label", "roi"), default="none")
    grid.add_argument("--margin", type=float, default=0.0, metavar="MM", help="kept round what is cropped to")
    grid.add_argument("--roi", default="", metavar="R0,A0,S0,R1,A1,S1", help="lowest and highest corner in mm")
    grid.add_argument("--file-ending", default="", metavar="ENDING", help=".nii.gz or .nrrd")

    parts = parser.add_argument_group("parts of the dataset, by patient")
    parts.add_argument("--split", default="", metavar="PARTS", help="e.g. validation=0.1,test=0.2")
    parts.add_argument("--folds", type=int, default=5, help="of the training cases; 0 for none")
    parts.add_argument("--seed", type=int, default=0)

    privacy = parser.add_argument_group("de-identification")
    privacy.add_argument(
        "--deidentify",
        default="basic",
        metavar="PROFILE",
        help=f"basic, or basic with any of {','.join(_EXTRAS)} (comma-separated); none keeps the names of cases",
    )
    privacy.add_argument("--deface", choices=("none", "template", "brain"), default="none", help="of head images")
    privacy.add_argument(
        "--key", type=Path, metavar="FILE", help="keep who is who in this file, outside of the dataset"
    )
    privacy.add_argument("--review", type=Path, metavar="DIR", help="pictures of what defacing did; faces are on them")

    words = parser.add_argument_group("for the datasheet")
    for name in ("description", "license", "consent", "contact"):
        words.add_argument(f"--{name}", default="")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export; exit code 1 says that a case is not in the dataset."""
    from meddl.datasets import collect_cases, export_dataset

    how = _options(options)
    cases = collect_cases(options.cases, pattern=options.pattern, exclude=(options.output,))
    scheme = _scheme(options.labels)
    if options.dry_run:
        return _dry_run(options, cases, how, scheme)
    with ProgressBar(shown=not options.json) as bar:
        summary = export_dataset(
            cases, options.output, how, scheme=scheme, overlaps=options.overlaps, key=options.key,
            review=options.review, progress=bar,
        )  # fmt: skip
    # What was noticed when the cases were collected, each once: of a hundred cases it is often the same.
    counts = Counter(note for case in cases for note in case.notes)
    told = tuple(f"{note} ({count} cases)" if count > 1 else note for note, count in counts.items())
    summary = replace(summary, notes=(*told, *summary.notes))
    if options.json:
        print(json.dumps({**summary.to_dict(), "root": str(summary.root)}, indent=2))
    else:
        _print(summary)
    return 1 if summary.failed or summary.left_out else 0


def _options(options: argparse.Namespace) -> ExportOptions:
    from meddl.datasets import DeidentifyOptions, ExportOptions, GridOptions, SplitOptions

    profile, *extras = [each.strip() for each in options.deidentify.split(",")]
    if profile not in ("basic", "none") or any(each not in _EXTRAS for each in extras):
        raise UsageError(f"There is no profile {options.deidentify!r}. Give basic or none; with basic, any of: "
                         f"{', '.join(_EXTRAS)}.")  # fmt: skip
    chosen: dict[str, Any] = {_EXTRAS[each]: True for each in extras}
    return ExportOptions(
        options.format,
        options.name,
        options.number,
        options.file_ending,
        GridOptions(
            options.reference,
            options.orientation.upper(),
            _numbers(options.spacing, "--spacing", 3),
            options.crop,
            options.margin,
            _numbers(options.roi, "--roi", 6),
        ),
        replace(SplitOptions(folds=options.folds, seed=options.seed), **_parts(options.split)),
        DeidentifyOptions(profile=profile, deface=options.deface, **chosen),
        options.description,
        options.license,
        options.consent,
        options.contact,
    )


def _numbers(text: str, name: str, count: int) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        numbers = tuple(float(each) for each in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UsageError(f"{name} takes {count} numbers with commas between them, not {text!r}.")
    return numbers


def _parts(text: str) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = entry.partition("=")
        try:
            if name not in ("validation", "test"):
                raise ValueError
            parts[name] = float(value)
        except ValueError:
            raise UsageError(f"--split takes parts like validation=0.1,test=0.2, not {entry!r}.") from None
    return parts


def _scheme(path: Path | None) -> LabelScheme | None:
    if path is None:
        return None
    from meddl.datasets.scheme_editing import read_scheme

    return read_scheme(path)


def _print(summary: ExportSummary) -> None:
    from meddl.models.metadata_values import printable

    there = f", {len(summary.skipped)} were there already" if summary.skipped else ""
    print(f"{len(summary.done)} case{'s' if len(summary.done) != 1 else ''} written{there}")
    for what, cases in (("Left out", summary.left_out), ("Failed", summary.failed)):
        for name, reason in cases.items():
            print(printable(f"  {what}: {name}: {reason}"))
    for note in summary.notes:
        print(printable(f"Note: {note}"))
    print(f"Dataset: {summary.root}")


def _dry_run(options: argparse.Namespace, cases: Any, how: ExportOptions, scheme: LabelScheme | None) -> int:
    from meddl.datasets.dry_run import describe
    from meddl.datasets.export import plan_cases
    from meddl.models.metadata_values import printable

    with ProgressBar(shown=not options.json) as bar:
        facts, planning = plan_cases(
            cases, options.output, how, scheme=scheme, overlaps=options.overlaps, key=options.key, progress=bar
        )
    if options.json:
        print(
            json.dumps({**planning.plan.to_dict(), "root": str(planning.root), "left_out": planning.left_out}, indent=2)
        )
    else:
        for line in describe(planning, facts):
            print(printable(line))
    return 1 if planning.left_out else 0
