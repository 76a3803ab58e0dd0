"""Noise as scanners have it: of magnitudes (Rician), and of counted photons (Poisson)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from meddl.errors import JobCancelled, VolumeError
from meddl.randomness import Stream, normal_field, uniform_field
from meddl.simulation.checks import check_magnitude
from meddl.simulation.options import Rician
from meddl.volume import Volume

_SMALL_MEAN = 64.0


def between(ends: tuple[float, ...], stream: Stream) -> float:
    """Return a number, or one by chance out of a range: each factor is as likely as another."""
    if len(ends) == 1:
        return ends[0]
    return math.exp(stream.uniform(math.log(ends[0]), math.log(ends[1])))


def signal_of(volume: Volume) -> float:
    """Return the mean of an image's foreground, to which signal-to-noise ratios refer.

    Foreground is what lies above a level a quarter of the way from the mean of what Otsu's method takes for background
    to that of the rest.

    Raises:
        VolumeError: all voxels are alike.
    """
    from meddl.datasets.geometry.foreground import threshold

    values = volume.array.astype(np.float32)
    level = threshold(values)
    if level is None:
        raise VolumeError("The image has the same value everywhere: there is nothing that noise could be measured by.")
    return float(values[values > level].mean(dtype=np.float64))


def noisy(
    volume: Volume, options: Rician, stream: Stream, cancelled: Callable[[], bool] = lambda: False
) -> tuple[np.ndarray, dict[str, float]]:
    """Return an image ``(1, I, J, K)`` float32 with Rician noise, and ``snr``, ``signal``, ``sigma``.

    A magnitude m becomes sqrt((m + a)^2 + b^2) with a and b from the normal distribution of deviation sigma:
    Gudbjartsson and Patz 1995, The Rician distribution of noisy MRI data, Magnetic Resonance in Medicine 34:910. The
    original's own noise stays in it.
    """
    check_magnitude(volume, options.title)
    snr, signal = between(options.snr, stream), signal_of(volume)
    sigma = signal / snr
    made = np.empty(volume.array.shape, np.float32)
    for index in range(volume.shape[2]):
        if cancelled():
            raise JobCancelled("The simulation was cancelled.")
        real, imaginary = normal_field(stream.child(index).token(), (2, *volume.shape[:2])) * np.float32(sigma)
        magnitude = np.maximum(volume.array[0, ..., index].astype(np.float32), 0)
        made[0, ..., index] = np.hypot(magnitude + real, imaginary)
    return made, {"snr": snr, "signal": signal, "sigma": sigma}


def poisson(mean: np.ndarray, token: str) -> np.ndarray:
    """Return whole numbers ``float64`` of the Poisson distribution with these means.

    Means up to 64 by inverting the distribution, larger ones by its expansion round the normal distribution (Cornish
    and Fisher 1938), the error of which is then below a hundredth of a photon.
    """
    mean = np.asarray(mean, np.float64)
    normal = normal_field(token, mean.shape).astype(np.float64)
    root = np.sqrt(mean)
    counts = np.maximum(0.0, np.rint(mean + root * normal + (normal**2 - 1) / 6
                                     + (normal - normal**3) / (72 * np.maximum(root, 1))))  # fmt: skip
    small = mean < _SMALL_MEAN
    if small.any():
        counts[small] = _by_inversion(mean[small], (uniform_field(token, (int(small.sum()),)) + 1) / 2)
    return counts


def _by_inversion(mean: np.ndarray, chance: np.ndarray) -> np.ndarray:
    counts = np.zeros(mean.shape)
    left = np.arange(mean.size)
    probability = np.exp(-mean)
    total = probability.copy()
    number = 0
    while left.size and number < 400:
        left = left[chance[left] > total[left]]
        number += 1
        counts[left] = number
        probability[left] *= mean[left] / number
        total[left] += probability[left]
    return counts
