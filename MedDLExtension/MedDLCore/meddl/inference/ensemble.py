"""Several models asked about the same case: the mean of what they answer, and how much they differ.

After Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles".
"""

from __future__ import annotations

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
from meddl.inference.strongest import strongest
from meddl.inference.tasks.segmentation import count_voxels
from meddl.inference.uncertainty import UncertaintyAccumulator, class_sentence, volume_sentence
from meddl.models import class_names

if TYPE_CHECKING:
    import torch

    from meddl.models import ModelBundle, TrustStore
    from meddl.volume import Volume

THRESHOLD = 0.5
"""From which mean probability on a voxel belongs to a structure that may overlap with others."""


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
            tuple((segment.name, segment.layer) for segment in bundle.segments) or class_names(bundle)
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
        classified = [answer for answer in answers if isinstance(answer, ClassificationPrediction)]
        if classified:
            return _mean_classes(classified, provenance)
        segmented = [answer for answer in answers if isinstance(answer, SegmentationPrediction)]
        return _mean_segmentation(segmented, provenance, chosen.probabilities)


def _mean_classes(answers: Sequence[ClassificationPrediction], provenance: dict[str, Any]) -> ClassificationPrediction:
    first = answers[0]
    names = [each.name for each in first.classes]

    def measure(probabilities: torch.Tensor) -> dict[str, float]:
        return dict(zip(names, probabilities.tolist(), strict=True))

    accumulator = UncertaintyAccumulator(measure, exclusive=first.exclusive)
    for answer in answers:
        accumulator.add(np.array([each.probability for each in answer.classes]))
    classes = tuple(
        replace(each, probability=round(value, 6))
        for each, value in zip(first.classes, accumulator.mean.tolist(), strict=True)
    )
    sentence = class_sentence(accumulator, "models")
    provenance["notes"].append(sentence)
    uncertainty = Uncertainty("ensemble", len(answers), None, _rounded(accumulator, 6), sentence)
    return replace(first, classes=classes, provenance=provenance, uncertainty=uncertainty, calibrated=False)


def _mean_segmentation(
    answers: Sequence[SegmentationPrediction], provenance: dict[str, Any], keep_maps: bool
) -> SegmentationPrediction:
    first = answers[0]
    overlapping = first.labels.channels > 1
    each_volumes = iter(answers)

    def measure(_: torch.Tensor) -> dict[str, float]:
        """Take what each model measured: its labels were finished (largest component, say), the mean's are not."""
        volumes = next(each_volumes).volumes_ml
        return {segment.name: volumes.get(segment.name, 0.0) for segment in first.segments}

    accumulator = UncertaintyAccumulator(measure, exclusive=not overlapping)
    for answer in answers:
        accumulator.add(_with_background(answer, overlapping))
    mean = accumulator.mean
    labels = np.zeros(first.labels.array.shape, first.labels.array.dtype, order="F")
    if overlapping:
        channels = {segment.name: index for index, segment in enumerate(first.segments[: len(mean)])}
        for segment, probability in zip(first.segments, mean.numpy(), strict=False):
            labels[segment.layer][probability >= THRESHOLD] = segment.label
    else:
        channels = {segment.name: segment.label for segment in first.segments if segment.label < len(mean)}
        labels[0] = strongest(mean)[0].numpy()
    sentence = volume_sentence(accumulator, "models", channels, threshold=THRESHOLD)
    provenance["notes"].append(sentence)
    voxels = count_voxels(labels, first.segments)
    return SegmentationPrediction(
        first.labels.with_array(labels),
        first.segments,
        voxels,
        {name: round(count * first.labels.voxel_volume_ml, 3) for name, count in voxels.items()},
        provenance,
        first.labels.with_array(mean[0 if overlapping else 1 :].numpy()) if keep_maps else None,
        Uncertainty(
            "ensemble",
            len(answers),
            first.labels.with_array(accumulator.entropy().numpy()[None]),
            _rounded(accumulator, 3),
            sentence,
        ),
    )


def _with_background(answer: SegmentationPrediction, overlapping: bool) -> np.ndarray:
    """Return a model's probabilities ``(C, I, J, K)``; where structures compete, the background is among them."""
    assert answer.probabilities is not None  # predict() asked for them
    maps = answer.probabilities.array.astype(np.float32, copy=False)
    return maps if overlapping else np.concatenate([np.clip(1.0 - maps.sum(axis=0, keepdims=True), 0.0, 1.0), maps])


def _rounded(accumulator: UncertaintyAccumulator, digits: int) -> dict[str, tuple[float, float]]:
    return {name: (round(low, digits), round(high, digits)) for name, (low, high) in accumulator.intervals().items()}


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
