"""The command line as a user types it: results, exit codes, one-sentence errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import realdata
from core import dicom_writer, tiny_bundle
from core.job_testing import CORE
from meddl.cli import main
from meddl.volume import Volume, read_volume


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDDL_PACKAGE_DIR", str(realdata.cache()))


@pytest.fixture
def image() -> Path:
    return realdata.tptbox()["sub-ct_label-22_ct"]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "bundle")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_infer_writes_segmentation_and_report(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, image: Path, bundle: Path
) -> None:
    output, report = tmp_path / "out.seg.nrrd", tmp_path / "report.json"
    code, out, err = run(
        capsys, "infer", "--model", bundle, "--input", image, "--output", output, "--report", report, "--device", "cpu"
    )
    assert (code, err) == (0, "")
    labels = read_volume(output)
    np.testing.assert_allclose(labels.affine, read_volume(image).affine, atol=1e-4)
    facts = json.loads(report.read_text())
    voxel_ml = labels.voxel_volume_ml
    for label, name in enumerate(("first blob", "second blob"), start=1):
        volume = np.count_nonzero(labels.array == label) * voxel_ml
        assert facts["volumes_ml"][name] == pytest.approx(volume, abs=1e-3)
        assert f"{name}: {volume:.1f} ml" in out
    assert b"Segment0_Name:=first blob" in output.read_bytes()


def test_infer_reads_a_dicom_folder_and_prints_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bundle: Path
) -> None:
    array = np.random.default_rng(0).integers(-500, 900, (1, 40, 36, 20)).astype(np.int16)
    dicom_writer.write_series(tmp_path / "series", Volume(array, np.diag([-1.0, -1.0, 2.0, 1.0])))
    code, out, _ = run(
        capsys, "infer", "--model", bundle, "--input", tmp_path / "series", "--output", tmp_path / "labels.nii.gz",
        "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["input"]["shape"] == [40, 36, 20]
    assert read_volume(tmp_path / "labels.nii.gz").shape == (40, 36, 20)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"--output": "out.png"}, 2, "Let it end in .seg.nrrd or .nrrd or .nii.gz or .nii or .mha or .dcm"),
        ({"--output": "no/such/folder/out.nrrd"}, 1, "folder for out.nrrd does not exist"),
        ({"--device": "cuda:77"}, 2, "There is no GPU number 77"),
        ({"--input": "missing.nrrd"}, 1, "missing.nrrd"),
        ({"--model": "missing_model"}, 1, "missing_model"),
        ({"--report": "report.txt"}, 2, "end in .json"),
        ({"--report": "no/such/folder/report.json"}, 1, "folder for report.json does not exist"),
    ],
)
def test_infer_says_in_a_sentence_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: Path,
    bundle: Path,
    change: dict[str, str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    options = {"--model": str(bundle), "--input": str(image), "--output": "out.nrrd", **change}
    got, out, err = run(capsys, "infer", *(word for pair in options.items() for word in pair))
    assert (got, out) == (code, "")
    assert says in err and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if "cache" not in path.parts] == before


def test_errors_are_json_for_machines_and_debug_shows_where(capsys: pytest.CaptureFixture[str], bundle: Path) -> None:
    words = ("infer", "--model", bundle, "--input", "missing.nrrd", "--output", "out.nrrd")
    _, out, _ = run(capsys, *words, "--json")
    assert json.loads(out)["error"]["type"] == "VolumeError"
    _, _, err = run(capsys, *words, "--debug")
    assert "Traceback" in err


def test_wrong_words_exit_with_2() -> None:
    with pytest.raises(SystemExit) as wrong:
        main(["infer", "--model", "x"])
    assert wrong.value.code == 2


def test_a_models_life(capsys: pytest.CaptureFixture[str]) -> None:
    assert "10 MB to download" in run(capsys, "models", "list")[1]
    code, _, err = run(capsys, "models", "show", "brain_extraction")
    assert code == 1 and "models add brain_extraction" in err
    assert "verified (MIT)" in run(capsys, "models", "add", "brain_extraction")[1]
    shown = json.loads(run(capsys, "models", "show", "brain_extraction", "--json")[1])
    assert shown["trusted"] and shown["license"] == "MIT" and "Fisch" in shown["references"][0]
    assert run(capsys, "models", "verify", "brain_extraction")[0] == 0
    listed = json.loads(run(capsys, "models", "list", "--json")[1])
    assert listed[0]["installed"] is True
    assert run(capsys, "models", "remove", "brain_extraction")[0] == 0
    assert "was not on this computer" in run(capsys, "models", "remove", "brain_extraction")[1]


def test_a_damaged_model_is_found_and_mended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "models", "add", "brain_extraction")
    weights = next((tmp_path / "cache").rglob("model.ts"))
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    code, _, err = run(capsys, "models", "verify", "brain_extraction")
    assert code == 1 and "damaged" in err
    assert run(capsys, "models", "add", "brain_extraction")[0] == 0
    assert run(capsys, "models", "verify", "brain_extraction")[0] == 0


def test_trust_is_asked_for_recorded_and_revoked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, image: Path
) -> None:
    bundle = tiny_bundle.write_program(tmp_path / "program")
    infer = ("infer", "--model", bundle, "--input", image, "--output", tmp_path / "out.nrrd")
    code, _, err = run(capsys, *infer)
    assert code == 1 and "TorchScript" in err and not (tmp_path / "out.nrrd").exists()
    assert run(capsys, "models", "trust", bundle)[0] == 2  # no terminal to ask on
    assert run(capsys, "models", "trust", bundle, "--yes")[0] == 0
    assert run(capsys, *infer)[0] == 0
    assert run(capsys, "models", "trust", bundle, "--revoke")[0] == 0
    assert run(capsys, *infer)[0] == 1


def test_programs_get_json_of_every_verb(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def answer(*words: object) -> dict[str, object]:
        code, out, _ = run(capsys, "models", *words, "--json")
        assert code == 0
        return json.loads(out)

    program, plain = tiny_bundle.write_program(tmp_path / "program"), tiny_bundle.write(tmp_path / "plain")
    assert run(capsys, "models", "trust", program, "--json")[0] == 2, "a program cannot be asked"
    assert answer("trust", program, "--yes")["trusted"] is True
    assert answer("trust", program, "--revoke")["trusted"] is False
    assert answer("trust", plain) == {"name": "Two blobs", "trusted": False, "needs_trust": []}
    assert answer("remove", "brain_extraction") == {"id": "brain_extraction", "removed": False}


def test_doctor_tells_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["missing"] == []
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert {re.split("[><=]", asked)[0] for asked in project["dependencies"]} <= set(facts["packages"])
    assert facts["packages"]["torch"] and "cpu" in facts["devices"]
    assert str(Path.home()) not in out


def test_it_runs_as_a_module_and_help_is_quick_to_import() -> None:
    code = "import sys, meddl.cli; sys.exit(bool({'torch', 'monai', 'SimpleITK', 'scipy'} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": str(CORE)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
    command = [sys.executable, "-m", "meddl", "--version"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("meddl ")


def test_a_zip_is_taken_as_a_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, image: Path, bundle: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", bundle.parent, bundle.name)
    code, _, _ = run(capsys, "infer", "--model", archive, "--input", image, "--output", tmp_path / "out.nrrd")
    assert code == 0


def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, bundle: Path) -> None:
    for name in ("numpy", "json", "argparse", "torch"):
        (bundle / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    env = {**os.environ, "PYTHONPATH": str(CORE)}
    command = [sys.executable, "-m", "meddl", "models", "show", ".", "--json"]
    done = subprocess.run(command, cwd=bundle, env=env, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["name"] == "Two blobs", done.stderr
    assert not (tmp_path / "ran").exists()
