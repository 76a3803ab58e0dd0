"""``meddl augment``: variants of training cases, into a new dataset or one that is there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.cli.dataset_report import tell_export, tell_made
from meddl.cli.export_arguments import FORMATS, add_dataset_arguments, dataset_options, label_scheme
from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.augmentation.variants import VariantOptions, VariantSummary
    from meddl.datasets import ExportSummary


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
    parser.add_argument("--format", choices=FORMATS, help="of the new dataset (monai)")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be made")
    add_dataset_arguments(parser)
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
    export = dataset_options(options, options.format or "monai")
    scheme = label_scheme(options.labels)
    cases = collect_cases(options.cases, pattern=options.pattern, exclude=(options.output,))
    with ProgressBar(shown=not options.json) as bar:
        if options.dry_run:
            from meddl.datasets.export import plan_cases

            _, planning = plan_cases(
                cases, options.output, export, scheme=scheme, overlaps=options.overlaps, key=options.key, progress=bar
            )
        else:
            summary, made = augment_cases(
                cases, options.output, export, how, scheme=scheme, overlaps=options.overlaps, key=options.key,
                review=options.review, progress=bar,
            )  # fmt: skip
    return _planned(options, planning.plan, how) if options.dry_run else _told(options, summary, made)


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
    if options.json:
        exported = {**summary.to_dict(), "root": str(summary.root)} if summary is not None else None
        print(json.dumps({**made.to_dict(), "root": str(made.root), "export": exported}, indent=2))
        return int(bool(made.failed) or (summary is not None and bool(summary.failed or summary.left_out)))
    lost = tell_export(summary) if summary is not None else 0
    return max(lost, tell_made(made, "variant"))
