"""The examples of Docs/OtherModels.md run as they stand."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from meddl.models.formats.sidecar import EXAMPLE, SCHEMA, sidecar_problems

PAGE = Path(__file__).resolve().parents[2] / "Docs" / "OtherModels.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("text", [*blocks("json"), EXAMPLE])
def test_the_sidecars_shown_are_sound(text: str) -> None:
    assert sidecar_problems(json.loads(text)) == []


def test_every_field_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [field for field in SCHEMA["properties"] if f"`{field}" not in text] == []
    assert [f for f in SCHEMA["properties"]["intensity"]["properties"] if f"`intensity.{f}`" not in text] == []


@pytest.mark.filterwarnings("ignore")
def test_the_torchscript_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    make, run, _ = blocks("python")
    exec(make, {})
    exec(run, {})
    assert "TorchScript" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")), reason="ONNX is not installed"
)
def test_the_onnx_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("python")[2], {})
    assert "ONNX Runtime" in capsys.readouterr().out
