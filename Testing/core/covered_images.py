"""Images that differ from one image in a box each."""

from __future__ import annotations

import torch

BOXES_2D = ([(0, 0), (0, 28), (25, 11), (13, 17)], (3, 4), (28, 32))
BOXES_3D = ([(0, 0, 0), (17, 0, 11), (7, 9, 5)], (3, 4, 5), (20, 18, 16))


def covered(boxes, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image ``(1, C, *S)`` and images in each of which one box is covered."""
    starts, size, full = boxes
    image = torch.randn(1, channels, *full, generator=torch.Generator().manual_seed(5))
    images = image.repeat(len(starts), *[1] * (1 + len(full)))
    for each, start in zip(images, starts, strict=True):
        each[(slice(None), *(slice(at, at + length) for at, length in zip(start, size, strict=True)))] = 0.25
    return image, images
