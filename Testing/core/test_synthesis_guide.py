"""The examples of Docs/Synthesis.md run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from core import dataset_kills
from core.painting_generator import painter
from meddl.datasets import Case, ExportOptions, export_dataset
from meddl.volume import Segment, Volume, read_volume, write_segmentation

PAGE = Path(__file__).resolve().parents[2] / "Docs" / "Synthesis.md"


def example(heading):
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.search(r"```python\n(.*?)```", part, re.DOTALL)[1]


def test_images_and_cases(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    painter(tmp_path / "heads", {"Liver": 900.0, "Spleen": 100.0}, size=(16, 16))
    labels = Volume(np.ones((1, 12, 10, 4), np.uint8), np.diag([-1.0, -1, 2, 1]))
    write_segmentation(labels, [Segment(1, "liver", (1, 0, 0))], tmp_path / "head.seg.nrrd")
    cases = [Case(each.id, {"T1": each.images["T1"]}, each.label) for each in dataset_kills.make_cases()[:2]]
    export_dataset(cases, tmp_path / "out", ExportOptions("monai", "Abdomen"))
    told: dict = {}
    exec(example("Making images"), told)
    made = read_volume(tmp_path / "nobody.nii.gz")
    assert made.grid.same_as(labels.grid) and np.median(made.array) == pytest.approx(900, abs=1)
    assert len(told["summary"].done) == 2


def test_a_lesion():
    told: dict = {}
    exec(example("Lesions"), told)
    lesion = told["made"].mask.array > 0
    assert np.median(told["made"].image.array[lesion]) < np.median(told["image"].array[told["organ"] > 0]) - 10
