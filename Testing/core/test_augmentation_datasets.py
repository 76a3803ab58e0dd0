"""Variants join a dataset's training part, marked, and nowhere else; the same bytes on every way there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from core import dataset_kills
from meddl.augmentation import load_plan
from meddl.augmentation.draw import Draw
from meddl.augmentation.variants import VariantOptions, augment_cases, augment_dataset
from meddl.cli.main import main
from meddl.datasets import Case, ExportOptions, SplitOptions, export_dataset, verify_dataset
from meddl.datasets.case import BoxesLabel
from meddl.datasets.manifest import MANIFEST, read_manifest
from meddl.errors import JobCancelled, UsageError
from meddl.inference.prediction import Box

HOW = VariantOptions(load_plan("mr"), count=2, seed=5)
PARTS = SplitOptions(validation=0.2, test=0.2, folds=2)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["monai", "nnunet", "msd", "bids", "dicom"])
def test_nothing_synthetic_is_in_validation_or_test(tmp_path, name):
    _, made = augment_cases(dataset_kills.make_cases(), tmp_path, ExportOptions(name, "Abdomen", 3, split=PARTS), HOW)
    manifest = read_manifest(made.root)
    cases = {case.name: case for case in manifest.plan.cases}
    synthetic = [case for case in cases.values() if case.source]
    assert made.complete and not made.failed and verify_dataset(made.root).problems == ()
    assert len(synthetic) == 2 * sum(case.split == "train" and not case.source for case in cases.values())
    for case in synthetic:
        source = cases[case.source]
        assert (case.split, case.fold, case.patient) == ("train", source.fold, source.patient)
        told = manifest.records[case.name].facts["augmentation"]
        assert Draw.from_dict(told["draw"]).plan_sha256 == HOW.plan.digest and told["of"] == source.name
    if name == "nnunet":
        for fold in json.loads((made.root / "splits_final.json").read_text()):
            assert not any(cases[each].source for each in fold["val"])
            held = {cases[each].patient for each in fold["val"]}
            assert not held & {cases[each].patient for each in fold["train"]}
    if name == "monai":
        lists = json.loads((made.root / "datalist.json").read_text())
        assert {item["case"] for item in lists["synthetic"]} == {case.name for case in synthetic}
        assert not any("synthetic_of" in item for part in ("training", "validation", "test") for item in lists[part])


@pytest.mark.parametrize(
    ("change", "told"),
    [({"split": "validation", "fold": None}, "judged"), ({"fold": 7}, "same part, fold"),
     ({"patient": "patient_0009"}, "or patient"), ({"synthetic_of": "case_0099"}, "is not there")],
)  # fmt: skip
def test_a_synthetic_case_in_the_wrong_place_is_found(tmp_path, change, told):
    augment_cases(dataset_kills.make_cases()[:3], tmp_path, ExportOptions("monai", "Abdomen"), HOW)
    path = tmp_path / MANIFEST
    data = json.loads(path.read_text())
    entry = next(each for each in data["cases"] if "synthetic_of" in each)
    entry.update(change)
    path.write_text(json.dumps(data))
    assert any(entry["name"] in text and told in text for text in verify_dataset(tmp_path).problems)


def test_cancelled_and_gone_on_with_it_has_the_same_bytes(tmp_path):
    cases, options = dataset_kills.make_cases()[:3], ExportOptions("nnunet", "Abdomen", 3)
    whole = augment_cases(cases, tmp_path / "whole", options, HOW)[1]
    seen = []
    with pytest.raises(JobCancelled):
        augment_cases(cases, tmp_path / "torn", options, HOW, log=seen.append, cancelled=lambda: len(seen) > 5)
    torn = augment_cases(cases, tmp_path / "torn", options, HOW)[1]
    assert torn.complete and torn.skipped and contents(torn.root) == contents(whole.root)
    again = augment_cases(cases, tmp_path / "torn", options, HOW)[1]
    assert again.done == () and again.warnings == whole.warnings and contents(torn.root) == contents(whole.root)
    other = augment_dataset(torn.root, VariantOptions(HOW.plan, 2, seed=6))
    assert len(other.done) == 6 and verify_dataset(torn.root).problems == ()
    assert contents(torn.root) != contents(whole.root)


@pytest.mark.parametrize("name", ["monai", "nnunet", "msd", "dicom"])
def test_variants_join_a_dataset_that_is_there(tmp_path, name):
    root = export_dataset(dataset_kills.make_cases()[:3], tmp_path, ExportOptions(name, "Abdomen", 3)).root
    before = {path: each for path, each in contents(root).items() if "case_" in path.name or path.suffix == ".dcm"}
    made = augment_dataset(root, VariantOptions(HOW.plan, 1, 5))
    assert made.complete and len(made.done) == 3 and verify_dataset(root).problems == ()
    after = contents(root)
    assert all(after[path] == each for path, each in before.items())
    fewer = export_dataset(dataset_kills.make_cases()[:3], tmp_path, ExportOptions(name, "Abdomen", 3))
    assert fewer.complete and fewer.notes == () and contents(root) == after


def test_an_existing_dataset_gives_the_variants_that_its_cases_give(tmp_path):
    cases, options = dataset_kills.make_cases()[:3], ExportOptions("monai", "Abdomen")
    together = augment_cases(cases, tmp_path / "a", options, HOW)[1].root
    root = export_dataset(cases, tmp_path / "b", options).root
    augment_dataset(root, HOW)
    one, other = contents(together), contents(root)
    images = [path for path in one if path.suffix == ".gz"]
    assert images and all(one[path] == other[path] for path in images)


def test_boxes_are_augmented_while_they_are_exported(tmp_path):
    label = BoxesLabel((Box("nodule", 1.0, np.array([-8.0, -10, 14]), np.array([6.0, 6, 6])),))
    cases = [Case(c.id, {"T1": c.images["T1"]}, label, c.patient) for c in dataset_kills.make_cases()[:3]]
    made = augment_cases(cases, tmp_path, ExportOptions("coco", "Nodules"), HOW)[1]
    assert made.complete and not made.failed and verify_dataset(made.root).problems == ()


def test_where_nnunet_would_split_by_itself_there_are_no_variants(tmp_path):
    with pytest.raises(UsageError, match="folds"):
        augment_cases(
            dataset_kills.make_cases()[:2], tmp_path, ExportOptions("nnunet", split=SplitOptions(folds=0)), HOW
        )
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError):
        VariantOptions(HOW.plan, 0)


def test_the_command_makes_variants(tmp_path, capsys):
    root = export_dataset(dataset_kills.make_cases()[:2], tmp_path, ExportOptions("monai", "Abdomen")).root
    arguments = ["augment", "--plan", "mr", "--cases", str(root), "--variants", "1", "--seed", "3"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "case_0001_synthetic_01: of case_0001" in capsys.readouterr().out
    assert not [path for path in contents(root) if "synthetic" in path.name]
    assert main(arguments) == 0
    assert "2 variants made" in capsys.readouterr().out
    assert main(["augment", "--plan", "mrx", "--cases", str(root)]) == 2
    assert "mr-artifacts" in capsys.readouterr().err
    new = tmp_path / "new"
    images = [str(root / "images"), str(new)]
    assert main(["augment", "--plan", "ct", "--cases", str(root), "--output", images[1]]) == 2


def test_a_list_becomes_a_dataset_with_variants(tmp_path, capsys):
    from meddl.volume import write_volume

    rows = ["case,T1,label"]
    for case in dataset_kills.make_cases()[:2]:
        stem = case.id.replace(" ", "")
        write_volume(case.images["T1"], tmp_path / f"{stem}.nii.gz")
        write_volume(case.label.source, tmp_path / f"{stem}_seg.nii.gz")
        rows.append(f"{stem},{stem}.nii.gz,{stem}_seg.nii.gz")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    arguments = ["augment", "--plan", "mr", "--cases", str(tmp_path / "cases.csv"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--format", "monai", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["complete"] and len(told["done"]) == 2 and told["export"]["complete"]
