"""The job that compares a segmentation with a reference. Runs in the worker, where there is no Slicer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meddl.jobs import JobContext

EVALUATE = "meddl_slicer.evaluation_task:evaluate"


def evaluate(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Compare two segmentations.

    Args:
        params: ``prediction`` and ``reference`` (label maps, one channel per layer), ``segments`` and
            ``reference_segments`` (what their labels mean).

    Returns:
        :meth:`meddl.evaluation.SegmentationAgreement.to_dict`.
    """
    from meddl.evaluation import compare_segmentations
    from meddl.volume import Segment

    context.progress(0.0, "Comparing with the reference")
    described = [
        [Segment(**{**segment, "color": tuple(segment["color"])}) for segment in params[name]]
        for name in ("segments", "reference_segments")
    ]
    return compare_segmentations(params["prediction"], params["reference"], *described).to_dict()
