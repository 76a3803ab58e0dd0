"""``meddl explain``: why did the model say so."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.explain_options import (
    chosen_checks,
    chosen_methods,
    chosen_target,
    explain_options,
    kinds_of_report,
    output_folder,
    read_mask,
)
from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.saliency import ExplainOptions

_EPILOG = """\
Into --output come METHOD.nrrd (the map on the image's grid: positive speaks for the answer, negative against it), the
model's answer, anatomy.csv and measures.csv where they were asked for, and explanation.json with all that is known.

example: what in the image makes it a head, where does that lie, and is the map to be believed
  meddl explain --model demo_body_region --input head.nii.gz --target head --method integrated_gradients,occlusion \\
    --segments structures.seg.nrrd --faithfulness --report --output why
"""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "explain", parents=[common], help="find out why a model said so", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    # argparse takes "-10,20,5" for an option that it does not know.
    parser._negative_number_matcher = re.compile(r"^-\.?\d[\d.,eE+-]*$")
    parser.add_argument(
        "--model", required=True, metavar="MODEL", help="a model of 'models list', or a bundle's folder or zip"
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="[CHANNEL=]FILE",
        help="image or folder of a DICOM series; for a model of several channels once for each",
    )  # fmt: skip
    parser.add_argument("--series", metavar="UID", help="which series, where the folder holds several")
    parser.add_argument("--method", default="", metavar="M[,M...]", help="of --list-methods, or all")
    parser.add_argument("--list-methods", action="store_true", help="tell which methods work on the model, and why not")
    parser.add_argument("--output", metavar="DIR", help="folder for maps, tables and reports")
    parser.add_argument("--format", default=".nrrd", metavar="SUFFIX", help="of the maps (default: .nrrd)")
    what = parser.add_argument_group("what to explain")
    what.add_argument(
        "--target", default="", metavar="NAME",
        help="a class, structure, kind of box or landmark (default: what the model is surest of, or found most of)",
    )  # fmt: skip
    where = what.add_mutually_exclusive_group()
    where.add_argument("--point", metavar="R,A,S", help="only the voxel there (mm); of boxes the nearest")
    where.add_argument("--region", type=Path, metavar="FILE", help="only where this mask is not zero")
    beside = parser.add_argument_group("what to find out beside the map")
    beside.add_argument(
        "--segments", type=Path, metavar="SEG",
        help="segmentation: how much of the evidence lies in each; 'ablation' takes them away one by one",
    )  # fmt: skip
    beside.add_argument(
        "--faithfulness", nargs="?", const="all", default="", metavar="CHECK[,CHECK...]",
        help="how far to believe the maps: all checks, or those named",
    )  # fmt: skip
    beside.add_argument(
        "--counterfactual", action="store_true",
        help="paint each structure of --segments over with its surroundings and ask the model again",
    )  # fmt: skip
    beside.add_argument("--truth", type=Path, metavar="FILE", help="mask of where the evidence should lie: compare")
    beside.add_argument(
        "--report", nargs="?", const="html,pdf", default="", metavar="html,pdf", help="write a page for people, too"
    )
    how = parser.add_argument_group("how to explain")
    how.add_argument("--baseline", default="", metavar="B", help="blur (default), mean, zero or reference")
    how.add_argument("--reference", type=Path, metavar="FILE", help="image of the baseline, for instance a healthy one")
    how.add_argument("--layer", default="", metavar="NAME", help="of CAM methods (default: chosen automatically)")
    how.add_argument("--steps", type=int, default=20, metavar="N", help="of a path from the baseline (default: 20)")
    how.add_argument("--samples", type=int, default=10, metavar="N", help="noisy copies of SmoothGrad (default: 10)")
    how.add_argument("--noise", type=float, default=0.1, metavar="X", help="as a share of the image's range")
    how.add_argument("--block-mm", type=float, default=0.0, metavar="MM", help="occlusion's first blocks")
    how.add_argument("--finest-mm", type=float, default=0.0, metavar="MM", help="occlusion's smallest blocks")
    how.add_argument("--memory-mb", type=int, default=0, metavar="MB", help="budget (default: what is free)")
    how.add_argument("--device", default="auto", help="auto, cpu, cuda:N or mps (default: auto)")
    how.add_argument("--seed", type=int, default=0, metavar="N", help="of what is random")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from meddl.jobs import InlineRunner
    from meddl.models import resolve_model

    bundle = resolve_model(options.model)
    how = explain_options(options)
    with ProgressBar(shown=not options.json) as bar, InlineRunner() as runner:
        if options.list_methods:
            return _list_methods(options, how, runner, bar)
        return _explain(options, bundle, how, runner, bar)


def _list_methods(options: argparse.Namespace, how: ExplainOptions, runner: Any, bar: ProgressBar) -> int:
    methods = _methods_of(options, how, runner, bar)
    if options.json:
        print(json.dumps({"methods": methods}, indent=2))
        return 0
    width = max(len(each["id"]) for each in methods)
    for each in methods:
        print(f"{each['id'].ljust(width)}  {each['unfit'] or each['title'] + ' (' + each['source'] + ')'}")
    return 0


def _methods_of(
    options: argparse.Namespace, how: ExplainOptions, runner: Any, bar: ProgressBar
) -> list[dict[str, Any]]:
    from meddl.saliency.task import LIST_METHODS

    params = {"model": options.model, "options": how.to_dict()}
    found: list[dict[str, Any]] = runner.submit(LIST_METHODS, params, on_progress=bar).wait()["methods"]
    return found


def _explain(
    options: argparse.Namespace, bundle: ModelBundle, how: ExplainOptions, runner: Any, bar: ProgressBar
) -> int:
    from meddl.batch.inputs import in_channel_order
    from meddl.cli.explain_report import print_explanation
    from meddl.cli.infer import channel_paths, named_inputs
    from meddl.saliency.explanation import Explanation
    from meddl.saliency.files import check_suffix, facts_of, write_explanation
    from meddl.saliency.report import write_report
    from meddl.saliency.task import RUN_EXPLANATION
    from meddl.volume import read_segmentation, read_volume

    # What can be known to fail fails before the work, not after it.
    check_suffix(options.format)
    reports = kinds_of_report(options)
    checks = chosen_checks(options)
    methods = chosen_methods(options.method)
    folder = output_folder(options)
    if not options.input:
        raise UsageError("Which image? Name it with --input.")
    if options.counterfactual and not options.segments:
        raise UsageError("What would be without which structures? Name a segmentation that has them with --segments.")
    target = chosen_target(options, bundle)
    paths = channel_paths(bundle, named_inputs(options.input), in_channel_order)
    bar(0.0, "Reading the image")
    several = len(bundle.channels) > 1
    volumes = [read_volume(path, series_uid=options.series, multichannel=several and len(paths) == 1) for path in paths]
    segmentation = read_segmentation(options.segments) if options.segments else None
    every, unfit = methods == ["all"], {}
    if every:
        reasons = {each["id"]: each["unfit"] for each in _methods_of(options, how, runner, bar)}
        methods = [id for id, reason in reasons.items() if not reason]
        unfit = {id: reason for id, reason in reasons.items() if reason}
    params: dict[str, Any] = {
        "model": options.model, "volumes": volumes, "methods": methods, "options": how.to_dict(), "target": target,
        "faithfulness": checks, "counterfactual": options.counterfactual, "lenient": every,
    }  # fmt: skip
    if segmentation is not None:
        params |= {"labels": segmentation[0], "segments": [asdict(each) for each in segmentation[1]]}
    if options.reference:
        params["reference"] = read_volume(options.reference, multichannel=several)
    if options.truth:
        params["truth"] = read_mask(options.truth)
    result = runner.submit(RUN_EXPLANATION, params, on_progress=bar).wait()
    explanation = Explanation.from_dict({**result, "left_out": unfit | result["left_out"]})
    bar(1.0, "Writing")
    files = list(write_explanation(explanation, folder, suffix=options.format))
    if reports:
        names = [channel.name for channel in bundle.channels] if several else []
        files += write_report(
            explanation, volumes[0], [folder / f"report.{kind}" for kind in reports],
            segmentation=segmentation, channels=names,
        )  # fmt: skip
    if options.json:
        print(json.dumps({**facts_of(explanation, times=True), "files": [str(file) for file in files]}, indent=2))
        return 0
    print_explanation(explanation)
    for file in files:
        print(f"Written: {file}")
    return 0
