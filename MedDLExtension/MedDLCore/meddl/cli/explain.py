"""``meddl explain``: why did the model say so."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.cli.progress import ProgressBar
from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.saliency import ExplainOptions
    from meddl.volume import Volume

_EPILOG = """\
Into --output come METHOD.nrrd (the map on the image's grid: positive speaks for the answer, negative against it), the
model's answer, anatomy.csv and measures.csv where they were asked for, and explanation.json with all that is known.

example: what in the image makes it a head, where does that lie, and is the map to be believed
  meddl explain --model demo_body_region --input head.nii.gz --target head --method integrated_gradients,occlusion \\
    --segments structures.seg.nrrd --faithfulness --report --output why
"""
_REPORTS = ("html", "pdf")


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
    how = _explain_options(options)
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
    from meddl.inference import prediction_from_dict
    from meddl.saliency.attribution import Attribution, Measure
    from meddl.saliency.explain import Explanation
    from meddl.saliency.files import check_suffix, facts_of, write_explanation
    from meddl.saliency.report import write_report
    from meddl.saliency.task import RUN_EXPLANATION
    from meddl.volume import read_segmentation, read_volume

    # What can be known to fail fails before the work, not after it.
    check_suffix(options.format)
    reports = _reports(options)
    checks = _checks(options)
    methods = _chosen(options.method)
    folder = _folder(options)
    if not options.input:
        raise UsageError("Which image? Name it with --input.")
    if options.counterfactual and not options.segments:
        raise UsageError("What would be without which structures? Name a segmentation that has them with --segments.")
    target = _target(options, bundle)
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
        params["truth"] = _mask(options.truth)
    result = runner.submit(RUN_EXPLANATION, params, on_progress=bar).wait()
    attributions = tuple(Attribution.from_dict(each) for each in result["attributions"])
    agreement, without = (
        tuple(Measure.from_dict(each) for each in result[name]) for name in ("agreement", "counterfactuals")
    )
    prediction = prediction_from_dict(result["prediction"])
    explanation = Explanation(prediction, attributions, agreement, without, unfit | result["left_out"])
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


def _explain_options(options: argparse.Namespace) -> ExplainOptions:
    from meddl.saliency.options import ExplainOptions

    baseline = options.baseline or ("reference" if options.reference else "blur")
    if options.reference and baseline != "reference":
        raise UsageError(
            f"The reference image would not be used with the baseline {baseline!r}. Leave one of them out."
        )
    if baseline == "reference" and not options.reference and not options.list_methods:
        raise UsageError("The baseline is a reference image. Name it with --reference.")
    names = ("device", "steps", "samples", "noise", "layer", "block_mm", "finest_mm", "memory_mb", "seed")
    return ExplainOptions.from_dict({"baseline": baseline, **{name: getattr(options, name) for name in names}})


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _chosen(text: str) -> list[str]:
    from meddl.saliency.methods.known import make_method

    methods = _words(text)
    if not methods:
        raise UsageError("Which method? Name one or several with --method; --list-methods tells which there are.")
    if methods != ["all"]:
        for method in methods:
            make_method(method)
    return methods


def _checks(options: argparse.Namespace) -> list[str]:
    """Return the ids of the checks; those that need a mask only where there is one."""
    from meddl.saliency.faithfulness.known import ABOUT, MEASURES

    asked = _words(options.faithfulness)
    if asked == ["all"]:
        return [name for name in MEASURES if options.truth or not ABOUT[name].needs_reference]
    if unknown := [name for name in asked if name not in MEASURES]:
        raise UsageError(f"There is no check {unknown[0]!r}. Choose of: {', '.join(MEASURES)}.")
    if not options.truth and (needing := [name for name in asked if ABOUT[name].needs_reference]):
        raise UsageError(f"The check {needing[0]!r} compares with a mask. Name it with --truth.")
    return asked or ([name for name in MEASURES if ABOUT[name].needs_reference] if options.truth else [])


def _reports(options: argparse.Namespace) -> list[str]:
    kinds = [kind.lstrip(".").lower() for kind in _words(options.report)]
    if unknown := [kind for kind in kinds if kind not in _REPORTS]:
        raise UsageError(f"A report cannot be written as {unknown[0]!r}. Choose html, pdf or both.")
    return kinds


def _folder(options: argparse.Namespace) -> Path:
    from meddl.saliency.files import check_folder

    if not options.output:
        raise UsageError("Where to? Name a folder with --output.")
    folder = Path(options.output)
    check_folder(folder)
    return folder


def _target(options: argparse.Namespace, bundle: ModelBundle) -> dict[str, Any]:
    from meddl.errors import ModelError
    from meddl.saliency.explain import unexplainable
    from meddl.saliency.target import KINDS, Target

    if reason := unexplainable(bundle):
        raise ModelError(reason)
    region = _mask(options.region) if options.region else None
    return Target(KINDS[bundle.task], _name(options.target, bundle), _point(options.point), region).to_dict()


def _name(typed: str, bundle: ModelBundle) -> str:
    """Return a class, structure or landmark as the model writes it, whatever letters were typed large."""
    from meddl.models import class_names

    known = [*class_names(bundle), *(segment.name for segment in bundle.segments)]
    same = {name for name in known if name.casefold() == typed.casefold()}
    return same.pop() if typed not in known and len(same) == 1 else typed


def _point(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        r, a, s = (float(each) for each in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no point. Give three numbers (RAS mm), for instance --point 12.5,-30,4."
        ) from error
    return r, a, s


def _mask(path: Path) -> Volume:
    """Return where a segmentation or image is not zero."""
    import numpy as np

    from meddl.volume import read_segmentation, read_volume

    volume = read_segmentation(path)[0] if path.name.lower().endswith(".seg.nrrd") else read_volume(path)
    there = np.nan_to_num(volume.array, nan=0) != 0
    return volume.with_array(there.any(axis=0, keepdims=True).astype(np.uint8))
