"""DICOM series and SEG: conformant, with a made-up patient only, and every voxel where it was for four readers."""

from __future__ import annotations

import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import realdata
from core.dataset_by_hand import SECRET, digests, on, patient, written
from core.dicom_cases import (
    FORMAT,
    alone,
    by_itk,
    by_position,
    case_of,
    cases,
    conformance_errors,
    plan_for,
    real_series,
)
from core.dicom_writer import write_enhanced, write_series
from core.phantoms import world_of
from meddl.datasets.case import Case, PreparedCase, SegmentationLabel
from meddl.datasets.export import export_dataset
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import DeidentifyOptions, ExportOptions
from meddl.datasets.verify import verify_dataset
from meddl.volume import Segment, Volume, read_segmentation, read_volume
from pydicom.data import get_testdata_file


def test_our_reader_and_itks_find_every_value_where_it_was(tmp_path: Path) -> None:
    given = cases()
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    for case in given:
        folder = tmp_path / case.patient / case.name / "T1"
        image = case.images["T1"]
        for read in (read_volume(folder), by_itk(folder)):
            assert read.shape == image.shape
            np.testing.assert_array_equal(by_position(image, read), image.array[0])


def test_highdicom_and_our_reader_find_every_label_where_it_was(tmp_path: Path) -> None:
    given = cases()
    written(FORMAT, plan_for(given), given, tmp_path)
    for case in given[:4]:
        path = tmp_path / case.patient / case.name / "segmentation.dcm"
        assert case.labels is not None
        labels, segments = read_segmentation(path)
        assert [segment.name for segment in segments] == ["lesion"]
        points = world_of(case.labels.affine, case.labels.shape)[:, case.labels.array[0] > 0]
        mine = world_of(labels.affine, labels.shape)[:, labels.array[0] > 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seg = highdicom.seg.segread(path)
            volume = seg.get_volume(combine_segments=True)
        theirs = world_of(np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine, volume.array.shape)[:, volume.array > 0]
        for found in (mine, theirs):
            ordered = [each[:, np.lexsort(np.round(each, 2))] for each in (points, found)]
            np.testing.assert_allclose(*ordered, atol=0.02)
        assert seg.PatientID == case.patient and seg.PatientIdentityRemoved == "YES"
        assert seg.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
        assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"
        assert "2026" not in str(seg.ContentDate) + str(seg.InstanceCreationDate)
    assert not (tmp_path / "patient_0005/case_0005/segmentation.dcm").exists()


def test_files_hold_what_the_standard_asks_for(tmp_path: Path) -> None:
    given = cases()
    spine = given[2].images["T1"]
    given[2] = case_of("case_0003", Volume(spine.array / np.float32(7), spine.affine), given[2].labels)
    plan = plan_for(given)
    written(FORMAT, plan, given, tmp_path)
    for case in given[:4]:
        folder = tmp_path / case.patient / case.name
        for path in (folder / "T1/0001.dcm", folder / "segmentation.dcm"):
            assert conformance_errors(path) == [], path.name


def test_nothing_but_a_made_up_identity_is_in_a_series_and_uids_depend_on_the_secret(tmp_path: Path) -> None:
    image, labels = patient("brain1")
    given = [case_of("case_0001", Volume(image.array, image.affine, name="Doe^Jane", meta={"x": "Doe"}), labels)]
    plan = plan_for(given)
    written(FORMAT, plan, given, tmp_path / "a")
    written(FORMAT, plan, given, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "a").rglob("*.dcm"))]
    for file in files:
        assert (str(file.PatientName), file.PatientID, file.StudyID) == ("patient_0001", "patient_0001", "case_0001")
        assert file.StudyDate == file.PatientBirthDate == file.AccessionNumber == ""
        assert file.PatientIdentityRemoved == "YES" and file.DeidentificationMethod
        assert file.StudyInstanceUID.startswith("2.25.") and file.FrameOfReferenceUID.startswith("2.25.")
        assert "Doe" not in str(file)
    uids = {file.SOPInstanceUID for file in files}
    assert len(uids) == len(files)
    brighter = image.with_array(image.array + np.int16(1))
    for change in ({"secret": b"another"}, {"images": {"T1": brighter}}):
        other = [PreparedCase(**{**vars(given[0]), **change})]
        root = tmp_path / next(iter(change))
        written(FORMAT, plan, other, root)
        assert not uids & {pydicom.dcmread(path).SOPInstanceUID for path in root.rglob("*.dcm")}


@pytest.mark.parametrize("repaired", [True, False], ids=["copied", "made anew"])
def test_a_real_series_loses_its_patient_and_carries_its_labels(repaired: bool, tmp_path: Path) -> None:
    files = real_series(tmp_path / "series", repaired=repaired)
    image = read_volume(files[0].parent)
    labels = read_volume(realdata.totalsegmentator() / "example_seg_dicom.nii.gz")
    array = by_position(image, labels)[np.newaxis]
    values = [int(n) for n in np.unique(array) if n][:4]
    mapped = np.zeros(array.shape, np.uint8)
    for number, value in enumerate(values, start=1):
        mapped[array == value] = number
    scheme = LabelScheme(tuple(Structure(f"organ {n}", (0.1 * n, 0.5, 0.5)) for n, _ in enumerate(values, start=1)))
    given = [case_of("case_0001", image, Volume(mapped, image.affine), modality="CT", dicom={"T1": files})]
    plan = plan_for(given, scheme=scheme)
    records = written(FORMAT, plan, given, tmp_path / "a")
    assert FORMAT.problems(tmp_path / "a", plan, records) == ()
    written(FORMAT, plan, given, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    folder = tmp_path / "a/patient_0001/case_0001"
    np.testing.assert_array_equal(read_volume(folder / "T1").array, image.array)
    copy, seg = pydicom.dcmread(folder / "T1/0001.dcm"), pydicom.dcmread(folder / "segmentation.dcm")
    for file in (copy, seg):
        assert file.PatientIdentityRemoved == "YES" and file.PatientID == "patient_0001"
        assert "Doe" not in str(file) and "1.2.3" not in str(file.StudyInstanceUID)
    assert seg.DeidentificationMethod == copy.DeidentificationMethod
    compressed = copy.file_meta.TransferSyntaxUID == pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID
    assert compressed == repaired
    told = records[0].facts["dicom"]["series"]["T1"]["source"]
    assert told == ("copied from DICOM" if repaired else "made from the volume")
    found, segments = read_segmentation(folder / "segmentation.dcm")
    counts = {segment.name: int((found.array == segment.label).sum()) for segment in segments}
    assert counts == {f"organ {n}": int((mapped == n).sum()) for n, _ in enumerate(values, start=1)}


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_pydicoms_own_files_are_copied_and_conform(name: str, tmp_path: Path) -> None:
    source = Path(str(get_testdata_file(name)))
    image = read_volume(alone(source, tmp_path))
    labels = Volume((image.array > np.percentile(image.array, 90)).astype(np.uint8), image.affine)
    files = tuple(sorted((tmp_path / "alone").iterdir()))
    given = [case_of("case_0001", image, labels, modality=name[:2], dicom={"T1": files})]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path / "set")
    assert FORMAT.problems(tmp_path / "set", plan, records) == ()
    folder = tmp_path / "set/patient_0001/case_0001"
    np.testing.assert_array_equal(read_volume(folder / "T1").array, image.array)
    assert conformance_errors(folder / "segmentation.dcm") == []
    assert set(conformance_errors(folder / "T1/0001.dcm")) <= set(conformance_errors(source))


def test_a_color_picture_keeps_its_colors_and_gray_ones_their_place(tmp_path: Path) -> None:
    image, mask = patient("breast1")
    color = Volume(
        np.stack([image.array[0, :, :, n : n + 1] for n in (3, 4, 5)]).astype(np.uint8), np.diag([-1, -1, 1, 1])
    )
    flat = Volume(image.array[..., 4:5].astype(np.uint16), image.affine)
    given = [
        case_of("case_0001", color, Volume(mask.array[..., 4:5], color.affine), modality="XC"),
        case_of("case_0002", flat, Volume(mask.array[..., 4:5], flat.affine), modality="DX"),
    ]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    np.testing.assert_array_equal(read_volume(tmp_path / "patient_0001/case_0001/T1").array, color.array)
    read = read_volume(tmp_path / "patient_0002/case_0002/T1")
    np.testing.assert_array_equal(by_position(flat, read), flat.array[0])
    for name in ("patient_0001/case_0001", "patient_0002/case_0002"):
        assert conformance_errors(tmp_path / name / "T1/0001.dcm") == []


def test_an_enhanced_file_is_copied_as_it_is_and_carries_its_labels(tmp_path: Path) -> None:
    image, labels = patient("lung1")
    write_enhanced(tmp_path / "enhanced.dcm", image)
    read = read_volume(tmp_path / "enhanced.dcm")
    marked = Volume(by_position(read, labels)[np.newaxis], read.affine)
    files = (tmp_path / "enhanced.dcm",)
    given = [case_of("case_0001", read, marked, modality="CT", dicom={"T1": files})]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path / "set")
    assert FORMAT.problems(tmp_path / "set", plan, records) == ()
    folder = tmp_path / "set/patient_0001/case_0001"
    assert [path.name for path in (folder / "T1").iterdir()] == ["0001.dcm"]
    np.testing.assert_array_equal(read_volume(folder / "T1").array, read.array)
    assert int((read_segmentation(folder / "segmentation.dcm")[0].array > 0).sum()) == int(labels.array.sum())
    assert "Doe" not in str(pydicom.dcmread(folder / "T1/0001.dcm"))


def test_a_series_of_a_tilted_gantry_is_copied_with_its_labels_in_place(tmp_path: Path) -> None:
    image, labels = patient("lung1")
    tilted = image.affine.copy()
    tilted[:3, 2] += 0.4 * tilted[:3, 1] / np.linalg.norm(tilted[:3, 1]) * image.spacing[2]
    files = tuple(write_series(tmp_path / "series", on(image, tilted)))
    read = read_volume(tmp_path / "series")
    marked = Volume(by_position(read, on(labels, tilted))[np.newaxis], read.affine)
    given = [case_of("case_0001", read, marked, modality="CT", dicom={"T1": files})]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path / "set")
    assert FORMAT.problems(tmp_path / "set", plan, records) == ()
    found, _ = read_segmentation(tmp_path / "set/patient_0001/case_0001/segmentation.dcm")
    points = [world_of(each.affine, each.shape)[:, each.array[0] > 0] for each in (found, marked)]
    points = [each[:, np.lexsort(np.round(each, 2))] for each in points]
    np.testing.assert_allclose(*points, atol=0.02)


def test_names_stay_where_the_user_wants_them_to(tmp_path: Path) -> None:
    image, labels = patient("lung1")
    files = tuple(write_series(tmp_path / "series", image))
    read = read_volume(tmp_path / "series")
    marked = Volume(by_position(read, labels)[np.newaxis], read.affine)
    given = [
        case_of("case_0001", read, marked, modality="CT", dicom={"T1": files}),
        case_of("case_0002", image, labels, modality="CT"),
    ]
    plan = plan_for(given, deidentify=DeidentifyOptions(profile="none"))
    records = written(FORMAT, plan, given, tmp_path / "set")
    assert FORMAT.problems(tmp_path / "set", plan, records) == ()
    copy = pydicom.dcmread(tmp_path / "set/patient_0001/case_0001/T1/0001.dcm")
    made = pydicom.dcmread(tmp_path / "set/patient_0002/case_0002/T1/0001.dcm")
    assert str(copy.PatientName) == "Doe^Jane"
    assert "PatientIdentityRemoved" not in copy and "PatientIdentityRemoved" not in made


def test_channels_are_series_of_one_place_and_the_labels_refer_to_the_first(tmp_path: Path) -> None:
    image, labels = patient("brain1")
    channels = {"T1": image, "T2 w": Volume(image.array + np.int16(3), image.affine)}
    case = PreparedCase("case_0001", "patient_0001", channels, labels=labels, secret=SECRET,
                        modality={"T1": "MR", "T2 w": "MR"})  # fmt: skip
    plan = plan_for([case])
    records = written(FORMAT, plan, [case], tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    folder = tmp_path / "patient_0001/case_0001"
    one, two, seg = (pydicom.dcmread(folder / name) for name in ("T1/0001.dcm", "T2 w/0001.dcm", "segmentation.dcm"))
    assert one.StudyInstanceUID == two.StudyInstanceUID == seg.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID and (one.SeriesNumber, two.SeriesNumber) == (1, 2)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == one.SeriesInstanceUID
    assert two.SeriesDescription == "T2 w"


def test_a_whole_export_conforms_and_knows_nobody(tmp_path: Path) -> None:
    collected = [
        Case(
            f"Jane Zwiebel {n}",
            {"T1": Volume(image.array, image.affine, meta={"modality": "MR"})},
            SegmentationLabel(labels, (Segment(1, "lesion", (1, 0, 0)),)),
            f"Zwiebel {n}",
        )
        for n, (image, labels) in enumerate([patient("brain1"), patient("brain2")])
    ]
    summary = export_dataset(collected, tmp_path, ExportOptions(format="dicom", name="Small"))
    checked = verify_dataset(summary.root)
    assert (checked.complete, checked.problems, checked.notes) == (True, (), ())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"Zwiebel" in path.read_bytes()]
    files = sorted(tmp_path.rglob("*.dcm"))
    assert {pydicom.dcmread(path).Modality for path in files} == {"MR", "SEG"}
    for path in (*files[:2], *tmp_path.rglob("segmentation.dcm")):
        assert conformance_errors(path) == []
