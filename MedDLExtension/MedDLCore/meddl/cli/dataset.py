"""``meddl dataset``: look a dataset through."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from meddl.cli.progress import ProgressBar


def add_parser(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("dataset", parents=[common], help="work with a dataset that was exported")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = actions.add_parser("verify", parents=[common], help="check files, parts and labels of a dataset")
    verify.add_argument("folder", type=Path, metavar="DIR", help="the folder that holds dataset.meddl.json")
    verify.set_defaults(run=run_verify)
    fetch = actions.add_parser(
        "fetch-face-template",
        parents=[common],
        help="download the mean head (9 MB, pydeface, MIT) that export --deface template needs",
    )
    fetch.set_defaults(run=run_fetch)


def run_verify(options: argparse.Namespace) -> int:
    """Check a dataset; exit code 1 says that something is wrong with it."""
    from meddl.datasets.verify import verify_dataset
    from meddl.models.metadata_values import printable

    with ProgressBar(shown=not options.json) as bar:
        checked = verify_dataset(options.folder, progress=bar)
    if options.json:
        print(json.dumps(checked.to_dict(), indent=2))
    else:
        state = "complete" if checked.complete else "not complete"
        print(f"{checked.cases} of {checked.planned} cases of {checked.patients} patients ({checked.format}), {state}")
        for note in checked.notes:
            print(printable(f"Note: {note}"))
        for problem in checked.problems:
            print(printable(f"Problem: {problem}"))
        if not checked.problems:
            print("No problem was found.")
    return 1 if checked.problems else 0


def run_fetch(options: argparse.Namespace) -> int:
    """Download the mean head and its face mask into MedDL's cache."""
    from meddl.datasets.deidentify.deface_template import fetch_template

    with ProgressBar(shown=not options.json) as bar:
        fetch_template(bar)
    print(json.dumps({"fetched": True}) if options.json else "The face template is on this computer now.")
    return 0
