"""DICOM PS3.15 Annex E: the Basic Application Level Confidentiality Profile and its options, on one dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.datasets.options import DeidentifyOptions

if TYPE_CHECKING:
    import pydicom


def deidentify_dataset(
    dataset: pydicom.Dataset, options: DeidentifyOptions, *, patient: str, case: str, secret: bytes
) -> pydicom.Dataset:
    """Return a copy of a DICOM dataset, with its file meta information, in which nobody is known any more.

    Args:
        dataset: as it was read; it is not changed.
        patient: in the dataset ("patient_0003"): becomes PatientName and PatientID. Dates are shifted alike for it.
        case: in the dataset ("case_0007"): becomes StudyID.
        secret: what made-up UIDs and shifts of dates are derived from.

    Raises:
        VolumeError: text may be burned into its pixels, or it is of a kind that cannot be de-identified.
    """
    raise NotImplementedError
