"""Making many images out of a few: random placements and random intensities, drawn from one seeded generator."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Placement:
    """How far a random placement may go.

    Attributes:
        angle_deg: greatest turn about each axis.
        scale: least and greatest size, drawn for all axes together.
        stretch: greatest relative change of one axis against the others.
        shift_mm: greatest shift along each axis.
        mirror: whether left and right may be swapped.
    """

    angle_deg: float = 10.0
    scale: tuple[float, float] = (0.85, 1.2)
    stretch: float = 0.08
    shift_mm: float = 20.0
    mirror: bool = False

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, bool]:
        """Return a 4x4 matrix from the new image's millimeters to the old one's, about the center, and mirrored?"""
        x, y, z = np.deg2rad(random.uniform(-self.angle_deg, self.angle_deg, 3))
        turn = _about(0, x) @ _about(1, y) @ _about(2, z)
        low, high = np.log(self.scale)
        size = np.exp(random.uniform(low, high)) * (1 + random.uniform(-self.stretch, self.stretch, 3))
        mirrored = self.mirror and random.random() < 0.5
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ np.diag(1 / size) @ np.diag([-1 if mirrored else 1, 1, 1])
        matrix[:3, 3] = random.uniform(-self.shift_mm, self.shift_mm, 3)
        return matrix, mirrored


def sample(
    source: torch.Tensor,
    source_mm: float,
    matrix: np.ndarray,
    shape: tuple[int, int, int],
    target_mm: float,
    center_mm: np.ndarray,
    mode: str = "bilinear",
) -> torch.Tensor:
    """Return ``(C, *shape)`` sampled from ``source`` ``(C, I, J, K)``; outside of it zero.

    Args:
        source: on cubic voxels of ``source_mm``.
        matrix: from the new image's millimeters about its center to the source's about ``center_mm``.
        center_mm: in the source, from its first voxel's center.
    """
    grids = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape), indexing="ij")
    points = torch.stack(grids, -1) * target_mm
    m = torch.tensor(matrix, dtype=torch.float32)
    points = points @ m[:3, :3].T + m[:3, 3] + torch.tensor(center_mm, dtype=torch.float32)
    sizes = torch.tensor(source.shape[1:], dtype=torch.float32)
    points = 2 * (points / source_mm) / (sizes - 1) - 1
    return F.grid_sample(source[None], points.flip(-1)[None], mode=mode, align_corners=True)[0]


def place_of(
    points_mm: np.ndarray, matrix: np.ndarray, shape: tuple[int, int, int], target_mm: float, center_mm: np.ndarray
) -> np.ndarray:
    """Return where source points ``(N, 3)`` (mm from its first voxel) come to lie, in voxels of the sampled image."""
    new = (points_mm - center_mm - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    return new / target_mm + (np.array(shape) - 1) / 2


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return ``(C, I, J, K)`` smoothed by a Gaussian of ``sigma`` voxels."""
    radius = max(1, math.ceil(2.5 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = kernel / kernel.sum()
    out = image[:, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        padding = [0, 0, 0]
        padding[axis] = radius
        out = F.conv3d(out, kernel.reshape(shape), padding=tuple(padding))
    return out[:, 0]


def shade(image: torch.Tensor, random: np.random.Generator, strength: float = 0.3) -> torch.Tensor:
    """Multiply ``(C, I, J, K)`` by a smooth random field, as a receive coil's uneven sensitivity does."""
    coarse = torch.tensor(random.uniform(-strength, strength, (1, 1, 3, 3, 3)), dtype=torch.float32)
    return image * torch.exp(F.interpolate(coarse, image.shape[1:], mode="trilinear", align_corners=True)[0])


def _about(axis: int, angle: float) -> np.ndarray:
    one, two = (each for each in range(3) if each != axis)
    turn = np.eye(3)
    turn[one, one] = turn[two, two] = math.cos(angle)
    turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
    return turn
