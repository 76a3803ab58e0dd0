"""Which cases a folder holds: every usual way to name files, on real images, and patterns that tell them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import realdata
from core.collected_files import MASK, SMALL, put, told
from meddl.datasets.case import (
    Case,
    ClassLabel,
)
from meddl.datasets.collect import collect_cases
from meddl.datasets.loading import load_case
from meddl.errors import UsageError
from meddl.volume import Volume, read_volume, write_volume


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(
            ["a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "b-label.nii.gz", "c.nrrd", "c.seg.nrrd", "d.mha", "d_mask.nrrd"],
            [
                ("a", {"image": "a.nii.gz"}, "a_seg.nii.gz"),
                ("b", {"image": "b.nii.gz"}, "b-label.nii.gz"),
                ("c", {"image": "c.nrrd"}, "c.seg.nrrd"),
                ("d", {"image": "d.mha"}, "d_mask.nrrd"),
            ],
            id="beside one another",
        ),
        pytest.param(
            ["p1_t1.nii.gz", "p1_t2.nii.gz", "p1_seg.nii.gz", "p10_t1.nii.gz", "p10_t2.nii.gz", "p10_seg.nii.gz"],
            [
                ("p1", {"t1": "p1_t1.nii.gz", "t2": "p1_t2.nii.gz"}, "p1_seg.nii.gz"),
                ("p10", {"t1": "p10_t1.nii.gz", "t2": "p10_t2.nii.gz"}, "p10_seg.nii.gz"),
            ],
            id="several channels",
        ),
        pytest.param(
            ["img0001.nii.gz", "label0001.nii.gz", "img0002.nii.gz", "label0002.nii.gz"],
            [
                ("0001", {"image": "img0001.nii.gz"}, "label0001.nii.gz"),
                ("0002", {"image": "img0002.nii.gz"}, "label0002.nii.gz"),
            ],
            id="BTCV",
        ),
        pytest.param(
            ["volume-0.nii.gz", "segmentation-0.nii.gz", "volume-1.nii.gz", "segmentation-1.nii.gz"],
            [
                ("0", {"image": "volume-0.nii.gz"}, "segmentation-0.nii.gz"),
                ("1", {"image": "volume-1.nii.gz"}, "segmentation-1.nii.gz"),
            ],
            id="LiTS",
        ),
        pytest.param(
            ["scan_01.nii.gz", "scan_01_seg.nii.gz", "scan_02.nii.gz", "scan_02_seg.nii.gz"],
            [
                ("01", {"image": "scan_01.nii.gz"}, "scan_01_seg.nii.gz"),
                ("02", {"image": "scan_02.nii.gz"}, "scan_02_seg.nii.gz"),
            ],
            id="a word that says image in both names",
        ),
        pytest.param(
            ["im1.nrrd", "im1_mask.nrrd", "im2.nrrd", "im2_mask.nrrd"],
            [("1", {"image": "im1.nrrd"}, "im1_mask.nrrd"), ("2", {"image": "im2.nrrd"}, "im2_mask.nrrd")],
            id="a word with a number in both names",
        ),
        pytest.param(
            ["images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz"],
            [("a", {"image": "a.nii.gz"}, "a.nii.gz"), ("b", {"image": "b.nii.gz"}, "b.nii.gz")],
            id="folders for images and labels",
        ),
        pytest.param(
            ["p1/ct.nii.gz", "p1/seg.nii.gz", "p2/ct.nii.gz", "p2/seg.nii.gz"],
            [("p1", {"image": "ct.nii.gz"}, "seg.nii.gz"), ("p2", {"image": "ct.nii.gz"}, "seg.nii.gz")],
            id="a folder for each case",
        ),
        pytest.param(
            ["B_00/B_00_flair.nii.gz", "B_00/B_00_t1.nii.gz", "B_00/B_00_seg.nii.gz"],
            [("B_00", {"flair": "B_00_flair.nii.gz", "t1": "B_00_t1.nii.gz"}, "B_00_seg.nii.gz")],
            id="BraTS",
        ),
        pytest.param(
            ["p1/T1.nii.gz", "p1/T2.nii.gz", "p2/T1.nii.gz", "p2/T2.nii.gz"],
            [("p1", {"T1": "T1.nii.gz", "T2": "T2.nii.gz"}, ""), ("p2", {"T1": "T1.nii.gz", "T2": "T2.nii.gz"}, "")],
            id="channels, not classes",
        ),
        pytest.param(
            ["case7.nii.gz", "case7_liver_mask.nii.gz"],
            [("case7", {"image": "case7.nii.gz"}, "case7_liver_mask.nii.gz")],
            id="a mask named after its structure",
        ),
        pytest.param(
            ["Case1.nii.gz", "case1_SEG.nii.gz"],
            [("Case1", {"image": "Case1.nii.gz"}, "case1_SEG.nii.gz")],
            id="upper and lower case",
        ),
    ],
)
def test_usual_names_are_understood(tmp_path: Path, names: list[str], expected: list[object]) -> None:
    cases = collect_cases(put(tmp_path, *names))

    assert sorted(map(told, cases), key=str) == sorted(expected, key=str)
    for case in cases:
        loaded = load_case(case)
        assert not case.label or (loaded.labels is not None and loaded.labels.array.max() == 1)


def test_names_that_differ_in_upper_and_lower_case_only_are_kept_apart(tmp_path: Path) -> None:
    put(tmp_path, "Case1.nii.gz", "case1.nii.gz")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system ignores upper and lower case")
    put(tmp_path, "Case1_seg.nii.gz", "case1_seg.nii.gz")

    cases = collect_cases(tmp_path)

    assert sorted(map(told, cases)) == [
        ("Case1", {"image": "Case1.nii.gz"}, "Case1_seg.nii.gz"),
        ("case1", {"image": "case1.nii.gz"}, "case1_seg.nii.gz"),
    ]


def test_the_patients_of_pyradiomics_are_matched_with_their_lesions() -> None:
    folder = next(iter(realdata.pyradiomics().values())).parent

    cases = collect_cases(folder)

    assert [case.id for case in cases] == ["brain1", "brain2", "breast1", "lung1", "lung2"]
    loaded = load_case(cases[3])
    assert loaded.labels is not None and loaded.labels.grid.same_as(loaded.images["image"].grid)
    assert [each.name for each in loaded.segments] == ["Label 1"]


def test_images_named_as_bids_does_are_of_their_subjects() -> None:
    cases = collect_cases(next(iter(realdata.tptbox().values())).parent)

    assert [case.id for case in cases] == [
        "sub-ct_label-22_1",
        "sub-ct_label-22_2",
        "sub-mri_label-6_1",
        "sub-mri_label-6_2",
    ]
    assert [case.patient for case in cases] == ["sub-ct", "sub-ct", "sub-mri", "sub-mri"]
    assert all("of the same image: a case each" in case.notes[0] for case in cases)


def test_bids_derivatives_belong_to_the_raw_images(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz",
        "sub-01/ses-a/func/sub-01_ses-a_bold.nii.gz",
        "derivatives/manual/sub-01/ses-a/anat/sub-01_ses-a_space-orig_dseg.nii.gz",
        "derivatives/prep/sub-01/ses-a/anat/sub-01_ses-a_desc-preproc_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
    )

    first, second = collect_cases(tmp_path)

    assert told(first) == (
        "sub-01_ses-a",
        {"FLAIR": "sub-01_ses-a_FLAIR.nii.gz", "T1w": "sub-01_ses-a_T1w.nii.gz"},
        "sub-01_ses-a_space-orig_dseg.nii.gz",
    )
    assert (first.patient, first.study, second.patient) == ("sub-01", "sub-01_ses-a", "sub-02")
    assert second.label is None and "no label" in second.notes[0]


def test_a_dataset_of_nnunet_brings_its_names(tmp_path: Path) -> None:
    root = tmp_path / "Dataset001_Liver"
    put(
        root,
        "imagesTr/a_0000.nii.gz",
        "imagesTr/a_0001.nii.gz",
        "labelsTr/a.nii.gz",
        "imagesTs/b_0000.nii.gz",
        "imagesTs/b_0001.nii.gz",
    )
    index = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "liver": 1, "whole": [1, 2]}}
    (root / "dataset.json").write_text(json.dumps(index))

    first, second = collect_cases(tmp_path)

    assert told(first) == ("Dataset001_Liver_a", {"T1": "a_0000.nii.gz", "T2": "a_0001.nii.gz"}, "a.nii.gz")
    assert (first.split, second.split, second.label) == ("train", "test", None)
    assert [each.name for each in load_case(first).segments] == ["liver"]


def test_a_dataset_of_the_decathlon_has_its_channels_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    write_volume(Volume(np.stack([SMALL.array[0], SMALL.array[0] + 100]), SMALL.affine), tmp_path / "imagesTr/a.nii.gz")
    write_volume(MASK, tmp_path / "labelsTr/a.nii.gz")
    index = {"modality": {"0": "FLAIR", "1": "T1w"}, "labels": {"0": "background", "1": "edema"}}
    (tmp_path / "dataset.json").write_text(json.dumps(index))

    (case,) = collect_cases(tmp_path)

    loaded = load_case(Case.from_dict(case.to_dict()))
    assert [loaded.images[name].array.min() for name in ("FLAIR", "T1w")] == [0, 100]
    assert loaded.segments[0].name == "edema"
    assert case.split == ""


def test_a_number_at_the_end_of_a_case_is_no_channel_in_the_decathlon(tmp_path: Path) -> None:
    names = ["imagesTr/heart_0001", "labelsTr/heart_0001", "imagesTr/heart_0002", "labelsTr/heart_0002"]
    names += ["imagesVal/heart_0003", "labelsVal/heart_0003", "imagesTs/heart_0004"]
    put(tmp_path, *(f"{name}.nii.gz" for name in names))

    cases = collect_cases(tmp_path)

    assert [(case.id, case.split, case.label is not None) for case in cases] == [
        ("heart_0001", "train", True),
        ("heart_0002", "train", True),
        ("heart_0004", "test", False),
        ("heart_0003", "validation", True),
    ]


def test_images_beside_a_dataset_are_not_lost(tmp_path: Path) -> None:
    put(tmp_path, "D/imagesTr/a_0000.nii.gz", "D/labelsTr/a.nii.gz", "more/b.nii.gz", "more/b_seg.nii.gz")
    assert [case.id for case in collect_cases(tmp_path)] == ["D_a", "more_b"]


def test_it_is_told_where_nobody_knows_whose_the_images_are(tmp_path: Path) -> None:
    put(tmp_path, "anna_1.nii.gz", "anna_1_seg.nii.gz", "anna_2.nii.gz", "anna_2_seg.nii.gz")

    assert "Of 2 of 2 cases it is not known whose they are" in collect_cases(tmp_path)[0].notes[-1]
    known = collect_cases(tmp_path, pattern="{patient}_{case};{patient}_{case}_seg")
    assert [(case.id, case.patient, case.notes) for case in known] == [("1", "anna", ()), ("2", "anna", ())]


def test_a_folder_of_masks_is_one_segmentation(tmp_path: Path) -> None:
    # As TotalSegmentator writes it: its own masks of two structures, and one that overlaps them.
    source = realdata.totalsegmentator() / "example_seg_fast"
    (tmp_path / "s01" / "segmentations").mkdir(parents=True)
    for name in ("kidney_left", "spleen"):
        shutil.copy(source / f"{name}.nii.gz", tmp_path / "s01" / "segmentations")
    kidney = read_volume(source / "kidney_left.nii.gz")
    write_volume(kidney, tmp_path / "s01/segmentations/left organs.nii.gz")
    write_volume(Volume(np.zeros(kidney.array.shape, np.int16), kidney.affine), tmp_path / "s01/ct.nii.gz")

    (case,) = collect_cases(tmp_path)

    loaded = load_case(case)
    assert case.id == "s01"
    assert [(each.name, each.layer) for each in loaded.segments] == [
        ("kidney_left", 0),
        ("left organs", 1),
        ("spleen", 0),
    ]
    assert loaded.labels is not None
    np.testing.assert_array_equal(loaded.labels.array[0] == 1, kidney.array[0] > 0)
    np.testing.assert_array_equal(loaded.labels.array[1] == 2, kidney.array[0] > 0)


def test_folders_of_many_images_are_classes_and_parts(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"{part}/{name}/{n:03d}.png" for part in ("train", "test") for name in ("cat", "dog") for n in (1, 2)),
    )

    cases = collect_cases(tmp_path)

    assert {case.label.names for case in cases if isinstance(case.label, ClassLabel)} == {("cat",), ("dog",)}
    assert [case.split for case in cases].count("test") == 4
    assert "taken for its class" in cases[0].notes[0]


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (
            ["siteA/p1/v1/T1.nii.gz", "siteA/p1/v1/seg.nii.gz", "siteB/p2/v1/T1.nii.gz"],
            "{site}/{patient}/{case}/{channel}",
            "same case twice",
        ),
        (
            ["A_p1_T1.nii.gz", "A_p1_T2.nii.gz", "A_p1_seg.nii.gz", "readme.nii.gz"],
            "{site}_{case}_{channel}",
            [("p1", {"T1": "A_p1_T1.nii.gz", "T2": "A_p1_T2.nii.gz"}, "A_p1_seg.nii.gz")],
        ),
        (
            ["raw/x1.nii.gz", "truth/x1.nii.gz"],
            "raw/{case};truth/{case}",
            [("x1", {"image": "x1.nii.gz"}, "x1.nii.gz")],
        ),
        (
            ["c1_T1.nrrd", "c1.seg.nrrd"],
            "{case}_{channel}",
            [("c1", {"image": "c1_T1.nrrd"}, "c1.seg.nrrd")],
        ),
    ],
)
def test_a_pattern_tells_how_files_are_named(tmp_path: Path, names: list[str], pattern: str, expected: object) -> None:
    put(tmp_path, *names)
    if isinstance(expected, str):
        with pytest.raises(UsageError, match="v1"):
            collect_cases(tmp_path, pattern=pattern)
        return

    cases = collect_cases(tmp_path, pattern=pattern)

    assert [told(case) for case in cases] == expected
    assert not any("readme" in name for name in names) or "1 images of the folder do not fit" in cases[0].notes[0]


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{channel}", "does not say where the case's name is"),
        ("{case}_{nonsense}", "a field {nonsense}"),
        ("nothing_{case}", "No image of the folder fits"),
        ("(((({case}", "No image of the folder fits"),
        ("{case}" + "*" * 30, "too many fields"),
    ],
)
def test_a_pattern_that_cannot_be_is_told(tmp_path: Path, pattern: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("{", r"\{")):
        collect_cases(put(tmp_path, "a_T1.nii.gz"), pattern=pattern)


def test_two_images_for_one_channel_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'a.nii.gz' and 'a.nrrd' are both the image 'image' of the case 'a'"):
        collect_cases(put(tmp_path, "a.nii.gz", "a.nrrd", "a_seg.nrrd"))


def test_the_folder_of_the_dataset_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.nii.gz", "a_seg.nii.gz", "export/imagesTr/case_0001_0000.nii.gz")

    assert [case.id for case in collect_cases(tmp_path, exclude=[tmp_path / "export"])] == ["a"]
