"""``meddl synth lesion``: lesions that nobody had, with their masks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from meddl.cli.dataset_report import tell_made
from meddl.cli.progress import ProgressBar
from meddl.cli.synth_files import check_folder, keep_given, make_folder, read_labels, write_facts
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.synthesis.lesions import LesionExample, LesionOptions
    from meddl.synthesis.synthesizer import Synthesizer
    from meddl.volume import Segment, Volume

_EPILOG = """\
example: a lesion of 1 to 3 ml in the liver, looking like one of another scan
  meddl synth lesion --input ct.nii.gz --segmentation organs.seg.nrrd --inside Liver --volume 1,3 \\
    --example other.nii.gz --example-mask other_lesion.nii.gz --output made
"""

_FILES = ("image.nrrd", "labels.seg.nrrd", "lesions.json")


def add_parser(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the action to the parser."""
    parser = actions.add_parser(
        "lesion", parents=[common], help="put lesions into an image or a dataset", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--input", type=Path, metavar="FILE", help="image without the lesion")
    parser.add_argument("--segmentation", type=Path, metavar="SEG", help="segmentation of the image")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for image, labels and facts")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="add copies of this dataset's training cases")
    parser.add_argument("--variants", type=int, default=1, metavar="N", help="copies of each training case (1)")
    parser.add_argument("--name", default="Lesion", help="of the lesion's structure (Lesion)")
    parser.add_argument("--inside", default="", metavar="NAME", help="structure that it lies in (anywhere in the body)")
    parser.add_argument("--volume", default="1,10", metavar="ML,ML", help="smallest and greatest volume (1,10)")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="lesions in an image (1)")
    parser.add_argument("--shape", choices=("auto", "random", "example"), default="auto")
    parser.add_argument("--irregularity", type=float, default=0.5, metavar="X", help="of a random shape, 0 to 1 (0.5)")
    parser.add_argument("--texture", choices=("auto", "generator", "example", "statistics"), default="auto")
    parser.add_argument(
        "--contrast", type=float, default=0.2, metavar="X",
        help="without an example: how much brighter than its place, as a share of the image's range (0.2)",
    )  # fmt: skip
    parser.add_argument("--border-mm", type=float, default=2.0, metavar="MM", help="over which it blends in (2)")
    parser.add_argument("--example", type=Path, metavar="FILE", help="image with a real lesion")
    parser.add_argument("--example-mask", type=Path, metavar="FILE", help="where the real lesion is")
    parser.add_argument("--model", default="", metavar="MODEL", help="generator that knows the lesion's structure")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="of the generator (auto)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Insert lesions; exit code 1 says that a case of a dataset could not be made."""
    if (options.input is None) == (options.dataset is None):
        raise UsageError("Give either --input, an image, or --dataset, whose training cases get lesions.")
    if (options.example is None) != (options.example_mask is None):
        raise UsageError("An example of a lesion is --example, the image, and --example-mask, where the lesion is.")
    how = _lesion_options(options)
    synthesizer = _synthesizer(options)
    if options.dataset is not None:
        if options.example or options.segmentation or options.output:
            raise UsageError(
                "A dataset has labels and lesions of its own: leave --segmentation, --example and --output out."
            )
        return _in_dataset(options, how, synthesizer)
    if options.output is None:
        raise UsageError("Give --output, a folder for the image, its labels and the facts.")
    return _in_image(options, how, synthesizer)


def _in_dataset(options: argparse.Namespace, how: LesionOptions, synthesizer: Synthesizer | None) -> int:
    from meddl.synthesis.lesions import add_lesions

    with ProgressBar(shown=not options.json) as bar:
        summary = add_lesions(options.dataset, how, variants=options.variants, synthesizer=synthesizer, progress=bar)
    return tell_made(summary, "case with lesions", as_json=options.json)


def _in_image(options: argparse.Namespace, how: LesionOptions, synthesizer: Synthesizer | None) -> int:
    from meddl.models.metadata_values import printable
    from meddl.synthesis.lesions import insert_lesion
    from meddl.volume import read_volume, resample_to, write_segmentation, write_volume

    given = (options.input, options.segmentation, options.example, options.example_mask)
    check_folder(options.output)
    keep_given(given, options.output, _FILES)
    image = read_volume(options.input)
    labels: Volume | None = None
    segments: tuple[Segment, ...] = ()
    if options.segmentation is not None:
        labels, segments = read_labels(options.segmentation)
        if not labels.grid.same_as(image.grid):
            labels = resample_to(labels, image.grid, interpolation="nearest")
    with ProgressBar(shown=not options.json) as bar:
        made = insert_lesion(
            image, labels, segments, how, example=_example(options), synthesizer=synthesizer, progress=bar
        )
    make_folder(options.output)
    paths = [options.output / name for name in _FILES]
    write_volume(made.image, paths[0])
    write_segmentation(made.labels, made.segments, paths[1])
    write_facts(made.facts, paths[2])
    if options.json:
        print(json.dumps({**made.facts, "files": [str(path) for path in paths]}, indent=2))
        return 0
    for path in paths:
        print(printable(str(path)))
    for note in made.facts.get("notes", ()):
        print(printable(f"Note: {note}"))
    return 0


def _lesion_options(options: argparse.Namespace) -> LesionOptions:
    from meddl.cli.export_arguments import numbers
    from meddl.synthesis.lesions import LesionOptions

    low, high = numbers(options.volume, "--volume", 2)
    return LesionOptions(
        name=options.name,
        inside=options.inside,
        volume_ml=(low, high),
        shape=options.shape,
        irregularity=options.irregularity,
        texture=options.texture,
        contrast=options.contrast,
        border_mm=options.border_mm,
        count=options.count,
        seed=options.seed,
    )


def _example(options: argparse.Namespace) -> LesionExample | None:
    from meddl.datasets.image_digest import image_digest
    from meddl.synthesis.lesions import LesionExample
    from meddl.volume import read_volume, resample_to

    if options.example is None:
        return None
    image, mask = read_volume(options.example), read_volume(options.example_mask)
    if not mask.grid.same_as(image.grid):
        mask = resample_to(mask, image.grid, interpolation="nearest")
    # Not by the name of its file, which may tell whose it is.
    return LesionExample(image, mask, f"sha256:{image_digest(image)}")


def _synthesizer(options: argparse.Namespace) -> Synthesizer | None:
    from meddl.models import resolve_model
    from meddl.synthesis.synthesizer import Synthesizer

    return Synthesizer(resolve_model(options.model), device=options.device) if options.model else None
