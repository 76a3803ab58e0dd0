"""Real images and a whole bundle, broken in fifty ways, given to the command line: one sentence and exit code 1."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import realdata
from core import tiny_bundle
from core.fuzzing import broken
from meddl.cli import main

COUNT = 25


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


def outcome(capsys: pytest.CaptureFixture[str], bundle: Path, image: Path, output: Path) -> int:
    """Run ``infer`` and hold it to the rule: a whole result, or one sentence, exit code 1 and nothing written."""
    code = main(["infer", "--model", str(bundle), "--input", str(image), "--output", str(output), "--device", "cpu"])
    err = capsys.readouterr().err.strip()
    if code == 0:
        assert output.exists()
        output.unlink()
        return code
    assert code == 1
    assert err.startswith("meddl: ") and "Traceback" not in err and "did not foresee" not in err, err
    # A model that needs trust lists why below its sentence.
    assert len([line for line in err.splitlines() if not line.startswith("  - ")]) == 1, err
    assert not output.exists() and not list(output.parent.glob(".*.part"))
    return code


def test_broken_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bundle = tiny_bundle.write(tmp_path / "bundle")
    whole = realdata.tptbox()["sub-mri_label-6_T2w"].read_bytes()
    codes = []
    for seed in range(COUNT):
        _, data = broken(whole, random.Random(seed))
        image = tmp_path / "image.nii.gz"
        image.write_bytes(data)
        codes.append(outcome(capsys, bundle, image, tmp_path / "out.nrrd"))
    assert codes.count(1) > COUNT * 0.8


def test_broken_bundles(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    image = realdata.tptbox()["sub-mri_label-6_T2w"]
    whole = tiny_bundle.write(tmp_path / "whole")
    codes = []
    for seed in range(COUNT):
        rng = random.Random(seed)
        folder = tmp_path / f"bundle{seed}"
        shutil.copytree(whole, folder)
        victim = rng.choice([path for path in sorted(folder.rglob("*")) if path.is_file()])
        _, data = broken(victim.read_bytes(), rng)
        victim.write_bytes(data)
        codes.append(outcome(capsys, folder, image, tmp_path / "out.nrrd"))
    assert codes.count(1) > COUNT * 0.4  # a flipped letter in a description breaks nothing
