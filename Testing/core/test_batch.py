"""Batches: every case has its end, what is done is not done again, and a crash changes no byte of the results."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import tiny_bundle
from core.dicom_writer import write_series
from meddl.batch import BatchCase, BatchSummary, plan_batch, run_batch
from meddl.batch.plan import MANY_CASES
from meddl.batch.seats import Workers
from meddl.batch.task import RUN_BATCH
from meddl.errors import UntrustedModelError, UsageError
from meddl.inference import RunOptions
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.volume import Volume, read_segmentation, read_volume, write_volume

CPU = RunOptions(device="cpu", engine="torch", precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", 3)


def write_images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        array = np.random.default_rng(number).integers(-500, 900, (1, 20, 18, 12)).astype(np.int16)
        write_volume(Volume(array, np.diag([-1.5, -1.5, 2.0, 1.0])), folder / f"case {number}.nii.gz")
    return folder


def batch(source: Path, model: Path | list[Path], output: Path, **more: Any) -> BatchSummary:
    models = [str(each) for each in (model if isinstance(model, list) else [model])]
    return run_batch(plan_batch(source, models, output, options=CPU, **more))


def results(output: Path) -> dict[str, bytes]:
    """All that a batch made but what holds times: records and summary."""
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
        and "records" not in path.parts
        and path.name not in ("summary.csv", ".batch.lock", "batch.json")
    }


def table(output: Path) -> list[dict[str, str]]:
    with (output / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_case_has_its_files_record_and_row(images: Path, model: Path, tmp_path: Path) -> None:
    summary = batch(images, model, tmp_path / "out")
    assert summary.counts == {"done": 3}
    assert list(results(tmp_path / "out")) == [f"Two blobs/case {n}.seg.nrrd" for n in range(3)]
    for number, row in enumerate(table(tmp_path / "out")):
        assert (row["case"], row["status"], row["model"], row["model version"]) == (
            f"case {number}", "done", "Two blobs", "0.3.0",
        )  # fmt: skip
        labels, segments = read_segmentation(tmp_path / "out" / "Two blobs" / row["files"])
        np.testing.assert_allclose(labels.affine, read_volume(images / f"case {number}.nii.gz").affine, atol=1e-5)
        for segment in segments:
            volume = np.count_nonzero(labels.array == segment.label) * labels.voxel_volume_ml
            assert float(row[f"{segment.name} (ml)"]) == pytest.approx(volume, abs=1e-3)
        record = json.loads((tmp_path / "out" / "Two blobs" / "records" / f"case {number}.json").read_text())
        assert record["provenance"]["model"]["sha256"] == row["model sha256"] and float(row["seconds"]) > 0
    assert not list((tmp_path / "out").rglob("*.started")) + list((tmp_path / "out").rglob("*.part"))


def test_done_cases_are_left_out_until_something_changes(images: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(images, model, out)
    before = results(out)
    assert batch(images, model, out).counts == {"skipped": 3}
    write_images(tmp_path / "other", 4)
    (images / "case 1.nii.gz").write_bytes((tmp_path / "other" / "case 3.nii.gz").read_bytes())
    (out / "Two blobs" / "case 2.seg.nrrd").write_bytes(b"damaged")
    summary = batch(images, model, out)
    assert [result.status for result in summary.results] == ["skipped", "done", "done"]
    after = results(out)
    assert after["Two blobs/case 2.seg.nrrd"] == before["Two blobs/case 2.seg.nrrd"]
    assert after["Two blobs/case 1.seg.nrrd"] != before["Two blobs/case 1.seg.nrrd"]
    more = plan_batch(images, [str(model)], out, options=RunOptions(device="cpu", engine="torch", seed=3))
    assert run_batch(more).counts == {"done": 3}
    records = out / "Two blobs" / "records"
    (records / "case 0.json").write_text("{")
    (records / "case 1.json").write_text("[1]")
    assert run_batch(more).counts == {"done": 2, "skipped": 1}


def test_the_engine_a_batch_was_started_with_stays(images: Path, model: Path, tmp_path: Path) -> None:
    # Engines differ in the last bit: cases made after a resume would not be the same to the byte.
    pytest.importorskip("openvino")
    few = BatchCase("one", {"image": images / "case 0.nii.gz"})
    many = [BatchCase(f"{n}", {"image": images / "case 0.nii.gz"}) for n in range(MANY_CASES)]
    options = RunOptions(device="cpu")

    def engines(cases: list[BatchCase], folder: str) -> set[str]:
        plan = plan_batch(cases, [str(model)], tmp_path / folder, options=options)
        return {unit.params["options"]["engine"] for unit in plan.units}

    assert engines([few], "small") == {"torch"} == engines(many, "small")
    assert engines(many, "large") == {"openvino"} == engines([few], "large")


def test_a_column_that_is_no_image_is_named_before_anything_is_made(model: Path, images: Path, tmp_path: Path) -> None:
    for header in ("case,imgae", "image,remarks"):
        (tmp_path / "list.csv").write_text(f"{header}\n{images / 'case 0.nii.gz'},{images / 'case 0.nii.gz'}\n")
        with pytest.raises(UsageError, match=r"'(imgae|remarks)' is no image that the models take"):
            plan_batch(tmp_path / "list.csv", [str(model)], tmp_path / "out", options=CPU)
    assert not (tmp_path / "out").exists()


def test_another_model_makes_all_anew(images: Path, tmp_path: Path) -> None:
    bundle = tiny_bundle.write(tmp_path / "bundle")
    batch(images, bundle, tmp_path / "out")
    (bundle / "docs").mkdir()
    (bundle / "docs" / "README.md").write_text("changed")
    assert batch(images, bundle, tmp_path / "out").counts == {"done": 3}


def test_errors_are_collected_and_stop_nothing(images: Path, model: Path, tmp_path: Path) -> None:
    (images / "a broken one.nii.gz").write_bytes(b"no image")
    write_volume(Volume(np.zeros((1, 9, 9, 9), np.int16), np.eye(4)), images / "black.nrrd")
    summary = batch(images, model, tmp_path / "out")
    assert summary.counts == {"failed": 2, "done": 3}
    rows = {row["case"]: row for row in table(tmp_path / "out")}
    assert "no NIfTI header" in rows["a broken one"]["error"] and "same value" in rows["black"]["error"]
    assert batch(images, model, tmp_path / "out").counts == {"failed": 2, "skipped": 3}
    write_volume(read_volume(images / "case 0.nii.gz"), images / "a broken one.nii.gz")
    assert batch(images, model, tmp_path / "out").counts == {"failed": 1, "done": 1, "skipped": 3}


def test_several_models_and_an_ensemble(images: Path, model: Path, tmp_path: Path) -> None:
    second = tiny_bundle.write(tmp_path / "second", metadata={"name": "Two blobs", "version": "9"})
    out = tmp_path / "out"
    assert batch(images, [model, second], out).counts == {"done": 6}
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert len(folders) == 2 and all(name.startswith("Two blobs-") for name in folders)
    assert batch(images, [model, second], out, ensemble=True).counts == {"done": 3}
    assert (out / "ensemble" / "case 0.seg.nrrd").is_file()
    assert len({row["model version"] for row in table(out)}) == 1


def test_a_list_with_models_and_references(images: Path, model: Path, tmp_path: Path) -> None:
    batch(images, model, tmp_path / "first")
    reference = tmp_path / "first" / "Two blobs" / "case 0.seg.nrrd"
    (tmp_path / "list.csv").write_text(
        f"case,image,reference,model\nA/1,images/case 0.nii.gz,{reference},\n=B,images/case 1.nii.gz,,{model}\n"
    )
    summary = batch(tmp_path / "list.csv", model, tmp_path / "out", suffix=".nii.gz")
    assert summary.counts == {"done": 2}
    rows = table(tmp_path / "out")
    assert [float(rows[0][f"{name} (Dice)"]) for name in ("first blob", "second blob")] == [1, 1]
    assert rows[1]["case"] == "'=B"  # a spreadsheet does not compute it
    names = sorted(results(tmp_path / "out"))
    assert [name.rsplit("-", 1)[0] for name in names] == [
        "Two blobs/=B.nii.gz",
        "Two blobs/A_1",
        "Two blobs/A_1",
    ] or names


def test_names_of_structures_are_no_formulas_in_the_summary(images: Path, tmp_path: Path) -> None:
    model = tiny_bundle.write(tmp_path / "model")
    path = model / "configs" / "metadata.json"
    path.write_text(path.read_text().replace("first blob", "=1+1"))
    batch(images, model, tmp_path / "out")
    assert "'=1+1 (ml)" in table(tmp_path / "out")[0]


def test_dicom_series_become_dicom_segmentations(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        array = np.random.default_rng(number).integers(-500, 900, (1, 20, 18, 9)).astype(np.int16)
        write_series(tmp_path / "in" / f"p{number}", Volume(array, np.diag([-1.5, -1.5, 2.0, 1.0])))
    assert batch(tmp_path / "in", model, tmp_path / "out", suffix=".dcm").counts == {"done": 2}
    before = results(tmp_path / "out")
    for record in (tmp_path / "out" / "Two blobs" / "records").iterdir():
        record.unlink()
    assert batch(tmp_path / "in", model, tmp_path / "out", suffix=".dcm").counts == {"done": 2}
    assert results(tmp_path / "out") == before
    labels, _ = read_segmentation(tmp_path / "out" / "Two blobs" / "p0.dcm")
    assert labels.array.any()


def test_a_cancelled_batch_goes_on_to_the_same_bytes(images: Path, model: Path, tmp_path: Path) -> None:
    batch(images, model, tmp_path / "whole")
    plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return (tmp_path / "out" / "Two blobs" / "records" / "case 0.json").exists() and len(asked) > 3

    summary = run_batch(plan, cancelled=cancelled)
    assert summary.counts == {"done": 1, "cancelled": 2} and "goes on" in summary.stopped
    assert [row["status"] for row in table(tmp_path / "out")] == ["done", "cancelled", "cancelled"]
    assert batch(images, model, tmp_path / "out").counts == {"skipped": 1, "done": 2}
    assert results(tmp_path / "out") == results(tmp_path / "whole")


KILLED = """
import sys, os, signal
from pathlib import Path
import meddl.batch.task as task
import meddl.inference.files as files
from meddl.batch import plan_batch, run_batch
from meddl.inference import RunOptions
real, calls = files.write_prediction, []
def write(*a, **k):
    calls.append(1)
    written = real(*a, **k)
    if len(calls) == 2:
        part = written[0].with_name(".0123456789abcdef.part"); part.write_bytes(b"half")
        written[0].write_bytes(b"half a file")
        os.kill(os.getpid(), signal.SIGKILL)
    return written
files.write_prediction = write
run_batch(plan_batch(Path(sys.argv[1]), [sys.argv[2]], Path(sys.argv[3]),
    options=RunOptions(device="cpu", engine="torch", precision="float32")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_batch_goes_on_to_the_same_bytes(images: Path, model: Path, tmp_path: Path) -> None:
    batch(images, model, tmp_path / "whole")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", KILLED, str(images), str(model), str(tmp_path / "out")]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert list((tmp_path / "out").rglob("*.part")) and list((tmp_path / "out").rglob("*.started"))
    summary = batch(images, model, tmp_path / "out")
    assert [result.status for result in summary.results] == ["skipped", "done", "done"]
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert not list((tmp_path / "out").rglob("*.started"))


def test_a_case_that_kills_again_and_again_is_left_out_once(images: Path, model: Path, tmp_path: Path) -> None:
    batch(images, model, tmp_path / "out")
    records = tmp_path / "out" / "Two blobs" / "records"
    (records / "case 1.json").unlink()
    (records / "case 1.started").write_text("3")
    summary = batch(images, model, tmp_path / "out")
    assert [result.status for result in summary.results] == ["skipped", "failed", "skipped"]
    assert "ended 3 times" in summary.results[1].error
    assert batch(images, model, tmp_path / "out").counts == {"skipped": 2, "done": 1}


class TestInWorkers:
    def test_a_worker_that_dies_costs_its_case_only(self, images: Path, model: Path, tmp_path: Path) -> None:
        class Fragile(WorkerRunner):
            def submit(self, task: str, params: Any, **more: Any) -> Any:
                if params["case"] == "case 1":
                    task, params = "core.job_tasks:crash", {}
                return super().submit(task, params, **more)

        runner = Fragile(extra_paths=[Path(__file__).parents[1]])
        plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
        told: list[tuple[float, str]] = []
        summary = run_batch(plan, seats=Workers(["cpu"], [runner]), progress=lambda *each: told.append(each))
        assert [result.status for result in summary.results] == ["done", "failed", "done"]
        assert "other cases went on" in summary.results[1].error
        assert [fraction for fraction, _ in told] == sorted(fraction for fraction, _ in told)
        assert told[-1] == (1.0, "Done") and not any("case 0" in text for _, text in told)
        batch(images, model, tmp_path / "out")
        batch(images, model, tmp_path / "whole")
        assert results(tmp_path / "out") == results(tmp_path / "whole")

    def test_a_case_that_was_cancelled_counts_as_no_crash(self, images: Path, model: Path, tmp_path: Path) -> None:
        plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
        summary = run_batch(
            plan, seats=Workers(["cpu"]), cancelled=lambda: bool(list((tmp_path / "out").rglob("*.started")))
        )
        assert summary.counts["cancelled"] >= 2
        assert not list((tmp_path / "out").rglob("*.started"))
        assert sum(batch(images, model, tmp_path / "out").counts.values()) == 3

    def test_the_job_of_the_panel(self, images: Path, model: Path, tmp_path: Path) -> None:
        (images / "broken.nrrd").write_bytes(b"x")
        lines: list[str] = []
        with InlineRunner() as runner:
            params = {
                "cases": str(images), "models": [str(model)], "output": str(tmp_path / "out"), "options": CPU.to_dict(),
            }  # fmt: skip
            answer = runner.submit(RUN_BATCH, params, on_log=lines.append).wait()
        assert (answer["done"], answer["failed"], answer["skipped"]) == (3, 1, 0)
        assert answer["errors"][0]["case"] == "broken" and Path(answer["summary"]).is_file()
        assert len(lines) == 4 and "failed" in lines[0]


class TestRefusals:
    def test_before_anything_is_done(self, images: Path, model: Path, tmp_path: Path) -> None:
        program = tiny_bundle.write_program(tmp_path / "program")
        for more, error, says in (
            ({"suffix": ".png"}, UsageError, "Let it end in"),
            ({"models": []}, UsageError, "names no model"),
            ({"models": ["nothing_there"]}, Exception, "nothing_there"),
            ({"models": [str(program)], "trust_file": tmp_path / "none.json"}, UntrustedModelError, "code of its own"),
            ({"source": tmp_path / "nowhere"}, UsageError, "no list or folder"),
        ):
            words: dict[str, Any] = {"source": images, "models": [str(model)], "output": tmp_path / "out", **more}
            with pytest.raises(error, match=says):
                plan_batch(words.pop("source"), words.pop("models"), words.pop("output"), **words)
        assert not (tmp_path / "out").exists()

    def test_a_full_disk(self, images: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import shutil

        plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
        summary = run_batch(plan)
        assert summary.counts == {"not run": 3} and "disk" in summary.stopped
        with pytest.raises(UsageError, match=r"need about 0\.1 GB, but only 0\.0 GB are free"):
            plan_batch(images, [str(model)], tmp_path / "out", options=CPU)

    @pytest.mark.skipif(sys.platform == "win32", reason="locks differ")
    def test_two_batches_in_one_folder(self, images: Path, model: Path, tmp_path: Path) -> None:
        from meddl.models.file_lock import locked

        plan = plan_batch(images, [str(model)], tmp_path / "out", options=CPU)
        with locked(tmp_path / "out" / ".batch.lock"), pytest.raises(UsageError, match="Another batch"):
            run_batch(plan)


def test_nothing_that_names_a_file_is_logged(
    images: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (images / "Doe_Jane.nrrd").write_bytes(b"x")
    batch(images, model, tmp_path / "out")
    assert "Doe" not in caplog.text and str(images) not in caplog.text and "case 0" not in caplog.text
