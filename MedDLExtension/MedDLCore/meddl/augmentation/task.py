"""Jobs of augmentation, as a panel runs them in a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.augmentation.plan import AugmentationPlan
from meddl.jobs import JobContext

if TYPE_CHECKING:
    from meddl.augmentation.preview_case import PreviewCase

PREVIEW_VARIANTS = "meddl.augmentation.task:preview_variants"
MAKE_VARIANT = "meddl.augmentation.task:make_variant"
AUGMENT_DATASET = "meddl.augmentation.task:augment"

_KEPT = "augmentation case"


def preview_variants(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return samples of one slice.

    Args:
        params: ``case``, which tells cases apart, and ``sample`` where the worker may not have it yet: ``images``
            (volumes by channel), and if wanted ``labels`` (volume) with ``segments`` (dicts of
            :class:`meddl.volume.Segment`). ``plan``, ``seed``, ``axis`` and ``index`` of the slice, and if wanted
            ``numbers`` (of the samples: 0 to 5) and ``greatest`` (256), see :func:`meddl.augmentation.preview`.
        context: keeps the last case, so that it need not be sent again.

    Returns:
        ``missing``: the case has to be sent. Else ``source`` and ``samples``, each with ``images`` and ``labels`` of
        the slice, the samples with ``draw``, ``realism`` and ``happened`` (titles of transforms), too; ``segments``,
        what the labels mean; ``ranges``, dark and bright end of each channel; and ``one_sided``, why left and right are
        not exchanged, or "".
    """
    case = _case(params, context)
    if case is None:
        return {"missing": True}
    from meddl.augmentation.known import transform

    plan = AugmentationPlan.from_dict(params["plan"])
    place = {"axis": int(params["axis"]), "index": int(params["index"]), "greatest": int(params.get("greatest", 256))}
    numbers = [int(each) for each in params.get("numbers", range(6))]
    made = []
    for done, number in enumerate(numbers):
        context.progress(done / len(numbers), "Preview")
        context.raise_if_cancelled()
        with _one_thread():
            one = case.preview(plan, int(params["seed"]), number, **place, cancelled=context.cancelled)
        titles = [transform(step.transform, "The plan").title for step in one.draw.steps]
        made.append(
            {
                "images": dict(one.sample.images),
                "labels": one.sample.labels,
                "draw": one.draw.to_dict(),
                "realism": one.realism.to_dict(),
                "happened": titles,
            }
        )
    source = case.source(**place)
    return {
        "missing": False,
        "source": {"images": dict(source.images), "labels": source.labels},
        "samples": made,
        "ranges": {name: list(ends) for name, ends in case.ranges.items()},
        "segments": case.plain_segments,
        "one_sided": case.one_sided,
    }


def make_variant(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return a whole variant.

    Args:
        params: ``case`` and, where the worker may not have it, ``sample``, as of :func:`preview_variants`; ``draw`` as
            :meth:`meddl.augmentation.Draw.to_dict` tells it, or ``plan``, ``seed`` and ``number`` (of the preview's
            samples) to draw it.

    Returns:
        ``missing``: the case has to be sent. Else ``images``, ``labels`` (on the first image's grid, or None) with
        ``segments``, ``draw``, ``realism`` and ``notes``.
    """
    from meddl.augmentation.applying import replay
    from meddl.augmentation.draw import Draw
    from meddl.augmentation.guard import compare

    case = _case(params, context)
    if case is None:
        return {"missing": True}
    if "draw" in params:
        drawn = Draw.from_dict(params["draw"])
    else:
        drawn = case.draw(AugmentationPlan.from_dict(params["plan"]), int(params["seed"]), int(params["number"]))
    context.progress(0.1, "Making the variant")
    made = replay(case.sample, drawn, cancelled=context.cancelled)
    context.progress(0.8, "Comparing it with its source")
    context.raise_if_cancelled()
    realism = compare(case.sample, made, case.segments, exchanged=drawn.exchanges_sides)
    return {
        "missing": False,
        "images": dict(made.images),
        "labels": made.labels,
        "segments": case.plain_segments,
        "draw": drawn.to_dict(),
        "realism": realism.to_dict(),
        "notes": [*drawn.notes, *realism.warnings],
    }


def augment(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Make variants of cases: added to the dataset they are in, or exported with them as a new one.

    Args:
        params: ``source`` (a dataset that MedDL has made, a list or a folder), ``plan``, ``count``, ``seed``; of a list
            or folder ``output``, ``export`` (:meth:`meddl.datasets.ExportOptions.to_dict`), and if wanted ``pattern``
            and ``key``.

    Returns:
        What :meth:`meddl.augmentation.variants.VariantSummary.to_dict` tells, and ``export``, of a new dataset what
        :meth:`meddl.datasets.ExportSummary.to_dict` tells, else None.
    """
    from meddl.augmentation.variants import VariantOptions, augment_cases, augment_dataset
    from meddl.datasets import collect_cases
    from meddl.datasets.manifest import MANIFEST
    from meddl.datasets.options import ExportOptions

    source = Path(params["source"])
    options = VariantOptions(AugmentationPlan.from_dict(params["plan"]), int(params["count"]), int(params["seed"]))
    line: dict[str, Any] = {"progress": context.progress, "cancelled": context.cancelled, "log": context.log}
    if (source / MANIFEST).is_file():
        return {**augment_dataset(source, options, **line).to_dict(), "export": None}
    output = Path(params["output"])
    context.progress(0.0, "Looking for cases")
    cases = collect_cases(source, pattern=str(params.get("pattern", "")), exclude=(output,))
    export = ExportOptions.from_dict(params["export"])
    key = Path(params["key"]) if params.get("key") else None
    summary, made = augment_cases(cases, output, export, options, key=key, **line)
    return {**made.to_dict(), "export": summary.to_dict()}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch use one thread: for a slice, waking others takes longer than the work."""
    import torch

    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def _case(params: dict[str, Any], context: JobContext) -> PreviewCase | None:
    """Return the case, kept or sent; None where it is neither. One is kept: they are large."""
    name, sent = str(params["case"]), params.get("sample")
    if sent is None:
        known, case = context.cache.get_or_create(_KEPT, lambda: ("", None)) if _KEPT in context.cache else ("", None)
        return case if known == name else None
    context.progress(0.0, "Looking at the image")
    context.cache.discard(_KEPT)
    return context.cache.get_or_create(_KEPT, lambda: (name, _looked_at(sent)))[1]


def _looked_at(sent: dict[str, Any]) -> PreviewCase:
    import numpy as np

    from meddl.augmentation.layers import in_few_layers
    from meddl.augmentation.preview_case import PreviewCase
    from meddl.augmentation.sample import Sample
    from meddl.augmentation.sides import sides_of_segments
    from meddl.volume import Segment

    def kept(volume: Any) -> Any:
        # What was sent lies in memory that both processes share, of which there is little.
        return volume if volume is None else volume.with_array(np.array(volume.array))

    segments = tuple(Segment(**{**each, "color": tuple(each["color"])}) for each in sent.get("segments") or ())
    labels = sent.get("labels")
    if labels is not None:
        labels, segments = in_few_layers(kept(labels), segments)
    sides = sides_of_segments(segments) if labels is not None else None
    return PreviewCase(
        Sample({name: kept(each) for name, each in sent["images"].items()}, labels, sides=sides), segments
    )
