"""Several models asked about the same case: the mean of what they answer, and how much they differ.

After Lakshminarayanan et al. 2017, "Simple and scalable predictive uncertainty estimation using deep ensembles".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.inference.joining import check_joined, joined_name
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
from meddl.inference.tasks.input_image import first_axis_fastest
from meddl.inference.tasks.segmentation import count_voxels
from meddl.inference.uncertainty import UncertaintyAccumulator, class_sentence, volume_sentence

if TYPE_CHECKING:
    from meddl.models import ModelBundle, TrustStore
    from meddl.volume import Volume

THRESHOLD = 0.5
"""From which mean probability on a voxel belongs to a structure that may overlap with others."""


class Ensemble:
    """Runs models of one task and the same structures (or classes) one after the other and joins their answers.

    Answers are added up as they come: the probabilities of one model and their mean are in memory, however many models
    there are. A voxel belongs to the structure with the greatest mean probability, background included; structures that
    may overlap are decided on one by one, at 0.5.

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
        check_joined(bundles)
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
        mean = _Mean()
        count, told = len(self._predictors), progress or silent
        for number, predictor in enumerate(self._predictors):

            def part(fraction: float, text: str, number: int = number) -> None:
                told((number + fraction) / count, f"Model {number + 1} of {count}: {text}")

            mean.add(
                predictor.predict(
                    images,
                    frames=frames,
                    options=replace(chosen, probabilities=True),
                    progress=part,
                    cancelled=cancelled or never,
                    log=log,
                )
            )
        return mean.prediction(chosen.probabilities)


class _Mean:
    """Adds answers up, and lets go of their maps at once."""

    def __init__(self) -> None:
        self._first: Prediction | None = None
        self._accumulator: UncertaintyAccumulator | None = None
        self._records: list[dict[str, Any]] = []
        self._measured: dict[str, float] = {}

    def add(self, answer: Prediction) -> None:
        self._records.append(dict(answer.provenance))
        if isinstance(answer, ClassificationPrediction):
            self._add_classes(answer)
        else:
            assert isinstance(answer, SegmentationPrediction)
            self._add_segmentation(answer)

    def prediction(self, keep_maps: bool) -> Prediction:
        provenance = _joined_provenance(self._records)
        first, accumulator = self._first, self._accumulator
        assert accumulator is not None
        if isinstance(first, ClassificationPrediction):
            return _mean_classes(first, accumulator, provenance)
        assert isinstance(first, SegmentationPrediction)
        return _mean_segmentation(first, accumulator, provenance, keep_maps)

    def _add_classes(self, answer: ClassificationPrediction) -> None:
        if self._first is None:
            self._first = answer
            self._accumulator = UncertaintyAccumulator(lambda _: self._measured, exclusive=answer.exclusive)
        first, accumulator = self._first, self._accumulator
        assert isinstance(first, ClassificationPrediction) and accumulator is not None
        self._measured = {each.name: each.probability for each in answer.classes}
        names = [each.name for each in first.classes]
        if (
            set(self._measured) != set(names)
            or len(answer.classes) != len(names)
            or first.exclusive != answer.exclusive
        ):
            raise ModelError("The models answered with different classes, so their answers cannot be joined.")
        accumulator.add(np.array([self._measured[name] for name in names]))

    def _add_segmentation(self, answer: SegmentationPrediction) -> None:
        overlapping = answer.labels.channels > 1
        if self._first is None:
            self._first = replace(answer, probabilities=None)
            self._accumulator = UncertaintyAccumulator(lambda _: self._measured, exclusive=not overlapping)
        first, accumulator = self._first, self._accumulator
        assert isinstance(first, SegmentationPrediction) and accumulator is not None
        # What each model measured: its labels were finished (largest component, say), the mean's are not.
        self._measured = {segment.name: answer.volumes_ml.get(segment.name, 0.0) for segment in first.segments}
        accumulator.add(_in_order_of(first, answer, overlapping))


def _mean_classes(
    first: ClassificationPrediction, accumulator: UncertaintyAccumulator, provenance: dict[str, Any]
) -> ClassificationPrediction:
    classes = tuple(
        replace(each, probability=round(value, 6))
        for each, value in zip(first.classes, accumulator.mean.tolist(), strict=True)
    )
    sentence = class_sentence(accumulator, "models")
    provenance["notes"].append(sentence)
    uncertainty = Uncertainty("ensemble", accumulator.passes, None, _rounded(accumulator, 6), sentence)
    return replace(first, classes=classes, provenance=provenance, uncertainty=uncertainty, calibrated=False)


def _mean_segmentation(
    first: SegmentationPrediction, accumulator: UncertaintyAccumulator, provenance: dict[str, Any], keep_maps: bool
) -> SegmentationPrediction:
    overlapping = first.labels.channels > 1
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
        first.labels.with_array(first_axis_fastest(mean[0 if overlapping else 1 :].numpy())) if keep_maps else None,
        Uncertainty(
            "ensemble",
            accumulator.passes,
            first.labels.with_array(first_axis_fastest(accumulator.entropy().numpy()[None])),
            _rounded(accumulator, 3),
            sentence,
        ),
    )


def _in_order_of(first: SegmentationPrediction, answer: SegmentationPrediction, overlapping: bool) -> np.ndarray:
    """Return a model's probabilities ``(C, I, J, K)``, its structures in the order of the first model's.

    Where structures compete, the background is among them, at 0.
    """
    assert answer.probabilities is not None  # predict() asked for them
    maps = answer.probabilities.array.astype(np.float32, copy=False)
    own = {segment.name: segment.layer if overlapping else segment.label - 1 for segment in answer.segments}
    wanted = {segment.name: segment.layer if overlapping else segment.label - 1 for segment in first.segments}
    # What a model finds without having named it has no place among the channels.
    order = [own.get(name, -1) for name, _ in sorted(wanted.items(), key=lambda each: each[1]) if name in own]
    if len(order) != len(maps) or sorted(order) != list(range(len(maps))):
        order = list(range(len(maps)))
    if not overlapping:
        joined = np.empty((len(maps) + 1, *maps.shape[1:]), np.float32)
        joined[0] = 1.0
        for place, channel in enumerate(order):
            joined[1 + place] = maps[channel]
            joined[0] -= maps[channel]
        np.clip(joined[0], 0.0, 1.0, out=joined[0])
        return joined
    return maps if order == sorted(order) else maps[order]


def _rounded(accumulator: UncertaintyAccumulator, digits: int) -> dict[str, tuple[float, float]]:
    return {name: (round(low, digits), round(high, digits)) for name, (low, high) in accumulator.intervals().items()}


def _joined_provenance(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first model's record with all models named in it."""
    joined = dict(records[0])
    models = [record["model"] for record in records]
    joined["models"] = models
    joined["model"] = {
        **models[0],
        "name": joined_name([str(model["name"]) for model in models]),
        **{name: " + ".join(dict.fromkeys(str(model[name]) for model in models)) for name in ("version", "license")},
        "sha256": "+".join(str(model["sha256"]) for model in models),
    }
    for name in ("notes", "domain"):
        joined[name] = list(dict.fromkeys(line for record in records for line in record.get(name, ())))
    joined["execution"] = _joined_execution([record["execution"] for record in records])
    joined["times_s"] = {"total": round(sum(float(record["times_s"].get("total", 0.0)) for record in records), 3)}
    return joined


def _joined_execution(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return how the models ran: where, added up, and what any of them had to give up."""
    joined = dict(reports[0])
    for name in ("engine", "precision", "device"):
        joined[name] = " + ".join(dict.fromkeys(str(report[name]) for report in reports))
    for name in ("windows", "skipped_windows"):
        joined[name] = sum(int(report[name]) for report in reports)
    for name in ("rungs", "remarks"):
        joined[name] = list(dict.fromkeys(line for report in reports for line in report.get(name, ())))
    return joined
