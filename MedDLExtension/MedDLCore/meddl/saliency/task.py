"""Jobs of an explanation, as a panel runs them in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.jobs import JobContext

if TYPE_CHECKING:
    from meddl.saliency.explain import Explainer
    from meddl.saliency.options import ExplainOptions

RUN_EXPLANATION = "meddl.saliency.task:run_explanation"
LIST_METHODS = "meddl.saliency.task:list_methods"


def run_explanation(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run a model on an image and explain its answer.

    Args:
        params: ``model`` (id or folder), ``volumes`` (input channels in order), ``methods`` (ids), and if wanted
            ``target`` (:meth:`Target.to_dict`), ``options`` (:meth:`ExplainOptions.to_dict`), ``reference`` (volume),
            ``labels`` (volume) with ``segments`` (dicts of :class:`meddl.volume.Segment`), ``truth`` (volume),
            ``faithfulness`` (ids), ``counterfactual`` and ``lenient`` (bool) and ``trust_file``.
        context: progress, cancel, and the cache that keeps the loaded model for the next explanation.

    Returns:
        The :class:`meddl.saliency.explanation.Explanation` as plain data and volumes.
    """
    from meddl.saliency.options import ExplainOptions
    from meddl.saliency.target import Target
    from meddl.volume import Segment

    options = ExplainOptions.from_dict(params.get("options") or {})
    explainer = _explainer(params, options, context)
    segmentation = None
    if params.get("labels") is not None:
        segments = tuple(Segment(**{**each, "color": tuple(each["color"])}) for each in params["segments"])
        segmentation = (params["labels"], segments)
    why = explainer.explain(
        params["volumes"],
        params["methods"],
        Target.from_dict(params["target"]) if params.get("target") else None,
        options=options,
        reference=params.get("reference"),
        segmentation=segmentation,
        truth=params.get("truth"),
        faithfulness=params.get("faithfulness") or (),
        counterfactual=bool(params.get("counterfactual")),
        lenient=bool(params.get("lenient")),
        progress=context.progress,
        cancelled=context.cancelled,
    )
    return why.to_dict()


def list_methods(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Return ``methods``: ``id``, ``title``, ``source``, ``signed`` and ``unfit`` (why it cannot work, or "") of each.

    Args:
        params: ``model``, and if wanted ``options`` and ``trust_file``.
        context: keeps the loaded model for the explanation.
    """
    from meddl.saliency.methods.known import METHODS
    from meddl.saliency.options import ExplainOptions

    options = ExplainOptions.from_dict(params.get("options") or {})
    context.progress(0.0, "Loading the model")
    unfit = _explainer(params, options, context).offered()
    listed = [
        {"id": id, "title": each.title, "source": each.source, "signed": each.signed, "unfit": unfit[id]}
        for id, each in METHODS.items()
    ]
    return {"methods": listed}


def _explainer(params: dict[str, Any], options: ExplainOptions, context: JobContext) -> Explainer:
    from meddl.models import TrustStore, resolve_model
    from meddl.saliency.explain import Explainer

    bundle = resolve_model(str(params["model"]))
    trust_file = params.get("trust_file")
    trust = TrustStore(Path(trust_file)) if trust_file else TrustStore()
    # As of a prediction: a model that changed on disk, or lost its trust, is never served from the cache.
    key = ("explainer", bundle.path, bundle.digest, trust.is_trusted(bundle), options.device)
    return context.cache.get_or_create(key, lambda: Explainer(bundle, options, trust))
