"""What maps and images are held against: random maps of the same coarseness, the image without details, its body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_AIR = 0.02
_LEAST_BODY = 0.02
_COARSEST = 6
"""The smoothest random map has spots of a sixth of an axis."""


def without_details(image: torch.Tensor) -> torch.Tensor:
    """Return ``(1, C, i, j, k)`` what an image looks like where everything is blurred away.

    The blurred baseline, three times over: that is nearly a Gaussian blur, and wide enough that what an eighth of the
    image's size measures is gone.
    """
    from meddl.saliency.baselines import blurred

    for _ in range(3):
        image = blurred(image)
    return image


def body(image: torch.Tensor) -> np.ndarray:
    """Return where an image ``(1, C, i, j, k)`` shows something: ``(i, j, k)`` bool.

    Not air: the value that most of the border has, if at least a fifth of it has it, give or take 2 % of the range. All
    of it where air cannot be told from the rest.
    """
    array = image.detach().cpu().numpy()[0]
    inside = np.zeros(array.shape[1:], dtype=bool)
    for channel in array:
        low, high = float(channel.min()), float(channel.max())
        border = np.concatenate([np.moveaxis(channel, axis, 0)[[0, -1]].ravel() for axis in range(3)])
        counts, edges = np.histogram(border, bins=50, range=(low, high) if high > low else None)
        if high <= low or counts.max() < border.size / 5:
            return np.ones_like(inside)
        best = int(counts.argmax())
        slack = _AIR * (high - low)
        inside |= (channel < edges[best] - slack) | (channel > edges[best + 1] + slack)
    return inside if inside.mean() >= _LEAST_BODY else np.ones_like(inside)


def random_maps(total: torch.Tensor, inside: np.ndarray, count: int, seed: int) -> list[torch.Tensor]:
    """Return random maps ``(i, j, k)``: the values of a map in other places of the body, as coarse as they are there.

    A map of single voxels against one of blobs would be no fair match: how finely an image is taken apart matters to a
    network as much as where. The values stay within the body, since to avoid air takes no knowledge of the network.
    """
    import torch
    from scipy.ndimage import gaussian_filter

    array = total.detach().float().cpu().numpy()
    sigmas = [_smoothness(array, axis) for axis in range(3)]
    random = np.random.default_rng(seed)
    values = np.sort(array[inside])
    maps = []
    for _ in range(count):
        noise = gaussian_filter(random.standard_normal(array.shape, dtype=np.float32), sigmas, mode="wrap")
        made = array.copy()
        places = np.empty(len(values), dtype=np.int64)
        places[noise[inside].argsort(kind="stable")] = np.arange(len(values))
        made[inside] = values[places]
        maps.append(torch.from_numpy(made))
    return maps


def _smoothness(array: np.ndarray, axis: int) -> float:
    """Return the sigma of the Gaussian after which white noise has neighbors as alike as those along an axis.

    Their correlation is then ``exp(-1 / (4 sigma**2))``.
    """
    if array.shape[axis] < 4:
        return 0.0
    centered = array - array.mean()
    neighbors = np.moveaxis(centered, axis, 0)
    power = float((centered**2).mean(dtype=np.float64))
    alike = float((neighbors[1:] * neighbors[:-1]).mean(dtype=np.float64)) / power if power else 0.0
    if alike <= 0.02:
        return 0.0
    return min(float(np.sqrt(-1 / (4 * np.log(min(alike, 0.9999))))), array.shape[axis] / _COARSEST)


def edges(image: torch.Tensor) -> np.ndarray:
    """Return ``(i, j, k)`` how steep an image ``(1, C, i, j, k)`` is: what an edge detector would show."""
    array = image.detach().float().cpu().numpy()[0]
    axes = [axis for axis in (1, 2, 3) if array.shape[axis] > 1]
    steep: np.ndarray = np.sqrt(sum(np.gradient(array, axis=axis) ** 2 for axis in axes).sum(axis=0))
    return steep
