"""What DICOM PS3.15 Annex E says of each attribute: the action of the Basic Profile, and which options touch it.

The actions are those of dicom-anonymizer's table of the standard's edition 2026c. That library acts on the outermost
attributes only, makes dates of what is to be removed, and knows no options, so only its table is used.
"""

from __future__ import annotations

import functools
import re

from meddl.errors import UsageError

EDITION = "2026c"
"""Of the standard, whose Table E.1-1 is used."""

_GROUPS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}

TEMPORAL = ("DA", "DT", "TM")
TEXT = ("LO", "LT", "SH", "ST", "UC", "UT")

_DATES_OF_THE_PATIENT = {"PatientBirthDate", "PatientBirthTime", "GPSTimeStamp"}
"""The only dates and times that the option of shifted dates does not keep."""

_DESCRIPTOR = re.compile(r"(Description|Comments?|Label|Notes|Narrative)$")
"""How the keywords of nearly all attributes end that the option of clean descriptors keeps."""
_NO_DESCRIPTORS = {
    "AcquisitionContextDescription", "ChannelDerivationDescription", "ChannelLabel",
    "ConfidentialityConstraintOnPatientDataDescription", "DeviceDescription", "DeviceLabel",
    "ImagePresentationComments", "ModifiedImageDescription", "MultiplexGroupLabel", "TextComments", "XRayDetectorLabel",
}  # fmt: skip
_OTHER_DESCRIPTORS = {
    "AdditionalPatientHistory", "Allergies", "CommentsOnRadiationDose", "CommentsOnThePerformedProcedureStep",
    "ContrastBolusAgent", "EntityName", "Impressions", "InterpretationText", "LabelText", "MedicalAlerts", "Occupation",
    "PatientState", "PositionAcquisitionTemplateName", "ProtocolName", "ROIName", "RTPlanName",
    "ReasonForStudy", "ReasonForSuperseding", "ReasonForTheImagingServiceRequest", "ReasonForTheRequestedProcedure",
    "ReasonForVisit", "RequestedContrastAgent", "SelectorLOValue", "SelectorLTValue", "SelectorSHValue",
    "SelectorSTValue", "SelectorUTValue", "StructureSetName", "TreatmentSite", "TreatmentSites",
}  # fmt: skip


def action(tag: int) -> str:
    """Return the Basic Profile's action code for an attribute, for instance "X/Z/D"; "" where the table is silent."""
    single, masked = _table()
    found = single.get(tag)
    if found is not None:
        return found
    return next((code for value, mask, code in masked if tag & mask == value & mask), "")


def listed() -> dict[int, str]:
    """Return the whole table: action code by tag; of repeating groups the first."""
    single, masked = _table()
    return {**single, **{value: code for value, _, code in masked}}


def keeps_shifted(keyword: str, vr: str) -> bool:
    """Say whether the option of shifted dates keeps an attribute, changed."""
    return keyword == "TimezoneOffsetFromUTC" or (vr in TEMPORAL and keyword not in _DATES_OF_THE_PATIENT)


def keeps_cleaned(keyword: str, vr: str) -> bool:
    """Say whether the option of clean descriptors keeps an attribute, changed.

    Codes and sequences of that option are not among them: what is in them is not text that could be cleaned.
    """
    if vr not in TEXT or keyword in _NO_DESCRIPTORS:
        return False
    return keyword in _OTHER_DESCRIPTORS or bool(_DESCRIPTOR.search(keyword))


@functools.cache
def _table() -> tuple[dict[int, str], tuple[tuple[int, int, str], ...]]:
    """Return action codes by tag, and (tag, mask, code) of repeating groups."""
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

        groups = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    except (ImportError, ValueError) as error:
        raise UsageError("De-identifying DICOM needs the package dicom-anonymizer, 2.1 or later. "
                         "Install it with: pip install dicom-anonymizer") from error  # fmt: skip
    single: dict[int, str] = {}
    masked: list[tuple[int, int, str]] = []
    for name, code in _GROUPS.items():
        for tag in groups[name]:
            value = tag[0] << 16 | tag[1]
            if len(tag) == 2:
                single[value] = code
            else:
                masked.append((value, tag[2] << 16 | tag[3], code))
    return single, tuple(masked)
