"""``meddl synth sample``: images out of a generator, as files or as new cases of a dataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.cli.dataset_report import tell_made
from meddl.cli.progress import ProgressBar
from meddl.cli.synth_files import check_folder, check_suffix, keep_given, read_labels, stem_of, write_synthetic
from meddl.errors import UsageError
from meddl.synthesis.time_limit import in_time

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

_EPILOG = """\
example: three images that fit a segmentation, on its grid
  meddl synth sample --model heads --segmentation head.seg.nrrd --count 3 --output made
example: a CT that fits a segmentation, by the Model Zoo's MAISI with fewer steps
  meddl synth sample --model maisi_ct_generative --segmentation body.seg.nrrd --steps 50 --output made
example: two synthetic cases for each training case of a dataset, their label maps moved first
  meddl synth sample --model heads --dataset out --count 2 --plan position
"""
_MOST = 9999


def add_parser(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the action to the parser."""
    parser = actions.add_parser(
        "sample", parents=[common], help="make images with a generator", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--model", required=True, metavar="MODEL", help="a generator's folder, zip or id")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="images, or cases for each training case (1)")
    parser.add_argument("--seed", type=int, default=0, help="of what is left to chance (0)")
    parser.add_argument("--segmentation", type=Path, metavar="SEG", help="segmentation that the images shall fit")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the images")
    parser.add_argument("--format", default=".nrrd", metavar="SUFFIX", help="of the images (.nrrd)")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="add cases to this dataset's training part")
    parser.add_argument("--plan", default="", metavar="PRESET_OR_JSON", help="moves label maps of the dataset first")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="of a flow or diffusion for each image")
    parser.add_argument("--size", default="", metavar="I,J,K", help="voxels that a CT of MAISI is made with")
    parser.add_argument("--minutes", type=float, default=0.0, metavar="M", help="give up after so many (0: never)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps (auto)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make images; exit code 1 says that a case of a dataset could not be made."""
    from meddl.models import resolve_model
    from meddl.synthesis.sampling import Sampling
    from meddl.synthesis.synthesizer import Synthesizer

    if (options.output is None) == (options.dataset is None):
        raise UsageError("Give either --output, a folder for images, or --dataset, which cases are added to.")
    if options.dataset is not None and options.segmentation is not None:
        raise UsageError("Cases of a dataset get the label maps of its training cases: leave --segmentation out.")
    if options.plan and options.dataset is None:
        raise UsageError("--plan moves label maps of a dataset: give --dataset, or leave it out.")
    if not 0 <= options.minutes < float("inf"):
        raise UsageError("--minutes is a number from 0 on; 0 is no limit.")
    sampling = Sampling(options.steps, _size(options.size))
    synthesizer = Synthesizer(resolve_model(options.model), device=options.device, sampling=sampling)
    return _into_dataset(options, synthesizer) if options.dataset is not None else _into_folder(options, synthesizer)


def _size(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(f"--size takes three whole numbers with commas, not {text!r}.") from None


def _into_dataset(options: argparse.Namespace, synthesizer: Synthesizer) -> int:
    from meddl.augmentation import load_plan
    from meddl.synthesis.adding import SynthesisOptions, add_synthetic_cases

    how = SynthesisOptions(options.count, options.seed, load_plan(options.plan) if options.plan else None)
    with ProgressBar(shown=not options.json) as bar:
        summary = in_time(
            options.minutes,
            lambda over: add_synthetic_cases(options.dataset, synthesizer, how, progress=bar, cancelled=over),
        )
    return tell_made(summary, "synthetic case", as_json=options.json)


def _into_folder(options: argparse.Namespace, synthesizer: Synthesizer) -> int:
    from meddl.models.metadata_values import printable

    check_suffix(options.format)
    check_folder(options.output)
    if not 1 <= options.count <= _MOST:
        raise UsageError(f"--count is {options.count}. Ask for 1 to {_MOST} images.")
    stems = [stem_of(number) for number in range(1, options.count + 1)]
    names = [f"{stem}{ending}" for stem in stems for ending in (".seg.nrrd", options.format)]
    keep_given([options.segmentation], options.output, names)
    labels, segments = read_labels(options.segmentation) if options.segmentation is not None else (None, ())
    with ProgressBar(shown=not options.json) as bar:
        made = in_time(
            options.minutes,
            lambda over: synthesizer.sample(
                options.count, seed=options.seed, labels=labels, segments=segments, progress=bar, cancelled=over
            ),
        )
    files = write_synthetic(made, options.output, options.format)
    if options.json:
        facts = [
            {**each.facts, "files": [str(path) for path in paths]} for each, paths in zip(made, files, strict=True)
        ]
        print(json.dumps({"made": facts, "notes": list(synthesizer.notes)}, indent=2))
        return 0
    for paths in files:
        print(printable(str(paths[0])))
    notes = (*synthesizer.notes, *(note for each in made[:1] for note in each.facts.get("notes", ())))
    for note in dict.fromkeys(notes):
        print(printable(f"Note: {note}"))
    return 0
