"""Predictions as files: each task in each of its formats, whole, the same bytes each time, and read by others."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from core.dicom_writer import write_series
from core.phantoms import PLACES, place
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.inference import (
    Box,
    ClassificationPrediction,
    ClassProbability,
    DetectionPrediction,
    Landmark,
    LandmarkPrediction,
    ReconstructionPrediction,
    SegmentationPrediction,
    Uncertainty,
)
from meddl.inference.files import SUFFIXES, beside, check_output, suffix_for, write_prediction
from meddl.volume import Segment, Volume, read_segmentation, read_volume

AFFINE = PLACES["oblique"]
PROVENANCE = {
    "task": "x",
    "model": {"name": "Two blobs", "version": "0.3.0", "sha256": "cd" * 32, "license": "MIT"},
    "software": {"meddl": "0.2", "torch": "2.13"},
    "times_s": {"total": 1.5},
    "created": "2026-01-01T00:00:00+00:00",
    "notes": ["A note."],
}


def volume(seed: int = 0, channels: int = 1) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=(channels, 6, 7, 8)).astype(np.float32), AFFINE)


def segmentation(*, maps: bool = False) -> SegmentationPrediction:
    labels = Volume((volume().array > 0.5).astype(np.uint8), AFFINE)
    segments = (Segment(1, "first blob", (1, 0, 0)), Segment(2, "second blob", (0, 0, 1)))
    doubt = Uncertainty("flips", 8, volume(1), {"first blob": (1.0, 2.0)}, "It is sure.")
    return SegmentationPrediction(
        labels, segments, {"first blob": 9}, {"first blob": 1.5}, PROVENANCE,
        volume(2, 2) if maps else None, doubt if maps else None,
    )  # fmt: skip


CLASSES = ClassificationPrediction(
    (ClassProbability("T1", 0.25, "DCM^1^T1"), ClassProbability("T2, fat", 0.75)), PROVENANCE, calibrated=True
)
TURNED = place((1, 1, 1), (0, 0, 0), 0.3, 0.2)[:3, :3]
BOXES = DetectionPrediction(
    (
        Box("lesion", 0.9, np.array([10.0, -20.0, 30.0]), np.array([4.0, 5.0, 6.0]), TURNED),
        Box("cyst", 0.4, np.array([1.0, 2.0, 3.0]), np.array([7.0, 8.0, 9.0])),
    ),
    PROVENANCE,
)  # fmt: skip
POINTS = LandmarkPrediction(
    (Landmark("AC", np.array([1.5, 2.5, -3.5]), 0.9), Landmark("PC", np.array([-1.0, -25.0, 4.0]), 0.8)), PROVENANCE
)
IMAGE = ReconstructionPrediction(volume(4), PROVENANCE, volume(5), {"psnr_db": 30.0})
PREDICTIONS = {each.task: each for each in (segmentation(maps=True), CLASSES, BOXES, POINTS, IMAGE)}


@pytest.mark.parametrize(("task", "suffix"), [(task, suffix) for task in SUFFIXES for suffix in SUFFIXES[task]])
def test_every_format_is_written_twice_the_same(task: str, suffix: str, tmp_path: Path) -> None:
    source = None
    prediction = PREDICTIONS[task]
    if suffix == ".dcm":
        source = tmp_path / "series"
        write_series(source, Volume(np.zeros((1, 6, 7, 8), np.int16), AFFINE))
        affine = read_volume(source).affine
        assert isinstance(prediction, SegmentationPrediction)
        prediction = segmentation()
        object.__setattr__(prediction, "labels", Volume(prediction.labels.array, affine))
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"out{suffix}"
        check_output(path, task, source=source)
        created = datetime(2026, 1, 2, 3, 4, 5)
        files = write_prediction(prediction, path, source=source, created=created)
        assert files[0] == path and sorted(files) == sorted((tmp_path / name).iterdir())
        assert suffix == ".dcm" or sorted(files[1:]) == sorted(beside(path, task))
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    if suffix not in (".csv", ".mrk.json", ".nii", ".nii.gz"):
        assert b"Two blobs" in written[0][0]  # says which model it is from
        assert suffix == ".dcm" or b"2026" not in written[0][0]


def test_segmentations_come_with_their_maps(tmp_path: Path) -> None:
    prediction = segmentation(maps=True)
    files = write_prediction(prediction, tmp_path / "x.seg.nrrd")
    assert [file.name for file in files] == ["x.seg.nrrd", "x_entropy.nrrd", "x_probabilities.nrrd"]
    labels, segments = read_segmentation(files[0])
    np.testing.assert_array_equal(labels.array, prediction.labels.array)
    assert [segment.name for segment in segments] == ["first blob", "second blob"]
    assert prediction.probabilities is not None
    np.testing.assert_array_equal(read_volume(files[2]).array, prediction.probabilities.array)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_images_are_read_by_itk_too(suffix: str, tmp_path: Path) -> None:
    files = write_prediction(IMAGE, tmp_path / f"x{suffix}")
    assert [file.name for file in files] == [f"x{suffix}", f"x_difference{suffix}"]
    for file, expected in zip(files, (IMAGE.image, IMAGE.difference), strict=True):
        assert expected is not None
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))).T, expected.array[0])
        np.testing.assert_allclose(read_volume(file).affine, AFFINE, atol=1e-4)


def test_dicom_seg_names_the_model(tmp_path: Path) -> None:
    write_series(tmp_path / "series", Volume(np.zeros((1, 6, 7, 8), np.int16), AFFINE))
    prediction = segmentation()
    object.__setattr__(prediction, "labels", Volume(prediction.labels.array, read_volume(tmp_path / "series").affine))
    write_prediction(prediction, tmp_path / "x.dcm", source=tmp_path / "series", dicom_kind="LABELMAP")
    seg = pydicom.dcmread(tmp_path / "x.dcm")
    algorithm = seg.SegmentSequence[-1].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "Two blobs" and "cd" * 32 in algorithm.AlgorithmParameters
    assert list(seg.SoftwareVersions)[:2] == ["meddl 0.2", "torch 2.13"]


def test_tables_hold_what_was_found(tmp_path: Path) -> None:
    def rows(prediction: Any) -> list[list[str]]:
        write_prediction(prediction, tmp_path / "x.csv")
        with (tmp_path / "x.csv").open(newline="") as file:
            return list(csv.reader(file))

    assert rows(CLASSES)[1:] == [["T1", "0.25", "DCM^1^T1"], ["T2, fat", "0.75", ""]]
    assert rows(POINTS)[1] == ["AC", "1.5", "2.5", "-3.5", "0.9"]
    boxes = rows(BOXES)
    assert boxes[1][:8] == ["lesion", "0.9", "10.0", "-20.0", "30.0", "4.0", "5.0", "6.0"]
    np.testing.assert_allclose(np.array(boxes[1][8:], float).reshape(3, 3).T, BOXES.boxes[0].axes, atol=1e-6)
    for prediction, part in ((CLASSES, "classes"), (POINTS, "points")):
        first, *others = getattr(prediction, part)
        evil = replace(prediction, **{part: (replace(first, name='=HYPERLINK("x")'), *others)})
        assert rows(evil)[1][0] == "'=HYPERLINK(\"x\")"  # a spreadsheet does not compute it
    write_prediction(BOXES, tmp_path / "x.json")
    data = json.loads((tmp_path / "x.json").read_text())
    assert data["coordinate_system"] == "RAS, mm" and data["boxes"][1]["center"] == [1, 2, 3]
    assert "created" not in data["provenance"] and data["provenance"]["model"]["name"] == "Two blobs"


def test_slicer_reads_landmarks_where_they_are(tmp_path: Path) -> None:
    node = in_slicer(POINTS, tmp_path, 0)
    for number, point in enumerate(POINTS.points):
        position = [0.0] * 3
        node.GetNthControlPointPosition(number, position)
        np.testing.assert_allclose(position, point.position, atol=1e-6)
        assert node.GetNthControlPointLabel(number) == point.name


def test_slicer_reads_boxes_where_they_are(tmp_path: Path) -> None:
    for number, box in enumerate(BOXES.boxes):
        node = in_slicer(BOXES, tmp_path, number)
        center, size = [0.0] * 3, node.GetSize()
        node.GetCenter(center)
        np.testing.assert_allclose(center, box.center, atol=1e-6)
        np.testing.assert_allclose(size, box.size, atol=1e-6)
        matrix = node.GetObjectToNodeMatrix()
        axes = np.array([[matrix.GetElement(i, j) for j in range(3)] for i in range(3)])
        np.testing.assert_allclose(axes, box.axes, atol=1e-6)
        assert node.GetNthControlPointLabel(0).startswith(box.label)


def in_slicer(prediction: Any, folder: Path, number: int) -> Any:
    """Return the node that Slicer makes of the markups with this number in the file."""
    slicer = pytest.importorskip("slicer")
    path = folder / "x.mrk.json"
    write_prediction(prediction, path)
    scene = slicer.vtkMRMLScene()
    KEPT.append(scene)
    slicer.vtkSlicerMarkupsLogic().SetMRMLScene(scene)
    kind = "vtkMRMLMarkupsROIJsonStorageNode" if prediction.task == "detection" else "vtkMRMLMarkupsJsonStorageNode"
    return scene.AddNewNodeByClass(kind).AddNewMarkupsNodeFromFile(str(path), None, number)


KEPT: list[Any] = []


@pytest.mark.parametrize("task", SUFFIXES)
def test_names_that_do_not_fit_the_task_are_refused_before_the_run(task: str, tmp_path: Path) -> None:
    for name in ("x.png", "x", SUFFIXES[task][0], "x.txt"):
        with pytest.raises(UsageError) as wrong:
            check_output(tmp_path / name, task)
        assert all(suffix in wrong.value.message for suffix in SUFFIXES[task])
    with pytest.raises(VolumeError, match="folder"):
        check_output(tmp_path / "no" / f"x{SUFFIXES[task][0]}", task)


def test_dicom_seg_needs_dicom(tmp_path: Path) -> None:
    (tmp_path / "x.nrrd").write_bytes(b"NRRD")
    for source in (None, tmp_path / "x.nrrd"):
        with pytest.raises(UsageError, match="no DICOM"):
            check_output(tmp_path / "x.dcm", "segmentation", source=source)
    with pytest.raises(MedDLError):
        write_prediction(segmentation(), tmp_path / "x.dcm")


def test_suffixes() -> None:
    assert suffix_for(Path("a.b.nii.gz"), "segmentation") == ".nii.gz"
    assert suffix_for(Path("X.SEG.NRRD"), "segmentation") == ".seg.nrrd"
    assert suffix_for(Path("x.mrk.json"), "landmarks") == ".mrk.json"
