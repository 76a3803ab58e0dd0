"""``meddl augment``: variants of training cases, into a new dataset or one that is there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.augmentation.variants import VariantOptions, VariantSummary
    from meddl.datasets import ExportOptions, ExportSummary

_FORMATS = ("nnunet", "msd", "monai", "classification", "coco", "bids", "dicom")


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "augment",
        parents=[common],
        help="make variants of training cases, with their labels",
        description="Make variants of training cases, with their labels: as new cases of a dataset, marked as "
        "synthetic, in the training part only. Cases of a list or folder are exported with them; to a dataset that is "
        "there they are added.",
    )
    parser.add_argument("--plan", required=True, metavar="PRESET_OR_JSON", help="a preset's name or a plan's file")
    parser.add_argument(
        "--cases", required=True, type=Path, metavar="CSV_OR_FOLDER_OR_DATASET", help="what variants are made of"
    )
    parser.add_argument("--pattern", default="", help="how files of a folder are named, e.g. '{case}_{channel}.nii.gz'")
    parser.add_argument("--variants", type=int, default=1, metavar="N", help="of each training case (1)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance (0)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the dataset; for one that is there, itself"
    )
    parser.add_argument("--format", choices=_FORMATS, help="of the new dataset (monai)")
    parser.add_argument("--name", default="Dataset", help="of the new dataset")
    parser.add_argument("--number", type=int, default=1, help="of the new dataset, where the format counts")
    parser.add_argument("--folds", type=int, default=5, help="of its training cases; 0 for none")
    parser.add_argument("--key", type=Path, metavar="FILE", help="keep who is who in this file, outside of it")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be made")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Augment; exit code 1 says that something planned is not in the dataset."""
    from meddl.augmentation import load_plan
    from meddl.augmentation.variants import VariantOptions, augment_cases, augment_dataset
    from meddl.datasets import collect_cases
    from meddl.datasets.manifest import MANIFEST

    how = VariantOptions(load_plan(options.plan), options.variants, options.seed)
    if (options.cases / MANIFEST).is_file():
        if options.output is not None and options.output.resolve() != options.cases.resolve():
            raise UsageError("The cases are a dataset, which variants are added to: leave --output out, or give the "
                             "same folder. To keep it as it is, copy it first.")  # fmt: skip
        if options.format:
            raise UsageError("The dataset has a format already: leave --format out.")
        if options.dry_run:
            return _dry_run_dataset(options, how)
        with ProgressBar(shown=not options.json) as bar:
            made = augment_dataset(options.cases, how, progress=bar)
        return _told(options, None, made)
    if options.output is None:
        raise UsageError("Give --output, a folder for the dataset.")
    export = _export(options)
    cases = collect_cases(options.cases, pattern=options.pattern, exclude=(options.output,))
    with ProgressBar(shown=not options.json) as bar:
        if options.dry_run:
            from meddl.datasets.export import plan_cases

            _, planning = plan_cases(cases, options.output, export, key=options.key, progress=bar)
        else:
            summary, made = augment_cases(cases, options.output, export, how, key=options.key, progress=bar)
    return _planned(options, planning.plan, how) if options.dry_run else _told(options, summary, made)


def _export(options: argparse.Namespace) -> ExportOptions:
    from meddl.datasets import ExportOptions, SplitOptions

    split = SplitOptions(folds=options.folds)
    return ExportOptions(options.format or "monai", options.name, options.number, split=split)


def _dry_run_dataset(options: argparse.Namespace, how: VariantOptions) -> int:
    from meddl.datasets.manifest import read_manifest

    manifest = read_manifest(options.cases)
    assert manifest is not None
    return _planned(options, manifest.plan, how)


def _planned(options: argparse.Namespace, plan: object, how: VariantOptions) -> int:
    from meddl.augmentation.variants import with_variants
    from meddl.datasets import ExportPlan
    from meddl.models.metadata_values import printable

    assert isinstance(plan, ExportPlan)
    made = [case for case in with_variants(plan, how).cases if case.source]
    if options.json:
        told = [{"name": each.name, "of": each.source, "fold": each.fold} for each in made]
        print(json.dumps({"variants": told, "plan": how.plan.to_dict()}, indent=2))
        return 0
    print(printable(f"{how.plan.name}, seed {how.seed}: {len(made)} variants would be made"))
    for each in made:
        fold = f", fold {each.fold}" if each.fold is not None else ""
        print(printable(f"  {each.name}: of {each.source}, {each.split}{fold}"))
    return 0


def _told(options: argparse.Namespace, summary: ExportSummary | None, made: VariantSummary) -> int:
    from meddl.models.metadata_values import printable

    lost = bool(made.failed) or (summary is not None and bool(summary.failed or summary.left_out))
    if options.json:
        exported = {**summary.to_dict(), "root": str(summary.root)} if summary is not None else None
        print(json.dumps({**made.to_dict(), "root": str(made.root), "export": exported}, indent=2))
        return int(lost)
    if summary is not None:
        print(f"{len(summary.done)} cases written, {len(summary.skipped)} were there already")
        for what, cases in (("Left out", summary.left_out), ("Failed", summary.failed)):
            for name, reason in cases.items():
                print(printable(f"  {what}: {name}: {reason}"))
    there = f", {len(made.skipped)} were there already" if made.skipped else ""
    print(f"{len(made.done)} variant{'s' if len(made.done) != 1 else ''} made{there}")
    for name, reason in made.failed.items():
        print(printable(f"  Failed: {name}: {reason}"))
    for name, warnings in made.warnings.items():
        print(printable(f"  {name}: {' '.join(warnings)}"))
    for note in (*(summary.notes if summary is not None else ()), *made.notes):
        print(printable(f"Note: {note}"))
    print(f"Dataset: {made.root}")
    return int(lost)
