"""The folder-per-class format: real images, read back as ImageFolder, MONAI and a spreadsheet read them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from core.dataset_by_hand import digests, list_again, on, patient, plan_of, same_places, vertebra, written
from core.phantoms import SHEARED
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.classification import ClassificationFormat
from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume, read_volume, write_volume
from monai.data import load_decathlon_datalist

FORMAT = ClassificationFormat()
CLASSES = ("brain tumor", "lung", "-spine")


def cases() -> list[PreparedCase]:
    brain, lung, spine = patient("brain1")[0], patient("lung1")[0], vertebra()[0]
    return [
        PreparedCase("case_0001", "patient_0001", {"image": brain}, "site_1", "train", 0, classes=("brain tumor",)),
        PreparedCase("case_0002", "patient_0002", {"image": lung}, "site_1", "train", 1, classes=("lung",)),
        PreparedCase("case_0003", "patient_0003", {"image": spine}, "", "validation", classes=("-spine",)),
        PreparedCase("case_0004", "patient_0001", {"image": on(brain, SHEARED)}, "", "train", 1, classes=("lung",)),
        PreparedCase("case_0005", "patient_0004", {"image": lung}, "", "test"),
    ]


def test_each_part_is_a_folder_of_a_folder_per_class(tmp_path: Path) -> None:
    given = cases()
    plan = plan_of(given, "classification", format="classification", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path)
    found = {
        f"{folder.parent.name}/{folder.name}": [file.name for file in sorted(folder.iterdir())]
        for folder in sorted(tmp_path.glob("*/*"))
        if folder.is_dir()
    }
    spine = next(name for name in found if name.startswith("validation/"))
    assert found == {
        "test/@unlabeled": ["case_0005.nii.gz"],
        "train/brain tumor": ["case_0001.nii.gz"],
        "train/lung": ["case_0002.nii.gz", "case_0004.nii.gz"],
        spine: ["case_0003.nii.gz"],
    }
    assert FORMAT.problems(tmp_path, plan, records) == ()


def test_monai_loads_images_and_labels_and_they_are_the_ones_given(tmp_path: Path) -> None:
    from monai.transforms import LoadImaged

    given = cases()
    plan = plan_of(given, "classification", format="classification", classes=CLASSES)
    written(FORMAT, plan, given, tmp_path)
    items = load_decathlon_datalist(tmp_path / "datalist.json", data_list_key="training")
    assert [(item["label"], item["fold"]) for item in items] == [(0, 0), (1, 1), (1, 1)]
    loaded = LoadImaged("image", image_only=True, ensure_channel_first=True)(items[0])["image"]
    np.testing.assert_array_equal(loaded.numpy(), given[0].images["image"].array)
    np.testing.assert_allclose(loaded.affine.numpy(), given[0].images["image"].affine, atol=1e-4)
    assert [item["label"] for item in load_decathlon_datalist(tmp_path / "datalist.json", True, "validation")] == [2]
    assert "label" not in load_decathlon_datalist(tmp_path / "datalist.json", True, "test")[0]
    with (tmp_path / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["brain tumor", "lung", "'-spine", "lung", ""]
    assert rows[3]["patient"] == "patient_0001" and rows[0]["site"] == "site_1" and rows[4]["split"] == "test"
    for row, case in zip(rows, given, strict=True):
        image = read_volume(tmp_path / row["image"])
        assert same_places(image.grid, case.images["image"].grid)
        np.testing.assert_array_equal(image.array, case.images["image"].array)


def test_the_table_can_be_collected_from_again(tmp_path: Path) -> None:
    from meddl.datasets.case import ClassLabel
    from meddl.datasets.collect import collect_cases

    brain = patient("brain1")[0]
    given = [
        PreparedCase("case_0001", "p1", {"T1": brain, "T2": brain}, "north", classes=("edema", "tumor")),
        PreparedCase("case_0002", "p1", {"T1": brain, "T2": brain}, split="test"),
    ]
    plan = plan_of(given, "classification", format="classification", classes=("edema", "tumor"))
    written(FORMAT, plan, given, tmp_path)
    one, two = collect_cases(tmp_path / "cases.csv")
    assert isinstance(one.label, ClassLabel) and one.label.names == ("edema", "tumor") and two.label is None
    assert (one.id, one.patient, one.site, two.split) == ("case_0001", "p1", "north", "test")
    assert list(one.images) == ["T1", "T2"]


def test_pictures_become_png_and_keep_every_gray_and_color(tmp_path: Path) -> None:
    image = patient("breast1")[0]
    gray = Volume(image.array[..., 4:5].astype(np.uint16) * 200, image.affine)
    color = Volume(np.stack([image.array[0, :, :, n : n + 1] for n in (3, 4, 5)]).astype(np.uint8), image.affine)
    given = [
        PreparedCase("case_0001", "p1", {"image": gray}, classes=("gray",)),
        PreparedCase("case_0002", "p2", {"image": color}, classes=("color",)),
        PreparedCase("case_0003", "p3", {"image": image}, classes=("gray",)),
    ]
    plan = plan_of(given, "classification", format="classification", classes=("color", "gray"))
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    np.testing.assert_array_equal(read_volume(tmp_path / "train/gray/case_0001.png").array, gray.array)
    np.testing.assert_array_equal(read_volume(tmp_path / "train/color/case_0002.png").array, color.array)
    np.testing.assert_array_equal(read_volume(tmp_path / "train/gray/case_0003.nii.gz").array, image.array)
    wanted = plan_of(given, "classification", format="classification", classes=("color", "gray"), file_ending=".png")
    with pytest.raises(VolumeError, match="one slice"):
        FORMAT.write_case(given[2], wanted, tmp_path / "other")


def test_several_classes_of_one_case_are_a_folder_of_their_own_and_a_row_of_zeros_and_ones(tmp_path: Path) -> None:
    brain = patient("brain1")[0]
    given = [
        PreparedCase("case_0001", "p1", {"T1": brain, "T2 w": brain}, classes=("edema", "tumor")),
        PreparedCase("case_0002", "p2", {"T1": brain, "T2 w": brain}, classes=("tumor",)),
    ]
    plan = plan_of(given, "classification", format="classification", classes=("edema", "tumor"))
    records = written(FORMAT, plan, given, tmp_path)
    assert [path for path in digests(tmp_path) if path.startswith("train")] == [
        "train/edema&tumor/case_0001_T1.nii.gz",
        "train/edema&tumor/case_0001_T2_w.nii.gz",
        "train/tumor/case_0002_T1.nii.gz",
        "train/tumor/case_0002_T2_w.nii.gz",
    ]
    assert [item["label"] for item in load_decathlon_datalist(tmp_path / "datalist.json")] == [[1, 1], [0, 1]]
    assert FORMAT.problems(tmp_path, plan, records) == ()


def test_writing_again_gives_the_same_bytes_and_the_index_names_only_what_is_done(tmp_path: Path) -> None:
    given = cases()
    plan = plan_of(given, "classification", format="classification", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path / "a")
    written(FORMAT, plan, given, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    list_again(FORMAT, plan, records[:2], tmp_path / "a")
    text = (tmp_path / "a/cases.csv").read_text() + (tmp_path / "a/datalist.json").read_text()
    assert "case_0002" in text and "case_0003" not in text and "an id" not in text
    assert FORMAT.problems(tmp_path / "a", plan, records[:2]) == ()
    list_again(FORMAT, plan, (), tmp_path / "a")
    assert FORMAT.problems(tmp_path / "a", plan, ()) == ()


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    given = cases()
    plan = plan_of(given, "classification", format="classification", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path)

    def problem() -> str:
        return " ".join(FORMAT.problems(tmp_path, plan, records))

    image = tmp_path / "train/lung/case_0002.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    assert "train/lung/case_0002.nii.gz cannot be read" in problem()
    write_volume(Volume(np.full((1, 2, 2, 2), np.nan, np.float32), np.eye(4)), image)
    assert "no numbers" in problem()
    image.unlink()
    assert "case_0002.nii.gz cannot be read" in problem()
    image.write_bytes(whole)
    table = (tmp_path / "cases.csv").read_text()
    (tmp_path / "cases.csv").write_text(table.replace("train,1,lung", "train,1,brain tumor"))
    assert "The class of case_0002 differs" in problem()
    (tmp_path / "cases.csv").write_text(table.replace("case_0002,", "case_0009,", 1))
    assert (
        "case_0002 is in the dataset, but not in cases.csv" in problem()
        and "case_0009 is listed, but no case" in problem()
    )
    (tmp_path / "cases.csv").write_text(table + "a,b\n")
    assert "rows differ in length" in problem()
    (tmp_path / "cases.csv").write_bytes(b"\xff\xfe\x00")
    assert "no table" in problem()
    (tmp_path / "cases.csv").write_text(table)
    for broken in ("[1, 2]", "{", '{"training": [7]}'):
        (tmp_path / "datalist.json").write_text(broken)
        assert "datalist.json" in problem()
    (tmp_path / "datalist.json").unlink()
    assert "datalist.json cannot be read" in problem()


def test_channels_that_differ_in_case_or_blanks_only_have_files_of_their_own(tmp_path: Path) -> None:
    from meddl.datasets.formats.image_files import file_stems

    assert file_stems("case_0001", ["T1 w", "T2"]) == ["case_0001_T1_w", "case_0001_T2"]
    for channels in (["T1", "t1"], ["T 1", "T_1"], ["a/b", "a:b"]):
        assert len({stem.casefold() for stem in file_stems("case_0001", channels)}) == 2


def test_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    given = cases()
    with pytest.raises(UsageError, match="not for detection"):
        FORMAT.check(plan_of(given, "detection", format="classification"))
    with pytest.raises(UsageError, match="No case has a class"):
        FORMAT.check(plan_of(given, "classification", format="classification"))
    with pytest.raises(UsageError, match="without"):
        FORMAT.check(plan_of(given, "classification", format="classification", classes=("a;b", "c")))
    with pytest.raises(UsageError, match="as a column"):
        named = [PreparedCase("case_0001", "p1", {"Class": given[0].images["image"]}, classes=("a",))]
        FORMAT.check(plan_of(named, "classification", format="classification", classes=("a",)))
    with pytest.raises(UsageError, match="not among those"):
        FORMAT.write_case(given[0], plan_of(given, "classification", format="classification", classes=("x",)), tmp_path)
    broken = Volume(np.full((1, 2, 2, 2), np.nan, np.float32), np.eye(4))
    with pytest.raises(VolumeError, match="no numbers"):
        FORMAT.write_case(
            PreparedCase("c", "p", {"image": broken}), plan_of(given, "classification", format="x"), tmp_path
        )
