"""``meddl synth``: generators of images, what they make, and what scanners would have made of an image."""

from __future__ import annotations

import argparse

from meddl.cli import synth_evaluate, synth_lesion, synth_sample, synth_simulate, synth_train


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command and its actions to the parser."""
    parser = commands.add_parser(
        "synth",
        parents=[common],
        help="train generators, make synthetic images and lesions, judge them",
        description="Train generators, make synthetic images, lesions and acquisitions, always with their labels, and "
        "judge them. Research use only.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for part in (synth_train, synth_sample, synth_lesion, synth_evaluate, synth_simulate):
        part.add_parser(actions, common)
