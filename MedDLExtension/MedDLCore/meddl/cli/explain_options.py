"""What was typed after ``meddl explain`` as what an explanation is asked with; what is wrong is told before work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.saliency import ExplainOptions
    from meddl.volume import Volume

_REPORTS = ("html", "pdf")


def explain_options(options: argparse.Namespace) -> ExplainOptions:
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


def chosen_methods(text: str) -> list[str]:
    from meddl.saliency.methods.known import make_method

    methods = _words(text)
    if not methods:
        raise UsageError("Which method? Name one or several with --method; --list-methods tells which there are.")
    if methods != ["all"]:
        for method in methods:
            make_method(method)
    return methods


def chosen_checks(options: argparse.Namespace) -> list[str]:
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


def kinds_of_report(options: argparse.Namespace) -> list[str]:
    kinds = [kind.lstrip(".").lower() for kind in _words(options.report)]
    if unknown := [kind for kind in kinds if kind not in _REPORTS]:
        raise UsageError(f"A report cannot be written as {unknown[0]!r}. Choose html, pdf or both.")
    return kinds


def output_folder(options: argparse.Namespace) -> Path:
    from meddl.saliency.files import check_folder

    if not options.output:
        raise UsageError("Where to? Name a folder with --output.")
    folder = Path(options.output)
    check_folder(folder)
    return folder


def chosen_target(options: argparse.Namespace, bundle: ModelBundle) -> dict[str, Any]:
    from meddl.errors import ModelError
    from meddl.saliency.explain import unexplainable
    from meddl.saliency.target import KINDS, Target

    if reason := unexplainable(bundle):
        raise ModelError(reason)
    region = read_mask(options.region) if options.region else None
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


def read_mask(path: Path) -> Volume:
    """Return where a segmentation or image is not zero."""
    import numpy as np

    from meddl.volume import read_segmentation, read_volume

    volume = read_segmentation(path)[0] if path.name.lower().endswith(".seg.nrrd") else read_volume(path)
    there = np.nan_to_num(volume.array, nan=0) != 0
    return volume.with_array(there.any(axis=0, keepdims=True).astype(np.uint8))
