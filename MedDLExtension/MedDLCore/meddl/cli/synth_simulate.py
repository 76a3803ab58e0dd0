"""``meddl synth simulate`` and ``meddl synth project``: what another acquisition would have shown."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.dataset_report import tell_export
from meddl.cli.export_arguments import FORMATS, add_dataset_arguments, dataset_options, label_scheme, numbers
from meddl.cli.progress import ProgressBar
from meddl.cli.synth_files import check_folder, keep_given, make_folder, read_labels, read_settings, write_facts
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.simulation import Simulated, SimulationOptions

_SIMULATE = """\
example: pairs of undersampled and whole images, to learn reconstruction from
  meddl synth simulate --method undersampling --acceleration 4,8 --center-fraction 0.08,0.04 \\
    --cases heads.csv --output fast --split test=0.2
example: one CT at a tenth of the dose
  meddl synth simulate --method low_dose --dose 0.1 --input ct.nii.gz --output low
"""
_PROJECT = """\
example: X-ray pictures of a CT from the front and from the left, with its structures
  meddl synth project --input ct.nii.gz --segmentation organs.seg.nrrd --views AP,LL --output xray
"""
_OF_ALL_METHODS = ("variants", "seed", "channel")


def add_parser(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add both actions to the parser."""
    simulate = actions.add_parser(
        "simulate", parents=[common], help="degrade images as a faster or weaker scan would", epilog=_SIMULATE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    simulate.add_argument("--method", required=True, choices=("undersampling", "rician", "low_dose"))
    _add_common(simulate)
    mr = simulate.add_argument_group("undersampled and noisy MR")
    mr.add_argument("--acceleration", metavar="X[,X...]", help="k-space has so many times the measured lines (4)")
    mr.add_argument("--center-fraction", metavar="X[,X...]", help="share of lines that are all measured (0.08)")
    mr.add_argument("--mask", choices=("random", "equispaced"), help="which lines are measured (random)")
    mr.add_argument("--encoding", choices=("2d", "3d"), help="lines of slices, or along both axes of a plane (2d)")
    mr.add_argument("--plane", choices=("axial", "coronal", "sagittal"), help="of the slices (axial)")
    mr.add_argument("--coils", type=int, metavar="N", help="receiver coils (1)")
    mr.add_argument("--snr", metavar="X[,X]", help="signal by noise, or a range of it")
    ct = simulate.add_argument_group("low-dose CT")
    ct.add_argument("--dose", metavar="X[,X]", help="share of the full dose, or a range of it (0.25)")
    ct.add_argument("--photons", type=float, metavar="N", help="of the full dose, by detector bin and view (1e6)")
    ct.add_argument("--image", choices=("difference", "fbp"), help="add noise, or make the image anew (difference)")
    simulate.set_defaults(run=run)

    project = actions.add_parser(
        "project", parents=[common], help="make X-ray pictures of a CT, with its labels", epilog=_PROJECT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_common(project)
    views = project.add_argument_group("pictures")
    views.add_argument("--views", metavar="V[,V...]", help="AP, PA, LL, RL, or angles like 30 or 30/-10 (AP)")
    views.add_argument("--jitter-degrees", type=float, metavar="X", help="angles are moved by chance, at most by this")
    views.add_argument("--structures", metavar="NAME[,NAME...]", help="that are projected (all)")
    views.add_argument("--beam", choices=("cone", "parallel"), help="(cone)")
    views.add_argument("--source-mm", type=float, metavar="MM", help="from the source to the image's center (1000)")
    views.add_argument("--size", metavar="W,H", help="pixels across and down (256,256)")
    views.add_argument("--field-mm", type=float, metavar="MM", help="width of the picture (all of the image)")
    views.add_argument("--contrast", type=float, metavar="X", help="of the film: how steep its curve is (1.6)")
    views.add_argument("--value", choices=("film", "line_integral"), help="(film)")
    views.add_argument("--min-path-mm", type=float, metavar="MM", help="of a structure where it is drawn (1)")
    project.set_defaults(run=run, method="projection", overlaps="regions")  # what is projected overlaps


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", type=Path, metavar="FILE", help="one image, or a folder of a DICOM series")
    parser.add_argument("--segmentation", type=Path, metavar="SEG", help="of the one image")
    parser.add_argument("--cases", type=Path, metavar="CSV_OR_FOLDER", help="many: a dataset is made of them")
    parser.add_argument("--pattern", default="", help="how files of a folder are named, e.g. '{case}_{channel}.nii.gz'")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for images or the dataset")
    parser.add_argument("--settings", type=Path, metavar="JSON", help="of the method, all; the options come first")
    parser.add_argument("--variants", type=int, metavar="N", help="of each image or view (1)")
    parser.add_argument("--seed", type=int, help="of what is left to chance (0)")
    parser.add_argument("--channel", help="of the cases' images (the first)")
    parser.add_argument("--format", choices=FORMATS, help="of the dataset (monai)")
    add_dataset_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Simulate; exit code 1 says that a case is not in the dataset."""
    if (options.input is None) == (options.cases is None):
        raise UsageError("Give either --input, one image, or --cases, many of them.")
    how = _settings(options)
    return _one(options, how) if options.input is not None else _many(options, how)


def _one(options: argparse.Namespace, how: SimulationOptions) -> int:
    from meddl.jobs.progress import part_of
    from meddl.models.metadata_values import printable
    from meddl.simulation import simulate
    from meddl.volume import read_volume

    if options.format:
        raise UsageError("--format is that of a dataset: give --cases, or leave it out.")
    stems = [f"{options.method}_{number + 1:02d}" for number in range(how.count)]
    names = [f"{stem}{ending}" for stem in stems for ending in (".nrrd", ".seg.nrrd", "_paths.nrrd")]
    check_folder(options.output)
    keep_given((options.input, options.segmentation), options.output, names)
    volume = read_volume(options.input)
    labels, segments = read_labels(options.segmentation) if options.segmentation is not None else (None, ())
    made, facts = [], []
    with ProgressBar(shown=not options.json) as bar:
        for number, stem in enumerate(stems):
            step = part_of(bar, number / how.count, (number + 1) / how.count)
            each = simulate(volume, how, labels, segments, number=number, progress=step)
            made += _write(each, options.output, stem)
            facts.append(dict(each.facts))
    if options.json:
        print(json.dumps({"made": facts, "files": [str(path) for path in made]}, indent=2))
        return 0
    for path in made:
        print(printable(str(path)))
    for note in dict.fromkeys(note for each in facts for note in each.get("notes", ())):
        print(printable(f"Note: {note}"))
    return 0


def _write(made: Simulated, folder: Path, stem: str) -> list[Path]:
    from meddl.volume import write_segmentation, write_volume

    make_folder(folder)
    paths = [folder / f"{stem}.nrrd"]
    write_volume(made.image, paths[0])
    if made.labels is not None:
        paths.append(folder / f"{stem}.seg.nrrd")
        write_segmentation(made.labels, made.segments, paths[-1])
    if made.paths is not None:
        paths.append(folder / f"{stem}_paths.nrrd")
        write_volume(made.paths, paths[-1])
    paths.append(folder / f"{stem}.json")
    write_facts(made.facts, paths[-1])
    return paths


def _many(options: argparse.Namespace, how: SimulationOptions) -> int:
    from meddl.datasets import collect_cases
    from meddl.simulation import simulate_cases

    if options.segmentation is not None:
        raise UsageError("Cases have segmentations of their own: leave --segmentation out.")
    export = dataset_options(options, options.format or "monai")
    scheme = label_scheme(options.labels)
    cases = collect_cases(options.cases, pattern=options.pattern, exclude=(options.output,))
    with ProgressBar(shown=not options.json) as bar:
        summary = simulate_cases(
            cases, options.output, export, how, scheme=scheme, overlaps=options.overlaps, key=options.key,
            review=options.review, progress=bar,
        )  # fmt: skip
    if options.json:
        print(json.dumps({**summary.to_dict(), "root": str(summary.root)}, indent=2))
        return int(bool(summary.failed or summary.left_out))
    lost = tell_export(summary)
    print(f"Dataset: {summary.root}")
    return lost


def _settings(options: argparse.Namespace) -> SimulationOptions:
    from meddl.simulation import METHODS, SimulationOptions

    said: dict[str, Any] = {**read_settings(options.settings), "method": options.method}
    example = METHODS[options.method]()
    own = [each.name for each in fields(example)]
    for name in {each.name for method in METHODS.values() for each in fields(method)}.difference(own):
        if getattr(options, name, None) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is of another method than {options.method}: leave it out.")
    for name in (*own, *_OF_ALL_METHODS):
        value = getattr(options, name, None)
        if value is None:
            continue
        if name in ("views", "structures"):
            value = [each.strip() for each in value.split(",") if each.strip()]
        elif isinstance(value, str) and isinstance(getattr(example, name, None), tuple):
            found = numbers(value, f"--{name.replace('_', '-')}")
            value = [int(each) if name == "size" else each for each in found]
        said[name] = value
    return SimulationOptions.from_dict(said)
