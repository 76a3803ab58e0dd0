"""What identifies somebody in the header of a DICOM file, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import attributes
from .identifying import Identifiers, words_of
from .vocabulary import words

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

_WHO = words(
    """
    AccessionNumber AdmissionID ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID CurrentPatientLocation DeviceSerialNumber FillerOrderNumberImagingServiceRequest
    HumanPerformerOrganization InstitutionAddress InstitutionName InstitutionalDepartmentName
    InsurancePlanIdentification IssuerOfPatientID MedicalRecordLocator MilitaryRank OrderCallbackPhoneNumber
    OtherPatientIDs PatientAddress PatientBirthDate PatientID PatientInstitutionResidence
    PatientReligiousPreference PatientTelecomInformation PatientTelephoneNumbers PerformedProcedureStepID
    PerformedStationAETitle PerformedStationName PersonAddress PersonTelecomInformation PersonTelephoneNumbers
    PlacerOrderNumberImagingServiceRequest ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers
    RegionOfResidence RequestedProcedureID RequestingService ResponsibleOrganization ScheduledProcedureStepID
    ServiceEpisodeID StationName StudyID
    """
)
_DAYS = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


@dataclass(frozen=True)
class Seen:
    """What identifies somebody in a header.

    Attributes:
        identifiers: to be looked for in other texts.
        names: all words of names, also short ones and those that are words of imaging as well.
    """

    identifiers: Identifiers
    names: frozenset[str]


def seen_in(dataset: Dataset) -> Seen:
    """Return what identifies somebody in a header, its sequences and its names of persons included."""
    texts: list[str] = []
    names: set[str] = set()
    for element in _all_elements(dataset):
        person = element.VR == "PN" and bool(attributes.action(element.tag) or element.tag.group % 2)
        if not person and element.keyword not in _WHO and element.keyword not in _DAYS:
            continue
        for value in _values(element):
            texts.append(value)
            if person:
                names |= words_of(value)
                texts.append(" ".join(reversed(value.replace("^", " ").split())))
    return Seen(Identifiers.of(texts), frozenset(names))


def _values(element: DataElement) -> list[str]:
    value = element.value
    if value is None:
        return []
    several = hasattr(value, "append")
    return [text for text in (str(each) for each in (value if several else [value])) if text.strip()]


def _all_elements(dataset: Dataset) -> Iterator[DataElement]:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # damaged; it is removed later
            continue
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _all_elements(item)
        else:
            yield element
