"""DICOM series and SEG: conformant, with a made-up patient only, and every voxel where it was for four readers."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import realdata
import SimpleITK as sitk
from core.dataset_by_hand import LESION, SECRET, digests, list_again, on, patient, plan_of, vertebra, written
from core.phantoms import PLACES, SHEARED, world_of
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.dicom import DicomFormat
from meddl.datasets.formats.stored_values import stored_values
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Volume, from_sitk, read_segmentation, read_volume
from pydicom.data import get_testdata_file

FORMAT = DicomFormat()


def case_of(name: str, image: Volume, labels: Volume | None, *, modality: str = "MR", **more: object) -> PreparedCase:
    channel = more.pop("channel", "T1")
    return PreparedCase(
        name, f"patient_{name[-4:]}", {str(channel): image}, labels=labels, modality={str(channel): modality},
        secret=SECRET, **more,
    )  # fmt: skip


def cases() -> list[PreparedCase]:
    brain, tumor = patient("brain1")
    lung, nodule = patient("lung1")
    spine, parts = vertebra()
    oblique = PLACES["oblique and left-handed"]
    return [
        case_of("case_0001", brain, tumor, split="train", fold=0, site="site_1"),
        case_of("case_0002", lung, nodule, modality="CT", split="train", fold=1),
        case_of("case_0003", spine, Volume((parts.array > 0).astype(np.uint8), parts.affine), split="validation"),
        case_of("case_0004", on(brain, oblique), on(tumor, oblique), modality="", split="test"),
        case_of("case_0005", lung, None, modality="CT", split="test"),
    ]


def plan_for(given: list[PreparedCase], **more: object):
    return plan_of(given, "segmentation", format="dicom", **{"scheme": LESION, **more})


def by_position(image: Volume, others: Volume) -> np.ndarray:
    """The values of ``others`` at the voxels of ``image``."""
    index = np.linalg.inv(others.affine) @ np.vstack([world_of(image.affine, image.shape).reshape(3, -1),
                                                      np.ones(np.prod(image.shape))])  # fmt: skip
    nearest = np.rint(index[:3]).astype(int)
    np.testing.assert_allclose(index[:3], nearest, atol=1e-3)
    return others.array[(0, *nearest)].reshape(image.shape)


def by_itk(folder: Path) -> Volume:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return from_sitk(reader.Execute())


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


def conformance_errors(path: Path) -> list[str]:
    """What David Clunie's dciodvfy has against a file."""
    program = Path(sys.executable).parent / "dciodvfy"
    if not program.exists():
        pytest.skip("the package dicom3tools, with dciodvfy, is not installed")
    said = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
    assert said.returncode >= 0
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


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


def test_values_are_exact_where_16_bits_hold_them_and_as_near_as_it_says_where_not(tmp_path: Path) -> None:
    brain = patient("brain1")[0]
    rng = np.random.default_rng(1)
    images = {
        "unsigned": brain.array.astype(np.uint16) + 60000,
        "whole floats": brain.array.astype(np.float64) - 1024,
        "far away": brain.array.astype(np.int32) + 10**6,
        "truth": brain.array > 100,
        "floats": (brain.array / np.float32(3.7)).astype(np.float32),
        "small": rng.normal(0, 1e-6, brain.array.shape),
        "wide": brain.array.astype(np.int64) * 10**6,
        "constant": np.full(brain.array.shape, 2.5),
    }
    given = [case_of(f"case_{n:04d}", Volume(array, brain.affine), None, split="test", modality=modality)
             for n, array in enumerate(images.values()) for modality in ("MR",)]  # fmt: skip
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    with (tmp_path / "series.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for (name, array), case, row in zip(images.items(), given, rows, strict=True):
        read = by_position(brain, read_volume(tmp_path / row["folder"])).astype(np.float64)
        error = np.abs(read - array[0]).max()
        told = float(row["largest error"])
        span = float(array.max()) - float(array.min())
        if name in ("unsigned", "whole floats", "far away", "truth", "constant"):
            assert error == told == 0, name
        else:
            assert error <= told * 1.01 + np.abs(array).max() * 2e-7 and told <= span / 65534 * 0.51, name
            said = pydicom.dcmread(tmp_path / row["folder"] / "0001.dcm").DerivationDescription
            assert said.startswith("Scaled to 16 bits"), case.name


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_cannot_be_stored_are_refused(value: float) -> None:
    with pytest.raises(VolumeError, match="values"):
        stored_values(np.array([0.5, value]))


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
    other = [PreparedCase(**{**vars(given[0]), "secret": b"another"})]
    written(FORMAT, plan, other, tmp_path / "c")
    assert not uids & {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "c").rglob("*.dcm")}


def test_overlapping_structures_come_back_whole_and_so_does_what_nobody_knows(tmp_path: Path) -> None:
    image, mask = patient("brain1")
    array = np.zeros(mask.array.shape, np.uint8)
    array[0, 5:30, 5:30, 2:8] = 1
    array[0, 20:40, 20:40, 4:10] = 2
    array[0, 20:30, 20:30, 4:8] = 4
    array[0, 50:60, 50:60, 1:3] = 5
    red, green = Structure("edema", (1, 0, 0)), Structure("tumor, whole", (0, 1, 0))
    scheme = LabelScheme((red, green, Structure("absent", (0, 0, 1))), "regions", ((0, 1),), ignore=("x",))
    given = [case_of("case_0001", image, Volume(array, mask.affine))]
    plan = plan_for(given, scheme=scheme)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    labels, segments = read_segmentation(tmp_path / "patient_0001/case_0001/segmentation.dcm")
    voxels = {segment.name: int((labels.array[segment.layer] == segment.label).sum()) for segment in segments}
    assert voxels == {
        "edema": int(np.isin(array, (1, 4)).sum()),
        "tumor, whole": int(np.isin(array, (2, 4)).sum()),
        "absent": 0,
        "ignore": int((array == 5).sum()),
    }
    empty = [case_of("case_0001", image, Volume(np.zeros_like(array), mask.affine))]
    records = written(FORMAT, plan, empty, tmp_path / "empty")
    assert FORMAT.problems(tmp_path / "empty", plan, records) == ()


def real_series(folder: Path, *, repaired: bool) -> tuple[Path, ...]:
    """A real, compressed CT series, whose UIDs and kind were emptied by whoever published it."""
    source = realdata.totalsegmentator() / "example_ct_dicom"
    folder.mkdir()
    for n, path in enumerate(sorted(path for path in source.iterdir() if path.is_file())[:7]):
        file = pydicom.dcmread(path)
        if repaired:
            file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{n}"
            file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
        file.PatientName, file.PatientID = "Doe^Jane", "SECRET-4711"
        file.save_as(folder / f"{n:03d}.dcm")
    return tuple(sorted(folder.iterdir()))


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
    image = read_volume(_alone(source, tmp_path))
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


def _alone(path: Path, folder: Path) -> Path:
    (folder / "alone").mkdir()
    shutil.copyfile(path, folder / "alone" / path.name)
    return folder / "alone"


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


def test_classes_and_targets_are_listed(tmp_path: Path) -> None:
    brain = patient("brain1")[0]
    given = [case_of("case_0001", brain, None, classes=("a", "b"))]
    plan = plan_of(given, "classification", format="dicom", classes=("a", "b"))
    assert FORMAT.problems(tmp_path / "a", plan, written(FORMAT, plan, given, tmp_path / "a")) == ()
    assert "a;b" in (tmp_path / "a/cases.csv").read_text()
    given = [case_of("case_0001", brain, None, target=Volume(brain.array * np.float32(0.5), brain.affine))]
    plan = plan_of(given, "reconstruction", format="dicom")
    assert FORMAT.problems(tmp_path / "b", plan, written(FORMAT, plan, given, tmp_path / "b")) == ()
    read = by_position(brain, read_volume(tmp_path / "b/patient_0001/case_0001/target"))
    np.testing.assert_allclose(read, brain.array[0] * 0.5, atol=0.02)


def test_what_dicom_cannot_hold_is_refused(tmp_path: Path) -> None:
    brain, tumor = patient("brain1")
    given = [case_of("case_0001", on(brain, SHEARED), on(tumor, SHEARED))]
    with pytest.raises(VolumeError, match="right angles"):
        FORMAT.write_case(given[0], plan_for(given), tmp_path)
    several = Volume(np.concatenate([brain.array, brain.array]), brain.affine)
    with pytest.raises(VolumeError, match="2 values per voxel"):
        FORMAT.write_case(case_of("case_0001", several, None), plan_for(given), tmp_path)
    with pytest.raises(UsageError, match="'target'"):
        FORMAT.check(plan_for([case_of("case_0001", brain, tumor, channel="Target")]))
    with pytest.raises(UsageError, match="at least one structure"):
        FORMAT.check(plan_for(given, scheme=LabelScheme()))
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM")
    with pytest.raises(MedDLError, match="damaged"):
        shape = (1, *brain.shape[:2], 1)
        image = Volume(brain.array[..., :1].reshape(shape), brain.affine)
        FORMAT.write_case(case_of("case_0001", image, None, dicom={"T1": (broken,)}), plan_for(given), tmp_path)


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    given = cases()[:2]
    plan = plan_for(given)
    records = written(FORMAT, plan, given, tmp_path / "whole")
    whole = tmp_path / "whole"
    one, two = (Path(f"patient_{n}/case_{n}") for n in ("0001", "0002"))

    def problem_after(damage: str) -> str:
        root = tmp_path / "damaged"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(whole, root)
        slices, seg = sorted((root / one / "T1").iterdir()), root / one / "segmentation.dcm"
        if damage == "missing slice":
            slices[3].unlink()
        elif damage == "missing last slice":
            slices[-1].unlink()
        elif damage == "truncated":
            slices[3].write_bytes(slices[3].read_bytes()[:-500])
        elif damage == "moved":
            for path in slices:
                file = pydicom.dcmread(path)
                file.ImagePositionPatient = [file.ImagePositionPatient[0] + 5, *file.ImagePositionPatient[1:]]
                file.save_as(path)
        elif damage == "somebody else":
            file = pydicom.dcmread(slices[2])
            file.PatientID = "Doe"
            file.save_as(slices[2])
        elif damage == "other labels":
            shutil.copyfile(root / two / "segmentation.dcm", seg)
        elif damage == "no labels":
            seg.unlink()
        elif damage == "same UIDs":
            shutil.rmtree(root / two / "T1")
            shutil.copytree(root / one / "T1", root / two / "T1")
        elif damage == "empty segment":
            file = pydicom.dcmread(seg)
            file.PixelData = bytes(len(file.PixelData))
            file.save_as(seg)
        elif damage == "table":
            (root / "cases.csv").write_text("case\ncase_0001\n")
        elif damage == "no table":
            (root / "series.csv").unlink()
        return " ".join(FORMAT.problems(root, plan, records))

    expected = {
        "missing slice": "has gaps",
        "missing last slice": f"{one.as_posix()}/T1 has 69 x 92 x 12 voxels, not 69 x 92 x 13",
        "truncated": f"{one.as_posix()}/T1 cannot be read",
        "moved": "does not lie where it was written to",
        "somebody else": "has images of somebody else than patient_0001",
        "other labels": "images that are not in",
        "no labels": "segmentation.dcm cannot be read",
        "same UIDs": "have the UIDs of images of",
        "empty segment": "has not the voxels that were written of 'lesion'",
        "table": "cases.csv does not list",
        "no table": "series.csv cannot be read",
    }
    for damage, said in expected.items():
        assert said in problem_after(damage), damage
    assert problem_after("none") == ""
    list_again(FORMAT, plan, records[:1], whole)
    assert FORMAT.problems(whole, plan, records[:1]) == () and "case_0002" not in (whole / "cases.csv").read_text()
