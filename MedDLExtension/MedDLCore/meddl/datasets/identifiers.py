"""Texts of a case that identify people: its names, its files' names, and what the headers of its files say."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meddl.datasets.case import Case, ClassLabel, ImageFile, SegmentationLabel, TargetLabel
from meddl.datasets.collect.image_names import stem_of
from meddl.datasets.file_texts import header_texts

logger = logging.getLogger(__name__)

_MAX_TEXTS = 5000
_MAX_LENGTH = 400
_FOLDERS = 3
"""How many of the folders above a file are looked at: further up are those of the computer."""
_PERSONAL = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "PatientAddress", "PatientTelephoneNumbers",
    "PatientBirthName", "MilitaryRank", "PatientComments", "IssuerOfPatientID", "PerformedProcedureStepID",
    "RequestedProcedureID", "AdmissionID", "DeviceUID", "GantryID", "CassetteID", "PlateID", "DetectorID",
    "CurrentPatientLocation", "ScheduledProcedureStepID", "FillerOrderNumberImagingServiceRequest",
    "PlacerOrderNumberImagingServiceRequest", "InsurancePlanIdentification", "RegionOfResidence",
)  # fmt: skip
_STANDARD_UID = "1.2.840.10008."


def identifiers(case: Case) -> tuple[str, ...]:
    """Return texts that identify the patient, the study, the hospital or the files of a case, sorted.

    They are for finding leaks: none of them may stand anywhere in a dataset. They are the case's name, patient, study
    and site; names of its files and of the folders right above them; of DICOM headers all names of persons (whole, and
    each part of three letters and more), dates (in the usual ways to write them), IDs, UIDs, institutions, stations; of
    other files the free texts of their headers; of scenes the names of patients, studies and images. Names of the
    case's own classes and structures are not among them.

    A file that cannot be read adds nothing: reading the case will tell.
    """
    found: dict[str, None] = {}
    for text in _texts(case):
        plain = " ".join(str(text).replace("\0", " ").split())[:_MAX_LENGTH]
        if _identifies(plain):
            found.setdefault(plain)
        if len(found) >= _MAX_TEXTS:
            break
    # Classes are what the dataset is about; a folder may be named after one.
    classes = {name.casefold() for name in case.label.names} if isinstance(case.label, ClassLabel) else set()
    return tuple(sorted(text for text in found if text.casefold() not in classes))


def _texts(case: Case) -> Iterator[str]:
    yield from (case.id, case.patient, case.study, case.site)
    sources: list[Any] = list(case.images.values())
    if isinstance(case.label, SegmentationLabel | TargetLabel):
        sources.append(case.label.source)
    paths: dict[Path, ImageFile] = {each.path: each for each in sources if isinstance(each, ImageFile)}
    for path, source in paths.items():
        yield stem_of(path)
        yield path.name
        yield from (parent.name for parent in list(path.parents)[:_FOLDERS])
        try:
            yield from _inside(path, source)
        except Exception as error:  # parsers, on bytes that are anything
            logger.debug("%s: %r", path, error)


def _inside(path: Path, source: ImageFile) -> Iterator[str]:
    if source.member:
        yield from _scene_texts(path)
        from meddl.datasets.scene_archive import member_file

        with member_file(path, source.member) as file:
            yield from header_texts(file)
        return
    files = _dicom_sample(path, source)
    for file in files:
        yield from _dicom_texts(file)
    if not files and path.is_file():
        yield from header_texts(path)
    for scene in _scenes_near(path):
        yield from _scene_texts(scene)


def _scenes_near(path: Path) -> list[Path]:
    """Return the scene files that an image may belong to: Slicer keeps data beside them, or in a folder there."""
    folders = (path.parent, path.parent.parent)
    return [file for folder in folders for file in sorted(folder.glob("*.mrml"))[:3] if file.is_file()]


def _dicom_sample(path: Path, source: ImageFile) -> list[Path]:
    """Return the first and the last DICOM file that an image is read from."""
    from meddl.datasets.loading import dicom_files
    from meddl.volume.dicom_frames import is_dicom

    if path.is_file() and (is_dicom(path) or path.name.lower().endswith((".dcm", ".ima"))):
        return [path]
    if not path.is_dir():
        return []
    files = dicom_files(source)
    return [files[0], files[-1]] if len(files) > 1 else list(files)


def _dicom_texts(path: Path) -> Iterator[str]:
    import pydicom

    from meddl.volume.dicom_frames import quiet_pydicom

    with quiet_pydicom():
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        for element in dataset.iterall():
            try:
                values = element.value if element.VM > 1 else [element.value]
                if element.VR == "PN":
                    yield from (text for value in values for text in name_texts(str(value)))
                elif element.VR == "UI":
                    yield from (str(value) for value in values if not str(value).startswith(_STANDARD_UID))
                elif element.VR in ("DA", "DT"):
                    yield from (text for value in values for text in date_texts(str(value)))
                elif element.keyword in _PERSONAL:
                    yield from (str(value) for value in values)
            except Exception as error:
                logger.debug("%s: %r", path, error)


def name_texts(name: str) -> Iterator[str]:
    """Yield a person's name as DICOM writes it, in the order of speech, and its parts of three letters and more."""
    for group in name.split("="):
        parts = [part.strip() for part in group.split("^")]
        yield group
        yield " ".join(part for part in parts if part)
        yield " ".join(part for part in reversed(parts) if part)
        words = [word for part in parts for word in re.split(r"[\s,.]+", part)]
        yield from (word for word in words if sum(c.isalpha() for c in word) >= 3)


def date_texts(value: str) -> Iterator[str]:
    """Yield a DICOM date (``YYYYMMDD...``) in the usual ways to write it."""
    found = re.match(r"(\d{4})(\d{2})(\d{2})", value)
    if not found:
        return
    year, month, day = found.groups()
    yield from (f"{year}{month}{day}", f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}")


def _scene_texts(path: Path) -> Iterator[str]:
    from meddl.datasets.scene_xml import read_scene

    scene = read_scene(path)
    for item in scene.items.values():
        if item.level in ("Patient", "Study"):
            yield from (item.name, item.uid)
        for key, value in item.values.items():
            if key.endswith("Date"):
                yield from date_texts(value)
            elif key.startswith("DICOM."):
                yield from name_texts(value) if key.endswith("Name") else (value,)
    for node in scene.of_kind("Volume", "LabelMapVolume", "Segmentation"):
        yield node.name
    yield from (stem_of(Path(name)) for name in scene.members)


def _identifies(text: str) -> bool:
    """Say whether a text is long enough to mean somebody; where it is looked for, common words are left out."""
    return len(text) >= 3 and any(c.isalnum() for c in text)
