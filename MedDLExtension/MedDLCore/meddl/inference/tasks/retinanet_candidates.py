"""Which of a RetinaNet's many candidates a box came from, and what of the network's answer it was made of.

A candidate is one anchor: a level of the pyramid, a cell of that level's grid, one of the shapes that boxes start from,
and a class. Of those that overlap one stays as it is, so that each box is one candidate's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from meddl.inference.sliding_window import WindowRule


@dataclass(frozen=True)
class Piece:
    """What one window has to say of a candidate.

    Attributes:
        start: the window's first voxel in the prepared image, along each axis that the network sees; below 0 where the
            image is smaller than a window.
        shape: of the window, in voxels.
        cell: of the candidate, in the map that the network answers to the window.
        weight: how much of the candidate's logit is this window's; those of all windows add up to 1.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    cell: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class Candidate:
    """Where in a network's answers the logit of a box stands.

    Attributes:
        key: of the maps of classes, where the network names what it answers.
        level: of the pyramid, 0 is the finest.
        channel: of that level's map: shape of the anchor and class.
        pieces: of the windows that see it, those with the most weight first.
    """

    key: str
    level: int
    channel: int
    pieces: tuple[Piece, ...]

    def logits(self, answer: Any, piece: Piece) -> torch.Tensor:
        """Return the candidate's logits ``(B,)`` out of a network's answer to a batch of one window."""
        where: Any = (slice(None), self.channel, *piece.cell)
        return class_maps(answer, self.key)[self.level][where]


class CandidateTrace:
    """Follows a detector's choice of boxes, so that it is known afterwards which candidates they are.

    Args:
        detector: MONAI's; two of its methods are wrapped.
    """

    def __init__(self, detector: Any) -> None:
        self._detector, selector = detector, detector.box_selector
        self._rule: WindowRule | None = None
        self._chosen: list[tuple[int, int, int]] = []
        self._grids: list[tuple[int, ...]] = []
        self._shape: tuple[int, ...] = ()
        make_anchors, choose, choose_level = (
            detector.generate_anchors, selector.select_boxes_per_image, selector.select_top_score_idx_per_level
        )  # fmt: skip
        passed: list[tuple[Any, ...]] = []

        def generate_anchors(images: torch.Tensor, heads: Mapping[str, Sequence[torch.Tensor]]) -> None:
            self._shape = tuple(int(size) for size in images.shape[2:])
            self._grids = [tuple(int(size) for size in each.shape[2:]) for each in heads[detector.cls_key]]
            make_anchors(images, heads)

        def select_level(logits: torch.Tensor) -> tuple[Any, ...]:
            passed.append(choose_level(logits))
            return passed[-1]

        def select(boxes: list[torch.Tensor], logits: list[torch.Tensor], size: Sequence[int]) -> Any:
            passed.clear()
            chosen = choose(boxes, logits, size)
            self._chosen = _matched(chosen, boxes, passed, size)
            passed.clear()
            return chosen

        detector.generate_anchors = generate_anchors
        selector.select_boxes_per_image, selector.select_top_score_idx_per_level = select, select_level

    def begin(self, rule: WindowRule | None) -> None:
        """Forget the last image's; the next one is cut by this rule, or not at all."""
        self._rule, self._chosen, self._grids, self._shape = rule, [], [], ()

    def candidate(self, number: int, answered: Mapping[tuple[int, ...], Sequence[tuple[int, ...]]]) -> Candidate | None:
        """Return the candidate of the box with this number, as the detector gave them; None where it is not known.

        Args:
            answered: shapes ``(C, ...)`` of the maps that the network answers to an image of shape ``(C, ...)``.
        """
        if number >= len(self._chosen):
            return None
        level, index, label = self._chosen[number]
        shapes = self._detector.num_anchors_per_loc
        # Within a level the anchor's shape counts fastest, then the last axis of the grid.
        cell = tuple(int(at) for at in np.unravel_index(index // shapes, self._grids[level]))
        channel = index % shapes * self._detector.num_classes + label
        if self._rule is None:
            pieces: tuple[Piece, ...] = (Piece((0,) * len(cell), self._shape, cell, 1.0),)
        else:
            window = self._rule.plan(self._shape).window
            maps = next(each for shape, each in answered.items() if shape[1:] == window)
            pieces = _pieces(self._rule, self._shape, cell, [each[1:] for each in maps[: level + 1]])
        return Candidate(self._detector.cls_key, level, channel, pieces)


def class_maps(answer: Any, key: str) -> list[torch.Tensor]:
    """Return the maps of classes, one for each level, out of what a RetinaNet answers."""
    if isinstance(answer, Mapping):
        maps = answer[key]
        return list(maps) if isinstance(maps, list | tuple) else [maps]
    return list(answer[: len(answer) // 2])


def _matched(
    chosen: tuple[torch.Tensor, ...], boxes: list[torch.Tensor], passed: list[tuple[Any, ...]], size: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Return (level, index within the level, class) of each chosen box: the candidate that has its box and score."""
    import torch
    from monai.data.box_utils import clip_boxes_to_image

    levels = torch.cat([torch.full_like(index, number) for number, (index, _, _) in enumerate(passed)])
    indices = torch.cat([index for index, _, _ in passed])
    scores = torch.cat([score for _, score, _ in passed]).float()
    labels = torch.cat([label for _, _, label in passed])
    decoded = torch.cat([level[index] for level, (index, _, _) in zip(boxes, passed, strict=True)])
    decoded = torch.as_tensor(clip_boxes_to_image(decoded, size, remove_empty=False)[0]).float()
    found = []
    for box, score, label in zip(*chosen, strict=True):
        distance = (decoded - box.float()).abs().sum(dim=1) + (scores - score.float()).abs()
        best = int(torch.where(labels == label, distance, torch.inf).argmin())
        found.append((int(levels[best]), int(indices[best]), int(label)))
    return found


def _pieces(
    rule: WindowRule, shape: tuple[int, ...], cell: tuple[int, ...], grids: list[tuple[int, ...]]
) -> tuple[Piece, ...]:
    """Return what each window has to say of a cell of the last of ``grids``, as MONAI blends maps of several sizes.

    Args:
        shape: of the image.
        cell: in the blended map.
        grids: of the maps of one window, up to the level of the cell.
    """
    plan = rule.plan(shape)
    grid = grids[-1]
    scale = [size / whole for size, whole in zip(grid, plan.window, strict=True)]
    before = tuple(low for low, _ in plan.padding)
    place = [at + round(low * factor) for at, low, factor in zip(cell, before, scale, strict=True)]
    weights = _weights(rule, shape, grids)
    found = []
    for start in product(*plan.starts):
        own = tuple(at - int(first * factor) for at, first, factor in zip(place, start, scale, strict=True))
        if all(0 <= at < size for at, size in zip(own, grid, strict=True)):
            first = tuple(at - low for at, low in zip(start, before, strict=True))
            found.append(Piece(first, plan.window, own, float(weights[own])))
    total = sum(each.weight for each in found)
    shares = (Piece(each.start, each.shape, each.cell, each.weight / total) for each in found)
    return tuple(sorted(shares, key=lambda each: (-each.weight, each.start)))


def _weights(rule: WindowRule, shape: tuple[int, ...], grids: list[tuple[int, ...]]) -> np.ndarray:
    """Return how much each cell of a window counts; MONAI makes each level's weights of those of the level before."""
    from torch.nn.functional import interpolate

    from meddl.inference.sliding_window import window_weights

    plan = rule.plan(shape)
    weights = window_weights(plan, rule)
    if weights is None:
        return np.ones(grids[-1])
    weights = weights[None, None]
    for grid in grids:
        if grid != plan.window:
            weights = interpolate(weights, grid, mode="nearest-exact")
    found: np.ndarray = weights[0, 0].numpy()
    return found
