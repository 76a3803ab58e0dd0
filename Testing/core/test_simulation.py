"""Simulation as data, as jobs, and as datasets."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from meddl.datasets import (
    BoxesLabel,
    Case,
    ClassLabel,
    ExportOptions,
    LandmarksLabel,
    SegmentationLabel,
    SplitOptions,
    TargetLabel,
    verify_dataset,
)
from meddl.datasets.case import ImageFile
from meddl.datasets.loading import load_case
from meddl.errors import JobCancelled, UsageError
from meddl.inference.prediction import Box, Landmark
from meddl.jobs import JobContext
from meddl.simulation import (
    METHODS,
    LowDose,
    Projection,
    Rician,
    SimulationOptions,
    Undersampling,
    simulate,
    simulate_cases,
    simulated_cases,
)
from meddl.simulation import cases as cases_module
from meddl.simulation.task import run_simulate_cases, run_simulation
from meddl.volume import Segment, Volume, read_volume, write_segmentation, write_volume

SEGMENTS = (Segment(1, "Liver", (0.8, 0.4, 0.3)), Segment(2, "Spine", (0.9, 0.9, 0.7)))


def body(seed: int) -> tuple[Volume, Volume]:
    """A small CT of nobody: soft tissue, a liver and a spine, which overlap seen from the front."""
    chance = np.random.default_rng(seed)
    hu = np.full((24, 28, 20), -1000, np.int16)
    hu[3:21, 4:24] = 20 + chance.integers(-10, 10)
    labels = np.zeros(hu.shape, np.uint8)
    labels[6:14, 8:16, 6:16] = 1
    labels[10:14, 18:22] = 2
    hu[labels == 1], hu[labels == 2] = 70, 500
    affine = np.diag([-3.0, -3.0, 5.0, 1.0])
    return Volume(hu[np.newaxis], affine, meta={"modality": "CT"}), Volume(labels[np.newaxis], affine)


def collected(folder: Path, count: int = 3) -> list[Case]:
    """Cases in files whose names are those of people; two of the first."""
    made = []
    for number in range(count):
        image, labels = body(number)
        patient = f"Doe^John{max(number, 1)}"
        files = folder / f"JohnDoe{number}.nii.gz", folder / f"JohnDoe{number}.seg.nrrd"
        write_volume(image, files[0])
        write_segmentation(labels, SEGMENTS, files[1])
        label = SegmentationLabel(ImageFile(files[1]))
        made.append(Case(f"JohnDoe{number}", {"CT": ImageFile(files[0])}, label, patient=patient))
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def export(**options: object) -> ExportOptions:
    return ExportOptions("monai", split=SplitOptions(validation=0.5, folds=0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS.values())
def test_options_are_plain_data_and_back(method: type) -> None:
    options = SimulationOptions(method(), variants=1, seed=4, channel="T1")
    data = json.loads(json.dumps(options.to_dict()))
    assert SimulationOptions.from_dict(data) == options
    assert SimulationOptions.from_dict({"method": method.method}) == SimulationOptions(method())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "object of names"),
        ({"method": "magic"}, "Choose one of: undersampling"),
        ({"dose": 1}, "method is None"),
        ({"method": "low_dose", "acceleration": 4}, "no 'acceleration'. It has: dose"),
        ({"method": "low_dose", "dose": "half"}, "example: \\[0.25\\]"),
        ({"method": "low_dose", "dose": [0.5, 0.1]}, "lowest and the highest"),
        ({"method": "low_dose", "dose": 1}, "noisy_original"),
        ({"method": "low_dose", "views": 100.5}, "example: 360"),
        ({"method": "undersampling", "acceleration": [4, 8]}, "one center_fraction for each"),
        ({"method": "undersampling", "center_fraction": 0.5}, "center_fraction is 0.5"),
        ({"method": "undersampling", "phase_axis": "head-foot"}, "no axis of axial"),
        ({"method": "rician", "snr": []}, "snr is one number"),
        ({"method": "rician", "variants": 0}, "1 to 99"),
        ({"method": "projection", "views": "SIDE"}, "no view"),
        ({"method": "projection", "views": ["AP", "0/90"]}, "no view"),
        ({"method": "projection", "variants": 2}, "jitter_degrees"),
        ({"method": "projection", "size": [256]}, "across and down"),
        ({"method": "projection", "beam": "fan"}, "'cone', 'parallel'"),
    ],
)
def test_a_mistake_in_the_options_is_told(data: object, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        SimulationOptions.from_dict(data)


def test_the_same_seed_repeats_bytes_and_another_does_not() -> None:
    ct, labels = body(0)
    mr = Volume(np.maximum(ct.array + 1000, 0).astype(np.float32).repeat(2, axis=2), ct.affine)
    for image, options in (
        (mr, SimulationOptions(Undersampling(snr=(20.0,)), 2)),
        (mr, SimulationOptions(Rician(), 2)),
        (ct, SimulationOptions(LowDose(views=40), 2)),
        (ct, SimulationOptions(Projection(jitter_degrees=5, size=(32, 32)), 2)),
    ):
        one, again, other_number = (simulate(image, options, labels, seed=3, number=n) for n in (0, 0, 1))
        other_seed, other_key = simulate(image, options, seed=4), simulate(image, options, seed=3, key="b")
        assert one.image.array.tobytes() == again.image.array.tobytes()
        assert json.dumps(one.facts) == json.dumps(again.facts)
        for other in (other_number, other_seed, other_key):
            assert one.image.array.tobytes() != other.image.array.tobytes()
    with pytest.raises(UsageError, match="2 images"):
        simulate(ct, options, number=2)


def test_jobs_give_plain_data_and_volumes() -> None:
    ct, labels = body(0)
    params = {
        "volume": ct,
        "labels": labels,
        "segments": [{**vars(each), "color": list(each.color)} for each in SEGMENTS],
        "options": {"method": "projection", "views": ["AP", "LL"], "size": [32, 40]},
    }
    told: list[float] = []
    context = JobContext(on_progress=lambda fraction, text: told.append(fraction))
    made = run_simulation(params, context)["simulated"]
    assert [each["facts"]["drawn"]["view"] for each in made] == ["AP", "LL"]
    assert [each["name"] for each in made[0]["segments"]] == ["Liver", "Spine"]
    assert made[0]["image"].shape == (32, 40, 1) and made[0]["labels"].channels == 2
    assert told == sorted(told)
    degraded = run_simulation({"volume": ct, "options": {"method": "low_dose", "views": 40}, "seed": 9}, context)
    assert degraded["simulated"][0]["target"] is ct and degraded["simulated"][0]["facts"]["seed"] == 9


def test_pairs_for_reconstruction_stay_with_their_patient_and_name_nobody(tmp_path: Path) -> None:
    cases = collected(tmp_path)
    options = SimulationOptions(LowDose(dose=(0.1, 0.5), views=40), variants=2, seed=5)
    summary = simulate_cases(cases, tmp_path / "out", export(), options)
    assert summary.complete and len(summary.done) == 6 and not summary.failed
    assert verify_dataset(summary.root).complete
    manifest = json.loads((summary.root / "dataset.meddl.json").read_text())
    assert manifest["task"] == "reconstruction" and manifest["channels"] == [{"name": "CT", "modality": ""}]
    parts = {each["patient"]: each["split"] for each in manifest["cases"]}
    assert sorted(parts.values()) == ["train", "validation"]
    assert all(each["split"] == parts[each["patient"]] for each in manifest["cases"])
    facts = [each["facts"]["made"] for each in manifest["cases"]]
    assert len({each["key"] for each in facts}) == 3 and len({each["drawn"]["dose"] for each in facts}) == 6
    assert all(each["options"] == options.to_dict() for each in facts)
    # With the original image, the manifest is enough to make the very same image again.
    listed = {each["name"]: each for each in manifest["cases"]}["case_0002"]
    image = next(path for path in listed["files"] if path.startswith("images"))
    target = next(path for path in listed["files"] if "target" in path)
    made = listed["facts"]["made"]
    again = simulate(
        replace(read_volume(summary.root / target), meta={"modality": "CT"}),
        SimulationOptions.from_dict(made["options"]), key=made["key"], number=made["number"],
    )  # fmt: skip
    np.testing.assert_array_equal(again.image.array, read_volume(summary.root / image).array)
    assert "simulated** (Low-dose CT)" in (summary.root / "datasheet.md").read_text()
    for path, found in contents(summary.root).items():
        plain = gzip.decompress(found) if path.endswith(".gz") else found
        assert b"John" not in plain and b"Doe^" not in plain, path


def test_x_rays_with_overlapping_labels_become_a_dataset(tmp_path: Path) -> None:
    options = SimulationOptions(Projection(views=("AP", "LL"), size=(48, 40)))
    summary = simulate_cases(collected(tmp_path), tmp_path / "out", export(), options)
    manifest = json.loads((summary.root / "dataset.meddl.json").read_text())
    assert len(summary.done) == 6 and manifest["task"] == "segmentation"
    assert manifest["channels"] == [{"name": "X-ray", "modality": "DX"}]
    names = [each["name"] for each in manifest["labels"]["structures"]]
    assert sorted(names) == ["Liver", "Spine"] and manifest["labels"]["combinations"] == [[0, 1]]
    assert [each["facts"]["made"]["drawn"]["view"] for each in manifest["cases"]].count("LL") == 3
    front = next(each for each in manifest["cases"] if each["facts"]["made"]["drawn"]["view"] == "AP")
    paths = sorted(front["files"])
    image, labels = (read_volume(summary.root / path) for path in paths[:2])
    assert image.shape == (48, 40, 1) and image.grid.same_as(labels.grid, 1e-3)
    assert set(np.unique(labels.array)) == {0, 1, 2, 3}


def test_what_was_stopped_is_completed_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = collected(tmp_path)
    options = SimulationOptions(Projection(views=("AP", "LL"), size=(32, 32)))
    calls: list[int] = []
    whole = simulate

    def counted(*args: object, **named: object) -> object:
        calls.append(1)
        return whole(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(cases_module, "simulate", counted)
    first = simulate_cases(cases, tmp_path / "one", export(), options)
    assert len(calls) == 6  # once each, though each is loaded twice
    stop: list[str] = []
    with pytest.raises(JobCancelled):
        simulate_cases(cases, tmp_path / "two", export(), options, cancelled=lambda: len(stop) > 2, log=stop.append)
    second = simulate_cases(cases, tmp_path / "two", export(), options)
    assert len(second.skipped) == 3 and contents(second.root) == contents(first.root)
    third = simulate_cases(cases, tmp_path / "two", export(), replace(options, seed=1))
    assert len(third.skipped) == 6  # nothing is left to chance without jitter


def test_points_boxes_and_classes_come_along(tmp_path: Path) -> None:
    image, _ = body(0)
    middle = image.affine[:3, :3] @ (10, 12, 10) + image.affine[:3, 3]
    labels = {
        "points": LandmarksLabel((Landmark("Tip", middle, 1.0),)),
        "boxes": BoxesLabel((Box("nodule", 1.0, middle, np.full(3, 12.0)),)),
        "classes": ClassLabel(("healthy",)),
        "none": None,
    }
    for name, label in labels.items():
        case = Case(name, {"CT": image}, label)
        (made,) = simulated_cases([case], SimulationOptions(Projection(size=(32, 32))))
        loaded = load_case(made)
        assert made.patient == name and loaded.images["X-ray"].shape == (32, 32, 1) and loaded.made
        assert loaded.case.task == case.task
        if name == "points":
            assert loaded.case.label.points[0].position[1] != middle[1]  # type: ignore[union-attr]
        with pytest.raises(UsageError, match="plain data"):
            made.to_dict()
    with pytest.raises(UsageError, match="target"):
        simulated_cases([Case("a", {"CT": image}, TargetLabel(image))], SimulationOptions(Projection()))
    with pytest.raises(UsageError, match="no image 'PET'"):
        simulated_cases([Case("a", {"CT": image})], SimulationOptions(LowDose(), channel="PET"))


def test_a_case_that_cannot_be_simulated_never_stops_the_others(tmp_path: Path) -> None:
    cases = collected(tmp_path, 2)
    mr = Volume(np.full((1, 20, 20, 8), 400, np.int16), np.eye(4), meta={"modality": "MR"})
    params = {
        "cases": [case.to_dict() for case in [*cases, Case("MR", {"CT": mr})]],
        "output": tmp_path / "out",
        "export": export().to_dict(),
        "options": {"method": "low_dose", "views": 40},
    }
    summary = run_simulate_cases(params, JobContext())
    assert len(summary["done"]) == 2 and summary["complete"]
    assert "marked as MR" in summary["left_out"]["MR_low_dose"]


def test_importing_simulation_loads_nothing_heavy() -> None:
    code = "import sys, meddl.simulation, meddl.simulation.task; print(sorted(m for m in sys.modules if m in " \
           "('torch', 'monai', 'scipy', 'SimpleITK', 'skimage', 'matplotlib')))"  # fmt: skip
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           env={"PYTHONPATH": str(Path(cases_module.__file__).parents[2])})  # fmt: skip
    assert found.stdout.strip() == "[]"
