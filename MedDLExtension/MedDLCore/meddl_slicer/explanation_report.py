"""A report of maps in the scene: what the job that writes it needs to know, read from their nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from meddl.errors import VolumeError

from meddl_slicer import nodes, provenance
from meddl_slicer.evaluation_run import labels_of
from meddl_slicer.explanation_maps import SOURCE_ROLE, MapView, maps_of, threshold_of

WRITE_REPORT = "meddl.saliency.report.task:write_report_file"


def same_question(view: MapView) -> list[MapView]:
    """Return the maps of a report about ``view``: itself, then the others of the same image, model and target."""
    source, model = view.node.GetNodeReference(SOURCE_ROLE), _model(view)
    others = [
        one
        for one in maps_of(source)
        if one.node is not view.node and one.target == view.target and _model(one) == model
    ]
    return [view, *others]


def report_params(
    views: Sequence[MapView],
    paths: Sequence[Path],
    segmentation: slicer.vtkMRMLSegmentationNode | None = None,
    prediction: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the parameters of the job :data:`WRITE_REPORT`.

    Args:
        views: at least one, all of the same image.
        paths: of .html or .pdf files.
        segmentation: outlined in the pictures.
        prediction: the model's answer, where it is still known.

    Raises:
        VolumeError: the image is gone, or an image or the segmentation cannot be read.
    """
    source = views[0].node.GetNodeReference(SOURCE_ROLE)
    if source is None:
        raise VolumeError("The image that was explained is no longer in the scene, so no report can be written.")
    params: dict[str, Any] = {
        "attributions": [attribution_of(view) for view in views],
        "agreement": list(views[0].agreement) if len(views) > 1 else [],
        "counterfactuals": list(views[0].counterfactuals),
        "image": nodes.volume_from_node(source),
        "paths": [Path(path) for path in paths],
        "threshold": threshold_of(views[0].node),
    }
    if segmentation is not None:
        params["labels"], params["segments"] = labels_of(segmentation, source)
    if prediction is not None:
        params["prediction"] = dict(prediction)
    return params


def attribution_of(view: MapView) -> dict[str, Any]:
    """Return a map as :meth:`meddl.saliency.attribution.Attribution.to_dict` would."""
    return {
        "method": view.method,
        "map": nodes.volume_from_node(view.node),
        "target": view.target,
        "score": view.score,
        "signed": view.signed,
        "channels": None,
        "facts": view.facts,
        "notes": list(view.notes),
        "measures": [dict(each) for each in view.measures],
        "anatomy": [dict(each) for each in view.anatomy],
        "provenance": provenance.read(view.node) or {},
    }


def _model(view: MapView) -> str:
    return provenance.model_title(provenance.read(view.node) or {})
