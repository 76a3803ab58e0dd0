"""The training image that an image is most like, also where it was shifted, mirrored, turned a little or scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import JobCancelled

if TYPE_CHECKING:
    import torch

Progress = Callable[[float, str], None]

TURNS = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0)
"""Degrees, about the last axis of patches."""
SCALES = (0.9, 0.95, 1.0, 1.05, 1.1)
SHIFT = 1 / 8
"""Share of the size that an image is shifted by at most."""
_CANDIDATES = 6
_COARSE = {2: 32, 3: 16}
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Nearest:
    """The training image that each image is most like.

    Attributes:
        index: ``(N,)`` of the training image.
        distance: ``(N,)``: 1 less the correlation of both images' details, 0 for a copy, about 1 for unlike ones.
        other: ``(N,)`` the same to the nearest training image of another person; NaN where all are of one.
    """

    index: np.ndarray
    distance: np.ndarray
    other: np.ndarray


def nearest(
    images: np.ndarray,
    training: np.ndarray,
    people: Sequence[str],
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Nearest:
    """Return for each image the training image that it is most like.

    Images are compared by their details between 1/64 and 1/16 of their size, so that noise, brightness and contrast do
    not hide a copy and the outline of the body alone does not make one: by the correlation of the band-passed images,
    at the best of all shifts up to an eighth of the size, of mirrored copies along one axis, of turns (:data:`TURNS`)
    and scales (:data:`SCALES`). A coarse search by shifts and mirrors finds the candidates.

    Args:
        images: ``(N, 1, *size)``.
        training: ``(M, 1, *size)``.
        people: whose each training image is.

    Raises:
        JobCancelled: on request.
    """
    import torch

    who = np.asarray(people)
    several = len(set(people)) > 1
    index = np.zeros(len(images), np.int64)
    distance = np.ones(len(images))
    other = np.full(len(images), np.nan)
    with torch.inference_mode():
        wanted, known = details(images), details(training)
        coarse = _Coarse(known)
        for start in range(0, len(images), _BATCH):
            part = wanted[start : start + _BATCH]
            scores, mirrors = coarse.scores(part, cancelled)
            for row in range(len(part)):
                if cancelled():
                    raise JobCancelled("The comparison with the training images was cancelled.")
                number = start + row
                progress(number / len(images), f"Nearest training image, {number + 1} of {len(images)}")
                chosen = np.argsort(-scores[row], kind="stable")[:_CANDIDATES]
                found = _refined(part[row], known[chosen], mirrors[row, chosen])
                best = int(np.argmax(found))
                index[number], distance[number] = chosen[best], 1 - found[best]
                if several:
                    rest = np.flatnonzero(who != who[chosen[best]])
                    chosen = rest[np.argsort(-scores[row, rest], kind="stable")[:_CANDIDATES]]
                    other[number] = 1 - float(_refined(part[row], known[chosen], mirrors[row, chosen]).max())
    return Nearest(index, np.clip(distance, 0.0, 2.0), np.clip(other, 0.0, 2.0))


def details(images: np.ndarray) -> torch.Tensor:
    """Return ``(N, *size)`` float32: what lies between 1/64 and 1/16 of the size, each of length 1 (or 0 if empty)."""
    import torch
    from scipy.ndimage import gaussian_filter

    size = images.shape[2:]
    fine = max(min(size) / 64, 0.5)
    made = np.empty((len(images), *size), np.float32)
    for number, image in enumerate(images):
        values = image[0].astype(np.float32)
        made[number] = gaussian_filter(values, fine, mode="nearest") - gaussian_filter(values, 4 * fine, mode="nearest")
    return _unit(torch.from_numpy(made))


class _Coarse:
    """Training images at a low resolution, looked at all at once."""

    def __init__(self, training: torch.Tensor) -> None:
        self._known = self._small(training).flatten(1).T.contiguous()

    def scores(self, images: torch.Tensor, cancelled: Callable[[], bool]) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(N, M)`` correlations at the best shift and mirror, and which mirror it was (0: none)."""
        import torch

        small = self._small(images)
        axes = tuple(range(1, small.ndim))
        reach = [math.floor(each * SHIFT) for each in small.shape[1:]]
        best = torch.full((len(images), self._known.shape[1]), -2.0)
        mirror = torch.zeros(best.shape, dtype=torch.int64)
        for number, axis in enumerate((None, *axes)):
            turned = small if axis is None else small.flip(axis)
            for shift in np.ndindex(*(2 * each + 1 for each in reach)):
                if cancelled():
                    raise JobCancelled("The comparison with the training images was cancelled.")
                moved = torch.roll(turned, tuple(s - r for s, r in zip(shift, reach, strict=True)), axes)
                found = moved.flatten(1) @ self._known
                better = found > best
                best[better] = found[better]
                mirror[better] = number
        return best.numpy(), mirror.numpy()

    @staticmethod
    def _small(images: torch.Tensor) -> torch.Tensor:
        import torch

        dimensions = images.ndim - 1
        factor = [max(1, round(each / _COARSE[dimensions])) for each in images.shape[1:]]
        pool = torch.nn.functional.avg_pool2d if dimensions == 2 else torch.nn.functional.avg_pool3d
        return _unit(pool(images[:, None], factor)[:, 0])


def _refined(image: torch.Tensor, candidates: torch.Tensor, mirrors: np.ndarray) -> np.ndarray:
    """Return the correlation with each candidate at the best shift, turn and scale, mirrored as said."""
    import torch

    dimensions = image.ndim
    axes = tuple(range(-dimensions, 0))
    known = torch.fft.rfftn(candidates, dim=axes).conj()
    result = np.zeros(len(candidates))
    for mirror in sorted(set(mirrors.tolist())):
        poses = torch.fft.rfftn(_poses(image if mirror == 0 else image.flip(mirror - 1)), dim=axes)
        for number in np.flatnonzero(mirrors == mirror):
            field = torch.fft.irfftn(poses * known[number], s=image.shape, dim=axes)
            for axis, length in zip(axes, image.shape, strict=True):
                reach = math.floor(length * SHIFT)
                near = torch.cat([torch.arange(reach + 1), torch.arange(length - reach, length)])
                field = field.index_select(axis, near)
            result[number] = float(field.max())
    return result


def _poses(image: torch.Tensor) -> torch.Tensor:
    """Return ``(P, *size)``: the image turned and scaled, each of length 1."""
    import torch

    dimensions = image.ndim
    matrices = []
    for turn in TURNS:
        for scale in SCALES:
            c, s = math.cos(math.radians(turn)) / scale, math.sin(math.radians(turn)) / scale
            matrix = np.eye(dimensions, dimensions + 1) / scale
            # Coordinates of grid_sample are in reverse order, so the first two axes are its last two.
            matrix[-2:, -3:-1] = [[c, -s], [s, c]]
            matrices.append(matrix)
    theta = torch.from_numpy(np.stack(matrices)).float()
    grid = torch.nn.functional.affine_grid(theta, [len(theta), 1, *image.shape], align_corners=False)
    moved = torch.nn.functional.grid_sample(
        image.expand(len(theta), 1, *image.shape), grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return _unit(moved[:, 0])


def _unit(images: torch.Tensor) -> torch.Tensor:
    import torch

    flat = images.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return torch.where(length > 1e-6, flat / length.clamp_min(1e-6), torch.zeros_like(flat)).view_as(images)
