"""Colors of a map: those of its voxels, of its scale in a report and of its legend in Slicer are the same.

Lightness is that of CIE L*a*b*, in which equal steps look equal; both scales read in gray and with color blindness.
"""

from __future__ import annotations

import numpy as np

DEFAULT_THRESHOLD = 0.1
"""What is nearer to 0 than this share of the scale's end is transparent."""

_OUTERMOST = 99.9
_MOST_SORTED = 4_000_000
_STRONGEST = 0.85


def growing_colors(share: np.ndarray) -> np.ndarray:
    """Return colors ``(n, 3)``, 0 to 1, from black over purple and orange to pale yellow, for shares 0 to 1."""
    share = np.clip(np.asarray(share, dtype=np.float64), 0.0, 1.0)
    hue = np.deg2rad(300.0 + 165.0 * share)  # purple, red, orange, yellow
    chroma = 62.0 * np.sin(np.pi * share**0.85).clip(min=0.0) ** 0.8
    return _rgb(4.0 + 91.0 * share, chroma * np.cos(hue), chroma * np.sin(hue))


def diverging_colors(share: np.ndarray) -> np.ndarray:
    """Return colors ``(n, 3)``, 0 to 1, from blue (less) over near-white to red (more), for shares -1 to 1."""
    share = np.clip(np.asarray(share, dtype=np.float64), -1.0, 1.0)
    strength = np.abs(share)
    hue = np.deg2rad(np.where(share < 0, 285.0, 35.0))
    chroma = 60.0 * strength  # more of this blue no screen can show: it would be cut off, a step in the scale
    return _rgb(95.0 - 52.0 * strength, chroma * np.cos(hue), chroma * np.sin(hue))


def map_colors(share: np.ndarray, signed: bool, threshold: float = DEFAULT_THRESHOLD) -> np.ndarray:
    """Return colors with opacity ``(..., 4)``, 0 to 1, of values given as shares of the scale's end.

    Opacity is 0 up to ``threshold``, and always at 0; beyond it grows with the value, so that strong evidence hides
    what is below it and weak evidence does not.

    Example:
        >>> map_colors(np.array([0.0, 0.05, 1.0]), signed=True)[:, 3]
        array([0.  , 0.  , 0.85])
    """
    share = np.nan_to_num(np.asarray(share, dtype=np.float64), nan=0.0)
    strength = np.abs(share) if signed else share
    colors = (diverging_colors if signed else growing_colors)(share.ravel()).reshape(*share.shape, 3)
    opacity = _STRONGEST * np.clip(strength, 0.0, 1.0) ** 0.7
    opacity = np.where((strength > 0) & (strength >= threshold), opacity, 0.0)
    return np.concatenate([colors, opacity[..., None]], axis=-1)


def scale_of(array: np.ndarray) -> float:
    """Return where the color scale of a map ends: nearly all of its values, but for 0, lie within.

    A single voxel beyond would make all the others pale.
    """
    values = np.abs(array[np.isfinite(array) & (array != 0)])
    if not values.size:
        return 1.0
    return float(np.percentile(values[:: max(1, values.size // _MOST_SORTED)], _OUTERMOST))


def _rgb(lightness: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Convert CIE L*a*b* (white point D65) to sRGB ``(n, 3)``, 0 to 1."""
    y = (lightness + 16.0) / 116.0
    xyz = np.stack([y + a / 500.0, y, y - b / 200.0], axis=-1)
    xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29)) * (0.9505, 1.0, 1.089)
    linear = xyz @ np.array([[3.2406, -0.9689, 0.0557], [-1.5372, 1.8758, -0.2040], [-0.4986, 0.0415, 1.0570]])
    linear = np.clip(linear, 0.0, 1.0)
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))
