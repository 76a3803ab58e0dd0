"""DICOM series and SEG: what values, classes and overlaps become; what is refused; what is damaged is named."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from core.dataset_by_hand import list_again, on, patient, plan_of, written
from core.dicom_cases import (
    FORMAT,
    by_position,
    case_of,
    cases,
    plan_for,
)
from core.phantoms import SHEARED
from meddl.datasets.formats.stored_values import stored_values
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.errors import MedDLError, UsageError, VolumeError
from meddl.volume import Volume, read_segmentation, read_volume


def test_what_dicom_cannot_hold_is_refused(tmp_path: Path) -> None:
    brain, tumor = patient("brain1")
    given = [case_of("case_0001", on(brain, SHEARED), on(tumor, SHEARED))]
    with pytest.raises(VolumeError, match="right angles"):
        FORMAT.write_case(given[0], plan_for(given), tmp_path)
    several = Volume(np.concatenate([brain.array, brain.array]), brain.affine)
    with pytest.raises(VolumeError, match="2 values per voxel"):
        FORMAT.write_case(case_of("case_0001", several, None), plan_for(given), tmp_path)
    with pytest.raises(UsageError, match="'Target'"):
        FORMAT.check(plan_for([case_of("case_0001", brain, tumor, channel="Target")]))
    long = "x" * 64
    with pytest.raises(UsageError, match="same first 64 characters"):
        structures = (Structure(f"{long}1", (1, 0, 0)), Structure(f"{long}2", (0, 1, 0)))
        FORMAT.check(plan_for(given, scheme=LabelScheme(structures)))
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


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_cannot_be_stored_are_refused(value: float) -> None:
    with pytest.raises(VolumeError, match="values"):
        stored_values(np.array([0.5, value]))


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


def test_classes_and_targets_are_listed(tmp_path: Path) -> None:
    brain = patient("brain1")[0]
    given = [case_of("case_0001", brain, None, classes=("a", "b"))]
    plan = plan_of(given, "classification", format="dicom", classes=("a", "b"))
    assert FORMAT.problems(tmp_path / "a", plan, written(FORMAT, plan, given, tmp_path / "a")) == ()
    assert "a|b" in (tmp_path / "a/cases.csv").read_text()
    given = [case_of("case_0001", brain, None, target=Volume(brain.array * np.float32(0.5), brain.affine))]
    plan = plan_of(given, "reconstruction", format="dicom")
    assert FORMAT.problems(tmp_path / "b", plan, written(FORMAT, plan, given, tmp_path / "b")) == ()
    read = by_position(brain, read_volume(tmp_path / "b/patient_0001/case_0001/target"))
    np.testing.assert_allclose(read, brain.array[0] * 0.5, atol=0.02)


def test_the_table_can_be_collected_from_again(tmp_path: Path) -> None:
    from meddl.datasets.collect import collect_cases
    from meddl.datasets.loading import load_case

    given = cases()
    written(FORMAT, plan_for(given), given, tmp_path)
    collected = collect_cases(tmp_path / "cases.csv")
    assert [case.id for case in collected] == [case.name for case in given]
    for case, again in zip(given[:3], collected, strict=False):
        loaded = load_case(again)
        image = case.images["T1"]
        np.testing.assert_array_equal(by_position(image, loaded.images["T1"]), image.array[0])
        assert loaded.labels is not None and case.labels is not None
        assert [segment.name for segment in loaded.segments] == ["lesion"]
        assert int((loaded.labels.array > 0).sum()) == int((case.labels.array > 0).sum())


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
    odd = LabelScheme((Structure(f"a\\b {'c' * 80}", (1, 0, 0)), green, red), "regions", ((0, 1),), ignore=("x",))
    plan = plan_for(given, scheme=odd)
    assert FORMAT.problems(tmp_path / "odd", plan, written(FORMAT, plan, given, tmp_path / "odd")) == ()
    plan = plan_for(given, scheme=scheme)
    empty = [case_of("case_0001", image, Volume(np.zeros_like(array), mask.affine))]
    records = written(FORMAT, plan, empty, tmp_path / "empty")
    assert FORMAT.problems(tmp_path / "empty", plan, records) == ()
