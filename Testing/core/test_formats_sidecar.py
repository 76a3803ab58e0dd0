"""What a sidecar may say, and that every mistake in it is told with the field's name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from core.fuzzing import broken
from core.network_files import SEGMENTATION, write_sidecar
from meddl.errors import MedDLError, ModelError
from meddl.models import ModelBundle
from meddl.models.formats.sidecar import SCHEMA, TASKS, read_sidecar, sidecar_problems
from meddl.models.formats.sidecar_config import config_of, metadata_of
from meddl.models.metadata_schema import metadata_problems

MINIMAL: dict[str, dict[str, Any]] = {
    "segmentation": {"task": "segmentation", "channels": ["CT"], "labels": ["liver"]},
    "classification": {"task": "classification", "channels": ["CT"], "classes": ["sick", "healthy"]},
    "detection": {"task": "detection", "channels": ["CT"], "classes": ["nodule"]},
    "landmarks": {"task": "landmarks", "channels": ["MR"], "points": ["AC", "PC"]},
    "reconstruction": {"task": "reconstruction", "channels": ["MR"]},
}
FULL: dict[str, Any] = {
    **SEGMENTATION,
    "authors": "A, B", "limits": "None known.", "references": ["10.1/x"], "modality": "CT", "dimensions": 3,
    "channels": [{"name": "T1", "modality": "MR", "hints": ["t1"]}, "T2"],
    "orientation": "LPS", "spacing_mm": [1, 1, 2.5], "size": [64, 64, 32], "divisible_by": 16,
    "intensity": {"clip": [0, 100], "scale": "zscore", "nonzero": True, "per_channel": False, "mean": 3, "std": 2},
    "window": [32, 32, 32], "overlap": 0.5, "activation": "softmax", "threshold": 0.4, "largest_component": True,
    "expected": {"modality": ["MR"]}, "air": {"below": -1}, "windows": {"divisible_by": 16, "min": [32, 32, 32]},
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_the_least_sidecar_of_each_task_makes_sound_metadata(task: str) -> None:
    content = MINIMAL[task]
    assert sidecar_problems(content) == []
    assert metadata_problems(metadata_of(content, "model")) == []
    assert config_of(content, "model.ts", "torchscript")["network_def"] == {
        "_target_": "torch.jit.load", "f": "./model.ts",
    }  # fmt: skip


def test_every_field_together_makes_sound_metadata() -> None:
    assert sidecar_problems(FULL) == []
    assert metadata_problems(metadata_of(FULL, "model")) == []
    steps = [step["_target_"] for step in config_of(FULL, "m.onnx", "onnx")["preprocessing"]["transforms"]]
    assert steps == [
        "LoadImaged", "EnsureChannelFirstd", "Orientationd", "Spacingd", "Resized", "ScaleIntensityRanged",
        "NormalizeIntensityd", "DivisiblePadd", "EnsureTyped",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": "surgery"}, "'task' should be one of segmentation, classification"),
        ({"task": None}, "'task'"),
        ({"labels": None}, "'labels' should be a list"),
        ({"labels": []}, "'labels'"),
        ({"labels": ["a", "a"]}, "'labels' has a name twice"),
        ({"labels": [{"color": [1, 1, 1]}]}, "lacks 'labels.0.name'"),
        ({"labels": [{"name": "a", "color": [1, 2, 3]}]}, "'labels.0.color.1'"),
        ({"labels": [{"name": "a", "code": "liver"}]}, "'labels.0.code'"),
        ({"lables": ["a"]}, "the field 'lables', which is not known"),
        ({"intensity": {"scale": "z-score"}}, "'intensity.scale' should be one of none, zscore"),
        ({"intensity": {"clip": [3, 1]}}, "'intensity.clip' should be a lower and a higher number"),
        ({"intensity": {"clip": [0, 1], "clip_percentiles": [1, 99]}}, "exclude each other"),
        ({"intensity": {"scale": "zscore", "mean": 1}}, "'intensity.mean' and 'intensity.std' need each other"),
        ({"intensity": {"scale": "0..1", "nonzero": True}}, "'intensity.nonzero' needs 'scale': 'zscore'"),
        ({"orientation": "RAR"}, "'orientation'"),
        ({"orientation": "ras"}, "'orientation'"),
        ({"spacing_mm": [0, 1, 1]}, "'spacing_mm.0'"),
        ({"spacing_mm": [1e-9, 1, 1]}, "'spacing_mm.0'"),
        ({"spacing_mm": [1, 1]}, "'spacing_mm' should have 3 numbers"),
        ({"spacing_mm": "1 mm"}, "'spacing_mm' should be a list"),
        ({"size": [1e9, 1, 1]}, "'size.0'"),
        ({"size": [4096, 4096, 4096]}, "'size' is larger than any computer's memory"),
        ({"window": [4096, 4096, 4096]}, "'window' is larger"),
        ({"window": [True, 8, 8]}, "'window.0'"),
        ({"window": [-1, 8, 8]}, "'window.0'"),
        ({"overlap": 1}, "'overlap'"),
        ({"activation": "relu"}, "'activation' should be one of"),
        ({"labels": ["a", "b"], "activation": "softmax", "overlapping": True}, "'overlapping' structures do not go"),
        ({"classes": ["a"]}, "'classes' has no meaning for segmentation"),
        ({"version": "../../1"}, "'version'"),
        ({"name": ["x"]}, "'name' should be text"),
        ({"license": 3}, "'license' should be text"),
        ({"network": "/etc/passwd"}, "the field 'network'"),
        ({"intensity": {"path": "../x"}}, "'intensity' has the field 'path'"),
        ({"channels": "CT"}, "'channels' should be a list"),
        ({"channels": ["CT"] * 2000}, "'channels'"),
        ({"dimensions": 4}, "'dimensions' should be one of 2, 3"),
        ({"dimensions": 2, "orientation": "RAS"}, "'orientation' has no meaning for flat images"),
    ],
)
def test_a_mistake_is_told_with_its_field(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    content = {**SEGMENTATION, **change}
    path = write_sidecar(tmp_path / "model.ts", content).with_suffix(".json")
    with pytest.raises(ModelError) as caught:
        read_sidecar(path)
    assert said in caught.value.message
    assert "model.json" in caught.value.message
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("missing", ["task", "channels", "labels"])
def test_a_missing_field_is_named(missing: str) -> None:
    content = {key: value for key, value in SEGMENTATION.items() if key != missing}
    (problem,) = sidecar_problems(content)
    assert f"'{missing}'" in problem


def test_facts_that_are_passed_on_are_held_to_the_metadata_s_schema(tmp_path: Path) -> None:
    content = {**MINIMAL["detection"], "detection": {"kind": 7}}
    from core.network_files import threshold_program

    bundle = ModelBundle.open(write_sidecar(threshold_program(tmp_path / "model.ts"), content))
    assert all("model.json" in problem for problem in bundle.check().problems)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", '{"task": NaN}', '{"task": 1, "task": 2}', "[" * 10_000, '{"a":' * 5_000, "\x00", "\ud800"],
)
def test_what_is_no_object_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError, match=r"model\.json"):
        read_sidecar(path)


def test_random_damage_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    original = json.dumps(FULL).encode()
    rng = random.Random(7)
    for _ in range(300):
        path.write_bytes(broken(original, rng)[1])
        try:
            content = read_sidecar(path)
            metadata_of(content, "model")
            config_of(content, "model.ts", "torchscript")
        except MedDLError as error:
            assert len(error.message) < 600


@pytest.mark.parametrize("field", sorted(SCHEMA["properties"]))
@pytest.mark.parametrize("value", [None, True, -1, 1e308, "", "x" * 100_000, [], [[]], {}, {"": {}}, ["../../x"]])
def test_no_value_of_any_field_is_an_unforeseen_error(field: str, value: Any) -> None:
    content = {**FULL, field: value}
    if not sidecar_problems(content):
        metadata_of(content, "model")
        config_of(content, "model.ts", "torchscript")
