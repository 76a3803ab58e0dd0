"""A voxel array with its place in the patient: the value all of MedDL passes around, its files and its resampling.

Arrays are channel-first ``(C, I, J, K)``, affines are 4x4 from voxel index ``(i, j, k)`` to RAS millimeters. Files that
speak LPS (nrrd, mha, DICOM) are converted here and nowhere else. Importing this package needs numpy only.
"""

from __future__ import annotations

from .data import Segment, Volume
from .geometry import Grid, is_sheared, orientation_code
from .itk import from_sitk, resample_to, to_sitk
from .reading import read_frames, read_volume
from .segmentation_file import write_segmentation
from .segmentation_reading import read_segmentation
from .writing import check_writable, whole_file, write_volume

__all__ = [
    "Grid",
    "Segment",
    "Volume",
    "check_writable",
    "from_sitk",
    "is_sheared",
    "orientation_code",
    "read_frames",
    "read_segmentation",
    "read_volume",
    "resample_to",
    "to_sitk",
    "whole_file",
    "write_segmentation",
    "write_volume",
]
