"""CT images as they would be with less dose."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from meddl.errors import JobCancelled, VolumeError
from meddl.randomness import Stream, normal_field
from meddl.simulation.attenuation import water
from meddl.simulation.checks import axis_along, check_ct
from meddl.simulation.noise import between, poisson
from meddl.simulation.options import LowDose
from meddl.volume import Volume

_COARSE = 256
"""The strength of the noise follows the projections, which are smooth: so many bins tell it."""
_TISSUE_HU = -700.0
_PADDING_HU = -1024.0


def low_dose(
    volume: Volume,
    options: LowDose,
    stream: Stream,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a CT ``(1, I, J, K)`` in HU with the noise of less dose, and what was drawn.

    Slice by slice across the axis nearest to head-foot, on the circle round all tissue: projections p of the
    attenuation over half a turn in parallel beams (scikit-image's ``radon``), photons counted behind the patient from
    the Poisson distribution of mean dose x photons x exp(-p), normal electronic noise added; what that changes of p is
    reconstructed by filtered back projection (``iradon``) and added to the original. As an original with the noise
    of full dose has a part of it, each bin's noise is scaled to the variance that is lacking: Yu et al. 2012,
    Development and validation of a practical lower-dose-simulation tool, Journal of Computer Assisted Tomography
    36:477; Zeng et al. 2015, A simple low-dose X-ray CT simulation from high-dose scan, IEEE Transactions on Nuclear
    Science 62:2226. No beam hardening, scatter, bow-tie filter, tube current modulation, helix or noise across slices.
    Bins with less than one photon count as one. Voxels below -1024 HU (round the field of view) stay as they are.
    Whole-number images stay so.

    Raises:
        VolumeError: it is no CT in HU, or its slices are sheared.
    """
    check_ct(volume, options.title)
    across = axis_along(volume.grid, "head-foot")
    wide = [axis for axis in range(3) if axis != across]
    axes = volume.affine[:3, wide] / volume.spacing[wide]
    if abs(float(axes[:, 0] @ axes[:, 1])) > 0.01:
        raise VolumeError("The slices of the CT are sheared. Resample it to a grid with right angles first.")
    dose = between(options.dose, stream)
    slices = np.moveaxis(volume.array[0], across, 0)
    kept = volume.array.dtype if volume.array.dtype.kind in "if" else np.dtype(np.int32)
    made = np.empty(slices.shape, kept)
    spacing = (float(volume.spacing[wide[0]]), float(volume.spacing[wide[1]]))
    starved = 0
    for index, each in enumerate(slices):
        if cancelled():
            raise JobCancelled("The simulation was cancelled.")
        progress(index / len(slices), "Low dose")
        values, lost = _slice(each.astype(np.float32), spacing, options, dose, stream.child("slice", index))
        starved += lost
        if kept.kind == "i":
            info = np.iinfo(kept)
            values = np.clip(np.rint(values), info.min, info.max)
        made[index] = np.where(each < _PADDING_HU, each, values)
    array = np.ascontiguousarray(np.moveaxis(made, 0, across))[np.newaxis]
    return array, {"dose": dose, "starved_bins": starved, "noise_of_original_counted": options.noisy_original}


def _slice(
    values: np.ndarray, spacing: tuple[float, float], options: LowDose, dose: float, stream: Stream
) -> tuple[np.ndarray, int]:
    """Return a slice of HU with less dose, and how many bins no photon reached."""
    from scipy.ndimage import map_coordinates
    from skimage.transform import iradon

    field = _Field(values, spacing)
    by_mm = water(options.energy_kev)
    square = field.square(np.maximum(1 + values / 1000, 0) * np.float32(by_mm))
    theta = np.linspace(0.0, 180.0, options.views, endpoint=False)
    bins = square.shape[0]
    through = _projections(square, theta, field.pixel, coarse=options.image == "difference")
    noise, starved = _noise(through, options, dose, stream)
    shown = noise if options.image == "difference" else through + noise
    back = iradon(shown, theta=theta, filter_name=options.filter, circle=True, output_size=bins)
    # From attenuation by pixel to HU.
    back = back / (field.pixel * by_mm) * 1000
    places = field.places(values.shape)
    # Noise has the finest structure that pixels hold: linear interpolation would smooth it away.
    own = back[field.whole] if field.is_square else map_coordinates(back, places, order=5, mode="nearest")
    inside = np.hypot(*(each - bins // 2 for each in places)) <= bins // 2
    if options.image == "difference":
        return values + np.where(inside, own, 0), starved
    return np.where(inside, own - 1000, values), starved


def _noise(through: np.ndarray, options: LowDose, dose: float, stream: Stream) -> tuple[np.ndarray, int]:
    """Return what less dose changes of projections, and how many bins no photon reached."""
    full = options.photons * np.exp(-through)
    mean = dose * full
    counted = poisson(mean, stream.child("photons").token())
    electronic = options.electronic_noise
    if electronic:
        counted = counted + electronic * normal_field(stream.child("electronic").token(), counted.shape)
    noise = -np.log(np.maximum(counted, 1.0) / (dose * options.photons)) - through
    if options.noisy_original:
        has = 1 / full + (electronic / full) ** 2
        needs = 1 / mean + (electronic / mean) ** 2
        noise *= np.sqrt(1 - has / needs)
    return noise, int(np.count_nonzero(counted < 1.0))


def _projections(square: np.ndarray, theta: np.ndarray, pixel: float, *, coarse: bool) -> np.ndarray:
    """Return line integrals (bins, views); coarsely, those of fewer bins and views with what lies between drawn in."""
    from scipy.ndimage import map_coordinates
    from skimage.transform import radon

    bins = square.shape[0]
    factor = max(1, bins // _COARSE)
    if not coarse or factor == 1:
        full: np.ndarray = radon(square, theta=theta, circle=True) * pixel
        return np.maximum(full, 0)
    side = bins // factor
    small = square[: side * factor, : side * factor].reshape(side, factor, side, factor).mean(axis=(1, 3))
    few = np.linspace(0.0, 180.0, max(8, len(theta) // factor), endpoint=False)
    few_views = radon(small, theta=few, circle=True) * (pixel * factor)
    at = np.meshgrid((np.arange(bins) - (factor - 1) / 2) / factor, theta / (few[1] - few[0]), indexing="ij")
    between_them: np.ndarray = map_coordinates(few_views, at, order=1, mode="nearest")
    return np.maximum(between_them, 0)


class _Field:
    """The square that a slice is reconstructed on: square pixels, its middle that of the slice, all tissue within.

    Attributes:
        pixel: mm.
        is_square: the slice has these pixels itself.
        whole: the slice in the square, then.
    """

    def __init__(self, values: np.ndarray, spacing: tuple[float, float]) -> None:
        self.pixel = min(spacing)
        self._steps = [each / self.pixel for each in spacing]
        self.is_square = max(self._steps) < 1.001
        sizes = [math.ceil(count * step) for count, step in zip(values.shape, self._steps, strict=True)]
        radius = 0.0
        tissue = np.argwhere(values > _TISSUE_HU)
        if len(tissue):
            from_middle = (tissue - (np.array(values.shape) - 1) / 2) * self._steps
            radius = float(np.sqrt((from_middle**2).sum(axis=1)).max())
        self._bins = max(*sizes, 2 * math.ceil(radius) + 4)
        if self.is_square:
            self._first = [self._bins // 2 - count // 2 for count in values.shape]
        else:  # the middle of the slice on the middle of the square
            self._first = [self._bins // 2 - (count - 1) / 2 * step
                           for count, step in zip(values.shape, self._steps, strict=True)]  # fmt: skip
        self.whole = tuple(slice(int(first), int(first) + count)
                           for first, count in zip(self._first, values.shape, strict=True))  # fmt: skip

    def square(self, values: np.ndarray) -> np.ndarray:
        """Return attenuations on the square, 0 beyond the slice."""
        from scipy.ndimage import map_coordinates

        side = np.arange(self._bins)
        if self.is_square:
            made = np.zeros((self._bins, self._bins), np.float32)
            made[self.whole] = values
        else:
            axes = [(side - first) / step for first, step in zip(self._first, self._steps, strict=True)]
            # The outermost voxels reach half a voxel further than their centers.
            axes = [np.where((at > -0.5) & (at < count - 0.5), np.clip(at, 0, count - 1), -10)
                    for at, count in zip(axes, values.shape, strict=True)]  # fmt: skip
            made = map_coordinates(values, np.meshgrid(*axes, indexing="ij"), order=1, mode="constant")
        middle = self._bins // 2
        made[(side[:, np.newaxis] - middle) ** 2 + (side - middle) ** 2 > middle**2] = 0
        return made

    def places(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return where the slice's voxels are on the square (2, *shape)."""
        axes = [first + np.arange(count) * step
                for first, count, step in zip(self._first, shape, self._steps, strict=True)]  # fmt: skip
        return np.array(np.meshgrid(*axes, indexing="ij"))
