"""A dataset that was exported is a source of cases: nobody's images go to two parts when it is exported again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from meddl.datasets import (
    Case,
    ExportOptions,
    SegmentationLabel,
    SplitOptions,
    collect_cases,
    export_dataset,
    verify_dataset,
)
from meddl.datasets.manifest import MANIFEST, read_manifest
from meddl.volume import Segment, Volume

SEGMENTS = (Segment(1, "Liver", (0.9, 0.5, 0.3)), Segment(2, "Tumor", (0.5, 0.9, 0.3)))
GRID = np.diag([1.0, 1.5, 2.0, 1.0])


def made(number: int) -> Case:
    """One of three scans of a patient."""
    values = np.random.default_rng(number).integers(0, 500, (1, 8, 7, 6)).astype(np.int16)
    labels = np.zeros((1, 8, 7, 6), np.uint8)
    labels[:, 1:4, 1:4, 1:4], labels[:, 5:7, 2:5, 2:4] = 1, 2
    label = SegmentationLabel(Volume(labels, GRID), SEGMENTS)
    return Case(f"scan {number}", {"T1w": Volume(values, GRID)}, label, f"P{number // 3}", site="AB"[number // 6])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of all formats for segmentation, each in a folder of its own."""
    root = tmp_path_factory.mktemp("exported")
    split = SplitOptions(validation=0.3, test=0.3, folds=0)
    for name in ("nnunet", "msd", "monai", "bids", "dicom"):
        export_dataset([made(n) for n in range(9)], root / name, ExportOptions(name, split=split))
    return root


@pytest.mark.parametrize("name", ["nnunet", "msd", "monai", "bids", "dicom"])
def test_every_format_is_collected_again_with_its_patients_parts_and_labels(exported: Path, name: str) -> None:
    cases = collect_cases(exported / name)
    assert len(cases) == 9
    parts: dict[str, set[str]] = {}
    for case in cases:
        assert isinstance(case.label, SegmentationLabel)
        parts.setdefault(case.patient, set()).add(case.split)
    assert len(parts) == 3 and sorted(part for each in parts.values() for part in each) == [
        "test",
        "train",
        "validation",
    ]
    assert {case.site for case in cases} == {"site_0001", "site_0002"}


@pytest.mark.parametrize("name", ["msd", "bids", "monai", "nnunet"])
def test_it_is_exported_again_with_the_same_voxels_and_names(exported: Path, tmp_path: Path, name: str) -> None:
    summary = export_dataset(collect_cases(exported / name), tmp_path, ExportOptions("monai"))
    assert summary.complete and not summary.left_out and not verify_dataset(tmp_path).problems
    again, first = (read_manifest(root) for root in (tmp_path, exported / "monai"))
    assert again is not None and first is not None and again.plan.scheme is not None
    assert [(case.digest, case.split) for case in again.plan.cases] == [
        (case.digest, case.split) for case in first.plan.cases
    ]
    assert {structure.name for structure in again.plan.scheme.structures} == {"Liver", "Tumor"}


def test_patients_of_two_datasets_are_two_people(exported: Path, tmp_path: Path) -> None:
    for name in ("one", "two", "nnunet"):
        shutil.copytree(exported / ("nnunet" if name == "nnunet" else "monai"), tmp_path / name)
    cases = collect_cases(tmp_path)
    assert len(cases) == 27 and len({case.patient for case in cases}) == 9
    assert {case.patient.split()[0] for case in cases} == {"one", "two", "Dataset001_Dataset"}


def test_a_damaged_manifest_tells_nothing(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported / "monai", tmp_path / "copy")
    (folder / MANIFEST).write_text("{")
    assert {case.patient for case in collect_cases(folder)} == {""}
