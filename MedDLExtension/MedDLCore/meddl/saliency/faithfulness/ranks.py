"""How alike two maps are: by the order of their voxels, and by their hottest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

MOST_VOXELS = 1 << 18
"""Ranks of large maps are taken of every n-th voxel, so that they take a second at most."""


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation of two arrays of one size, 0 where one of them is constant."""
    a, b = centered_ranks(one), centered_ranks(other)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0


def partial_rank_correlation(one: np.ndarray, other: np.ndarray, *given: np.ndarray) -> float:
    """Return the rank correlation of what is left of two arrays once what others tell of their ranks is taken away.

    1 where nothing is left of the first: it is one of ``given`` under another name. 0 where nothing is left of only the
    second, or one of them is constant.
    """
    known = np.stack([centered_ranks(each) for each in given], axis=1)
    left = []
    for each in (one, other):
        ranks = centered_ranks(each)
        size = float(np.linalg.norm(ranks))
        if not size:
            return 0.0
        rest = (ranks - known @ np.linalg.lstsq(known, ranks, rcond=None)[0]) / size
        left.append(rest)
    sizes = [float(np.linalg.norm(rest)) for rest in left]
    if sizes[0] <= 1e-3:
        return 1.0
    return float(left[0] @ left[1] / (sizes[0] * sizes[1])) if sizes[1] > 1e-3 else 0.0


def top_overlap(one: np.ndarray, other: np.ndarray, share: float) -> float:
    """Return the share of the hottest voxels that two maps have in common; by chance it is ``share`` itself."""
    count = max(round(one.size * share), 1)
    hottest = [set(np.argpartition(-each.reshape(-1), count - 1)[:count].tolist()) for each in (one, other)]
    return len(hottest[0] & hottest[1]) / count


def centered_ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks less their mean; ties share theirs."""
    from scipy.stats import rankdata

    ranks: np.ndarray = rankdata(values.reshape(-1))
    return ranks - ranks.mean()


def thinned(*maps: torch.Tensor | np.ndarray, within: np.ndarray | None = None) -> list[np.ndarray]:
    """Return maps of one shape as flat arrays of the same voxels, at most :data:`MOST_VOXELS` of those ``within``."""
    flat = [np.asarray(each).reshape(-1) for each in maps]
    where = np.arange(flat[0].size) if within is None else np.flatnonzero(within)
    # A step that shares no factor with the axes would be better still; an odd one keeps off the usual even sizes.
    step = -(-where.size // MOST_VOXELS)
    where = where[:: step + (step % 2 == 0)]
    return [each[where].astype(np.float64) for each in flat]
