"""Plans to start from, by modality: what happens there between the patient and the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _step(transform: str, probability: float, **settings: Any) -> dict[str, Any]:
    return {"transform": transform, "probability": probability, **settings}


_MIRROR = _step("flip", 0.5, axis="left-right")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "mr": {
        "name": "MR",
        "modality": "MR",
        "description": "Another patient, table and coil: position, size and shape; bias field, contrast, noise, and "
        "now and then a scan that went wrong. Left and right change places only where labels can follow.",
        "transforms": [
            _MIRROR,
            _step("affine", 0.8, rotation_degrees=[-12, 12], scale=[0.88, 1.14], shift_mm=[-8, 8]),
            _step("elastic", 0.4, spacing_mm=[35, 60], amplitude_mm=[2, 6]),
            _step("bias_field", 0.5, strength=[0.1, 0.45]),
            _step("contrast", 0.4, gamma=[0.7, 1.5]),
            _step("gain", 0.3, factor=[0.8, 1.25]),
            _step("low_resolution", 0.15, factor=[1.3, 2.0]),
            _step("anisotropy", 0.15, factor=[1.5, 4.0]),
            _step("motion", 0.1, moves=[1, 3], rotation_degrees=[-2.5, 2.5], shift_mm=[-2.5, 2.5]),
            _step("ghosting", 0.1, number=[3, 8], strength=[0.2, 0.6]),
            _step("gibbs", 0.1, share=[0.3, 0.55]),
            _step("spike", 0.05, strength=[0.03, 0.12]),
            _step("noise", 0.4, strength=[0.005, 0.05], kind="rician"),
        ],
    },
    "mr-artifacts": {
        "name": "MR artifacts",
        "modality": "MR",
        "description": "Scans that went wrong, for models that must stand it or know it. Nothing moves.",
        "transforms": [
            _step("motion", 0.4, moves=[1, 4], rotation_degrees=[-5, 5], shift_mm=[-5, 5]),
            _step("ghosting", 0.4, number=[2, 10], strength=[0.3, 1.0]),
            _step("spike", 0.2, number=[1, 2], strength=[0.05, 0.25]),
            _step("gibbs", 0.3, share=[0.4, 0.7]),
            _step("bias_field", 0.5, strength=[0.2, 0.7]),
            _step("anisotropy", 0.3, factor=[2, 6]),
            _step("noise", 0.5, strength=[0.02, 0.12], kind="rician"),
        ],
    },
    "ct": {
        "name": "CT",
        "modality": "CT",
        "description": "Another patient and table, dose, kernel and slice thickness. Hounsfield units stay what they "
        "are but for their noise: there is no gain or gamma.",
        "transforms": [
            _MIRROR,
            _step("affine", 0.8, rotation_degrees=[-10, 10], scale=[0.88, 1.14], shift_mm=[-12, 12]),
            _step("elastic", 0.3, spacing_mm=[40, 80], amplitude_mm=[2, 7]),
            _step("blur", 0.2, sigma_mm=[0.4, 1.2]),
            _step("sharpen", 0.2, sigma_mm=[0.7, 1.5], amount=[0.3, 1.2]),
            _step("anisotropy", 0.25, factor=[1.5, 4.0], axis="up-down"),
            _step("low_resolution", 0.1, factor=[1.2, 1.8]),
            _step("noise", 0.5, strength=[0.003, 0.025], kind="gaussian", grain_mm=[0.0, 1.0]),
        ],
    },
    "xray": {
        "name": "X-ray",
        "modality": "DX",
        "description": "Another exposure, detector and stance of the patient; something may cover a part of the image.",
        "transforms": [
            _MIRROR,
            _step("affine", 0.8, rotation_degrees=[-8, 8], scale=[0.85, 1.15], shear=[-0.05, 0.05], shift_mm=[-15, 15]),
            _step("gain", 0.4, factor=[0.7, 1.4], shift=[-0.1, 0.1]),
            _step("contrast", 0.5, gamma=[0.65, 1.6]),
            _step("blur", 0.2, sigma_mm=[0.2, 0.8]),
            _step("sharpen", 0.2, sigma_mm=[0.3, 1.0], amount=[0.3, 1.5]),
            _step("low_resolution", 0.15, factor=[1.3, 2.5]),
            _step("noise", 0.4, strength=[0.005, 0.04], kind="gaussian", grain_mm=[0.0, 0.4]),
            _step("cutout", 0.1, number=[1, 2], size=[0.04, 0.12], fill="dark"),
        ],
    },
    "position": {
        "name": "Position and shape",
        "modality": "",
        "description": "Content moves, values stay: for any modality. No mirror image.",
        "transforms": [
            _step("affine", 1.0, rotation_degrees=[-12, 12], scale=[0.88, 1.14], shift_mm=[-10, 10]),
            _step("elastic", 0.5, spacing_mm=[35, 70], amplitude_mm=[2, 6]),
        ],
    },
}
"""Plans as data, by the names the command line has for them."""
