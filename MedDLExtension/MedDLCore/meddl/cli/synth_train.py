"""``meddl synth train``: a generator learns from a dataset."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.progress import ProgressBar
from meddl.cli.synth_files import read_settings
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.synthesis import SynthesisConfig

_EPILOG = """\
Into --output come a MONAI Bundle (the generator) and the folder 'training' with losses, pictures and the checkpoint
that the same command goes on from.

example: slices of a head that fit a label map
  meddl synth train --dataset out --output heads --kind rectified_flow --size 64,64 --steps 1500
"""
_GIVEN = ("kind", "plane", "where", "channel", "steps", "batch_size", "learning_rate", "sampling_steps", "seed")


def add_parser(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the action to the parser."""
    parser = actions.add_parser(
        "train", parents=[common], help="train a generator on a dataset", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--dataset", required=True, type=Path, metavar="DIR", help="made by 'meddl export'")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the generator")
    parser.add_argument("--name", default="", help="of the generator, for people")
    parser.add_argument("--settings", type=Path, metavar="JSON", help="all of them; the options below come first")
    parser.add_argument("--kind", choices=("gan", "rectified_flow", "ddpm"), help="(rectified_flow)")
    parser.add_argument(
        "--unconditioned", action="store_true", help="make images from chance alone; else they fit a label map"
    )
    parser.add_argument("--size", default="", metavar="I,J[,K]", help="voxels of a slice or of a patch (64,64)")
    parser.add_argument("--spacing", type=float, metavar="MM", help="of these voxels (what fits the images)")
    parser.add_argument("--plane", choices=("axial", "coronal", "sagittal"), help="of slices (axial)")
    parser.add_argument("--where", choices=("whole", "labels"), help="learn all of the image, or what is round labels")
    parser.add_argument("--channel", help="which of the dataset's images (the first)")
    parser.add_argument("--steps", type=int, help="of training, in all (1500)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="examples in a step (16)")
    parser.add_argument("--learning-rate", type=float, metavar="X")
    parser.add_argument("--sampling-steps", type=int, metavar="N", help="for each image, of a flow or diffusion")
    parser.add_argument("--seed", type=int, help="(0)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, or go on where a training was stopped."""
    from meddl.models.metadata_values import printable
    from meddl.synthesis.training import train

    config = _config(options)
    with ProgressBar(shown=not options.json) as bar:
        trained = train(options.dataset, config, options.output, name=options.name, progress=bar)
    if options.json:
        told = {"bundle": str(trained.bundle), "steps": trained.steps, "seconds": trained.seconds}
        print(json.dumps({**told, "notes": list(trained.notes), "config": config.to_dict()}, indent=2))
        return 0
    print(f"Trained for {trained.steps} steps, {trained.seconds:.0f} s of them now")
    for note in trained.notes:
        print(printable(f"Note: {note}"))
    print(f"Generator: {trained.bundle}")
    return 0


def _config(options: argparse.Namespace) -> SynthesisConfig:
    from meddl.synthesis import SynthesisConfig

    said: dict[str, Any] = read_settings(options.settings)
    said |= {name: getattr(options, name) for name in _GIVEN if getattr(options, name) is not None}
    if options.unconditioned:
        said["conditioned"] = False
    if options.spacing is not None:
        said["spacing_mm"] = options.spacing
    if options.size:
        try:
            said["size"] = [int(each) for each in options.size.split(",")]
        except ValueError:
            raise UsageError(f"--size takes two or three whole numbers with commas, not {options.size!r}.") from None
    return SynthesisConfig.from_dict(said)
