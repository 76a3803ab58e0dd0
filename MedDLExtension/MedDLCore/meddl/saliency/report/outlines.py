"""Outlines over the pictures: structures, boxes and points, asked about at places in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from meddl.inference.prediction import Box, DetectionPrediction, LandmarkPrediction, Prediction, SegmentationPrediction
from meddl.volume import Segment, Volume

MOST = 8
"""More outlines than these nobody can tell apart."""

_POINT_MM = 3.0
_COLORS = ((0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26), (0.80, 0.47, 0.65))
"""Okabe and Ito's, told apart by color-blind people, too."""


@dataclass(frozen=True, eq=False)
class Outline:
    """A shape in the patient.

    Attributes:
        name: for the legend.
        color: 0 to 1.
        contains: says of places ``(..., 3)`` in RAS mm whether they lie in it.
    """

    name: str
    color: tuple[float, float, float]
    contains: Callable[[np.ndarray], np.ndarray]


def outlines_of(prediction: Prediction, given: tuple[Volume, Sequence[Segment]] | None = None) -> tuple[Outline, ...]:
    """Return the outlines that belong to an explanation.

    Args:
        prediction: what was explained: without its boxes and points nobody sees what a map is about.
        given: structures of the user, which take the place of those that the model found.
    """
    if given is None:
        return outlines_of_answer(prediction)
    found = () if isinstance(prediction, SegmentationPrediction) else outlines_of_answer(prediction)
    return (*found, *outlines_of_labels(*given))[:MOST]


def outlines_of_labels(labels: Volume, segments: Sequence[Segment]) -> tuple[Outline, ...]:
    """Return the outlines of structures that have voxels, the first of them."""
    present = [each for each in segments if bool((labels.array[each.layer] == each.label).any())]
    return tuple(Outline(each.name, each.color, _of_label(labels, each)) for each in present[:MOST])


def outlines_of_answer(prediction: Prediction) -> tuple[Outline, ...]:
    """Return the outlines of what a model found; none where its answer has no place."""
    if isinstance(prediction, SegmentationPrediction):
        return outlines_of_labels(prediction.labels, prediction.segments)
    if isinstance(prediction, DetectionPrediction):
        boxes = prediction.boxes[:MOST]
        names = [f"{box.label} {box.score:.2f}" for box in boxes]
        return tuple(
            Outline(name, _COLORS[n % len(_COLORS)], _of_box(box))
            for n, (name, box) in enumerate(zip(names, boxes, strict=True))
        )
    if isinstance(prediction, LandmarkPrediction):
        points = prediction.points[:MOST]
        return tuple(
            Outline(point.name, _COLORS[n % len(_COLORS)], _of_ball(point.position)) for n, point in enumerate(points)
        )
    return ()


def _of_label(labels: Volume, segment: Segment) -> Callable[[np.ndarray], np.ndarray]:
    inverse, layer = np.linalg.inv(labels.affine), labels.array[segment.layer]

    def contains(places: np.ndarray) -> np.ndarray:
        index = np.rint(places @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.int64)
        inside = ((index >= 0) & (index < layer.shape)).all(axis=-1)
        found = np.zeros(places.shape[:-1], dtype=bool)
        found[inside] = layer[tuple(index[inside].T)] == segment.label
        return found

    return contains


def _of_box(box: Box) -> Callable[[np.ndarray], np.ndarray]:
    def contains(places: np.ndarray) -> np.ndarray:
        along = np.abs((places - np.asarray(box.center)) @ np.asarray(box.axes))
        return np.asarray((along <= np.asarray(box.size) / 2).all(axis=-1))

    return contains


def _of_ball(center: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda places: np.asarray(((places - np.asarray(center)) ** 2).sum(axis=-1) <= _POINT_MM**2)
