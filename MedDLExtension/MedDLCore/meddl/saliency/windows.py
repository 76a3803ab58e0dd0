"""Which parts of an image a network sees at once, for explaining what it says of some of its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from meddl.inference.sliding_window import WindowRule

MOST_WINDOWS = 8
"""A structure that lies in more windows is explained by those with the most of it; the share is told."""


@dataclass(frozen=True, eq=False)
class Window:
    """A part of an image that the network sees at once.

    Attributes:
        start: its first voxel along i, j, k; below 0 where the image is smaller than the network's window.
        shape: of the window.
        mask: ``(i, j, k)`` bool, of the window: voxels of the target that this window answers for.
        share: of the whole target, 0 to 1.
    """

    start: tuple[int, int, int]
    shape: tuple[int, int, int]
    mask: np.ndarray
    share: float

    def cut(self, image: torch.Tensor, padding_mode: str = "constant", value: float = 0.0) -> torch.Tensor:
        """Return the window ``(1, C, *shape)`` of an image ``(C, i, j, k)``."""
        import torch.nn.functional as functional

        inside, padding = self._inside(image.shape[1:])
        part = image[(slice(None), *inside)][None]
        if not any(padding):
            return part.clone()
        # Axes come last first in torch's padding.
        flat = [padding[n] for axis in (2, 1, 0) for n in (2 * axis, 2 * axis + 1)]
        return functional.pad(part, flat, mode=padding_mode, **({"value": value} if padding_mode == "constant" else {}))

    def add(self, values: torch.Tensor, to: torch.Tensor) -> None:
        """Add values ``(C, *shape)`` of the window to ``to`` ``(C, i, j, k)`` at its place."""
        inside, padding = self._inside(to.shape[1:])
        own = tuple(slice(padding[2 * n], size - padding[2 * n + 1]) for n, size in enumerate(self.shape))
        to[(slice(None), *inside)] += values[(slice(None), *own)]

    def _inside(self, shape: Sequence[int]) -> tuple[tuple[slice, ...], list[int]]:
        inside, padding = [], []
        for at, size, whole in zip(self.start, self.shape, shape, strict=True):
            low, high = max(at, 0), min(at + size, whole)
            inside.append(slice(low, high))
            padding += [low - at, at + size - high]
        return tuple(inside), padding


def windows_of(
    rule: WindowRule | None, shape: tuple[int, int, int], target: np.ndarray, most: int | None = None
) -> tuple[Window, ...]:
    """Return the windows that see ``target`` ``(i, j, k)`` bool, those with the most of it first.

    Each voxel of the target belongs to the window in whose middle it is nearest to lie: there the network sees most
    round it.

    Args:
        rule: how the model cuts images; None: not at all.
        most: so many windows at most, as there may be thousands; None: all.
    """
    if rule is None:
        return (Window((0, 0, 0), shape, target, 1.0),)
    plan = rule.plan(shape)
    before = [low for low, _ in plan.padding]
    starts = [[at - low for at in along] for along, low in zip(plan.starts, before, strict=True)]
    owners = [_owner(along, size, whole) for along, size, whole in zip(starts, plan.window, shape, strict=True)]
    # What a window answers for is a box, as voxels belong to the nearest middle along each axis by itself.
    own = [
        [_stretch(owner == number) for number in range(len(along))] for owner, along in zip(owners, starts, strict=True)
    ]
    found = []
    for i, j, k in product(*(range(len(along)) for along in starts)):
        box = own[0][i], own[1][j], own[2][k]
        if count := int(np.count_nonzero(target[box])):
            found.append((-count, (starts[0][i], starts[1][j], starts[2][k]), box))
    whole = -sum(count for count, _, _ in found)
    windows = []
    for count, start, box in sorted(found, key=lambda each: each[:2])[:most]:
        mask = np.zeros(plan.window, dtype=bool)
        within = tuple(slice(part.start - at, part.stop - at) for part, at in zip(box, start, strict=True))
        mask[within] = target[box]
        windows.append(Window(start, (plan.window[0], plan.window[1], plan.window[2]), mask, -count / whole))
    return tuple(windows)


def with_slices(rule: WindowRule | None) -> WindowRule | None:
    """Return a rule for images of three axes, of which a network for single slices sees two."""
    if rule is None or len(rule.roi) == 3:
        return rule
    return replace(rule, roi=(*rule.roi, 1), overlap=(*rule.overlap, 0.0), sigma_scale=(*rule.sigma_scale, 0.0))


def _stretch(mine: np.ndarray) -> slice:
    """Return from where to where a flag is set along an axis; it is set in one stretch, or nowhere."""
    places = np.flatnonzero(mine)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _owner(starts: Sequence[int], size: int, whole: int) -> np.ndarray:
    """Return for each voxel along an axis the number of the window whose middle is nearest."""
    middles = np.array(starts) + (size - 1) / 2
    return np.abs(np.arange(whole)[:, None] - middles[None]).argmin(axis=1)
