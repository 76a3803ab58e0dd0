"""Private attributes that DICOM PS3.15 (Table E.3.10-1) knows to identify nobody, as far as they hold numbers."""

from __future__ import annotations

from typing import Any

SAFE: dict[tuple[int, str, int], str] = {
    # Philips PET: without them counts cannot be turned into activity.
    (0x7053, "Philips PET Private Group", 0x00): "DS",  # SUV factor
    (0x7053, "Philips PET Private Group", 0x09): "DS",  # activity concentration scale factor
    # Philips MR and CT
    (0x2001, "Philips Imaging DD 001", 0x03): "FL",  # diffusion b-factor
    (0x2001, "Philips Imaging DD 001", 0x04): "CS",  # diffusion direction
    (0x00E1, "ELSCINT1", 0x21): "DS",  # dose-length product
    (0x01F1, "ELSCINT1", 0x07): "DS",  # table velocity
    (0x01F1, "ELSCINT1", 0x26): "DS",  # pitch
    (0x01F1, "ELSCINT1", 0x27): "DS",  # rotation time
    # GE
    (0x0019, "GEMS_ACQU_01", 0x23): "DS",  # table speed
    (0x0019, "GEMS_ACQU_01", 0x24): "DS",  # mid scan time
    (0x0019, "GEMS_ACQU_01", 0x27): "DS",  # rotation speed
    (0x0025, "GEMS_SERS_01", 0x07): "SL",  # images in series
    (0x0043, "GEMS_PARM_01", 0x39): "IS",  # b-value, first
    (0x0043, "GEMS_PARM_01", 0x6F): "DS",  # scanner table entry
    (0x0045, "GEMS_HELIOS_01", 0x01): "SS",  # macro rows of the detector
    (0x0045, "GEMS_HELIOS_01", 0x02): "FL",  # macro width
    # Siemens MR
    (0x0019, "SIEMENS MR HEADER", 0x0C): "IS",  # b-value
    (0x0019, "SIEMENS MR HEADER", 0x0D): "CS",  # diffusion directionality
    (0x0019, "SIEMENS MR HEADER", 0x0E): "FD",  # diffusion gradient direction
    (0x0019, "SIEMENS MR HEADER", 0x27): "FD",  # diffusion matrix
}
"""Value representation by (group, creator, element within the creator's block). The table's few texts are left out."""

_DIRECTIONS = {"", "NONE", "DIRECTIONAL", "BIDIRECTIONAL", "ISOTROPIC", "P", "M", "S", "I", "O", "N", "R"}


def is_safe(group: int, creator: str, offset: int, vr: str, value: Any) -> bool:
    """Say whether a private attribute may stay: the table has it, and it holds what the table says."""
    if SAFE.get((group, creator.strip(), offset)) != vr:
        return False
    values = value if hasattr(value, "append") else [value]
    if vr == "CS":
        return all(str(each).strip() in _DIRECTIONS for each in values)
    try:
        return all(each in (None, "") or float(each) is not None for each in values)
    except (TypeError, ValueError):
        return False
