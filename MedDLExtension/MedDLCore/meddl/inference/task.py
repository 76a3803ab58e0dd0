"""The inference job: what a runner calls, in this process or in a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meddl.inference.device import resolve_device
from meddl.inference.predictor import Predictor
from meddl.jobs import JobContext
from meddl.models import TrustStore, resolve_model

RUN_INFERENCE = "meddl.inference.task:run_inference"


def run_inference(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run a model on a volume.

    Args:
        params: ``model`` (catalog id, folder or zip), ``volume`` (:class:`meddl.volume.Volume`), ``device``
            (default ``auto``) and ``trust_file`` (default: the user's own store).
        context: progress, cancel, and the cache that keeps the loaded model for the next job.

    Returns:
        :meth:`SegmentationPrediction.to_dict`.
    """
    context.progress(0.0, "Loading the model")
    bundle = resolve_model(str(params["model"]))
    device = str(resolve_device(params.get("device", "auto")))
    trust = TrustStore(Path(params["trust_file"])) if params.get("trust_file") else TrustStore()
    # The digest is part of the key: a model that changed on disk, or lost its trust, is never served from the cache.
    # So is the folder, which a predictor goes on reading from.
    key = ("predictor", bundle.path, bundle.digest, device, trust.is_trusted(bundle))
    predictor = context.cache.get_or_create(key, lambda: Predictor(bundle, device, trust))
    context.raise_if_cancelled()
    prediction = predictor.predict(params["volume"], progress=context.progress, cancelled=context.cancelled)
    return prediction.to_dict()
