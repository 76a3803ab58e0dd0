"""The job that writes a report, so that a panel need not draw pictures in Slicer's own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddl.jobs import JobContext

WRITE_REPORT = "meddl.saliency.report.task:write_report_file"


def write_report_file(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Write a report of an explanation; see :func:`meddl.saliency.report.write_report`.

    Args:
        params: ``prediction``, ``attributions``, ``agreement`` and ``counterfactuals`` as ``run_explanation`` returned
            them (``prediction`` may be left out: of it the provenance of the maps is told), ``image`` (volume: the
            channels that were explained), ``paths`` (of .html or .pdf files), and if wanted ``labels`` (volume) with
            ``segments`` (dicts), ``channels`` (names) and ``threshold``.
        context: progress.

    Returns:
        ``files``: those that were written.
    """
    from meddl.inference.prediction import ClassificationPrediction, prediction_from_dict
    from meddl.saliency.attribution import Attribution, Measure
    from meddl.saliency.colors import DEFAULT_THRESHOLD
    from meddl.saliency.explanation import Explanation
    from meddl.saliency.report import write_report
    from meddl.volume import Segment

    context.progress(0.0, "Writing the report")
    attributions = tuple(Attribution.from_dict(each) for each in params["attributions"])
    agreement, counterfactuals = (
        tuple(Measure.from_dict(each) for each in params.get(name) or ()) for name in ("agreement", "counterfactuals")
    )
    if params.get("prediction"):
        prediction = prediction_from_dict(params["prediction"])
    else:
        prediction = ClassificationPrediction((), dict(attributions[0].provenance) if attributions else {})
    segmentation = None
    if params.get("labels") is not None:
        segments = tuple(Segment(**{**each, "color": tuple(each["color"])}) for each in params["segments"])
        segmentation = (params["labels"], segments)
    files = write_report(
        Explanation(prediction, attributions, agreement, counterfactuals),
        params["image"],
        [Path(each) for each in params["paths"]],
        segmentation=segmentation,
        channels=params.get("channels") or (),
        threshold=params.get("threshold", DEFAULT_THRESHOLD),
    )
    context.progress(1.0, "Report written")
    return {"files": list(files)}
