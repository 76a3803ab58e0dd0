"""``meddl export``: cases to a dataset that trains."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.dataset_report import tell_export
from meddl.cli.export_arguments import FORMATS, add_dataset_arguments, dataset_options, label_scheme
from meddl.cli.progress import ProgressBar

if TYPE_CHECKING:
    from meddl.datasets import ExportOptions, LabelScheme


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="make a training dataset of cases",
        description="Make a training dataset of images with their labels, with nobody's name in it.",
    )
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--cases", required=True, type=Path, metavar="CSV_OR_FOLDER", help="list or folder of cases")
    parser.add_argument("--pattern", default="", help="how files of a folder are named, e.g. '{case}_{channel}.nii.gz'")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the dataset")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be written")
    add_dataset_arguments(parser, split_seed="--seed")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export; exit code 1 says that a case is not in the dataset."""
    from meddl.datasets import collect_cases, export_dataset

    how = dataset_options(options, options.format)
    cases = collect_cases(options.cases, pattern=options.pattern, exclude=(options.output,))
    scheme = label_scheme(options.labels)
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
        return int(bool(summary.failed or summary.left_out))
    lost = tell_export(summary)
    print(f"Dataset: {summary.root}")
    return lost


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
