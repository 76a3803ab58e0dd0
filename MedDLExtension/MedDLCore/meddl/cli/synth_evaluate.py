"""``meddl synth evaluate``: how good, how private and how useful a generator's images are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from meddl.cli.progress import ProgressBar
from meddl.cli.synth_files import check_folder


def add_parser(actions: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the action to the parser."""
    parser = actions.add_parser("evaluate", parents=[common], help="judge a generator by the dataset it learned from")
    parser.add_argument("--model", required=True, metavar="MODEL", help="a generator's folder, zip or id")
    parser.add_argument("--dataset", required=True, type=Path, metavar="DIR", help="with people that were held out")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the report")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="images to make (200)")
    parser.add_argument("--features", default="", metavar="MODEL", help="whose features images are compared by")
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N",
        help="trainings of the small segmenter with and without synthetic cases; 0 leaves that out (5)",
    )  # fmt: skip
    parser.add_argument("--segmenter-steps", type=int, default=300, metavar="N", help="of each training (300)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps (auto)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Judge, print the answer and write the report."""
    from meddl.models import resolve_model
    from meddl.models.metadata_values import printable
    from meddl.synthesis.judgement import JudgeOptions, judge
    from meddl.synthesis.judgement_report import write_report
    from meddl.synthesis.synthesizer import Synthesizer

    how = JudgeOptions(
        count=options.count,
        seed=options.seed,
        features=options.features,
        seeds=options.seeds,
        segmenter_steps=options.segmenter_steps,
        device=options.device,
    )
    synthesizer = Synthesizer(resolve_model(options.model), device=options.device)
    if options.output is not None:  # before the work of an hour
        check_folder(options.output)
    with ProgressBar(shown=not options.json) as bar:
        judgement = judge(options.dataset, synthesizer, how, progress=bar)
    files = write_report(judgement, options.output) if options.output is not None else ()
    if options.json:
        print(json.dumps({**judgement.to_dict(), "files": [str(path) for path in files]}, indent=2))
        return 0
    for line in judgement.summary:
        print(printable(line))
    for note in judgement.notes:
        print(printable(f"Note: {note}"))
    for path in files[:1]:
        print(f"Report: {path}")
    return 0
