"""`setup_dev.py demo` as CI sees it: the whole main job, from the panel's Apply button to the files in the folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import realdata
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder with the results, what the demo printed)."""
    folder = tmp_path_factory.mktemp("demo")
    run = subprocess.run(
        [sys.executable, str(ROOT / "Testing" / "demo" / "run_demo.py"), str(folder / "results")],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=folder,
        env=os.environ | {"MEDDL_CACHE": str(folder / "cache")},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "results", run.stdout


def test_it_says_in_plain_words_what_it_made_and_where(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    closing = printed[printed.index("segmented the head") :]
    for path in folder.iterdir():
        assert str(Path("results") / path.name) in closing
    assert {path.name for path in folder.iterdir()} == {
        "brain.seg.nrrd",
        "scene.mrb",
        "report.json",
        "slices.png",
        "panel.png",
    }
    assert "Traceback" not in printed


def test_the_segmentation_is_a_brain_on_the_grid_of_the_head(demo: tuple[Path, str]) -> None:
    labels, header = nrrd.read(str(demo[0] / "brain.seg.nrrd"))
    head = nibabel.load(realdata.head())
    assert header["space"] == "left-posterior-superior"
    assert header["Segment0_Name"] == "Brain"
    assert "SCT^12738006^Brain" in header["Segment0_Tags"]

    affine = np.eye(4)
    affine[:3, :3] = header["space directions"].T
    affine[:3, 3] = header["space origin"]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    voxel_to_voxel = np.linalg.inv(head.affine) @ affine
    # Slicer may crop what it saves to the extent of the labels: a shift by whole voxels, nothing else.
    assert voxel_to_voxel[:3, :3] == pytest.approx(np.eye(3), abs=1e-3)
    shift = voxel_to_voxel[:3, 3]
    assert shift == pytest.approx(np.round(shift), abs=1e-2)

    indices = np.argwhere(labels > 0)
    milliliters = len(indices) * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert 1300 < milliliters < 1500, "an adult brain with its fluid, as deepbet sees this head"
    center = affine[:3, :3] @ indices.mean(axis=0) + affine[:3, 3]
    intensity = np.asarray(head.dataobj)[tuple(np.round(indices + shift).astype(int).T)]
    assert abs(center[0]) < 15, "the brain lies in the middle between left and right"
    assert np.median(intensity) > np.median(np.asarray(head.dataobj)), "the labels lie on tissue"
    report = json.loads((demo[0] / "report.json").read_text())
    assert report["volumes_ml"]["Brain"] == pytest.approx(milliliters, rel=1e-3)


def test_the_report_tells_where_the_result_comes_from(demo: tuple[Path, str]) -> None:
    report = json.loads((demo[0] / "report.json").read_text())
    model = report["provenance"]["model"]

    assert model["license"] == "MIT" and re.fullmatch(r"[0-9a-f]{64}", model["sha256"])
    assert report["provenance"]["device"]["type"]
    assert 0 < report["provenance"]["times_s"]["total"] <= report["seconds"]["apply_to_result"]
    assert str(Path.home()) not in json.dumps(report), "a report names no folder of the user"


def test_the_scene_holds_the_head_the_segmentation_and_the_table(demo: tuple[Path, str]) -> None:
    with zipfile.ZipFile(demo[0] / "scene.mrb") as bundle:
        assert bundle.testzip() is None
        names = [Path(name).name for name in bundle.namelist()]
        scene = next(name for name in bundle.namelist() if name.endswith(".mrml"))
        text = bundle.read(scene).decode()

    assert sum(name.endswith(".seg.nrrd") for name in names) == 1
    assert sum(name.endswith(".nrrd") for name in names) == 2
    for expected in ("<Volume", "<Segmentation", "<Table", "MedDL.ModelDigest"):
        assert expected in text


@pytest.mark.parametrize(("name", "least"), [("slices.png", (1200, 1200)), ("panel.png", (300, 400))])
def test_the_pictures_show_something(demo: tuple[Path, str], name: str, least: tuple[int, int]) -> None:
    with Image.open(demo[0] / name) as picture:
        pixels = np.asarray(picture.convert("L")).astype(float)
        assert picture.width >= least[0] and picture.height >= least[1]
    assert pixels.std() > 10, f"{name} is (nearly) one color"
