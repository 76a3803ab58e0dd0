"""Reading the arguments, and turning errors into a sentence and an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence

import meddl
from meddl.cli import augment, dataset, doctor, evaluate, explain, export, infer, models, synth
from meddl.errors import JobCancelled, MedDLError, UntrustedModelError, UsageError, to_dict

OK, FAILED, WRONG_USE = 0, 1, 2
INTERRUPTED = 130
"""What a shell expects after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``arguments`` default to those of the process."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.DEBUG if options.debug else logging.WARNING, format="%(levelname)s %(message)s")
    if not options.debug:
        warnings.simplefilter("ignore")  # those of libraries are for programmers; ours are printed as such
    try:
        return int(options.run(options))
    except (KeyboardInterrupt, JobCancelled):
        print("Cancelled.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (head, less) has gone; that is no failure of ours.
        sys.stderr.close()
        return OK
    except Exception as error:
        return _fail(error, options)


def _fail(error: Exception, options: argparse.Namespace) -> int:
    if options.debug:
        traceback.print_exception(error)
        if isinstance(error, MedDLError) and error.details:
            print(error.details, file=sys.stderr)
    known = to_dict(error)
    if options.json:
        print(json.dumps({"error": {key: known[key] for key in known if key != "details"}}))
    else:
        print(f"meddl: {_harmless(known['message'])}", file=sys.stderr)
        if isinstance(error, UntrustedModelError):
            for reason in error.reasons:
                print(f"  - {_harmless(reason)}", file=sys.stderr)
    return WRONG_USE if isinstance(error, UsageError) else FAILED


def _harmless(text: str) -> str:
    """Return a message, which may quote a file's or a model's name, without what steers a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the result as JSON, for programs")
    common.add_argument("--debug", action="store_true", help="show tracebacks and the detailed log")
    parser = argparse.ArgumentParser(
        prog="meddl",
        description="Deep learning for medical images. Research use only; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"meddl {meddl.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    infer.add_parser(commands, common)
    models.add_parser(commands, common)
    evaluate.add_parser(commands, common)
    explain.add_parser(commands, common)
    export.add_parser(commands, common)
    dataset.add_parser(commands, common)
    augment.add_parser(commands, common)
    synth.add_parser(commands, common)
    doctor.add_parser(commands, common)
    return parser
