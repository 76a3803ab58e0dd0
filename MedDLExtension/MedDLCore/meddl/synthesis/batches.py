"""Batches of examples, each drawn and moved by the number of its step alone: a training can go on anywhere."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
import torch.nn.functional as F

from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.examples import Examples

_TURN_DEGREES, _SCALE, _SHIFT = 8.0, 0.08, 0.05


class Batches:
    """The batches of a training.

    Args:
        examples: to learn from.
        config: how many at a time, whether they are moved, and the seed.
    """

    def __init__(self, examples: Examples, config: SynthesisConfig) -> None:
        self._examples = examples
        self._config = config
        self._epoch = (-1, np.empty(0, np.int64))

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return images ``(B, 1, *size)`` in -1..1 and label maps ``(B, 1, *size)``, or None, of a step."""
        count, wanted = len(self._examples), self._config.batch_size
        indices = [self._index(step * wanted + number, count) for number in range(wanted)]
        images = torch.from_numpy(np.stack([self._examples.images[index] for index in indices]))
        labels = None
        if self._config.conditioned and self._examples.labels is not None:
            stack = np.stack([self._examples.labels[index] for index in indices])
            labels = torch.from_numpy(stack.astype(np.float32))[:, None]
        if self._config.augmented:
            images, labels = _moved(images, labels, np.random.default_rng([self._config.seed, 1, step]))
        return images, labels

    def _index(self, number: int, count: int) -> int:
        epoch, place = divmod(number, count)
        if epoch != self._epoch[0]:
            self._epoch = (epoch, np.random.default_rng([self._config.seed, 0, epoch]).permutation(count))
        return int(self._epoch[1][place])


def seed_of_step(config: SynthesisConfig, step: int) -> int:
    """Return what torch's chance is seeded with before a step."""
    return int.from_bytes(hashlib.sha256(f"{config.seed}/{step}".encode()).digest()[:7], "big")


def _moved(
    images: torch.Tensor, labels: torch.Tensor | None, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return images and label maps turned, scaled and shifted a little; never mirrored, since labels may have sides."""
    count, dims = images.shape[0], images.ndim - 2
    matrices = np.stack([_matrix(dims, random, images.shape[2:]) for _ in range(count)])
    grid = F.affine_grid(torch.from_numpy(matrices.astype(np.float32)), list(images.shape), align_corners=False)
    moved = F.grid_sample(images + 1.0, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1.0
    if labels is not None:
        labels = F.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved, labels


def _matrix(dims: int, random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Return ``(dims, dims + 1)`` as ``affine_grid`` takes it: axes in reverse order, -1..1 along each."""
    turn = np.eye(dims)
    for first in range(dims):
        for second in range(first + 1, dims):
            angle = math.radians(random.uniform(-_TURN_DEGREES, _TURN_DEGREES))
            plane = np.eye(dims)
            plane[[first, first, second, second], [first, second, first, second]] = (
                math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle),
            )  # fmt: skip
            turn = turn @ plane
    scale = np.array(size[::-1], np.float64)
    turn = turn * np.exp(random.uniform(-_SCALE, _SCALE))
    turn = turn * scale[None, :] / scale[:, None]  # the same in voxels, whatever the shape
    shift = random.uniform(-2 * _SHIFT, 2 * _SHIFT, dims)
    return np.concatenate([turn, shift[:, None]], axis=1)
