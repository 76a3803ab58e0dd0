"""Measures between two sets of images, and of the variety within one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from meddl.errors import JobCancelled, UsageError

Kernel: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From ``(N, F)`` and ``(M, F)`` to ``(N, M)``."""

SUBSETS = 100
"""Random halves that the intervals of kernel distances are taken over."""
PAIRS = 400
"""Pairs of images that diversity is measured on."""
REPEATS = 1000
"""Of the bootstrap."""
_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from fine to coarse (Wang et al. 2003)."""
_KERNEL = 7


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Frechet distance (squared) between two sets of features, each taken for a normal distribution.

    Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017, arXiv:1706.08500: ``|mean difference|^2 +
    trace(A + B - 2 (A B)^(1/2))``. The trace of the root is the sum of the singular values of the product of both
    centered sets, which holds for fewer images than features too, where a root of the covariances' product is not
    numerically sound.

    Args:
        a: ``(N, F)``, N at least 2.
        b: ``(M, F)``, M at least 2.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check(a, b)
    apart = a.mean(axis=0) - b.mean(axis=0)
    a = (a - a.mean(axis=0)) / np.sqrt(len(a) - 1)
    b = (b - b.mean(axis=0)) / np.sqrt(len(b) - 1)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(apart @ apart + (a**2).sum() + (b**2).sum() - 2 * root))


def polynomial_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``(a.b / F + 1)^3``, the kernel of KID."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def gaussian_kernel(width: float) -> Kernel:
    """Return ``exp(-|a - b|^2 / (2 width^2))`` as a kernel."""
    return lambda a, b: np.exp(-_squared(a, b) / (2 * width**2))


def median_width(a: np.ndarray) -> float:
    """Return the median distance between different rows: the usual width of a Gaussian kernel (Gretton et al. 2012)."""
    squared = _squared(a, a)[np.triu_indices(len(a), 1)]
    return float(np.sqrt(np.median(squared))) or 1.0


def mmd(a: np.ndarray, b: np.ndarray, kernel: Kernel) -> float:
    """Return the unbiased estimate of the squared maximum mean discrepancy; 0 is expected of sets of one kind.

    Gretton et al., A kernel two-sample test, JMLR 13 (2012) 723-773, equation 3. It may be a little below 0.

    Args:
        a: ``(N, F)``, N at least 2.
        b: ``(M, F)``, M at least 2.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check(a, b)
    return _mmd_of(kernel(a, a), kernel(b, b), kernel(a, b))


def mmd_with_interval(
    a: np.ndarray, b: np.ndarray, kernel: Kernel, seed: int, size: int = 0
) -> tuple[float, float, float]:
    """Return :func:`mmd` and what 95 % of its values on random subsets of both sets lie between.

    Binkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv:1801.01401, tell KID like this.

    Args:
        seed: of the subsets.
        size: of the subsets; 0 takes half of the smaller set.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _check(a, b)
    aa, bb, ab = kernel(a, a), kernel(b, b), kernel(a, b)
    size = max(2, min(size or min(len(a), len(b)) // 2, len(a), len(b)))
    random = np.random.default_rng([seed, 0x4D4D44])
    values = []
    for _ in range(SUBSETS):
        i, j = (np.sort(random.choice(len(each), size, replace=False)) for each in (a, b))
        values.append(_mmd_of(aa[np.ix_(i, i)], bb[np.ix_(j, j)], ab[np.ix_(i, j)]))
    low, high = np.quantile(values, (0.025, 0.975))
    return _mmd_of(aa, bb, ab), float(low), float(high)


def ms_ssim_between(
    images: np.ndarray, seed: int, cancelled: Callable[[], bool] = lambda: False
) -> tuple[float, float, float]:
    """Return the mean MS-SSIM of random pairs among images, and its bootstrap interval (95 %): 1 if all are the same.

    Args:
        images: ``(N, 1, *size)`` in -1..1, N at least 2.
        seed: of the pairs.
    """
    if len(images) < 2:
        raise UsageError("Diversity needs at least two images.")
    random = np.random.default_rng([seed, 0x535349])
    first, second = np.triu_indices(len(images), 1)
    chosen = np.sort(random.choice(len(first), min(PAIRS, len(first)), replace=False))
    first, second = first[chosen], second[chosen]
    values = ms_ssim(images[first], images[second], cancelled)
    # Images are drawn again, not pairs: pairs that share an image are not independent.
    times = random.multinomial(len(images), np.full(len(images), 1 / len(images)), size=REPEATS)
    weights = (times[:, first] * times[:, second]).astype(np.float64)
    drawn = (weights @ values) / np.maximum(weights.sum(axis=1), 1)
    low, high = np.quantile(drawn[weights.sum(axis=1) > 0], (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def ms_ssim(a: np.ndarray, b: np.ndarray, cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Return the multi-scale structural similarity of each two images, 0 to 1, by MONAI.

    Wang, Simoncelli, Bovik, Multiscale structural similarity, Asilomar 2003, with a window of 7 voxels and as many of
    the five scales as fit into the size.

    Args:
        a, b: ``(N, 1, *size)`` in -1..1, sizes of 16 and more.
    """
    import torch
    from monai.metrics.regression import compute_ms_ssim

    size = a.shape[2:]
    # MONAI's own condition for a number of scales.
    scales = max(n for n in range(1, 6) if min(size) // max(1, n - 1) ** 2 > _KERNEL - 1)
    weights = np.array(_MS_SSIM_WEIGHTS[:scales])
    weights /= weights.sum()
    values = []
    with torch.inference_mode():
        for start in range(0, len(a), 32):
            if cancelled():
                raise JobCancelled("The judgement was cancelled.")
            x, y = (torch.from_numpy((each[start : start + 32].astype(np.float32) + 1) / 2) for each in (a, b))
            values.append(
                compute_ms_ssim(
                    x, y, len(size), data_range=1.0, kernel_size=_KERNEL, kernel_sigma=1.5, weights=weights.tolist()
                ).flatten()
            )
        return torch.cat(values).double().numpy()


def _mmd_of(aa: np.ndarray, bb: np.ndarray, ab: np.ndarray) -> float:
    n, m = len(aa), len(bb)
    within = (aa.sum() - np.trace(aa)) / (n * (n - 1)) + (bb.sum() - np.trace(bb)) / (m * (m - 1))
    return float(within - 2 * ab.mean())


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T, 0.0)


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if min(len(a), len(b)) < 2:
        raise UsageError("A distance between two sets of images needs at least two images in each.")
