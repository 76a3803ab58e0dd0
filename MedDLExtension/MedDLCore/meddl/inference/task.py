"""The inference job: what a runner calls, in this process or in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from meddl.errors import UsageError
from meddl.inference.device import resolve_device
from meddl.inference.ensemble import Ensemble
from meddl.inference.options import RunOptions
from meddl.inference.prediction import Prediction
from meddl.inference.predictor import LOADING_OPTIONS, Predictor
from meddl.jobs import JobContext
from meddl.models import ModelBundle, TrustStore, resolve_model
from meddl.volume import Volume

RUN_INFERENCE = "meddl.inference.task:run_inference"


def run_inference(params: dict[str, Any], context: JobContext) -> dict[str, Any]:
    """Run a model on one case.

    Args:
        params: ``model`` (catalog id, folder or file; a list of them is an ensemble), the images: ``volume`` or
            ``volumes`` (:class:`meddl.volume.Volume`, one per input channel) or ``frames`` (a sequence in time),
            ``options`` (:meth:`RunOptions.to_dict`; ``device`` may also stand by itself), ``reference`` (an image to
            compare a reconstruction with), ``trust_file`` (default: the user's own store) and ``cases`` (how many
            images are to come, as far as known: what takes long to prepare pays for many only).
        context: progress, cancel, and the cache that keeps the loaded model for the next job.

    Returns:
        the prediction's ``to_dict()``; its ``task`` tells which type it is of.
    """
    context.progress(0.0, "Loading the model")
    options = options_from(params)
    named = params["model"]
    bundles = [resolve_model(str(each)) for each in (named if isinstance(named, list | tuple) else [named])]
    trust = TrustStore(Path(params["trust_file"])) if params.get("trust_file") else TrustStore()
    predictor = loaded(bundles, options, trust, context, int(params.get("cases") or 1))
    context.raise_if_cancelled()
    images, frames = _images(params)
    extra = {"reference": params["reference"]} if params.get("reference") is not None else {}
    prediction: Prediction = predictor.predict(
        images,
        frames=frames,
        options=options,
        progress=context.progress,
        cancelled=context.cancelled,
        log=context.log,
        **extra,
    )
    return prediction.to_dict()


def options_from(params: dict[str, Any]) -> RunOptions:
    """Return the options in a job's parameters, with the device resolved to the one that will be used."""
    options = RunOptions.from_dict(dict(params.get("options") or {}))
    return replace(options, device=str(resolve_device(params.get("device") or options.device)))


def loaded(
    bundles: Sequence[ModelBundle], options: RunOptions, trust: TrustStore, context: JobContext, cases: int = 1
) -> Any:
    """Return a loaded :class:`Predictor` (or :class:`Ensemble`, for several) that the worker keeps for the next job."""
    # The digest is part of the key: a model that changed on disk, or lost its trust, is never served from the cache.
    # So is the folder, which a predictor goes on reading from.
    key = (
        "predictor",
        tuple((bundle.path, bundle.digest, trust.is_trusted(bundle)) for bundle in bundles),
        tuple(getattr(options, name) for name in LOADING_OPTIONS),
    )

    def make() -> Any:
        if len(bundles) > 1:
            return Ensemble(bundles, options, trust)
        return Predictor(bundles[0], options, trust, cases=cases)

    return context.cache.get_or_create(key, make)


def _images(params: dict[str, Any]) -> tuple[list[Volume], list[Volume]]:
    """Return the images of the channels, and the time frames after the first."""
    given = [name for name in ("volume", "volumes", "frames") if params.get(name) is not None]
    if len(given) != 1:
        raise UsageError("A run takes either one volume, or the volumes of its channels, or the frames of a sequence.")
    value = params[given[0]]
    volumes = [value] if isinstance(value, Volume) else list(value)
    if not volumes:
        raise UsageError("There is no image to run the model on.")
    return (volumes[:1], volumes[1:]) if given[0] == "frames" else (volumes, [])
