"""Several models asked about the same case: the mean of what they answer, and how much they differ.

After Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.inference.options import RunOptions
from meddl.inference.prediction import (
    ClassificationPrediction,
    Prediction,
    SegmentationPrediction,
    Uncertainty,
)
from meddl.inference.predictor import Predictor
from meddl.inference.run import Cancelled, Log, Progress, never, silent
from meddl.inference.tasks.segmentation import count_voxels

if TYPE_CHECKING:
    from meddl.models import ModelBundle, TrustStore
    from meddl.volume import Volume


class Ensemble:
    """Runs models of one task and the same structures (or classes) one after the other and joins their answers.

    A voxel belongs to the structure with the greatest mean probability, background included; structures that may
    overlap are decided on one by one, at 0.5.

    Args:
        bundles: two models or more, for segmentation or classification.
        options: how to run each.
        trust: where the user's consents are kept.

    Raises:
        UsageError: there are fewer than two.
        ModelError: they answer different questions.
    """

    def __init__(
        self,
        bundles: Sequence[ModelBundle],
        options: RunOptions | str | None = None,
        trust: TrustStore | None = None,
    ) -> None:
        if len(bundles) < 2:
            raise UsageError("An ensemble takes two models or more.")
        tasks = sorted({bundle.task for bundle in bundles})
        if len(tasks) > 1 or tasks[0] not in ("segmentation", "classification"):
            raise ModelError(
                f"Models for {' and '.join(tasks)} cannot be joined; those for segmentation, or those for "
                "classification, can."
            )
        questions = {
            tuple((segment.name, segment.layer) for segment in bundle.segments) or class_key(bundle)
            for bundle in bundles
        }
        if len(questions) > 1:
            raise ModelError("These models look for different things, so their answers cannot be joined.")
        self._predictors = [Predictor(bundle, options, trust) for bundle in bundles]

    def predict(
        self,
        images: Volume | Sequence[Volume],
        *,
        frames: Sequence[Volume] = (),
        options: RunOptions | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        log: Log | None = None,
    ) -> Prediction:
        """Run all models on one case; arguments as for :meth:`Predictor.predict`."""
        chosen = options or self._predictors[0].options
        if chosen.uncertainty != "none":
            raise UsageError("An ensemble tells its own uncertainty; leave the other ways out.")
        count, told = len(self._predictors), progress or silent
        answers: list[Prediction] = []
        for number, predictor in enumerate(self._predictors):

            def part(fraction: float, text: str, number: int = number) -> None:
                told((number + fraction) / count, f"Model {number + 1} of {count}: {text}")

            answers.append(
                predictor.predict(
                    images,
                    frames=frames,
                    options=replace(chosen, probabilities=True),
                    progress=part,
                    cancelled=cancelled or never,
                    log=log,
                )
            )
        provenance = _joined_provenance(answers)
        if all(isinstance(answer, ClassificationPrediction) for answer in answers):
            return _mean_classes(answers, provenance)
        return _mean_segmentation(answers, provenance, chosen.probabilities)


def class_key(bundle: ModelBundle) -> tuple[Any, ...]:
    """Return what a classifier tells apart."""
    from meddl.models import class_names

    return class_names(bundle)


def _mean_classes(answers: Sequence[Any], provenance: dict[str, Any]) -> ClassificationPrediction:
    first = answers[0]
    table = np.array([[each.probability for each in answer.classes] for answer in answers])
    mean = table.mean(axis=0)
    classes = tuple(
        replace(each, probability=round(float(value), 6)) for each, value in zip(first.classes, mean, strict=True)
    )
    intervals = {
        each.name: (round(float(low), 6), round(float(high), 6))
        for each, low, high in zip(first.classes, table.min(axis=0), table.max(axis=0), strict=True)
    }
    best = max(classes, key=lambda each: each.probability)
    low, high = intervals[best.name]
    sentence = f"Of {len(answers)} models the probability of {best.name} lay between {low:.0%} and {high:.0%}."
    provenance["notes"].append(sentence)
    uncertainty = Uncertainty("ensemble", len(answers), None, intervals, sentence)
    return replace(first, classes=classes, provenance=provenance, uncertainty=uncertainty, calibrated=False)


def _mean_segmentation(
    answers: Sequence[Any], provenance: dict[str, Any], keep_maps: bool
) -> SegmentationPrediction:
    first = answers[0]
    maps = first.probabilities.array.astype(np.float32).copy()
    for answer in answers[1:]:
        maps += answer.probabilities.array
    maps /= len(answers)
    overlapping = first.labels.channels > 1
    if overlapping:
        labels = np.zeros(first.labels.array.shape, first.labels.array.dtype, order="F")
        for segment, each in zip(first.segments, maps, strict=False):
            labels[segment.layer][each >= 0.5] = segment.label
    else:
        background = np.clip(1.0 - maps.sum(axis=0), 0.0, 1.0)
        numbers = np.array([0, *(segment.label for segment in first.segments[: len(maps)])])
        winner = np.concatenate([background[None], maps]).argmax(axis=0)
        labels = np.asfortranarray(numbers[winner].astype(first.labels.array.dtype))[None]
    voxels = count_voxels(labels, first.segments)
    voxel_ml = first.labels.voxel_volume_ml
    intervals = {
        segment.name: (
            min(answer.volumes_ml.get(segment.name, 0.0) for answer in answers),
            max(answer.volumes_ml.get(segment.name, 0.0) for answer in answers),
        )
        for segment in first.segments
    }
    widest = max(intervals, key=lambda name: intervals[name][1] - intervals[name][0], default="")
    sentence = f"{len(answers)} models were asked."
    if widest:
        low, high = intervals[widest]
        sentence = f"Of {len(answers)} models the volume of {widest} lay between {low:.1f} and {high:.1f} ml."
    provenance["notes"].append(sentence)
    entropy = first.labels.with_array(_entropy(maps, overlapping)[None])
    return SegmentationPrediction(
        first.labels.with_array(labels),
        first.segments,
        voxels,
        {name: round(count * voxel_ml, 3) for name, count in voxels.items()},
        provenance,
        first.probabilities.with_array(maps) if keep_maps else None,
        Uncertainty("ensemble", len(answers), entropy, intervals, sentence),
    )


def _entropy(maps: np.ndarray, overlapping: bool) -> np.ndarray:
    """Return ``(I, J, K)`` float32 from 0 to 1, as :meth:`UncertaintyAccumulator.entropy` does."""
    from scipy.special import entr

    if overlapping:
        return np.clip(((entr(maps) + entr(1 - maps)) / math.log(2)).max(axis=0), 0, 1).astype(np.float32)
    background = np.clip(1.0 - maps.sum(axis=0), 0.0, 1.0)
    total = entr(background) + entr(np.clip(maps, 0, 1)).sum(axis=0)
    return np.clip(total / math.log(len(maps) + 1), 0, 1).astype(np.float32)


def _joined_provenance(answers: Sequence[Prediction]) -> dict[str, Any]:
    """Return the first model's record with all models named in it."""
    joined = dict(answers[0].provenance)
    models = [answer.provenance["model"] for answer in answers]
    joined["models"] = models
    joined["model"] = {
        **models[0],
        "name": " + ".join(dict.fromkeys(str(model["name"]) for model in models)),
        "sha256": "+".join(str(model["sha256"]) for model in models),
    }
    joined["notes"] = list(dict.fromkeys(note for answer in answers for note in answer.provenance["notes"]))
    joined["times_s"] = {
        "total": round(sum(float(answer.provenance["times_s"].get("total", 0.0)) for answer in answers), 3)
    }
    return joined
