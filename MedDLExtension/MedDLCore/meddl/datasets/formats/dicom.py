"""DICOM: a series per image, the labels as DICOM SEG beside it, and a table of what is where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from meddl.batch.naming import safe_name, safe_names
from meddl.datasets.case import PreparedCase
from meddl.datasets.deidentify import deidentify_dataset
from meddl.datasets.deidentify.uids import is_public, new_uid
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume, whole_file

from .dataset_format import DatasetFormat
from .dicom_reading import case_problems, duplicate_instances
from .dicom_seg_labels import write_labels
from .dicom_slices import SeriesIdentity, dicom_text, write_slices
from .label_maps import check_names
from .list_files import CLASS_SEPARATOR, check_columns, read_table, table_bytes

if TYPE_CHECKING:
    import pydicom

TABLE = "cases.csv"
SERIES_TABLE = "series.csv"
SEGMENTATION = "segmentation.dcm"
TARGET = "target"
METHOD = "Made by MedDL from voxels; nothing of another header is in it"

_KEY = "dicom"
_COLUMNS = ("case", "patient", "site", "split", "fold")
_LABELS = {"segmentation": "segmentation", "classification": "class", "reconstruction": TARGET}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


class DicomFormat(DatasetFormat):
    """``patient_0001/case_0001/T1/0001.dcm`` and ``segmentation.dcm`` beside ``T1``; ``cases.csv`` lists the folders.

    Where an image was read from DICOM files and its voxels are still theirs, these are copied, de-identified. Else, or
    where the files do not tell of what kind they are, a new series is made: CT and MR images for those modalities,
    secondary captures with a place in space for others. Its values are exact where they are whole numbers within 16
    bits; others are scaled to 65536 steps by slope and intercept, and ``series.csv`` says how far the worst value is
    off. (DICOM's floating-point parametric maps would be exact, but neither ITK nor most viewers read them.)
    """

    name: ClassVar[str] = "dicom"
    title: ClassVar[str] = "DICOM with SEG"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "classification", "reconstruction")

    def check(self, plan: ExportPlan) -> None:
        """Find out whether channels and labels have names to be told apart by."""
        super().check(plan)
        if plan.task == "segmentation":
            names = [dicom_text(each.name) for each in check_names(plan.scheme, self.title).structures]
            if len(set(names)) < len(names):
                raise UsageError("Two structures have the same first 64 characters, of which a DICOM SEG holds no "
                                 "more. Rename one in the table of labels.")  # fmt: skip
        check_columns(plan.channels, (*_COLUMNS, *_LABELS.values()), self.title)
        for name in plan.classes:
            if any(mark in name for mark in "|;"):
                raise UsageError(f"The class {name!r} cannot stand in a list of classes. Rename it without | and ;.")

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write a series for each channel, and the labels."""
        place = f"{safe_name(case.patient)}/{case.name}"
        images = dict(zip(safe_names(case.images), case.images.items(), strict=True))
        series = {}
        for number, (name, (channel, volume)) in enumerate(images.items(), start=1):
            files = case.dicom.get(channel, ())
            target = folder / place / name
            told = (
                _copy(files, target, case, plan)
                if _can_be_copied(files, volume)
                else _make(volume, target, case.modality.get(channel, ""), _identity(case, plan, channel, number))
            )
            series[channel] = {"folder": f"{place}/{name}", **_facts(volume), **told}
        facts: dict[str, Any] = {"series": series, "classes": list(case.classes)}
        if case.target is not None:
            identity = _identity(case, plan, TARGET, len(series) + 1)
            told = _make(case.target, folder / place / TARGET, next(iter(case.modality.values()), ""), identity)
            facts["target"] = {"folder": f"{place}/{TARGET}", **_facts(case.target), **told}
        if case.labels is not None and plan.scheme is not None:
            path = f"{place}/{SEGMENTATION}"
            source = folder / series[next(iter(case.images))]["folder"]
            voxels = write_labels(case.labels, plan.scheme, folder / path, source)
            facts["segmentation"] = {"path": path, "voxels": voxels}
        return {_KEY: facts}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return the table of cases (which can be collected from again) and that of series."""
        header = (*_COLUMNS, *plan.channels, _LABELS[plan.task])
        rows, lines = [], []
        for record in records:
            case, told = record.case, record.facts[_KEY]
            last = {
                "segmentation": told.get("segmentation", {}).get("path"),
                "classification": CLASS_SEPARATOR.join(told["classes"]),
                "reconstruction": told.get(TARGET, {}).get("folder"),
            }[plan.task]
            folders = [told["series"][channel]["folder"] for channel in plan.channels]
            rows.append((case.name, case.patient, case.site, case.split, case.fold, *folders, last))
            lines += [(case.name, channel, *_line(each)) for channel, each in _all_series(record)]
        columns = ("case", "channel", "folder", "files", "source", "slope", "intercept", "largest error")
        return {TABLE: table_bytes(header, rows), SERIES_TABLE: table_bytes(columns, lines)}

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all series and segmentations back, and compare them with each other and with the tables."""
        named = plan.options.deidentify.profile != "none"
        found: list[str] = []
        for record in records:
            told = record.facts[_KEY]
            patient = record.case.patient if named else None
            found += case_problems(root, dict(_all_series(record)), told.get("segmentation"), patient)
        found += duplicate_instances(root, [each["folder"] for record in records for _, each in _all_series(record)])
        for path, content in self.index(plan, records).items():
            try:
                read_table(root, path)
            except ValueError as error:
                found.append(str(error))
                continue
            if not set(content.splitlines()) <= set((root / path).read_bytes().splitlines()):
                found.append(f"{path} does not list what is in the dataset. Export it again.")
        return tuple(found)


def _all_series(record: CaseRecord) -> list[tuple[str, Mapping[str, Any]]]:
    told = record.facts[_KEY]
    return [*told["series"].items(), *([(TARGET, told[TARGET])] if TARGET in told else [])]


def _line(series: Mapping[str, Any]) -> tuple[Any, ...]:
    values = (series.get(key) for key in ("slope", "intercept", "largest_error"))
    return (series["folder"], series["files"], series["source"], *values)


def _facts(volume: Volume) -> dict[str, Any]:
    return {"shape": [int(n) for n in volume.shape], "affine": [[float(x) for x in row] for row in volume.affine]}


def _identity(case: PreparedCase, plan: ExportPlan, channel: str, number: int) -> SeriesIdentity:
    method = METHOD if plan.options.deidentify.profile != "none" else ""
    faceless = plan.options.deidentify.deface != "none"
    return SeriesIdentity(case.patient, case.name, channel, number, case.secret, method, faceless)


def _make(volume: Volume, folder: Path, modality: str, identity: SeriesIdentity) -> dict[str, Any]:
    values = write_slices(volume, folder, modality, identity)
    told: dict[str, Any] = {"files": volume.shape[2], "source": "made from the volume"}
    if values is None:
        return {**told, "color": True}
    return {
        **told,
        "slope": float(values.slope),
        "intercept": float(values.intercept),
        "largest_error": values.largest_error,
    }


def _copy(files: Sequence[Path], folder: Path, case: PreparedCase, plan: ExportPlan) -> dict[str, Any]:
    """Write de-identified copies of a series' files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(files, start=1):
        dataset = deidentify_dataset(
            _read(path), plan.options.deidentify, patient=case.patient, case=case.name, secret=case.secret
        )
        _fill_uids(dataset, case, number)
        with whole_file(folder / f"{number:04d}.dcm") as file:
            dataset.save_as(file, enforce_file_format=True)
    return {"files": len(files), "source": "copied from DICOM"}


def _can_be_copied(files: Sequence[Path], volume: Volume) -> bool:
    """Say whether a SEG can refer to the files: one, or one per slice, of a kind that they still tell."""
    if len(files) not in (1, volume.shape[2]):
        return False
    return all(is_public(str(_read(path, pixels=False).get("SOPClassUID") or "")) for path in files)


def _read(path: Path, *, pixels: bool = True) -> pydicom.Dataset:
    import pydicom

    from meddl.volume.dicom_frames import quiet_pydicom

    try:
        with quiet_pydicom():
            return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except Exception as error:
        raise VolumeError(
            "A DICOM file of the case is damaged and cannot be copied. Export or copy the series again.",
            details=type(error).__name__,
        ) from error


def _fill_uids(dataset: pydicom.Dataset, case: PreparedCase, number: int) -> None:
    """Make up UIDs that a segmentation refers to, where a file has lost them."""
    parts = (case.patient, case.name, str(dataset.get("SeriesNumber") or ""))
    for keyword in _UIDS:
        if not str(dataset.get(keyword) or "").strip(" \0"):
            own = str(number) if keyword == "SOPInstanceUID" else ""
            setattr(dataset, keyword, new_uid(case.secret, "\n".join(("lost", *parts, keyword, own))))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
