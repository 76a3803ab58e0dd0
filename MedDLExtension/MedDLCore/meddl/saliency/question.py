"""From what the user wants explained to one number of a network's answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import ModelError, UsageError
from meddl.inference.prediction import (
    Box,
    ClassificationPrediction,
    DetectionPrediction,
    LandmarkPrediction,
    Prediction,
    ReconstructionPrediction,
    SegmentationPrediction,
)
from meddl.inference.words import place_in_words
from meddl.models import class_names
from meddl.saliency.chosen import chosen_part, nearest_index, place_of
from meddl.saliency.placing import grid_of, mask_on
from meddl.saliency.target import KINDS, Target
from meddl.saliency.windows import MOST_WINDOWS, Window, windows_of
from meddl.volume import Grid

if TYPE_CHECKING:
    import torch

    from meddl.inference.sliding_window import WindowRule
    from meddl.inference.stage import Prepared
    from meddl.inference.tasks.retinanet_candidates import Candidate, Piece
    from meddl.models import ModelBundle

_NEAR = 2
"""Voxels round a box's center in which the peak that made it lies."""


@dataclass(frozen=True, eq=False)
class Question:
    """One number of an answer.

    Attributes:
        words: what it is, for instance "class brain" or "Liver where the model found it".
        channel: of the network's answer.
        sign: -1 where a single score says the opposite.
        mask: ``(i, j, k)`` bool on the prepared image's grid: the number is the sum over it; None for answers that are
            one number per image.
    """

    words: str
    channel: int
    sign: float = 1.0
    mask: np.ndarray | None = None

    @property
    def of_one_place(self) -> bool:
        """Whether the number is what the network says of one place among others."""
        return self.mask is not None and int(self.mask.sum()) == 1

    def windows(self, rule: WindowRule | None, shape: tuple[int, int, int]) -> tuple[Window, ...]:
        """Return the windows that answer it, those with most of it first; at most :data:`MOST_WINDOWS`.

        Args:
            rule: how the model cuts images; None: not at all.
            shape: of the prepared image.
        """
        if self.mask is None:
            return windows_of(None, shape, np.ones(shape, dtype=bool))
        return windows_of(rule, shape, self.mask, MOST_WINDOWS)

    def pick(self, window: Window) -> Callable[[Any], torch.Tensor]:
        """Return what takes ``(B,)`` numbers out of a network's answer to a window; those of all windows add up."""
        import torch

        channel, sign = self.channel, self.sign
        where = torch.from_numpy(window.mask) if self.mask is not None else None

        def pick(answer: Any) -> torch.Tensor:
            scores = first_of(answer)
            if where is None:
                return sign * scores.reshape(scores.shape[0], scores.shape[1], -1).mean(dim=2)[:, channel]
            return sign * scores[:, channel][:, where.to(scores.device)].sum(dim=1)

        return pick


@dataclass(frozen=True, eq=False)
class CandidateQuestion(Question):
    """The logit of a RetinaNet's box: that of the one candidate that it came from.

    Which candidate that is stays as it is, whatever becomes of the image: so the number follows the image smoothly,
    where the choice of boxes would jump. Windows are those of the detector, with the weights that it blends them with.

    Attributes:
        candidate: that the box came from.
    """

    candidate: Candidate | None = None

    @property
    def of_one_place(self) -> bool:
        return True

    def windows(self, rule: WindowRule | None, shape: tuple[int, int, int]) -> tuple[Window, ...]:
        assert self.candidate is not None
        found = []
        for piece in self.candidate.pieces:
            i, j, k = (*piece.shape, 1)[:3]  # a slice is one voxel thick
            found.append(Window(_start(piece), (i, j, k), np.broadcast_to(np.True_, (i, j, k)), piece.weight))
        return tuple(found)

    def pick(self, window: Window) -> Callable[[Any], torch.Tensor]:
        candidate = self.candidate
        assert candidate is not None
        piece = next(each for each in candidate.pieces if _start(each) == window.start)

        def pick(answer: Any) -> torch.Tensor:
            return piece.weight * candidate.logits(answer, piece)

        return pick


def first_of(answer: Any) -> torch.Tensor:
    """Return the answer itself of a network that tells more beside it, or answers at several depths."""
    while isinstance(answer, tuple | list):
        answer = answer[0]
    return answer


def ask(
    target: Target,
    prediction: Prediction,
    bundle: ModelBundle,
    prepared: Prepared,
    scores: Callable[[], torch.Tensor],
    channels: Callable[[], int],
    origin: Callable[[Box], Candidate | None] = lambda box: None,
) -> Question:
    """Return the number that ``target`` means.

    Args:
        prediction: the model's answer to the whole image.
        scores: gives the network's raw answer ``(C, i, j, k)`` on the prepared image's grid, for those that have one.
        channels: gives how many channels that answer has, which takes one window instead of all of them.
        origin: gives the candidate that a box came from; None where boxes are peaks of a map of scores.

    Raises:
        UsageError: the model's answer has no such thing.
    """
    kind = KINDS.get(prediction.task)
    if kind != target.kind:
        raise UsageError(f"The model '{bundle.name}' is for {prediction.task}: it has no {target.kind} to explain.")
    if isinstance(prediction, ClassificationPrediction):
        return _class(target, prediction, bundle)
    grid = grid_of(prepared)
    if isinstance(prediction, SegmentationPrediction):
        return _structure(target, prediction, bundle, grid, channels())
    if isinstance(prediction, DetectionPrediction):
        box = _chosen_box(target, prediction, bundle)
        # With its place: a detector may find several that are as sure.
        words = f"{box.label} (score {box.score:.2f}) at {place_in_words(np.asarray(box.center))}"
        if candidate := origin(box):
            return CandidateQuestion(words, candidate.channel, candidate=candidate)
        return Question(words, *_peak(box, bundle, grid, scores()))
    if isinstance(prediction, LandmarkPrediction):
        return _landmark(target, prediction, grid, scores())
    assert isinstance(prediction, ReconstructionPrediction)
    mask = chosen_part(target, grid)
    words = f"the image made{place_of(target)}"
    return Question(words, 0, mask=np.ones(grid.shape, dtype=bool) if mask is None else mask)


def _start(piece: Piece) -> tuple[int, int, int]:
    i, j, k = (*piece.start, 0)[:3]
    return i, j, k


def _class(target: Target, prediction: ClassificationPrediction, bundle: ModelBundle) -> Question:
    names = [each.name for each in prediction.classes]
    name = target.name or prediction.best.name
    if name not in names:
        raise UsageError(f"The model '{bundle.name}' knows no class {name!r}. Choose one of: {', '.join(names)}.")
    index = names.index(name)
    if bundle.metadata and len(names) == 2 and len(class_names(bundle)) == 1:
        return Question(f"class {name}", 0, 1.0 if index == 1 else -1.0)  # a single score for yes or no
    return Question(f"class {name}", index)


def _structure(
    target: Target, prediction: SegmentationPrediction, bundle: ModelBundle, grid: Grid, channels: int
) -> Question:
    segments = {each.name: each for each in prediction.segments}
    found = sorted(prediction.voxels, key=lambda name: -prediction.voxels[name])
    name = target.name or (found[0] if found else "")
    if name not in segments:
        known = ", ".join(segments) or "none"
        raise UsageError(f"The model '{bundle.name}' knows no structure {name!r}. Choose one of: {known}.")
    segment = segments[name]
    overlapping = prediction.labels.channels > 1
    channel = 0 if channels == 1 else segment.layer if overlapping else segment.label
    if channel >= channels:
        raise ModelError(f"The network of '{bundle.name}' has no map of its own for {name}, so it cannot be explained.")
    mask = chosen_part(target, grid)
    if mask is not None:
        return Question(f"{name}{place_of(target)}", channel, mask=mask)
    layer = prediction.labels.array[segment.layer] == segment.label
    mask = mask_on(prediction.labels.with_array(layer[None].astype(np.uint8)), grid)
    if not mask.any():
        raise UsageError(f"The model found no {name} in this image. Choose a point or a region to explain instead.")
    return Question(f"{name} where the model found it", channel, mask=mask)


def _chosen_box(target: Target, prediction: DetectionPrediction, bundle: ModelBundle) -> Box:
    """Return the box that is meant: the surest one of its kind, or the one nearest to a place."""
    known, found = class_names(bundle), {each.label for each in prediction.boxes}
    if target.name and known and target.name not in {*known, *found}:
        raise UsageError(f"The model '{bundle.name}' knows no {target.name!r}. Choose one of: {', '.join(known)}.")
    boxes = [each for each in prediction.boxes if not target.name or each.label == target.name]
    if not boxes:
        what = f"no {target.name}" if target.name else "nothing"
        raise UsageError(f"The model found {what} in this image, so there is no box to explain.")
    if target.position is not None:
        place = np.asarray(target.position)
        return min(boxes, key=lambda each: float(np.linalg.norm(each.center - place)))
    return max(boxes, key=lambda each: each.score)


def _peak(box: Box, bundle: ModelBundle, grid: Grid, scores: torch.Tensor) -> tuple[int, float, np.ndarray]:
    """Return channel, sign and mask of the peak that a box was made from."""
    names = list(class_names(bundle))
    channel = names.index(box.label) if box.label in names else 0
    heat = scores[channel].numpy()
    center = np.clip(nearest_index(tuple(float(x) for x in box.center), grid), 0, np.array(grid.shape) - 1)
    region = tuple(slice(max(int(at) - _NEAR, 0), int(at) + _NEAR + 1) for at in center)
    peak = np.unravel_index(int(heat[region].argmax()), heat[region].shape)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(part.start + int(at) for part, at in zip(region, peak, strict=True))] = True
    return channel, 1.0, mask


def _landmark(target: Target, prediction: LandmarkPrediction, grid: Grid, scores: torch.Tensor) -> Question:
    names = [each.name for each in prediction.points]
    name = target.name or names[0]
    if name not in names:
        raise UsageError(f"There is no landmark {name!r}. Choose one of: {', '.join(names)}.")
    channel = names.index(name)
    heat = scores[channel].numpy()
    mask = np.zeros(grid.shape, dtype=bool)
    mask[np.unravel_index(int(heat.argmax()), heat.shape)] = True
    return Question(f"landmark {name}", channel, mask=mask)
