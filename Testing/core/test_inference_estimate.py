"""What is told before a run: sizes read off the model's files, seconds from earlier runs, all without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from core import tiny_bundle
from meddl import computer
from meddl.inference import estimate as module
from meddl.inference.estimate import estimate, record_run
from meddl.inference.history import History
from meddl.inference.options import RunOptions
from meddl.inference.workload import weight_bytes, workload
from meddl.models import ModelBundle

SHAPE, SPACING = (300, 200, 100), (0.75, 0.75, 3.0)


@pytest.fixture(autouse=True)
def own_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(computer, "gpus", tuple)
    monkeypatch.setattr(computer, "memory", lambda: (16_000_000_000, 12_000_000_000))


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return ModelBundle.open(tiny_bundle.write(tmp_path / "bundle"))


def test_the_workload_follows_the_config(bundle: ModelBundle) -> None:
    load = workload(bundle, SHAPE, SPACING)
    assert load.prepared == (150, 100, 200)
    # Windows of 32 every 24 voxels.
    assert load.windows == 6 * 4 * 8
    assert (load.window, load.rows, load.channels, load.width) == (32**3, (32, 100, 200), (1, 3), 4)


def test_references_are_followed_and_expressions_left_alone(tmp_path: Path) -> None:
    config = json.loads(json.dumps(tiny_bundle.CONFIG))
    config["size"] = [48, "@edge", 48]
    config["edge"] = "$48"
    config["inferer"] |= {"roi_size": "@size", "sw_batch_size": "$@batch * 2", "overlap": 0.5}
    load = workload(ModelBundle.open(tiny_bundle.write(tmp_path / "other", config=config)), SHAPE, SPACING)
    assert (load.window, load.batch) == (48**3, 1)


def test_weights_are_measured_by_the_files_table_of_contents(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = torch.nn.Conv3d(4, 8, 3)
    size = 4 * sum(each.numel() for each in network.parameters())
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    torch.jit.trace(network, torch.zeros(1, 4, 3, 3, 3)).save(str(tmp_path / "model.ts"))
    for name in ("model.safetensors", "model.pt", "model.ts"):
        assert weight_bytes(tmp_path / name) == pytest.approx(size, abs=300), name
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    assert weight_bytes(tmp_path / "broken.safetensors") == 20
    assert weight_bytes(None) == 0


def test_before_the_first_run_seconds_are_not_known(bundle: ModelBundle) -> None:
    told = estimate(bundle, SHAPE, SPACING, RunOptions())
    assert told.seconds is None and told.vram_gb is None and 0.5 < told.ram_gb < 2
    assert told.sentence == f"Takes about {told.ram_gb} GB of memory; how long is known after the first run."


def _record(bundle: ModelBundle, seconds: float, **more: object) -> None:
    facts = {"device": "cpu", "windows": 192, "network_seconds": seconds * 0.75, "seconds": seconds} | more
    record_run(bundle, SHAPE, SPACING, **facts)


def test_seconds_follow_from_the_last_runs_and_the_size(bundle: ModelBundle) -> None:
    for seconds in (500.0, 36.0, 40.0, 44.0):
        _record(bundle, seconds)
    told = estimate(bundle, SHAPE, SPACING, RunOptions())
    assert told.seconds == pytest.approx(40, rel=0.01)
    assert told.sentence.endswith("and 40 s going by the last runs on this computer.")
    # 13 * 8 * 8 windows instead of 6 * 4 * 8, and four times the voxels.
    larger = estimate(bundle, (600, 400, 100), SPACING, {"device": "cpu"})
    assert larger.seconds == pytest.approx(30 * 832 / 192 + 40, rel=0.01)
    many = estimate(bundle, SHAPE, SPACING, RunOptions(uncertainty="flips", passes=8))
    assert many.seconds == pytest.approx(8 * 30 + 10, rel=0.01)
    assert estimate(bundle, SHAPE, SPACING, {"uncertainty": "flips", "passes": 80}).sentence.count("40 min") == 1


def test_memory_follows_from_what_was_measured(bundle: ModelBundle) -> None:
    rule = estimate(bundle, SHAPE, SPACING).ram_gb
    _record(bundle, 10.0, peak_bytes=int((rule + 1.5) * 1e9))
    assert estimate(bundle, SHAPE, SPACING).ram_gb == pytest.approx(rule + 1.5, abs=0.11)
    assert estimate(bundle, (600, 400, 200), SPACING).ram_gb > rule + 1.6


def test_a_run_whose_memory_is_not_known_leaves_what_was_measured(bundle: ModelBundle) -> None:
    rule = estimate(bundle, SHAPE, SPACING).ram_gb
    _record(bundle, 10.0, peak_bytes=int((rule + 1.5) * 1e9))
    _record(bundle, 10.0, peak_bytes=0)
    assert estimate(bundle, SHAPE, SPACING).ram_gb == pytest.approx(rule + 1.5, abs=0.11)


def test_runs_on_the_gpu_tell_nothing_of_runs_on_the_cpu(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computer, "gpus", lambda: (computer.Gpu("cuda:0", "Some GPU", 500_000_000),))
    _record(bundle, 4.0, device="cuda:0")
    told = estimate(bundle, SHAPE, SPACING, RunOptions())
    assert told.seconds == pytest.approx(4, rel=0.01) and told.vram_gb == pytest.approx(0.4, abs=0.3)
    assert "on the GPU" in told.sentence
    assert estimate(bundle, SHAPE, SPACING, RunOptions(device="cpu")).seconds is None
    assert estimate(bundle, (900, 900, 900), SPACING, {}).sentence.endswith("slower, in smaller steps.")


def test_too_little_memory_is_told(bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computer, "memory", lambda: (1_000_000_000, 500_000_000))
    assert "Only 0.5 GB is free now: close other programs" in estimate(bundle, SHAPE, SPACING).sentence


@pytest.mark.parametrize("content", ['{"x": 1}', "[]", "{", '{"DIGEST": {"runs": [{"gpu": false}, 7]}}'])
def test_a_damaged_history_costs_nothing_but_the_seconds(bundle: ModelBundle, content: str) -> None:
    path = History(module._RUNS).path
    path.parent.mkdir(parents=True)
    path.write_text(content.replace("DIGEST", bundle.digest))
    assert estimate(bundle, SHAPE, SPACING).seconds is None


def test_only_the_last_runs_are_kept_and_nothing_of_the_image_but_its_size(bundle: ModelBundle) -> None:
    for number in range(9):
        _record(bundle, 10.0 + number)
    entry = History(module._RUNS).entry(bundle.digest)
    assert len(entry["runs"]) == module.KEPT_RUNS
    assert set(entry["runs"][0]) == {
        "gpu", "windows", "window", "voxels", "network_seconds", "seconds", "peak_bytes", "ram_bytes"
    }  # fmt: skip


def test_an_estimate_needs_no_torch(bundle: ModelBundle) -> None:
    code = (
        "import sys; from pathlib import Path; from meddl.models import ModelBundle; "
        "from meddl.inference.estimate import estimate; "
        f"print(estimate(ModelBundle.open(Path({str(bundle.path)!r})), (99, 99, 99), (1, 1, 1)).sentence); "
        "assert not {'torch', 'monai', 'scipy', 'SimpleITK'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(module.__file__).parents[2]), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Takes about")
