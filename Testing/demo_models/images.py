"""The real images the demo models are trained and tested on: one function per person.

Everything comes out of published packages, see ``realdata.py``. Licenses stand in ``Testing/README.md``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import realdata
import SimpleITK as sitk
from meddl.volume import Volume, from_sitk, read_volume, resample_to, to_sitk


@cache
def abdomen_a() -> Volume:
    """CT of abdomen and pelvis, 122 x 101 x 112 voxels of 3 mm (TotalSegmentator)."""
    return read_volume(realdata.totalsegmentator() / "example_ct.nii.gz")


@cache
def abdomen_a_labels() -> Volume:
    """TotalSegmentator's own labels of :func:`abdomen_a`."""
    return read_volume(realdata.totalsegmentator() / "example_seg_fast_force_split.nii.gz")


@cache
def chest_b() -> Volume:
    """CT of the chest with contrast, 1.5 mm (TotalSegmentator)."""
    return read_volume(realdata.totalsegmentator() / "aorta_report" / "example_ct.nii.gz")


@cache
def upper_abdomen_c() -> Volume:
    """CT of the upper abdomen, a DICOM series of 20 slices of 2 mm (TotalSegmentator)."""
    return read_volume(realdata.totalsegmentator() / "example_ct_dicom")


@cache
def chest_d() -> Volume:
    """CT of the chest, 48 slices of 5 mm (pyradiomics, lung1)."""
    return read_volume(realdata.pyradiomics()["lung1_image"])


@cache
def chest_e() -> Volume:
    """CT of chest and upper abdomen, 61 slices of 5 mm (pyradiomics, lung2)."""
    return read_volume(realdata.pyradiomics()["lung2_image"])


@cache
def abdomen_mr() -> Volume:
    """MR of the abdomen, 20 slices of 3 mm (TotalSegmentator)."""
    return read_volume(realdata.totalsegmentator() / "example_mr_sm.nii.gz")


@cache
def colin27() -> Volume:
    """T1 head, mean of 27 scans of one man, 1 mm."""
    return read_volume(realdata.colin27()[0])


@cache
def mean_head() -> Volume:
    """T1 head, mean of several people, 1 mm (pydeface)."""
    return read_volume(realdata.head())


@cache
def itk_subject() -> Volume:
    """T1 head of one person, coronal slices of 3 mm (ITK's examples)."""
    return read_volume(realdata.itk_subject()[0])


@cache
def tumor_1() -> Volume:
    """T1 head with contrast and a tumor, axial slices of 6.5 mm (pyradiomics, brain1)."""
    return read_volume(realdata.pyradiomics()["brain1_image"])


@cache
def tumor_2() -> Volume:
    """T1 head with contrast and a tumor, axial slices of 6.5 mm (pyradiomics, brain2)."""
    return read_volume(realdata.pyradiomics()["brain2_image"])


def upright(volume: Volume, spacing_mm: float) -> Volume:
    """Return ``volume`` in RAS order on cubic voxels."""
    image = sitk.DICOMOrient(sitk.Cast(to_sitk(volume), sitk.sitkFloat32), "LPS")
    size = [max(1, round(n * s / spacing_mm)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    scale = [n * s / m for n, s, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    first = [(new / old - 1) / 2 for new, old in zip(scale, image.GetSpacing(), strict=True)]
    start = image.TransformContinuousIndexToPhysicalPoint(first)
    least = float(volume.array.min())
    resampled = sitk.Resample(image, size, sitk.Transform(), sitk.sitkLinear, start, scale, image.GetDirection(), least)
    return from_sitk(sitk.DICOMOrient(resampled, "RAS"))


def on_grid_of(labels: Volume, image: Volume) -> np.ndarray:
    """Return ``(I, J, K)`` labels on the image's grid."""
    return resample_to(labels, image.grid, interpolation="nearest").array[0]
