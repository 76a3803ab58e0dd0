"""Which cases a list or a folder holds: every usual way to name files, on real images, and what is told of the rest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import realdata
from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    LandmarksLabel,
    SegmentationLabel,
    TargetLabel,
)
from meddl.datasets.collect import collect_cases
from meddl.datasets.loading import load_case
from meddl.errors import MedDLError, UsageError
from meddl.volume import Segment, Volume, read_volume, write_segmentation, write_volume

SMALL = Volume(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
MASK = Volume((SMALL.array > 12).astype(np.uint8), SMALL.affine)


def put(root: Path, *names: str) -> Path:
    """Write a small image or, where the name says so, a small mask at each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = name.lower().replace("/", "_").replace("-", "_").replace(".", "_").split("_")
        is_mask = any(word in ("seg", "mask", "label", "labelstr", "labels", "masks", "dseg", "gt") for word in words)
        if name.endswith(".seg.nrrd"):
            write_segmentation(MASK, [Segment(1, "Tumor", (1, 0, 0))], path)
        elif name.endswith(".png"):
            write_png(path)
        elif name.endswith((".nii.gz", ".nrrd", ".mha")):
            write_volume(MASK if is_mask or "label" in name or "segmentation" in name else SMALL, path)
        else:
            path.write_bytes(b"")
    return root


def write_png(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)


def told(case: Case) -> tuple[str, dict[str, str], str]:
    """The case's name, the file of each channel, and the file of its label."""
    label = case.label
    name = ""
    if isinstance(label, SegmentationLabel | TargetLabel) and isinstance(label.source, ImageFile):
        name = label.source.path.name
    return case.id, {channel: Path(source.path).name for channel, source in case.images.items()}, name


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


def test_a_list_tells_everything_of_its_cases(tmp_path: Path) -> None:
    put(tmp_path, "in/a.nii.gz", "in/a2.nii.gz", "in/a_seg.nii.gz", "in/b.nii.gz")
    (tmp_path / "list.csv").write_text(
        "Case;Patient;study;site;split;CT;PET;Segmentation;age\n"
        "a;P1;S1;north;train;in/a.nii.gz;in/a2.nii.gz;in/a_seg.nii.gz;65\n"
        f"b;P2;;south;val;{tmp_path / 'in' / 'b.nii.gz'};;;70\n\n",
        encoding="utf-8-sig",
    )

    first, second = collect_cases(tmp_path / "list.csv")

    assert told(first) == ("a", {"CT": "a.nii.gz", "PET": "a2.nii.gz"}, "a_seg.nii.gz")
    assert (first.patient, first.study, first.site, first.split) == ("P1", "S1", "north", "train")
    assert (second.split, second.label, list(second.images)) == ("validation", None, ["CT"])
    assert first.notes == ("Not used of the list: age (no images).",)


def test_a_list_from_windows_is_read_elsewhere_too(tmp_path: Path) -> None:
    put(tmp_path, "Bilder/a.nii.gz", "Bilder/a_seg.nii.gz")
    text = "case;Image;mask\r\na;Bilder\\a.nii.gz;Bilder\\a_seg.nii.gz\r\n"
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert [told(case) for case in collect_cases(tmp_path / "list.csv")] == [
        ("a", {"image": "a.nii.gz"}, "a_seg.nii.gz")
    ]


def test_real_cases_of_several_sites_and_kinds_of_files_make_one_list(tmp_path: Path) -> None:
    basel, lesions, spines = realdata.totalsegmentator(), realdata.pyradiomics(), realdata.tptbox()
    rows = [
        ("ct", "basel", basel / "example_ct_sm.nii.gz", basel / "example_seg.nii.gz"),
        ("mr", "basel", basel / "example_mr_sm.nii.gz", basel / "example_seg_mr.nii.gz"),
        ("dicom", "basel", basel / "example_ct_dicom", basel / "example_seg_dicom.nii.gz"),
        ("lung1", "harvard", lesions["lung1_image"], lesions["lung1_label"]),
        ("spine", "munich", spines["sub-ct_label-22_ct"], spines["sub-ct_seg-vert_label-22_msk"]),
    ]
    lines = "".join(f"{case},{site},{image},{label}\n" for case, site, image, label in rows)
    (tmp_path / "list.csv").write_text("case,site,image,segmentation\n" + lines)

    cases = collect_cases(tmp_path / "list.csv")

    assert [(case.id, case.site) for case in cases] == [(row[0], row[1]) for row in rows]
    for case, (_, _, image, _) in zip(cases, rows, strict=True):
        loaded = load_case(case)
        assert loaded.labels is not None and len(loaded.segments) > 0
        np.testing.assert_array_equal(loaded.images["image"].affine, read_volume(image).affine)
        assert loaded.labels.array.max() == max(each.label for each in loaded.segments)


def test_a_list_can_hold_every_kind_of_label(tmp_path: Path) -> None:
    put(tmp_path, "a.nii.gz", "clean.nii.gz")
    box = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "center": [-1, -2, 3],
        "size": [4, 5, 6],
        "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1],
        "controlPoints": [{"label": "nodule-1", "position": [-1, -2, 3]}],
    }
    (tmp_path / "boxes.mrk.json").write_text(json.dumps({"markups": [box, {**box, "size": [1, 1, 1]}]}))
    (tmp_path / "none.json").write_text(json.dumps({"task": "detection", "boxes": []}))
    (tmp_path / "points.fcsv").write_text(
        "# Markups fiducial file version = 5.0\n# CoordinateSystem = LPS\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        '1,-10,-20,30,0,0,0,1,1,1,0,"apex, left",,\n'
    )
    (tmp_path / "list.csv").write_text(
        "case,image,class,boxes,landmarks,target\n"
        "one,a.nii.gz,benign|calcified,,,\n"
        "two,a.nii.gz,,boxes.mrk.json,,\n"
        "three,a.nii.gz,,none.json,,\n"
        "four,a.nii.gz,,,points.fcsv,\n"
        "five,a.nii.gz,,,,clean.nii.gz\n"
    )

    one, two, three, four, five = (Case.from_dict(case.to_dict()) for case in collect_cases(tmp_path / "list.csv"))

    assert isinstance(one.label, ClassLabel) and one.label.names == ("benign", "calcified")
    assert isinstance(two.label, BoxesLabel) and [box.label for box in two.label.boxes] == ["nodule", "nodule"]
    np.testing.assert_array_equal(two.label.boxes[0].center, (1, 2, 3))
    np.testing.assert_array_equal(two.label.boxes[0].axes, np.eye(3))
    assert isinstance(three.label, BoxesLabel) and three.label.boxes == ()
    assert isinstance(four.label, LandmarksLabel) and four.label.points[0].name == "apex, left"
    np.testing.assert_array_equal(four.label.points[0].position, (10, 20, 30))
    assert isinstance(five.label, TargetLabel)
    target = load_case(five).target
    assert target is not None and target.shape == (2, 3, 4)
    assert [case.task for case in (one, two, four, five)] == [
        "classification",
        "detection",
        "landmarks",
        "reconstruction",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case,image\na,missing.nii.gz\n", r"Line 2 of list.csv names 'missing.nii.gz', which is not there"),
        ("case,image,split\na,a.nii.gz,holdout\n", "Line 2 of list.csv wants the case in 'holdout'"),
        ("case,image,class,boxes\na,a.nii.gz,x,y.json\n", "several kinds of labels"),
        ("case,image,label\na,a.nii.gz,benign\n", "belongs in a column 'class'"),
        ("case,image,label,mask\na,a.nii.gz,,\n", "several columns for one thing: label, mask"),
        ("case,image\na,a.nii.gz\na,a.nii.gz\n", "'a' is there twice"),
        ("case,image\na,a.nii.gz,b,c\n", "Line 2 of list.csv has more entries"),
        ("case,image,Image\na,a.nii.gz,\n", "two columns of the same name"),
        ("case,image\na,\n", "Line 2 of list.csv names no image"),
        ("case,patient\na,b\n", "no column of images"),
        ('case,image\n"a,b\n', "is no CSV list"),
        ("case,image\n" + '"' + "x" * 200_000 + '",a.nii.gz\n', "is no CSV list"),
        ("case,image\na,~nobody-here/a.nii.gz\n", "which can be no file here"),
        ("", "no column of images"),
        ("case,image\n", "holds no cases"),
    ],
)
def test_a_list_that_is_wrong_is_told_by_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    put(tmp_path, "a.nii.gz")
    (tmp_path / "list.csv").write_text(text)

    with pytest.raises(UsageError, match=sentence):
        collect_cases(tmp_path / "list.csv")


def test_a_huge_or_binary_list_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets.collect import csv_list

    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match="no text in UTF-8"):
        collect_cases(tmp_path / "binary.csv")
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(csv_list.MAX_BYTES + 1)
    with pytest.raises(UsageError, match="too large for a list"):
        collect_cases(tmp_path / "huge.csv")
    monkeypatch.setattr(csv_list, "MAX_ROWS", 10)
    (tmp_path / "long.csv").write_text("case,image\n" + "a,a.nii.gz\n" * 11)
    with pytest.raises(UsageError, match="more than 10 cases"):
        collect_cases(tmp_path / "long.csv")


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path) -> None:
    root = put(tmp_path / "data", "p1/a.nii.gz", "p1/a_seg.nii.gz")
    (root / "p1" / "loop").symlink_to(root)
    (root / "copy").symlink_to(root / "p1")
    (root / "gone.nii.gz").symlink_to(root / "nowhere.nii.gz")
    (root / "self").symlink_to(root / "self")

    assert len(collect_cases(root)) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights are those of POSIX")
def test_a_folder_without_rights_is_told_and_never_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.nii.gz", "a_seg.nii.gz", "closed/b.nii.gz")
    entries = Path.iterdir

    def refused(path: Path) -> object:
        if path.name == "closed":  # tests may run as root, whom nothing is closed to
            raise PermissionError(13, "Permission denied")
        return entries(path)

    monkeypatch.setattr(Path, "iterdir", refused)

    with pytest.raises(UsageError, match="The folder 'closed' cannot be read: Permission denied"):
        collect_cases(tmp_path)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5000])
def test_a_source_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(MedDLError):
        collect_cases(tmp_path / name)


def test_an_image_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an image, not a list of cases"):
        collect_cases(put(tmp_path, "a.nii.gz") / "a.nii.gz")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no cases"):
        collect_cases(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"markups": 5}',
        '{"markups": [5]}',
        '{"boxes": [{"label": "x"}]}',
        '{"boxes": [{"label": "x", "center": [0, 0, 0], "size": [0, 1, 1]}]}',
        '{"boxes": [{"label": "x", "center": [1e300, 0, 0], "size": [1, 1, 1]}]}',
        '{"markups": [{"type": "ROI", "coordinateSystem": "MNI", "center": [0, 0, 0], "size": [1, 1, 1]}]}',
        '{"markups": [{"type": "ROI", "coordinateUnits": "um", "center": [0, 0, 0], "size": [1, 1, 1]}]}',
        '{"markups": [{"type": "ROI", "controlPoints": {"a": 1}, "center": [0, 0, 0], "size": [1, 1, 1]}]}',
        "[" * 100_000,
    ],
)
def test_a_file_of_boxes_that_is_broken_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.nii.gz")
    (tmp_path / "boxes.json").write_text(text)
    (tmp_path / "list.csv").write_text("image,boxes\na.nii.gz,boxes.json\n")

    with pytest.raises(UsageError, match=r"Line 2 of list.csv: boxes.json"):
        collect_cases(tmp_path / "list.csv")


def test_what_infer_writes_is_read_back(tmp_path: Path) -> None:
    from meddl.inference.files import write_prediction
    from meddl.inference.prediction import Box, DetectionPrediction, Landmark, LandmarkPrediction

    turned = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.3, 1.0, 0.2], [0.1, 0.1, 1.0]]))[0]
    boxes = (Box("nodule", 0.93, np.array([1.5, -2.0, 30.0]), np.array([4.0, 5.0, 6.0]), turned),)
    points = (Landmark("left eye", np.array([1.0, 2.0, 3.0]), 0.8),)
    put(tmp_path, "a.nii.gz")
    for suffix in (".mrk.json", ".json", ".csv"):
        write_prediction(DetectionPrediction(boxes, {}), tmp_path / f"boxes{suffix}")
        write_prediction(LandmarkPrediction(points, {}), tmp_path / f"points{suffix}")
        (tmp_path / "list.csv").write_text(
            f"case,image,boxes,landmarks\nb,a.nii.gz,boxes{suffix},\np,a.nii.gz,,points{suffix}\n"
        )

        first, second = collect_cases(tmp_path / "list.csv")

        assert isinstance(first.label, BoxesLabel) and isinstance(second.label, LandmarksLabel)
        (box,) = first.label.boxes
        assert box.label == "nodule"
        corners, expected = (each[np.lexsort(np.round(each, 2).T)] for each in (box.corners(), boxes[0].corners()))
        np.testing.assert_allclose(corners, expected, atol=1e-3)
        assert second.label.points[0].name == "left eye"
        np.testing.assert_allclose(second.label.points[0].position, (1, 2, 3), atol=1e-4)


def test_markups_beside_an_image_are_its_label(tmp_path: Path) -> None:
    put(tmp_path, "a.nii.gz", "b.nii.gz")
    point = {"label": "apex", "position": [-1, -2, 3]}
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [{"type": "Fiducial", "controlPoints": [point]}]}))

    cases = collect_cases(tmp_path)

    assert [case.task for case in cases] == ["landmarks", ""]


def test_importing_the_cases_needs_numpy_only() -> None:
    import subprocess
    import sys

    code = (
        "import sys, meddl.datasets.collect, meddl.datasets.collect.folder, meddl.datasets.loading,"
        " meddl.datasets.identifiers, meddl.datasets.dicom_contours, meddl.datasets.scene_transforms;"
        "print([m for m in ('torch','monai','SimpleITK','scipy','pydicom','nibabel','PIL','nrrd') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.stdout.strip() == "[]"
