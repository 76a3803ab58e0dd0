"""How much X-rays are weakened by what a CT shows."""

from __future__ import annotations

import math

import numpy as np

_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER = (0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)
_BONE = (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480)
"""cm^2/g of liquid water and of cortical bone (ICRU-44): Hubbell and Seltzer, NIST Standard Reference Database 126."""
_BONE_DENSITY = 1.92
CT_KEV = 70.0
"""Effective energy that Hounsfield units are taken to be measured at (120 kV)."""


def water(kev: float) -> float:
    """Return the attenuation of water by mm."""
    return _at(kev, _WATER) / 10


def bone(kev: float) -> float:
    """Return the attenuation of cortical bone by mm."""
    return _at(kev, _BONE) * _BONE_DENSITY / 10


def attenuation(values: np.ndarray, kev: float) -> np.ndarray:
    """Return the attenuation by mm, float32, of Hounsfield units.

    Below 0 HU it is a mixture of water and air, above of water and bone, which weakens softer rays by more than its
    HU, those of 70 keV, say: the bilinear conversion of Burger et al. 2002, PET attenuation coefficients from CT
    images, European Journal of Nuclear Medicine 29:922. Below -1000 HU (what scanners write round their field of view)
    there is nothing.

    Example:
        >>> attenuation(np.array([-2000, -1000, 0]), 60.0).round(4).tolist()
        [0.0, 0.0, 0.020600000396370888]
    """
    soft = water(kev) / 1000
    hard = water(CT_KEV) / 1000 * (bone(kev) - water(kev)) / (bone(CT_KEV) - water(CT_KEV))
    values = np.maximum(values.astype(np.float32), np.float32(-1000))
    slope = np.where(values < 0, np.float32(soft), np.float32(hard))
    result: np.ndarray = np.maximum(values * slope + np.float32(1000 * soft), 0)
    return result


def _at(kev: float, table: tuple[float, ...]) -> float:
    return math.exp(float(np.interp(math.log(kev), np.log(_KEV), np.log(table))))
