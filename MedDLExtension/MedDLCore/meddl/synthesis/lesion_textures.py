"""What is inside of a lesion: of a generated image, of a real lesion, or noise with the figures of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from meddl.augmentation.sample import range_of
from meddl.randomness import Stream, normal_field
from meddl.synthesis.lesion_places import Place
from meddl.synthesis.lesion_shapes import ExampleShape
from meddl.synthesis.value_range import values_of
from meddl.volume import Volume

_SHELL_MM = (1.0, 7.0)
"""Distance from a lesion's surface of what counts as its surroundings."""
_BINS = 8
_GRAIN_MM = 1.5


@dataclass(frozen=True, eq=False)
class Profile:
    """How bright a real lesion is from its surface to its middle, against its surroundings.

    Attributes:
        values: at :data:`_BINS` depths from the surface (first) to the middle, as shares of the image's range.
        grain: standard deviation round them, likewise.
    """

    values: np.ndarray
    grain: float


def scale_of(image: Volume) -> float:
    """Return what a contrast is measured in: the image's range; of CT one Hounsfield unit."""
    if values_of(image.array[0]).hounsfield:
        return 1.0
    low, high = range_of(image)
    return high - low


def surroundings(array: np.ndarray, place: Place) -> float:
    """Return the value round a lesion, in what it lies in."""
    shell = (place.depth < -_SHELL_MM[0]) & (place.depth > -_SHELL_MM[1])
    inside = shell & place.allowed
    use = inside if np.count_nonzero(inside) >= 20 else shell
    for values in (array[use], array[~place.lesion], array):
        finite = values[np.isfinite(values)]
        if finite.size:
            return float(np.median(finite))
    return 0.0


def profile_of(image: Volume, mask: Volume) -> Profile:
    """Return how bright a real lesion is, of all its pieces."""
    from scipy import ndimage

    whole, spacing = mask.array[0] > 0, image.spacing
    reach = np.ceil(_SHELL_MM[1] / spacing).astype(int) + 1
    (box,) = ndimage.find_objects(whole.astype(np.uint8))
    box = tuple(slice(max(0, side.start - r), side.stop + r) for side, r in zip(box, reach, strict=True))
    lesion, array = whole[box], np.nan_to_num(image.array[0][box].astype(np.float32))
    depth = ndimage.distance_transform_edt(lesion, sampling=spacing)
    away = ndimage.distance_transform_edt(~lesion, sampling=spacing)
    shell = (away > _SHELL_MM[0]) & (away < _SHELL_MM[1])
    base = float(np.median(array[shell])) if shell.any() else float(np.median(array))
    share = depth[lesion] / depth.max()
    values = (array[lesion] - base) / scale_of(image)
    found: list[float] = []
    used = np.minimum((share * _BINS).astype(int), _BINS - 1)
    overall = float(np.median(values))
    for number in range(_BINS):
        part = values[used == number]
        found.append(float(np.median(part)) if part.size >= 5 else (found[-1] if found else overall))
    rest = values - np.array(found)[used]
    deep = share > 0.4  # the surface is half of what lies round it
    grain = float(1.4826 * np.median(np.abs(rest[deep]))) if np.count_nonzero(deep) > 5 else float(np.std(rest))
    return Profile(np.array(found), grain)


def from_statistics(
    image: Volume, place: Place, stream: Stream, profile: Profile | None, contrast: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return values for the lesion's box: the surroundings', a profile, and grain as fine as the image's.

    Args:
        profile: of a real lesion; without, ``contrast`` is the share of the image's range.
    """
    from scipy.ndimage import gaussian_filter

    array = image.array[0][place.box].astype(np.float32)
    scale = scale_of(image)
    if profile is None:
        low, high = range_of(image)
        # A little weaker at its surface and in its middle, and uneven, as what grows is.
        values = contrast * (high - low) * np.interp(np.arange(_BINS), (0, 2, _BINS - 1), (0.8, 1.0, 0.85))
        grain = 0.2 * abs(contrast) * (high - low)
    else:
        values, grain = profile.values * scale, profile.grain * scale
    share = np.clip(place.depth / max(1e-3, float(place.depth.max())), 0, 1)
    made = surroundings(array, place) + np.interp(share, (np.arange(_BINS) + 0.5) / _BINS, values)
    # Coarse grain as of tissue, and fine as of the scanner.
    coarse = normal_field(stream.token(), array.shape)
    sigma = [max(0.4, _GRAIN_MM / each) for each in image.spacing]
    coarse = gaussian_filter(coarse, sigma)
    coarse /= max(1e-6, float(coarse.std()))
    fine = gaussian_filter(normal_field(stream.token(), array.shape), 0.45)
    fine /= max(1e-6, float(fine.std()))
    noise = _noise_of(np.nan_to_num(array))
    made = made + np.sqrt(max(0.0, grain**2 - noise**2)) * coarse + noise * fine
    facts = {"from": "statistics", "grain": round(float(grain), 4), "middle": round(float(values[-1]), 4)}
    return made.astype(np.float32), facts


def from_example(image: Volume, place: Place, example: Volume) -> np.ndarray:
    """Return values for the lesion's box: the voxels of a real lesion, where its shape was taken from it.

    Their contrast with their surroundings stays, measured in the image's range.
    """
    from scipy.ndimage import map_coordinates

    assert isinstance(place.shape, ExampleShape)
    there = place.shape.in_example(place.points.reshape(-1, 3), place.radius)
    inverse = np.linalg.inv(example.affine)
    index = inverse[:3, :3] @ there.T + inverse[:3, 3:]
    array = np.nan_to_num(example.array[0].astype(np.float32))
    values = map_coordinates(array, index, order=1, mode="nearest").reshape(place.lesion.shape)
    return fitted(values, image, example, place)


def fitted(values: np.ndarray, image: Volume, origin: Volume, place: Place) -> np.ndarray:
    """Return values of another image with this image's range, and the lesion's surroundings as they are here."""
    scale = scale_of(image) / scale_of(origin)
    here = image.array[0][place.box].astype(np.float32)
    if values_of(image.array[0]).hounsfield:  # they mean the same everywhere
        return values.astype(np.float32)
    return np.asarray((values - surroundings(values, place)) * scale + surroundings(here, place), np.float32)


def blended(array: np.ndarray, values: np.ndarray, place: Place, border_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's box with the lesion in it, and where it changed; elsewhere it keeps every bit.

    Over ``border_mm`` the lesion passes into its surroundings, half of it outside: the middle is the mask's surface.
    """
    share = np.clip(place.depth / max(border_mm, 1e-3) + 0.5, 0, 1)
    weight = share * share * (3 - 2 * share)
    weight[~(place.allowed | place.lesion)] = 0
    changed = weight > 0
    out = array.copy()
    before = array[changed].astype(np.float64)
    before = np.where(np.isfinite(before), before, values[changed])
    mixed = before * (1 - weight[changed]) + values[changed] * weight[changed]
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        mixed = np.clip(np.rint(mixed), limits.min, limits.max)
    out[changed] = mixed.astype(array.dtype)
    return out, changed


def _noise_of(array: np.ndarray) -> float:
    """Return the standard deviation of what changes from voxel to voxel where nothing else does."""
    from scipy.ndimage import median_filter

    rest = np.abs(array - median_filter(array, 3))
    return float(1.4826 * np.median(rest))
