"""nnU-Net's raw datasets: nnU-Net itself takes them, whole and half done, and damage is told of."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import nnunet_environment
from core.phantoms import SHEARED
from core.prepared_cases import SCHEME, build, plan_of, real_cases, small, two_channels, write_index
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.nnunet import NnUNetFormat
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume, read_volume, write_volume

FORM = NnUNetFormat()
OVERLAPPING = LabelScheme(SCHEME.structures, "regions", ((0, 1), (0, 1, 2)), ("unclear",))


def overlapping(case: PreparedCase) -> PreparedCase:
    """The case with a slab of both combinations and one of nobody knows what."""
    assert case.labels is not None
    labels = case.labels.array.copy()
    for n, value in enumerate((4, 5, 6)):
        labels[:, 3 * n : 3 * n + 3, :, 2:5] = value
    return replace(case, labels=case.labels.with_array(labels))


def pictures(colors: int) -> tuple[PreparedCase, ...]:
    """Slices of real images as pictures."""
    made = []
    for case in real_cases()[:2]:
        image, labels = case.images["image"].array, case.labels
        assert labels is not None
        middle = image.shape[3] // 2
        gray = (np.clip(image[..., middle : middle + 1], -200, 400) + 200) / 600 * 255
        flat = Volume(np.repeat(gray.astype(np.uint8), colors, axis=0), np.diag([-1.0, -1.0, 1.0, 1.0]))
        made.append(
            replace(case, images={"photo": flat}, labels=flat.with_array(labels.array[..., middle : middle + 1]))
        )
    return tuple(made)


def said_nothing_wrong(text: str) -> bool:
    lines = [line for line in text.splitlines() if "If you didn't see any error" not in line]
    return not any(word in line.lower() for line in lines for word in ("error", "warning", "failed"))


class TestNnUNetTakesThem:
    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
    def test_cases_of_several_sites(self, ending: str, tmp_path: Path) -> None:
        plan = plan_of(real_cases(), ExportOptions(name="Three sites", number=7, file_ending=ending))
        root, records = build(FORM, plan, real_cases(), tmp_path)
        assert root.name == "Dataset007_Three_sites"
        assert FORM.problems(root, plan, records) == ()
        assert said_nothing_wrong(nnunet_environment.verify(root))

    def test_several_images_per_case_regions_and_what_nobody_knows(self, tmp_path: Path) -> None:
        cases = [overlapping(two_channels(small(case))) for case in real_cases()[:4]]
        plan = plan_of(cases, scheme=OVERLAPPING)
        root, records = build(FORM, plan, cases, tmp_path)
        index = json.loads((root / "dataset.json").read_text())
        assert index["channel_names"] == {"0": "T1", "1": "smooth T1"}
        assert index["labels"] == {
            "background": 0, "lesion": [3, 5], "vertebra": [2, 4, 5], "liver": [1, 4, 5], "ignore": 6,
        }  # fmt: skip
        assert FORM.problems(root, plan, records) == ()
        assert said_nothing_wrong(nnunet_environment.verify(root))

    def test_where_regions_overlap_the_earlier_structure_covers_the_later(self, tmp_path: Path) -> None:
        """As nnU-Net paints them: each region's class in turn, over what was painted before."""
        cases = [overlapping(small(real_cases()[0]))]
        index = json.loads(FORM.index(plan_of(cases, scheme=OVERLAPPING), ())["dataset.json"])
        regions = [values for name, values in index["labels"].items() if name not in ("background", "ignore")]
        for value, seen in ((1, 1), (2, 2), (3, 3), (4, 1), (5, 1)):
            painted = 0
            for region, order in zip(regions, index["regions_class_order"], strict=True):
                painted = order if value in region else painted
            assert painted == seen

    @pytest.mark.parametrize("colors", [1, 3])
    def test_pictures(self, colors: int, tmp_path: Path) -> None:
        cases = pictures(colors)
        plan = plan_of(cases, ExportOptions(file_ending=".png"))
        root, records = build(FORM, plan, cases, tmp_path)
        names = json.loads((root / "dataset.json").read_text())["channel_names"]
        assert list(names.values()) == (["photo"] if colors == 1 else ["R", "G", "B"])
        assert FORM.problems(root, plan, records) == ()
        assert said_nothing_wrong(nnunet_environment.verify(root))

    @pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
    def test_a_tilted_gantry_among_straight_images(self, ending: str, tmp_path: Path) -> None:
        straight, tilted = (small(case) for case in real_cases()[:2])
        moved = {name: Volume(image.array, SHEARED) for name, image in tilted.images.items()}
        assert tilted.labels is not None
        cases = [straight, replace(tilted, images=moved, labels=Volume(tilted.labels.array, SHEARED))]
        plan = plan_of(cases, ExportOptions(file_ending=ending))
        root, records = build(FORM, plan, cases, tmp_path)
        assert FORM.problems(root, plan, records) == ()
        assert said_nothing_wrong(nnunet_environment.verify(root))

    def test_vectors_are_split_into_images(self, tmp_path: Path) -> None:
        case = small(real_cases()[0])
        image = case.images["image"]
        field = image.with_array(np.concatenate([image.array, 2 * image.array]))
        cases = [replace(case, images={"field": field, "image": image})]
        root, _ = build(FORM, plan_of(cases), cases, tmp_path)
        assert sorted(path.name for path in (root / "imagesTr").iterdir()) == [
            f"case_0001_{n:04d}.nii.gz" for n in range(3)
        ]
        names = json.loads((root / "dataset.json").read_text())["channel_names"]
        assert list(names.values()) == ["field 1", "field 2", "image"]
        assert said_nothing_wrong(nnunet_environment.verify(root))

    def test_after_each_case_and_in_any_order(self, tmp_path: Path) -> None:
        """The index of the cases that are there makes a dataset, whatever else lies in the folders."""
        cases = [small(case) for case in real_cases()]
        plan = plan_of(cases)
        root, records = build(FORM, plan, cases, tmp_path)
        for done in (records[:1], records[2:4], records[4:6], (records[0], *records[4:])):
            write_index(FORM, plan, done, root)
            assert FORM.problems(root, plan, done) == ()
            assert said_nothing_wrong(nnunet_environment.verify(root))
        write_index(FORM, plan, records[5:], root)
        (problem,) = FORM.problems(root, plan, records[5:])
        assert "no training case yet" in problem

    def test_fingerprint_and_plan_of_real_cases(self, tmp_path: Path) -> None:
        cases = [two_channels(small(case, 48)) for case in real_cases()[:5]]
        plan = plan_of(cases, ExportOptions(number=12), modality={"T1": "CT", "smooth T1": ""})
        root, _ = build(FORM, plan, cases, tmp_path / "raw")
        made = nnunet_environment.plan(root, tmp_path / "preprocessed")
        plans = json.loads((made / "nnUNetPlans.json").read_text())
        configuration = plans["configurations"]["3d_fullres"]
        assert configuration["normalization_schemes"] == ["CTNormalization", "ZScoreNormalization"]
        assert plans["image_reader_writer"] == "SimpleITKIO"
        fingerprint = json.loads((made / "dataset_fingerprint.json").read_text())
        assert len(fingerprint["spacings"]) == 5
        # Patients stay on one side: nnU-Net took our folds, and would not make its own.
        splits = json.loads((made / "splits_final.json").read_text())
        assert splits == json.loads((root / "splits_final.json").read_text())
        assert [fold["val"] for fold in splits] == [
            ["case_0001", "case_0003"],
            ["case_0002", "case_0004"],
            ["case_0005"],
        ]


def test_what_is_read_back_is_what_was_given(tmp_path: Path) -> None:
    plan = plan_of(real_cases())
    root, records = build(FORM, plan, real_cases(), tmp_path)
    for case, record in zip(real_cases(), records, strict=True):
        files = record.facts["nnunet"]
        image = read_volume(root / files["images"][0])
        assert np.array_equal(image.array, case.images["image"].array)
        assert image.grid.same_as(case.images["image"].grid, tol=1e-3)
        if case.labels is not None:
            labels = read_volume(root / files["label"])
            assert np.array_equal(labels.array, case.labels.array)
            assert labels.grid.same_as(image.grid)
        assert (files["label"] is None) == (case.labels is None)


def test_the_same_cases_give_the_same_bytes(tmp_path: Path) -> None:
    plan = plan_of(real_cases())
    _, first = build(FORM, plan, real_cases(), tmp_path / "one")
    _, second = build(FORM, plan, tuple(reversed(real_cases())), tmp_path / "two")
    assert first == tuple(reversed(second))
    assert FORM.index(plan, first) == FORM.index(plan, tuple(reversed(second)))


def test_without_folds_nnunet_makes_its_own(tmp_path: Path) -> None:
    cases = [replace(small(case), fold=None) for case in real_cases()[:4]]
    assert set(FORM.index(plan_of(cases), ())) == {"dataset.json"}
    held = [replace(small(case), fold=None) for case in real_cases()[:5]]
    plan = plan_of(held)
    root, _ = build(FORM, plan, held, tmp_path)
    assert [fold["val"] for fold in json.loads((root / "splits_final.json").read_text())] == [["case_0005"]]
    assert "last fold validates" in json.loads((root / "dataset.json").read_text())["splits"]


def test_lists_are_read_in_whatever_encoding_the_system_has(tmp_path: Path) -> None:
    """nnU-Net and MONAI open them without saying in which."""
    structures = (replace(SCHEME.structures[0], name="Läsion"), *SCHEME.structures[1:])
    plan = plan_of([small(real_cases()[0])], ExportOptions(description="Übung"), scheme=LabelScheme(structures))
    index = FORM.index(plan, ())["dataset.json"].decode("ascii")
    assert json.loads(index)["labels"]["Läsion"] == 1


@pytest.mark.parametrize(
    ("name", "folder"),
    [("Liver", "Dataset001_Liver"), ("../a b\\c:d", "Dataset001_a_b_c_d"), ("Röntgen 1", "Dataset001_Röntgen_1"),
     ("//", "Dataset001_Dataset"), ("x" * 300, "Dataset001_" + "x" * 80)],
)  # fmt: skip
def test_the_folder_is_called_as_nnunet_wants(name: str, folder: str) -> None:
    assert FORM.folder(ExportOptions(name=name)) == folder


class TestRefusals:
    def planned(self, **changes: Any) -> ExportPlan:
        return replace(plan_of([small(case) for case in real_cases()[:2]]), **changes)

    @pytest.mark.parametrize("number", [0, 1000, -3])
    def test_numbers(self, number: int) -> None:
        with pytest.raises(UsageError, match="1 to 999"):
            FORM.check(self.planned(options=ExportOptions(number=number)))

    @pytest.mark.parametrize(
        ("names", "message"),
        [(("liver", "Background"), "called 'Background'"), (("ignore", "b"), "called 'ignore'"),
         (("a", "a"), "Two labels are called 'a'"), ((" ", "b"), "no name"), ((), "at least one structure")],
    )  # fmt: skip
    def test_names(self, names: tuple[str, ...], message: str) -> None:
        structures = tuple(replace(SCHEME.structures[0], name=name) for name in names)
        with pytest.raises(UsageError, match=message):
            FORM.check(self.planned(scheme=LabelScheme(structures)))

    def test_nothing_to_learn_from(self) -> None:
        cases = tuple(replace(case, split="test") for case in self.planned().cases)
        with pytest.raises(UsageError, match="All cases are in the test set"):
            FORM.check(self.planned(cases=cases))

    def test_other_endings_and_tasks(self) -> None:
        with pytest.raises(UsageError, match=r"ending in \.mha"):
            FORM.check(self.planned(options=ExportOptions(file_ending=".mha")))
        with pytest.raises(UsageError, match="not for detection"):
            FORM.check(self.planned(task="detection"))

    def test_cases_that_spoil_a_training(self, tmp_path: Path) -> None:
        case = small(real_cases()[0])
        image = case.images["image"]
        holes = image.array.astype(np.float32)
        holes[0, 2, 2, 2] = np.nan
        moved = Volume(image.array, image.affine @ np.diag([1, 1, 1.5, 1]))
        for broken, message in (
            (replace(case, labels=None), "has no label"),
            (replace(case, images={"image": image.with_array(holes)}), "no numbers"),
            (replace(case, images={"image": image, "other": moved}), "not on one grid"),
            (replace(case, labels=Volume(moved.array.astype(np.uint8), moved.affine)), "not on one grid"),
        ):
            with pytest.raises(VolumeError, match=message):
                FORM.write_case(broken, plan_of([broken]), tmp_path)
            assert not any(path.is_file() for path in tmp_path.rglob("*"))

    def test_pictures_of_volumes(self, tmp_path: Path) -> None:
        case = small(real_cases()[0])
        with pytest.raises(VolumeError, match="PNG"):
            FORM.write_case(case, plan_of([case], ExportOptions(file_ending=".png")), tmp_path)


def edited(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        data = json.loads((root / name).read_text())
        (root / name).write_text(json.dumps(change(data) or data))

    return damage


def rewritten(path: str, change: Callable[[Volume], Volume]) -> Callable[[Path], None]:
    return lambda root: write_volume(change(read_volume(root / path)), root / path)


def _moved(volume: Volume) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += (0, 0, 5)
    return Volume(volume.array, affine)


def _invented(index: Any) -> None:
    index["dataset"]["case_0099"] = {"images": ["imagesTr/x_0000.nii.gz"], "label": "labelsTr/x.nii.gz"}


def _swapped(index: Any) -> None:
    index["dataset"]["case_0001"]["label"] = LABEL


def _nan(volume: Volume) -> Volume:
    array = volume.array.astype(np.float32)
    array[0, 1, 1, 1] = np.nan
    return volume.with_array(array)


LABEL, IMAGE = "labelsTr/case_0002.nii.gz", "imagesTr/case_0002_0000.nii.gz"
DAMAGES: dict[str, tuple[Callable[[Path], None], str, bool]] = {
    # what is done to the dataset, what is said of it, whether nnU-Net's own check refuses it as well (ITK reads half an
    # image, and the numbers that are none as 0, and tells nobody)
    "a label is gone": (lambda root: (root / LABEL).unlink(), "case_0002.nii.gz cannot be read", True),
    "an image is gone": (lambda root: (root / IMAGE).unlink(), "case_0002_0000.nii.gz cannot be read", True),
    "half an image": (
        lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:900]), "0000.nii.gz cannot be read", False,
    ),
    "no image at all": (lambda root: (root / IMAGE).write_bytes(gzip.compress(b"x" * 999)), "cannot be read", True),
    "unknown value": (rewritten(LABEL, lambda v: v.with_array(v.array + 2)), "no label of the dataset has: 4", True),
    "no number": (rewritten(IMAGE, _nan), "no numbers", False),
    "other size": (rewritten(LABEL, lambda v: Volume(v.array[:, 1:], v.affine)), "voxels", True),
    "other spacing": (
        rewritten(LABEL, lambda v: Volume(v.array, v.affine @ np.diag([1, 1, 2, 1]))), "another place", True,
    ),
    "other place": (
        rewritten(LABEL, _moved),
        "another place", False,
    ),
    "unlisted case": (
        edited("dataset.json", lambda d: d["dataset"].pop("case_0002") and None), "case_0002 is in the dataset", True,
    ),
    "wrong count": (edited("dataset.json", lambda d: d.update(numTraining=9)), "numTraining", True),
    "invented case": (
        edited("dataset.json", _invented),
        "lists case_0099, whose files are not there", True,
    ),
    "another's label": (
        edited("dataset.json", _swapped), "tells of case_0001 what is not so", True,
    ),
    "other labels": (edited("dataset.json", lambda d: d["labels"].pop("lesion") and None), "other 'labels'", True),
    "other channels": (edited("dataset.json", lambda d: d["channel_names"].update({"1": "T2"})), "channel_names", True),
    "no JSON": (lambda root: (root / "dataset.json").write_text("{"), "dataset.json is damaged", True),
    "a list": (lambda root: (root / "dataset.json").write_text("[1]"), "does not list cases", True),
    "no index": (lambda root: (root / "dataset.json").unlink(), "dataset.json cannot be read", True),
    "mixed folds": (
        edited("splits_final.json", lambda d: d[0]["train"].append(d[0]["val"][0])), "may be on both sides", False,
    ),
    "no folds": (lambda root: (root / "splits_final.json").write_text("{}"), "splits_final.json", False),
    "twice the number": (lambda root: (root.parent / "Dataset001_Other").mkdir(), "the number 1 too", False),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_of(damage: str, tmp_path: Path) -> None:
    cases = [small(case) for case in real_cases()]
    plan = plan_of(cases)
    root, records = build(FORM, plan, cases, tmp_path)
    do, said, refused = DAMAGES[damage]
    do(root)
    found = FORM.problems(root, plan, records)
    assert any(said in problem for problem in found), found
    assert all(str(tmp_path) not in problem for problem in found)
    if refused:
        with pytest.raises(nnunet_environment.NnUNetRefused):
            nnunet_environment.verify(root)


def test_what_the_caller_knows_to_be_damaged_is_no_disagreement(tmp_path: Path) -> None:
    """Files that changed are left out by the caller; the list of all cases is still right."""
    cases = [small(case) for case in real_cases()]
    plan = plan_of(cases)
    root, records = build(FORM, plan, cases, tmp_path)
    for left_out in range(len(records)):
        intact = (*records[:left_out], *records[left_out + 1 :])
        assert FORM.problems(root, plan, intact) == ()
