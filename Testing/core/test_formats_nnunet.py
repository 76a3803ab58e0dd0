"""nnU-Net v2 result folders are recognized without nnU-Net."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from core.nnunet_folders import change, write_small_folder
from core.tiny_nnunet import REGIONS
from meddl.errors import ModelError
from meddl.models import ModelBundle
from meddl.models.metadata_schema import metadata_problems


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights of nothing in particular: recognizing it takes no network."""
    return write_small_folder(tmp_path / "results")


CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"


def test_a_result_folder_is_a_bundle(folder: Path) -> None:
    bundle = ModelBundle.open(folder)
    assert (bundle.name, bundle.task, bundle.format, bundle.license) == (
        "Blobs (nnU-Net 3d_fullres)", "segmentation", "nnunet", "CC-BY 4.0",
    )  # fmt: skip
    assert [(each.label, each.name) for each in bundle.segments] == [(1, "kidney"), (2, "tumor")]
    assert [channel.name for channel in bundle.channels] == ["T1"]
    assert bundle.required_packages == ("nnunetv2",)
    assert bundle.files == (
        "dataset.json", "fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth", "plans.json",
    )  # fmt: skip
    assert bundle.weights_path == folder / "fold_0" / "checkpoint_final.pth"
    report = bundle.check()
    assert report.problems == report.needs_trust == report.code == ()
    assert metadata_problems(bundle.metadata) == []


def test_it_is_found_from_the_folders_round_it_and_in_a_zip(folder: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "results"))
    digests = {ModelBundle.open(place).digest for place in (folder, folder.parent, tmp_path / "results", archive)}
    assert len(digests) == 1
    shutil.copytree(folder, folder.with_name("nnUNetTrainer__nnUNetPlans__2d"))
    with pytest.raises(ModelError, match="several nnU-Net models"):
        ModelBundle.open(folder.parent)


def test_the_digest_is_of_the_model_and_not_of_what_training_left(folder: Path) -> None:
    bundle = ModelBundle.open(folder)
    before = bundle.digest
    (folder / "fold_0" / "progress.png").write_bytes(b"x")
    (folder / "fold_0" / "validation").mkdir()
    assert ModelBundle.open(folder).digest == before
    change(folder, "dataset.json", release="2.0")
    assert ModelBundle.open(folder).digest != before


def test_regions_come_in_layers_and_the_ignored_label_not_at_all(folder: Path) -> None:
    change(folder, "dataset.json", **{**REGIONS, "labels": {**REGIONS["labels"], "ignore": 3}})
    bundle = ModelBundle.open(folder)
    assert bundle.multilabel
    assert [(each.name, each.layer) for each in bundle.segments] == [("whole", 0), ("core", 1)]


def test_a_folder_of_all_data_and_an_unfinished_one_are_found(folder: Path) -> None:
    for name in ("fold_0", "fold_1"):
        (folder / name).rename(folder / name.replace("fold_", "kept_"))
    (folder / "kept_0").rename(folder / "fold_all")
    assert ModelBundle.open(folder).folds == ("fold_all/checkpoint_final.pth",)
    (folder / "fold_all" / "checkpoint_final.pth").rename(folder / "fold_all" / "checkpoint_best.pth")
    assert ModelBundle.open(folder).folds == ("fold_all/checkpoint_best.pth",)
    shutil.rmtree(folder / "fold_all")
    assert any("has no checkpoint" in problem for problem in ModelBundle.open(folder).check().problems)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "'labels'"),
        ({"labels": {"a": 1}}, "'background' should be 0"),
        ({"labels": {"background": 0, "a": 2}}, "should be 1, 2, 3"),
        ({"labels": {"background": 0, "a": "1"}}, "is not a number"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "'regions_class_order'"),
        ({"channel_names": {}}, "'channel_names'"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "numbered 0, 1, 2"),
    ],
)
def test_a_mistake_in_the_data_set_is_told(changes: dict[str, Any], said: str, folder: Path) -> None:
    change(folder, "dataset.json", **changes)
    with pytest.raises(ModelError, match=r"dataset\.json") as caught:
        ModelBundle.open(folder)
    assert said in caught.value.message


def test_missing_nnunet_is_said_and_looking_a_folder_over_does_without(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'nnunetv2' else real(name, *rest)\n"
        "from meddl.models import ModelBundle\n"
        f"bundle = ModelBundle.open({str(folder)!r})\n"
        "print(bundle.check().warnings, 'torch' in sys.modules)\n"
        "from meddl.errors import ModelError\nfrom meddl.inference import Predictor\n"
        "try:\n    Predictor(bundle, 'cpu')\nexcept ModelError as error:\n    print(error.message)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CORE), "MEDDL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    looked, said = done.stdout.splitlines()
    assert "takes the Python package nnunetv2" in looked and looked.endswith("False")
    assert "which is not installed" in said and "pip install nnunetv2" in said
