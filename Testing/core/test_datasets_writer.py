"""A dataset is whole whenever the process ends, and damage is found."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from core import dataset_kills
from meddl.datasets import Case, DatasetWriter, ExportOptions, export_dataset, plan_cases, verify_dataset
from meddl.datasets.manifest import MANIFEST, read_manifest
from meddl.datasets.writer import WORK
from meddl.errors import JobCancelled, UsageError, VolumeError

OPTIONS = ExportOptions("monai", "Abdomen", 3)


@pytest.fixture
def cases() -> list[Case]:
    return dataset_kills.make_cases()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("name", "kills"), [("monai", 30), ("nnunet", 24), ("dicom", 8)])
def test_killed_at_any_moment_it_is_valid_and_is_completed_to_the_same_bytes(tmp_path, name, kills):
    command = [sys.executable, str(dataset_kills.__file__), name, str(tmp_path), str(kills), "5"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["problems"] == [] and told["kills"] == kills


@pytest.mark.parametrize("name", ["monai", "nnunet", "bids"])
def test_killed_after_any_file_of_a_new_dataset_the_next_run_knows_the_folder(tmp_path, cases, monkeypatch, name):
    class Killed(BaseException):
        pass

    put = DatasetWriter._put

    def export(folder: Path, after: int = 1000) -> None:
        left = iter(range(after))

        def dying(self, *what):
            put(self, *what)
            if next(left, None) is None:
                raise Killed

        monkeypatch.setattr(DatasetWriter, "_put", dying)
        export_dataset(cases[:1], folder, ExportOptions(name, "Killed", 7), key=tmp_path / "key.csv")

    export(tmp_path / "whole")
    for after in range(5):
        with pytest.raises(Killed):
            export(tmp_path / f"{after}", after)
        export(tmp_path / f"{after}")
        assert dataset_kills.differences(tmp_path / "whole", tmp_path / f"{after}") == []


def test_a_second_run_writes_nothing_again(tmp_path, cases):
    first = export_dataset(cases, tmp_path, OPTIONS)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    second = export_dataset(cases, tmp_path, OPTIONS)
    assert first.complete and second.complete and len(first.done) == len(second.skipped) == len(cases)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in times if after[path] != times[path]} <= {tmp_path / MANIFEST}


def test_a_changed_label_is_written_again_and_nothing_else(tmp_path, cases):
    export_dataset(cases, tmp_path, OPTIONS)
    label = cases[2].label
    moved = replace(label, source=label.source.with_array(label.source.array[:, ::-1].copy()))
    cases[2] = replace(cases[2], label=moved)
    assert len(export_dataset(cases, tmp_path, OPTIONS).done) == 1
    assert not verify_dataset(tmp_path).problems


def test_cases_added_later_join_those_that_are_there(tmp_path, cases):
    export_dataset(cases[:3], tmp_path, OPTIONS)
    before = {path: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    summary = export_dataset(cases[3:], tmp_path, OPTIONS)
    checked = verify_dataset(tmp_path)
    assert checked.complete and checked.cases == 5 and not checked.problems
    assert summary.done == ("case_0004", "case_0005")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_damage_is_named(tmp_path, cases):
    export_dataset(cases, tmp_path, OPTIONS)
    image = sorted((tmp_path / "images").iterdir())[0]
    content = bytearray(image.read_bytes())
    content[-9] ^= 1
    image.write_bytes(content)
    label = sorted((tmp_path / "labels").iterdir())[1]
    label.unlink()
    (tmp_path / "mine.txt").write_text("x")
    checked = verify_dataset(tmp_path)
    told = " ".join(checked.problems)
    assert image.name in told and "has changed" in told
    assert label.name in told and "is missing" in told
    assert "mine.txt" in " ".join(checked.notes)
    export_dataset(cases, tmp_path, OPTIONS)
    assert not verify_dataset(tmp_path).problems


def test_a_case_that_cannot_be_read_does_not_stop_the_others(tmp_path, cases):
    from meddl.datasets import ImageFile

    (tmp_path / "broken.nrrd").write_text("NRRD0005\nno header")
    broken = replace(cases[0], id="broken", images={name: ImageFile(tmp_path / "broken.nrrd") for name in ("T1", "T2")})
    summary = export_dataset([broken, *cases[1:]], tmp_path / "out", OPTIONS)
    assert list(summary.left_out) == ["broken"] and len(summary.done) == 4 and summary.complete


def test_cancelling_keeps_what_is_done(tmp_path, cases):
    asked = []

    def cancelled() -> bool:
        asked.append((tmp_path / "labels").is_dir() and len(list((tmp_path / "labels").iterdir())) >= 2)
        return asked[-1]

    with pytest.raises(JobCancelled):
        export_dataset(cases, tmp_path, OPTIONS, cancelled=cancelled)
    checked = verify_dataset(tmp_path)
    assert not checked.problems and checked.cases == 2 and not checked.complete
    assert export_dataset(cases, tmp_path, OPTIONS).complete


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("limit", [2000, 7000])
def test_a_full_disk_gives_one_sentence_and_harms_nothing(tmp_path, cases, limit):
    key = tmp_path / "key.csv"
    export_dataset(cases[:2], tmp_path / "out", OPTIONS, key=key)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.nii.gz")}
    told = tmp_path / "told.txt"

    def export() -> None:
        # Nothing larger than this can be written: to the writer it is as a disk that is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            export_dataset(cases, tmp_path / "out", OPTIONS, key=key)
        except VolumeError as error:
            told.write_text(error.message)

    assert dataset_kills.in_child(export) == 0
    assert told.read_text().startswith("The dataset in out could not be written: File too large.")
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not verify_dataset(tmp_path / "out").problems
    assert export_dataset(cases, tmp_path / "out", OPTIONS, key=key).complete


def test_two_exports_into_one_folder_do_not_mix(tmp_path, cases):
    plan = plan_cases(cases, tmp_path, OPTIONS)[1].plan
    with DatasetWriter(tmp_path, plan), pytest.raises(UsageError, match="Another export"):
        DatasetWriter(tmp_path, plan).__enter__()


def test_the_secret_is_gone_with_the_last_case(tmp_path, cases):
    export_dataset(cases, tmp_path, OPTIONS)
    assert not (tmp_path / WORK).exists()


def test_a_key_in_the_dataset_is_refused_before_anything_is_written(tmp_path, cases):
    with pytest.raises(UsageError, match="key file lies in the dataset"):
        export_dataset(cases, tmp_path / "out", OPTIONS, key=tmp_path / "out" / "key.csv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-200],
        lambda text: "[]",
        lambda text: text.replace('"images/', '"../images/', 1),
        lambda text: text.replace('"images/', '"/etc/', 1),
        lambda text: text.replace('"meddl_dataset": 1', '"meddl_dataset": 9'),
        lambda text: text.replace("case_0002", "case_0001"),
        lambda text: "[" * 100000,
    ],
)
def test_a_hostile_or_damaged_manifest_is_refused(tmp_path, cases, damage):
    export_dataset(cases[:2], tmp_path, OPTIONS)
    path = tmp_path / MANIFEST
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UsageError, match="damaged"):
        verify_dataset(tmp_path)
    with pytest.raises(UsageError, match="damaged"):
        export_dataset(cases, tmp_path, OPTIONS)


def test_the_manifest_reads_back_as_it_was_written(tmp_path, cases):
    export_dataset(cases, tmp_path, replace(OPTIONS, license="CC-BY-4.0", description="Ünïcode"))
    manifest = read_manifest(tmp_path)
    assert manifest is not None and manifest.to_bytes() == (tmp_path / MANIFEST).read_bytes()
    assert manifest.plan.options.license == "CC-BY-4.0"


def test_the_manifest_names_nobody(tmp_path, cases):
    export_dataset(cases, tmp_path, OPTIONS)
    text = (tmp_path / MANIFEST).read_text(encoding="utf-8")
    assert "Doe" not in text and "patient 1" not in text and str(tmp_path) not in text


def test_no_dataset_no_verification(tmp_path):
    with pytest.raises(UsageError, match="holds no"):
        verify_dataset(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        verify_dataset(tmp_path / "nowhere")
    assert not list(Path(tmp_path).iterdir())
