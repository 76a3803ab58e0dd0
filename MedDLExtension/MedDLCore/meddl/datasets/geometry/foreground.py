"""Where in an image the patient is."""

from __future__ import annotations

import math

import numpy as np

from meddl.datasets.geometry.target_grid import Box
from meddl.volume import Volume

_VOXELS = 4_000_000
_AIR_HU = -1024.0
_SHARE = 0.25
"""How far from background to foreground, by their means, the threshold lies: low, for a crop must not cut tissue."""
_SMALLEST_PIECE = 0.01


def foreground_box(image: Volume) -> Box | None:
    """Return the box round what is above the image's background; None where all is alike.

    The threshold lies a quarter of the way from the mean of what Otsu's method takes for background to that of the
    rest. Pieces below a hundredth of the largest one are noise. Large images are looked at voxel by n-th voxel, and the
    box grows by what that may have missed.
    """
    import cc3d

    step = max(1, math.ceil((math.prod(image.shape) / _VOXELS) ** (1 / 3)))
    steps = tuple(step if count >= 2 * step else 1 for count in image.shape)
    values = image.array[(slice(None), *(slice(None, None, each) for each in steps))].max(axis=0).astype(np.float32)
    values = np.nan_to_num(values, nan=float(np.nanmin(values)) if np.isfinite(values).any() else 0.0)
    if values.min() < -500:  # Hounsfield units, and what scanners write around their field of view
        values = np.maximum(values, _AIR_HU)
    level = threshold(values)
    if level is None:
        return None
    pieces, count = cc3d.connected_components(np.ascontiguousarray(values > level), connectivity=26, return_N=True)
    if not count:
        return None
    found = cc3d.statistics(pieces)
    sizes = found["voxel_counts"][1:]
    large = [box for box, size in zip(found["bounding_boxes"][1:], sizes, strict=True)
             if size >= _SMALLEST_PIECE * sizes.max()]  # fmt: skip
    box = []
    for axis, (each, total) in enumerate(zip(steps, image.shape, strict=True)):
        low = min(part[axis].start for part in large) * each - (each - 1)
        high = (max(part[axis].stop for part in large) - 1) * each + each
        box.append((max(0, low), min(total, high)))
    return tuple(box)


def threshold(values: np.ndarray) -> float | None:
    """Return the level above which ``values`` are foreground; None if they are all alike."""
    low, high = np.percentile(values, (0.1, 99.9))
    if not high > low:
        low, high = float(values.min()), float(values.max())
        if not high > low:
            return None
    counts, edges = np.histogram(np.clip(values, low, high), bins=256, range=(float(low), float(high)))
    middles = (edges[:-1] + edges[1:]) / 2
    below, sums = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = sums / below, (sums[-1] - sums) / above
        between = np.nan_to_num(below * above * (first - second) ** 2.0)
    cut = int(between.argmax())
    return float(first[cut] + _SHARE * (second[cut] - first[cut]))
