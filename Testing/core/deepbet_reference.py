"""deepbet's steps as published, in plain torch, nibabel and scipy: a reference to hold results to.

Shares no code with MedDL. Source: Fisch et al., Computers in Biology and Medicine 179 (2024) 108845.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import interpolate


def brain_mask(image: Path, box_network: Path, fine_network: Path) -> np.ndarray:
    """Return the brain mask ``(I, J, K)`` bool of a T1 head, in the file's own axis order."""
    loaded = nibabel.load(image)
    canonical = nibabel.as_closest_canonical(loaded)
    head = torch.from_numpy(np.ascontiguousarray(canonical.get_fdata(dtype=np.float32)))
    small = interpolate(head[None, None], (128, 128, 128), mode="nearest-exact")
    low, high = np.quantile(small.numpy(), [0.005, 0.995])
    coarse = _largest(_run(box_network, _normalized(small, low, high)) > 0.5)
    box = tuple(_range(coarse, axis, head.shape[axis]) for axis in range(3))
    crop = head[box]
    big = interpolate(crop[None, None], (256, 256, 256), mode="nearest-exact")
    probability = torch.from_numpy(_run(fine_network, _normalized(big, low, high)))
    probability = interpolate(probability[None, None], tuple(crop.shape), mode="nearest-exact")[0, 0].numpy()
    mask = np.zeros(tuple(head.shape), dtype=bool)
    mask[box] = ndimage.binary_fill_holes(_largest(probability > 0.5))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(canonical.affine), nibabel.io_orientation(loaded.affine)
    )
    return nibabel.orientations.apply_orientation(mask, turn)


def _run(network: Path, image: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return torch.jit.load(str(network)).eval()(image)[0, 1].numpy()


def _normalized(image: torch.Tensor, low: float, high: float) -> torch.Tensor:
    image = ((image - low) / (high - low)).clamp(0, 1)
    return (image - image.mean()) / image.std() * 0.226 + 0.449


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def _range(mask: np.ndarray, axis: int, size: int) -> slice:
    share = mask.mean(axis=tuple(other for other in range(3) if other != axis))
    found = np.flatnonzero(share > 0.02)
    scale = size / 128
    center = round((found[0] + found[-1] + 1) / 2 * scale)
    length = round((found[-1] + 1 - found[0]) * scale * 1.2)
    return slice(max(0, int(center - length / 2)), min(size, int(center + length / 2)))
