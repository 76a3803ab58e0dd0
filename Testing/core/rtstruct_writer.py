"""RTSTRUCT files made by the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"


def write_contours(
    path: Path,
    structures: Mapping[str, Sequence[np.ndarray]],
    *,
    series_uid: str = "1.2.826.0.1.3680043.8.498.1",
    study_uid: str = "1.2.826.0.1.3680043.8.498.9",
    frame_uid: str = "1.2.826.0.1.3680043.8.498.8",
    kind: str = "CLOSED_PLANAR",
    patient: str = "SECRET-4711",
    instances: Sequence[str] = (),
) -> Path:
    """Write contours, each ``(N, 3)`` RAS mm, by structure; ``series_uid`` "" refers to none."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTSTRUCT, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTSTRUCT, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID, dataset.PatientName = "RTSTRUCT", patient, "Doe^Jane"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, generate_uid()
    frame = item(FrameOfReferenceUID=frame_uid)
    if series_uid:
        study = item(RTReferencedSeriesSequence=Items([item(SeriesInstanceUID=series_uid)]))
        frame.RTReferencedStudySequence = Items([study])
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])
    dataset.StructureSetROISequence = Items(
        [item(ROINumber=n, ROIName=name) for n, name in enumerate(structures, start=1)]
    )
    drawn = []
    for n, contours in enumerate(structures.values(), start=1):
        sequence = []
        for points in contours:
            lps = np.asarray(points) * (-1, -1, 1)
            text = [f"{number:.8f}"[:16] for number in lps.ravel()]
            contour = item(ContourGeometricType=kind, NumberOfContourPoints=len(points), ContourData=text)
            if instances:
                contour.ContourImageSequence = Items([item(ReferencedSOPInstanceUID=uid) for uid in instances])
            sequence.append(contour)
        each = item(ReferencedROINumber=n, ROIDisplayColor=[255, 0, 51])
        if sequence:
            each.ContourSequence = Items(sequence)
        drawn.append(each)
    dataset.ROIContourSequence = Items(drawn)
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**elements: object) -> pydicom.Dataset:
    """One item of a sequence."""
    dataset = pydicom.Dataset()
    for key, value in elements.items():
        setattr(dataset, key, value)
    return dataset


def on_slice(affine: np.ndarray, k: float, corners: np.ndarray, axis: int = 2) -> np.ndarray:
    """Return corners ``(N, 2)`` in voxel indices of a slice as RAS mm."""
    index = np.insert(np.asarray(corners, float), axis, k, axis=1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def circle(center: tuple[float, float], radius: float, corners: int = 720) -> np.ndarray:
    """Return a circle's corners ``(N, 2)``."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], axis=1)
