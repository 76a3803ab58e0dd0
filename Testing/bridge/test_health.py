"""The health check tells what is there, what is missing, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from meddl import computer
from meddl.computer import Gpu
from meddl_slicer import health, packages

GIB = 1 << 30


@pytest.fixture(autouse=True)
def fresh():
    computer.gpus.cache_clear()
    yield
    computer.gpus.cache_clear()


def finding(findings, what):
    return next(one for one in findings if one.what == what)


def test_this_computer_is_described(tmp_path):
    findings = health.check(tmp_path / "not" / "there", "5.12.3")
    assert finding(findings, "Python").state == "ok"
    assert finding(findings, "3D Slicer").state == "ok"
    assert "GB" in finding(findings, "Memory").found
    assert finding(findings, "PyTorch").state == "ok"
    assert finding(findings, "monai").state == "ok"


def test_old_slicer_gets_attention(tmp_path):
    found = finding(health.check(tmp_path, "5.10.0"), "3D Slicer")
    assert (found.state, "5.12" in found.advice) == ("warning", True)


def test_missing_torch_tells_the_way_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "_installed_version", lambda name: "")
    found = finding(health.check(tmp_path), "PyTorch")
    assert found.state == "missing"
    assert "Extensions Manager" in found.advice  # the PyTorch extension is not here


def test_gpu_beside_a_processor_only_torch_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(computer, "_from_nvidia_smi", lambda: (Gpu("cuda:0", "RTX A2000", 12 * GIB),))
    monkeypatch.setattr(packages, "_installed_version", lambda name: "2.13.0+cpu")
    found = finding(health.check(tmp_path), "GPU")
    assert (found.state, found.found) == ("warning", "RTX A2000 (12 GB)")
    assert "processor only" in found.advice


def test_little_disk_and_memory_get_attention(monkeypatch, tmp_path):
    monkeypatch.setattr(computer, "free_disk", lambda folder: GIB)
    monkeypatch.setattr(computer, "memory", lambda: (4 * GIB, GIB))
    findings = health.check(tmp_path)
    assert finding(findings, "Disk for models").state == "warning"
    assert finding(findings, "Memory").found == "4.0 GB in all, 1.0 GB free"


def test_report_is_plain_text_without_paths(tmp_path):
    text = health.report(health.check(tmp_path / "Jane Doe"))
    assert "PyTorch" in text and "Jane Doe" not in text and str(Path.home()) not in text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (None, ["A", "B", "C"]),
        ("1", ["B"]),
        ("2,0", ["C", "A"]),
        ("", []),
        ("-1", []),
        ("0,-1,2", ["A"]),
        ("7", []),
        ("0,7,2", ["A"]),
    ],
)
def test_gpus_are_numbered_as_cuda_shows_them(shown, expected):
    found = tuple(Gpu(f"cuda:{index}", name) for index, name in enumerate("ABC"))
    chosen = computer._visible(found, shown)
    assert [gpu.name for gpu in chosen] == expected
    assert [gpu.id for gpu in chosen] == [f"cuda:{index}" for index in range(len(expected))]


def test_answer_of_nvidia_smi_is_read(monkeypatch):
    answer = "NVIDIA RTX A2000, 12288, 550.54\nNVIDIA T4, [N/A], 550.54\n"
    monkeypatch.setattr(computer.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(computer, "_run", lambda command: answer)
    assert computer._from_nvidia_smi() == (
        Gpu("cuda:0", "NVIDIA RTX A2000", 12 * GIB, "550.54"),
        Gpu("cuda:1", "NVIDIA T4", 0, "550.54"),
    )


@pytest.mark.parametrize(("size", "text"), [(5 << 20, "5 MB"), (GIB * 3 // 2, "1.5 GB"), (24 * GIB, "24 GB")])
def test_sizes_are_written_for_people(size, text):
    assert health.size_text(size) == text
