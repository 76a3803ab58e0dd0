"""What the headers of a folder's DICOM files say: which series there are, whose, and what refers to what."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from meddl.datasets.dicom_contours import RTSTRUCT
from meddl.volume.dicom_frames import quiet_pydicom

logger = logging.getLogger(__name__)

SeriesKind = Literal["image", "picture", "segmentation", "contours", "other"]

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_NO_IMAGES = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "PR", "KO", "SR", "REG")
_NOBODY = re.compile(
    r"[\W_0]*(anon\w*|unknown|none|null|removed|no\W?name|deidentified|patient|x+)?[\W_0]*", re.IGNORECASE
)
"""What stands for a name in files of many patients."""
_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "InstitutionName", "StudyDate", "SeriesDescription",
    "PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "FrameOfReferenceUID", "Rows",
    "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence", "ReferencedFrameOfReferenceSequence",
]  # fmt: skip


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder. All but ``kind``, ``modality`` and the number of files may identify the patient.

    Attributes:
        kind: "image" (a stack), "picture" (each file an image by itself), "segmentation" (SEG), "contours" (RTSTRUCT)
            or "other".
        modality: as DICOM names it.
        patient: PatientID, else the name; "" where there is neither, or "anonymous" and the like.
        study: StudyInstanceUID, or "".
        uid: SeriesInstanceUID, or "".
        number, description, date, institution: of the header, or "".
        frame_of_reference: UID, or "".
        files: in order of their paths.
        instances: SOPInstanceUIDs of the files.
        refers_to: SeriesInstanceUIDs that a segmentation or contours name.
        localizer: a scout image.
    """

    kind: SeriesKind
    modality: str
    patient: str
    study: str
    uid: str
    number: str
    description: str
    date: str
    institution: str
    frame_of_reference: str
    files: tuple[Path, ...]
    instances: tuple[str, ...] = ()
    refers_to: tuple[str, ...] = ()
    localizer: bool = False


def series_of(files: Iterable[Path]) -> tuple[tuple[DicomSeries, ...], int]:
    """Return the series that DICOM files make, ordered by patient, study and number, and how many were damaged."""
    groups: dict[tuple[str, ...], list[tuple[Path, DicomSeries]]] = {}
    damaged = 0
    for path in files:
        found = _read(path)
        if found is None:
            damaged += 1
            continue
        # Files without a UID belong together only if they lie together.
        place = "" if found.uid else str(path.parent)
        single = str(path) if found.kind in ("segmentation", "contours") else ""
        key = (found.patient, found.study, found.uid, found.kind, place, single)
        groups.setdefault(key, []).append((path, found))
    series = [_joined(group) for group in groups.values()]
    return tuple(sorted(series, key=_order)), damaged


def header_of(path: Path) -> DicomSeries | None:
    """Return what one file says of its series, or None if it is damaged."""
    return _read(path)


def _joined(group: Sequence[tuple[Path, DicomSeries]]) -> DicomSeries:
    """Return a series of all its files; of copies of one file, the first."""
    files: dict[str, Path] = {}
    by_folder: dict[Path, dict[str, Path]] = {}
    for path, header in sorted(group, key=lambda pair: pair[0]):
        instance = header.instances[0] or str(path)
        files.setdefault(instance, path)
        by_folder.setdefault(path.parent, {}).setdefault(instance, path)
    whole = next((each for each in by_folder.values() if len(each) == len(files)), files)
    paths = tuple(sorted(whole.values()))
    first = next(header for path, header in group if path == paths[0])
    instances = tuple(sorted({header.instances[0] for _, header in group} - {""}))
    return replace(first, files=paths, instances=instances)


def _order(series: DicomSeries) -> tuple[Any, ...]:
    number = int(series.number) if series.number.isascii() and series.number.isdecimal() else 0
    return series.patient, series.date, series.study, number, series.uid, str(series.files[0])


def _read(path: Path) -> DicomSeries | None:
    import pydicom

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            if not len(dataset):
                return None
            return _understood(dataset, path)
    except OSError:
        raise
    except Exception as error:  # of a parser, on bytes that are anything
        logger.debug("%s: %r", path, error)
        return None


def _understood(dataset: Any, path: Path) -> DicomSeries:
    kind = _kind(dataset)
    refers_to: tuple[str, ...] = ()
    if kind == "segmentation":
        refers_to = _uids(dataset.get("ReferencedSeriesSequence"))
    elif kind == "contours":
        frames = dataset.get("ReferencedFrameOfReferenceSequence") or ()
        studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or ()]
        refers_to = _uids([each for study in studies for each in study.get("RTReferencedSeriesSequence") or ()])
    return DicomSeries(
        kind,
        _text(dataset, "Modality"),
        _patient(dataset),
        _text(dataset, "StudyInstanceUID"),
        _text(dataset, "SeriesInstanceUID"),
        _text(dataset, "SeriesNumber"),
        _text(dataset, "SeriesDescription"),
        _text(dataset, "StudyDate"),
        _text(dataset, "InstitutionName"),
        _text(dataset, "FrameOfReferenceUID") or _referenced_frame(dataset),
        (path,),
        (_text(dataset, "SOPInstanceUID"),),
        refers_to,
        "LOCALIZER" in [str(each).upper() for each in dataset.get("ImageType") or ()],
    )


def _patient(dataset: Any) -> str:
    """Return PatientID, else the name; "" where the header only says that somebody took both away."""
    for text in (_text(dataset, "PatientID"), _text(dataset, "PatientName")):
        if text and not _NOBODY.fullmatch(text):
            return text
    return ""


def _kind(dataset: Any) -> SeriesKind:
    from meddl.volume.dicom_frames import Header
    from meddl.volume.dicom_picture import is_flat, is_placed

    sop_class = str(dataset.get("SOPClassUID") or "")
    if sop_class in _SEGMENTATIONS:
        return "segmentation"
    if sop_class == RTSTRUCT:
        return "contours"
    if dataset.get("Rows") is None or dataset.get("Columns") is None:
        return "other"
    header = Header(Path(), dataset, "", "", None)
    flat, modality = is_flat(header), str(dataset.get("Modality") or "")
    if not flat and (modality in _NO_IMAGES or (modality == "OT" and not is_placed(header))):
        return "other"
    return "picture" if flat else "image"


def _referenced_frame(dataset: Any) -> str:
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or ()
    return _text(frames[0], "FrameOfReferenceUID") if frames else ""


def _uids(items: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uid for item in items or () if (uid := _text(item, "SeriesInstanceUID"))))


def _text(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else " ".join(str(value).replace("\0", " ").split())
