"""DICOM series made by the tests, with whatever is wrong with them that a test needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from meddl.volume import Volume
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

Edit = Callable[[FileDataset, int], None]


def write_series(
    folder: Path,
    volume: Volume,
    *,
    intercept: float = -1024,
    slope: float = 1,
    edit: Edit | None = None,
    skip: Sequence[int] = (),
    name: Callable[[int], str] = "{:04d}.dcm".format,
    series_uid: str = "1.2.826.0.1.3680043.8.498.1",
) -> list[Path]:
    """Write each slice along K of ``volume`` to a file, its values stored as uint16; return the files in K order."""
    folder.mkdir(exist_ok=True)
    lps, stored = _stored(volume, slope, intercept)
    paths = []
    for k in range(volume.shape[2]):
        if k in skip:
            continue
        dataset = _dataset(CTImageStorage, series_uid, stored.shape, slope, intercept)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = _text(lps[:3] @ [0, 0, k, 1])
        dataset.ImageOrientationPatient = _orientation(lps)
        dataset.PixelSpacing = _text(np.linalg.norm(lps[:3, [1, 0]], axis=0))
        dataset.SliceThickness = _text([np.linalg.norm(lps[:3, 2])])[0]
        dataset.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
        if edit:
            edit(dataset, k)
        path = folder / name(k)
        _save(dataset, path)
        paths.append(path)
    return paths


def write_enhanced(path: Path, volume: Volume, *, edit: Edit | None = None) -> None:
    """Write ``volume`` as one enhanced multi-frame CT file."""
    lps, stored = _stored(volume, 1, -1024)
    dataset = _dataset(EnhancedCTImageStorage, "1.2.826.0.1.3680043.8.498.2", stored.shape, 1, -1024)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.NumberOfFrames = volume.shape[2]
    shared, frames = pydicom.Dataset(), []
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=_orientation(lps))
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=_text(np.linalg.norm(lps[:3, [1, 0]], axis=0)),
        SliceThickness=_text([np.linalg.norm(lps[:3, 2])])[0],
    )
    shared.PixelValueTransformationSequence = _item(RescaleSlope="1", RescaleIntercept="-1024")
    for k in range(volume.shape[2]):
        frame = pydicom.Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=_text(lps[:3] @ [0, 0, k, 1]))
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(frames)
    dataset.PixelData = np.ascontiguousarray(stored.T).tobytes()
    if edit:
        edit(dataset, 0)
    _save(dataset, path)


def set_raw(dataset: FileDataset, keyword: str, text: str) -> None:
    """Put ``text`` into an element as it is, however wrong it is there."""
    tag = pydicom.datadict.tag_for_keyword(keyword)
    assert tag is not None
    vr = pydicom.datadict.dictionary_VR(tag)
    value = text.encode("ascii")
    raw = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag), vr, len(value), value + b" " * (len(value) % 2), 0, False, True
    )
    dataset._dict[pydicom.tag.Tag(tag)] = raw


def _stored(volume: Volume, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    return lps, np.rint((volume.array[0].astype(np.float64) - intercept) / slope).astype(np.uint16)


def _dataset(kind: str, series_uid: str, shape: Sequence[int], slope: float, intercept: float) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = kind
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "SECRET-4711"
    dataset.SeriesDescription = "Doe Jane thorax"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    dataset.SeriesInstanceUID = series_uid
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.8"
    dataset.Modality = "CT"
    dataset.Columns, dataset.Rows = int(shape[0]), int(shape[1])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:g}", f"{intercept:g}"
    return dataset


def _save(dataset: FileDataset, path: Path) -> None:
    dataset.save_as(path, enforce_file_format=True)


def _item(**elements: Any) -> Items:
    dataset = pydicom.Dataset()
    for key, value in elements.items():
        setattr(dataset, key, value)
    return Items([dataset])


def _orientation(lps: np.ndarray) -> list[str]:
    axes = lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)
    return _text(axes.T.ravel())


def _text(numbers: Any) -> list[str]:
    return [f"{number:.10f}"[:16] for number in numbers]
