"""Cases out of DICOM folders: series, and the segmentations (SEG) and contours (RTSTRUCT) that refer to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from meddl.datasets.case import Case, ImageFile, SegmentationLabel
from meddl.datasets.collect.dicom_headers import DicomSeries, header_of, series_of
from meddl.datasets.collect.image_names import DICOM_SUFFIXES, stem_of, suffix_of
from meddl.datasets.collect.walk import files_below
from meddl.errors import UsageError
from meddl.volume.dicom_frames import is_dicom


def series_in(folder: Path, exclude: Sequence[Path] = ()) -> tuple[DicomSeries, ...]:
    """Return the DICOM series below a folder, see :func:`meddl.datasets.collect.list_dicom`."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder.name!r}. Check its path.")
    try:
        return series_of(dicom_among(files_below(folder, frozenset(each.resolve() for each in exclude))))[0]
    except OSError as error:
        raise UsageError(f"{folder.name} cannot be read: {error.strerror or 'the system refused it'}.") from error


def dicom_among(files: Iterable[Path]) -> list[Path]:
    """Return the DICOM files among ``files``: by their mark, or by name and content where the mark is missing."""
    return [path for path in files if path.name.upper() != "DICOMDIR" and _is_dicom(path)]


def _is_dicom(path: Path) -> bool:
    suffix = suffix_of(path.name)
    if suffix and suffix not in DICOM_SUFFIXES:
        return False
    return is_dicom(path) or suffix in DICOM_SUFFIXES


def dicom_cases(files: Sequence[Path]) -> tuple[list[Case], list[DicomSeries]]:
    """Return the cases that DICOM files make, and the images and pictures that no segmentation or contours refer to.

    Each SEG and RTSTRUCT is a case with the series that it refers to. If there are none of them, each image is a case
    without a label.
    """
    series, damaged = series_of(files)
    images = [each for each in series if each.kind == "image" and not each.localizer]
    pictures = [each for each in series if each.kind == "picture"]
    labels = [each for each in series if each.kind in ("segmentation", "contours")]
    notes = [_damaged_note(damaged)] if damaged else []
    pairs: list[tuple[DicomSeries, DicomSeries]] = []
    for label in labels:
        image = _image_of(label, images)
        if image is None:
            what = "A segmentation (SEG)" if label.kind == "segmentation" else "A set of contours (RTSTRUCT)"
            notes.append(f"{what} refers to a series that is not in the folder: left out.")
        else:
            pairs.append((image, label))
    paired = [image for image, _ in pairs]
    left = [each for each in images if each not in paired]
    if not labels:
        cases = [_case(each, (), images) for each in images] + [case for each in pictures for case in _pictures(each)]
        return _noted(_named_apart(cases), notes), images + pictures
    if left:
        many = len(left) > 1
        notes.append(f"{len(left)} image series of the folder ha{'ve' if many else 's'} no segmentation: left out.")
    cases = [_labeled(image, label, pairs, images) for image, label in pairs]
    return _noted(_named_apart(cases), notes), left + pictures


def image_file(series: DicomSeries, others: Iterable[DicomSeries]) -> ImageFile:
    """Return where the voxels of a series are."""
    folders = {path.parent for path in series.files}
    if len(folders) == 1:
        folder = next(iter(folders))
        alone = not any(path.parent == folder for each in others if each is not series for path in each.files)
        return ImageFile(folder.absolute(), series.uid or (None if alone else ""))
    common = Path(os.path.commonpath([str(folder.absolute()) for folder in folders]))
    return ImageFile(common, series.uid, nested=True)


def with_dicom_facts(case: Case) -> Case:
    """Return ``case`` with patient, study and institution of its DICOM headers, where it has them and they say so."""
    first = next(iter(case.images.values()))
    if not isinstance(first, ImageFile) or first.member:
        return case
    header = _any_header(first)
    if header is None:
        return case
    return replace(
        case,
        patient=case.patient or header.patient or header.study,
        study=case.study or header.study,
        site=case.site or header.institution,
    )


def _any_header(source: ImageFile) -> DicomSeries | None:
    files = [source.path] if source.path.is_file() else sorted(source.path.iterdir()) if source.path.is_dir() else []
    for path in files:
        if path.is_file() and _is_dicom(path):
            header = header_of(path)
            if header and source.series_uid in (None, header.uid) and header.kind in ("image", "picture"):
                return header
    return None


def _labeled(
    image: DicomSeries,
    label: DicomSeries,
    pairs: Sequence[tuple[DicomSeries, DicomSeries]],
    images: Sequence[DicomSeries],
) -> Case:
    of_image = [each for other, each in pairs if other is image]
    notes: tuple[str, ...] = ()
    if len(of_image) > 1:
        notes = (f"Segmentation {of_image.index(label) + 1} of {len(of_image)} of the same image: a case each.",)
    case = _case(image, notes, images)
    name = f"{case.id}_{of_image.index(label) + 1}" if len(of_image) > 1 else case.id
    return replace(case, id=name, label=SegmentationLabel(ImageFile(label.files[0].absolute())))


def _case(series: DicomSeries, notes: tuple[str, ...], images: Sequence[DicomSeries]) -> Case:
    return Case(
        _name(series, series.files[0].parent.name),
        {"image": image_file(series, images)},
        None,
        series.patient or series.study,
        series.study,
        series.institution,
        notes=notes,
    )


def _pictures(series: DicomSeries) -> list[Case]:
    return [
        Case(
            "_".join((_name(series, path.parent.name), stem_of(path))),
            {"image": ImageFile(path.absolute())},
            None,
            series.patient or series.study,
            series.study,
            series.institution,
        )
        for path in series.files
    ]


def _name(series: DicomSeries, fallback: str) -> str:
    return "_".join(part for part in (series.patient, series.date, series.number) if part) or fallback or "case"


def _named_apart(cases: list[Case]) -> list[Case]:
    """Return the cases with a number on each name that several have."""
    names = [case.id for case in cases]
    counts: dict[str, int] = {}
    result = []
    for case in cases:
        counts[case.id] = counts.get(case.id, 0) + 1
        number = f"-{counts[case.id]}" if names.count(case.id) > 1 else ""
        result.append(replace(case, id=f"{case.id}{number}"))
    return result


def _noted(cases: list[Case], notes: list[str]) -> list[Case]:
    """Return the cases, the first with what is to be said of the folder as a whole."""
    return [replace(case, notes=case.notes + tuple(notes)) if n == 0 else case for n, case in enumerate(cases)]


def _damaged_note(count: int) -> str:
    return f"{count} DICOM file{'s' * (count > 1)} of the folder cannot be decoded: slices may be missing."


def _image_of(label: DicomSeries, images: Sequence[DicomSeries]) -> DicomSeries | None:
    """Return the series that a segmentation or contours were made on, or None if it is not there or not known."""
    for chosen in (
        [each for each in images if each.uid and each.uid in label.refers_to],
        _by_instances(label, images) if not label.refers_to else [],
        [
            each
            for each in images
            if not label.refers_to
            and (each.patient, each.frame_of_reference) == (label.patient, label.frame_of_reference)
            and label.frame_of_reference
        ],
    ):
        if len({(each.uid, each.files[0].parent) for each in chosen}) == 1:
            return chosen[0]
    # Several of them: a segmentation that names one and its source; the one it names first.
    named: Mapping[str, DicomSeries] = {each.uid: each for each in reversed(images) if each.uid}
    return next((named[uid] for uid in label.refers_to if uid in named), None)


def _by_instances(label: DicomSeries, images: Sequence[DicomSeries]) -> list[DicomSeries]:
    """Return the series of the images that a segmentation's frames or contours name one by one."""
    import pydicom

    from meddl.volume.dicom_frames import quiet_pydicom

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(label.files[0], force=True, stop_before_pixels=True)
            keyword = "ReferencedSOPInstanceUID"
            named = {str(element.value) for element in dataset.iterall() if element.keyword == keyword}
    except Exception:  # reading the label will tell
        return []
    return [each for each in images if named & set(each.instances)]
