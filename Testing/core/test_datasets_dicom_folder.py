"""DICOM folders of several patients, studies and series, with what segmentations and contours refer to in them."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import realdata
from core import phantoms
from core.dicom_writer import Edit, write_series
from core.rtstruct_writer import circle, on_slice, write_contours
from meddl.datasets.case import Case, ClassLabel, ImageFile, SegmentationLabel
from meddl.datasets.collect import collect_cases, list_dicom
from meddl.datasets.identifiers import identifiers
from meddl.datasets.loading import dicom_files, load_case
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Segment, Volume, read_volume, write_volume
from meddl.volume.dicom_seg import Maker, write_dicom_seg
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset

MAKER = Maker("test", created=datetime(2026, 1, 1))
PLACE = phantoms.PLACES["oblique"]


def crop(key: str = "lung1_image", size: int = 40) -> Volume:
    """A piece of a real CT (pyradiomics)."""
    volume = read_volume(realdata.pyradiomics()[key])
    affine = volume.affine.copy()
    affine[:3, 3] = (affine @ (60, 60, 5, 1))[:3]
    return Volume(volume.array[:, 60 : 60 + size, 60 : 60 + size, 5:13], affine)


def header(patient: str, study: str = "1.2.3.1", number: int = 1, **more: object) -> Edit:
    def edit(dataset: FileDataset, _: int) -> None:
        dataset.PatientID, dataset.PatientName = patient, f"Doe^{patient}"
        dataset.StudyInstanceUID, dataset.SeriesNumber, dataset.StudyDate = study, number, "20200229"
        dataset.FrameOfReferenceUID = f"{study}.5"
        for key, value in more.items():
            setattr(dataset, key, value)

    return edit


def write_seg(path: Path, series: Path, image: Volume, *, part: float = 50, uid: str | None = None) -> Path:
    labels = Volume((image.array > np.percentile(image.array, part)).astype(np.uint8), image.affine)
    write_dicom_seg(labels, [Segment(1, "Lesion", (1, 0, 0))], path, source=series, maker=MAKER, series_uid=uid)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients; one with two studies, of which one has two series in one folder and two segmentations of one."""
    root = tmp_path_factory.mktemp("archive")
    image = crop()
    write_series(root / "p1a", image, edit=header("P1", "1.2.3.1", 3, InstitutionName="North"), series_uid="1.2.3.1.3")
    write_series(
        root / "p1b", image, edit=header("P1", "1.2.3.2", 1), series_uid="1.2.3.2.1", name="thin{:03d}.dcm".format
    )
    write_series(
        root / "p1b", image, edit=header("P1", "1.2.3.2", 2), series_uid="1.2.3.2.2", name="thick{:03d}.dcm".format
    )
    write_series(
        root / "p2", phantoms.numbered(PLACE, (30, 30, 6)), edit=header("P2", "1.2.3.7", 1), series_uid="1.2.3.7.1"
    )
    write_seg(root / "one.dcm", root / "p1a", read_volume(root / "p1a"))
    second = read_volume(root / "p1b", series_uid="1.2.3.2.2")
    write_seg(root / "two.dcm", root / "p1b", second, uid="1.2.3.2.2")
    write_seg(root / "three.dcm", root / "p1b", second, part=90, uid="1.2.3.2.2")
    write_contours(
        root / "rt.dcm",
        {"liver": [on_slice(PLACE, k, circle((14, 15), 6)) for k in range(6)]},
        series_uid="1.2.3.7.1",
        study_uid="1.2.3.7",
        patient="P2",
    )
    return root


def test_each_segmentation_is_a_case_with_the_series_it_refers_to(archive: Path) -> None:
    cases = {case.id: case for case in collect_cases(archive)}

    assert sorted(cases) == ["P1_20200229_2_1", "P1_20200229_2_2", "P1_20200229_3", "P2_20200229_1"]
    first = cases["P1_20200229_3"]
    assert (first.patient, first.study, first.site) == ("P1", "1.2.3.1", "North")
    twice = cases["P1_20200229_2_1"]
    assert isinstance(twice.images["image"], ImageFile) and twice.images["image"].series_uid == "1.2.3.2.2"
    assert "Segmentation 1 of 2 of the same image" in twice.notes[0]
    assert any("1 image series of the folder has no segmentation: left out." in case.notes for case in cases.values())
    for case in cases.values():
        loaded = load_case(Case.from_dict(case.to_dict()))
        assert loaded.labels is not None and loaded.labels.array.any()
        assert len(loaded.segments) == 1


def test_contours_lie_on_their_oblique_series(archive: Path) -> None:
    case = next(case for case in collect_cases(archive) if case.patient == "P2")

    loaded = load_case(case)

    image, labels = loaded.images["image"], loaded.labels
    assert labels is not None and labels.grid.same_as(image.grid)
    assert labels.array.sum() / 6 == pytest.approx(np.pi * 36, rel=0.05)
    center = np.argwhere(labels.array[0]).mean(axis=0)
    expected = (PLACE @ (14, 15, 2.5, 1))[:3]
    np.testing.assert_allclose(image.affine[:3, :3] @ center + image.affine[:3, 3], expected, atol=0.2)


def test_what_was_found_is_listed(archive: Path) -> None:
    found = list_dicom(archive)

    assert sorted((each.patient, each.kind, len(each.files)) for each in found) == [
        *[("P1", "image", 8)] * 3,
        *[("P1", "segmentation", 1)] * 3,
        ("P2", "contours", 1),
        ("P2", "image", 6),
    ]
    assert [each.patient for each in found] == sorted(each.patient for each in found)
    assert {uid for each in found for uid in each.refers_to} == {"1.2.3.1.3", "1.2.3.2.2", "1.2.3.7.1"}


def test_the_order_of_files_on_the_disk_changes_nothing(archive: Path, tmp_path: Path) -> None:
    def shape(cases: tuple[Case, ...]) -> list[tuple[object, ...]]:
        return [(case.id, case.patient, case.notes, Path(case.label.source.path).name) for case in cases]  # type: ignore[union-attr]

    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(archive.rglob("*.dcm"), key=lambda path: path.name[::-1])):
        shutil.copy(file, flat / f"IM{number:05d}")  # as on a CD: no suffix, one folder

    names = [(case.id, case.patient) for case in collect_cases(flat)]

    assert sorted(names) == sorted((case.id, case.patient) for case in collect_cases(archive))
    assert shape(collect_cases(flat)) == shape(collect_cases(flat))
    for case in collect_cases(flat):
        labels = load_case(case).labels
        assert labels is not None and labels.array.any()


def test_a_series_spread_over_folders_is_one_image(archive: Path, tmp_path: Path) -> None:
    files = sorted((archive / "p1a").iterdir())
    for number, file in enumerate(files):
        place = tmp_path / "DICOM" / f"disk{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    shutil.copy(files[0], tmp_path / "DICOM" / "disk2" / "copy of it.dcm")
    shutil.copy(archive / "one.dcm", tmp_path)

    (case,) = collect_cases(tmp_path)

    source = case.images["image"]
    assert isinstance(source, ImageFile) and source.nested and len(dicom_files(source)) == 8
    loaded = load_case(case)
    np.testing.assert_array_equal(loaded.images["image"].array, read_volume(archive / "p1a").array)
    assert loaded.labels is not None


def test_the_jpeg_2000_series_with_empty_uids_goes_with_its_label_file(tmp_path: Path) -> None:
    folder = realdata.totalsegmentator()
    shutil.copytree(folder / "example_ct_dicom", tmp_path / "s1" / "dicom")
    shutil.copy(folder / "example_seg_dicom.nii.gz", tmp_path / "s1" / "seg.nii.gz")

    (case,) = collect_cases(tmp_path)

    loaded = load_case(case)
    assert case.id == "s1"
    assert loaded.images["image"].shape == (512, 512, 20) and len(loaded.segments) == 31
    assert len(dicom_files(case.images["image"])) == 20
    # The header was never de-identified: dates, the station and the hospital's address stand in it.
    seen = set(identifiers(case))
    assert {"20221208", "2022-12-08", "PETCT2", "Petersgraben Basel District CHE", "60064"} <= seen


def test_series_without_any_segmentation_are_cases_without_labels(archive: Path, tmp_path: Path) -> None:
    for name in ("p1a", "p2"):
        shutil.copytree(archive / name, tmp_path / name)

    cases = collect_cases(tmp_path)

    assert [(case.id, case.label) for case in cases] == [("P1_20200229_3", None), ("P2_20200229_1", None)]


def test_a_segmentation_whose_series_is_missing_is_told(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "p1a", tmp_path / "p1a")
    for name in ("one.dcm", "two.dcm"):
        shutil.copy(archive / name, tmp_path)

    (case,) = collect_cases(tmp_path)

    assert "A segmentation (SEG) refers to a series that is not in the folder: left out." in case.notes


def test_contours_that_name_no_series_are_matched_by_the_images_they_name(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "p2", tmp_path / "p2")
    shutil.copytree(archive / "p1a", tmp_path / "p1a")
    instance = pydicom.dcmread(next((tmp_path / "p2").iterdir())).SOPInstanceUID
    contours = {"liver": [on_slice(PLACE, 2, circle((14, 15), 6))]}
    write_contours(tmp_path / "rt.dcm", contours, series_uid="", frame_uid="9.9", patient="P2", instances=[instance])

    (case,) = collect_cases(tmp_path)

    assert case.study == "1.2.3.7"


def test_localizers_and_reports_are_no_cases(archive: Path, tmp_path: Path) -> None:
    write_series(
        tmp_path / "scout",
        crop(size=20),
        edit=header("P1", "1.2.3.1", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]),
    )
    shutil.copytree(archive / "p2", tmp_path / "p2")
    shutil.copy(str(get_testdata_file("test-SR.dcm")), tmp_path)

    assert [case.patient for case in collect_cases(tmp_path)] == ["P2"]


def test_radiographs_are_a_case_each(tmp_path: Path) -> None:
    for name in ("examples_palette.dcm", "SC_rgb_jpeg.dcm"):
        shutil.copy(str(get_testdata_file(name)), tmp_path)

    cases = collect_cases(tmp_path)

    assert len(cases) == 2
    assert all(load_case(case).images["image"].shape[2] == 1 for case in cases)


def test_radiographs_in_folders_are_of_classes(tmp_path: Path) -> None:
    for name, files in {"gray": ("examples_palette.dcm", "SC_rgb_rle.dcm"), "color": ("SC_rgb_jpeg.dcm",)}.items():
        (tmp_path / name).mkdir()
        for file in files:
            shutil.copy(str(get_testdata_file(file)), tmp_path / name)

    cases = collect_cases(tmp_path)

    assert sorted(case.label.names for case in cases if isinstance(case.label, ClassLabel)) == [
        ("color",),
        ("gray",),
        ("gray",),
    ]


def test_patients_that_somebody_made_anonymous_are_not_one_patient(tmp_path: Path) -> None:
    for number, name in enumerate(("ANONYMOUS", "anonymized^", "000000", "Patient")):
        image = phantoms.numbered(PLACE, (6, 6, 4))
        uid = f"1.2.3.{number}"
        write_series(tmp_path / str(number), image, edit=header(name, uid, PatientName=name), series_uid=f"{uid}.1")

    assert sorted(case.patient for case in collect_cases(tmp_path)) == [f"1.2.3.{number}" for number in range(4)]


def test_series_in_one_folder_go_with_label_files_by_their_number(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "p1b", tmp_path / "p1b")
    labels = read_volume(archive / "p1b", series_uid="1.2.3.2.1")
    write_volume(Volume((labels.array > 0).astype(np.uint8), labels.affine), tmp_path / "p1b_1_seg.nii.gz")

    labeled = [case for case in collect_cases(tmp_path) if case.label]

    (case,) = labeled
    source = case.images["image"]
    assert isinstance(source, ImageFile) and source.series_uid == "1.2.3.2.1"


def test_contours_are_placed_on_the_channel_they_were_drawn_on(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "rt").mkdir()
    shutil.copy(archive / "rt.dcm", tmp_path / "rt" / "only.dcm")
    (tmp_path / "list.csv").write_text(f"A,B,label\n{archive / 'p1a'},{archive / 'p2'},rt\n")

    (case,) = collect_cases(tmp_path / "list.csv")

    loaded = load_case(case)
    assert loaded.labels is not None and loaded.labels.grid.same_as(loaded.images["B"].grid)


def test_datasets_that_were_exported_are_collected_again(archive: Path, tmp_path: Path) -> None:
    from meddl.datasets import ExportOptions, export_dataset

    for name in ("p1a", "p2"):
        shutil.copytree(archive / name, tmp_path / "in" / name)
    for name in ("one.dcm", "rt.dcm"):
        shutil.copy(archive / name, tmp_path / "in")
    first = collect_cases(tmp_path / "in")
    for kind in ("dicom", "nnunet"):
        export_dataset(first, tmp_path / kind, ExportOptions(format=kind))

        again = collect_cases(tmp_path / kind)

        assert len(again) == 2 and all(case.label is not None for case in again)
        before, after = (
            sorted(int((load_case(case).labels.array > 0).sum()) for case in cases)  # type: ignore[union-attr]
            for cases in (first, again)
        )
        assert before == after


def test_series_with_segmentations_are_not_taken_a_second_time(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "p2", tmp_path / "p2")
    shutil.copy(archive / "rt.dcm", tmp_path)
    write_volume(phantoms.numbered(PLACE), tmp_path / "other.nii.gz")

    assert sorted(case.id for case in collect_cases(tmp_path)) == ["P2_20200229_1", "other"]


def test_damaged_files_are_told(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "p2", tmp_path / "p2")
    (tmp_path / "zero.dcm").write_bytes(b"")
    (tmp_path / "cut.dcm").write_bytes((archive / "one.dcm").read_bytes()[:140])

    (case,) = collect_cases(tmp_path)

    assert any("DICOM files of the folder cannot be decoded" in note for note in case.notes)


def test_any_damage_to_the_files_is_told_in_a_sentence(archive: Path, tmp_path: Path) -> None:
    originals = [*sorted((archive / "p2").iterdir()), archive / "rt.dcm"]
    random = np.random.default_rng(8)
    for trial in range(25):
        folder = tmp_path / str(trial)
        folder.mkdir()
        for number, file in enumerate(originals):
            data = bytearray(file.read_bytes())
            if number in (trial % len(originals), len(originals) - 1):
                end = len(data) if file.name == "rt.dcm" else 1200  # the header
                for _ in range(random.integers(1, 40)):
                    data[random.integers(0, end)] = random.integers(0, 256)
            (folder / file.name).write_bytes(data[: random.integers(200, len(data))] if trial % 7 == 0 else data)
        try:
            list_dicom(folder)
            for case in collect_cases(folder):
                identifiers(case)
                load_case(case)
        except MedDLError as error:
            assert str(tmp_path) not in error.message
            assert "Jane" not in error.message


def test_the_header_says_whose_a_listed_series_is(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        f"image,series,segmentation,patient\n{archive / 'p1b'},1.2.3.2.2,{archive / 'two.dcm'},\n"
        f"{archive / 'p2'},,{archive / 'rt.dcm'},somebody\n"
    )

    first, second = collect_cases(tmp_path / "list.csv")

    assert (first.patient, first.study, second.patient) == ("P1", "1.2.3.2", "somebody")
    for case in (first, second):
        assert load_case(case).labels is not None


def test_pydicoms_own_segmentation_is_refused_since_two_of_its_three_frames_were_cut_off(tmp_path: Path) -> None:
    path = Path(str(get_testdata_file("liver_1frame.dcm")))
    case = Case("a", {"image": phantoms.numbered(PLACE)}, SegmentationLabel(ImageFile(path)))

    assert [each.kind for each in list_dicom(path.parent) if path in each.files] == ["segmentation"]
    with pytest.raises(VolumeError, match=r"liver_1frame\.dcm is damaged"):
        load_case(case)


def test_names_and_dates_of_a_header_are_told_in_every_way_they_are_written(archive: Path) -> None:
    case = next(case for case in collect_cases(archive) if case.patient == "P2")

    seen = set(identifiers(case))

    assert {"Doe^P2", "Doe", "P2 Doe", "Doe P2", "29.02.2020", "2020-02-29", "1.2.3.7", "1.2.3.7.1"} <= seen
    assert not any(text.startswith("1.2.840.10008.") for text in seen)


def test_free_texts_of_headers_are_told(tmp_path: Path) -> None:
    import nibabel
    import nrrd

    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    image.header["descrip"] = b"Jane Doe 1970"
    image.header["aux_file"] = b"doe_jane.txt"
    image.header["intent_name"] = b"NAME-77"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"scan of Erika Mustermann"))
    nibabel.save(image, tmp_path / "a.nii.gz")
    nrrd.write(
        str(tmp_path / "b.nrrd"), np.zeros((2, 3, 4), np.int16), {"DICOM.PatientName": "Doe^John", "content": "of Max"}
    )
    (tmp_path / "c.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nPatientName = Roe^Rita\nComment = of Moritz\n"
        b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\n"
        b"DimSize = 1 1 1\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n\0"
    )
    case = Case(
        "x",
        {
            "a": ImageFile(tmp_path / "a.nii.gz"),
            "b": ImageFile(tmp_path / "b.nrrd"),
            "c": ImageFile(tmp_path / "c.mha"),
        },
    )

    seen = set(identifiers(case))

    planted = {"Jane Doe 1970", "doe_jane.txt", "NAME-77", "scan of Erika Mustermann", "Doe^John", "John", "of Max"}
    assert planted | {"Roe^Rita", "Rita", "of Moritz"} <= seen


def test_identifiers_of_files_that_cannot_be_read_are_their_names(tmp_path: Path) -> None:
    (tmp_path / "doe.nii.gz").write_bytes(b"\x1f\x8bbroken")
    case = Case("case 7", {"image": ImageFile(tmp_path / "doe.nii.gz")}, patient="PID 12")

    assert {"case 7", "PID 12", "doe", "doe.nii.gz"} <= set(identifiers(case))


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        list_dicom(tmp_path / "missing")


def test_a_series_that_is_gone_is_told(archive: Path, tmp_path: Path) -> None:
    source = ImageFile(tmp_path, "1.2.3", nested=True)

    with pytest.raises(VolumeError, match="not in its folders"):
        load_case(Case("a", {"image": source}))
