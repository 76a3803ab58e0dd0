"""Which cases a list holds, and what each of them has for a label."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import realdata
from core.collected_files import put, told
from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    LandmarksLabel,
    TargetLabel,
)
from meddl.datasets.collect import collect_cases
from meddl.datasets.loading import load_case
from meddl.errors import UsageError
from meddl.volume import read_volume


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
