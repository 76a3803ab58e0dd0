"""The sidecar: a small JSON file beside ``model.ts`` or ``model.onnx`` that tells how the network is to be run.

Such files hold a network alone; what its images must look like and what its answer means stands in ``model.json``.
The fields are described in ``Docs/OtherModels.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models.config_files import read_config
from meddl.models.recognition import TASKS

MAX_VOXELS = 1 << 27
"""Of a window or a fixed size: 512 x 512 x 512."""

_TEXT = {"type": "string", "minLength": 1, "maxLength": 200}
_LONG_TEXT = {"type": "string", "maxLength": 20_000}
_RANGE = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}


def _axes(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 2, "maxItems": 3, "items": item}


def _object(properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": dict(properties),
    }


def _named(properties: Mapping[str, Any]) -> dict[str, Any]:
    """A list of names, each alone or with facts."""
    item = {"anyOf": [_TEXT, _object({"name": _TEXT, **properties}, ("name",))]}
    return {"type": "array", "minItems": 1, "maxItems": 1000, "items": item}


_CODE = {"type": "string", "pattern": r"^[^\^~]{1,16}\^[^\^~]{1,64}\^[^\^~]{1,64}$"}
_EDGE = {"type": "integer", "minimum": 1, "maximum": 4096}
_COLOR = {"type": "array", "minItems": 3, "maxItems": 3, "items": {"type": "number", "minimum": 0, "maximum": 1}}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_object(
        {
            "name": _TEXT,
            "version": {"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"},
            "description": _LONG_TEXT,
            "license": _TEXT,
            "authors": _LONG_TEXT,
            "intended_use": _LONG_TEXT,
            "limits": _LONG_TEXT,
            "references": {"type": "array", "maxItems": 100, "items": _LONG_TEXT},
            "task": {"enum": list(TASKS)},
            "dimensions": {"enum": [2, 3]},
            "channels": _named(
                {"modality": _TEXT, "hints": {"type": "array", "maxItems": 50, "items": _TEXT}},
            ),
            "modality": _TEXT,
            "orientation": {"type": "string", "pattern": "^(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}$"},
            "spacing_mm": _axes({"type": "number", "minimum": 0.01, "maximum": 1000}),
            "size": _axes(_EDGE),
            "divisible_by": {"type": "integer", "minimum": 1, "maximum": 256},
            "intensity": _object(
                {
                    "clip": _RANGE,
                    "clip_percentiles": {**_RANGE, "items": {"type": "number", "minimum": 0, "maximum": 100}},
                    "scale": {"enum": ["none", "zscore", "0..1", "-1..1"]},
                    "nonzero": {"type": "boolean"},
                    "per_channel": {"type": "boolean"},
                    "mean": {"type": "number"},
                    "std": {"type": "number", "exclusiveMinimum": 0},
                },
            ),
            "window": _axes(_EDGE),
            "overlap": {"type": "number", "minimum": 0, "maximum": 0.9},
            "activation": {"enum": ["none", "softmax", "sigmoid"]},
            "threshold": {"type": "number"},
            "labels": _named({"color": _COLOR, "code": _CODE, "terminology": _LONG_TEXT}),
            "overlapping": {"type": "boolean"},
            "largest_component": {"type": "boolean"},
            "classes": _named({"code": _CODE}),
            "points": _named({}),
            "calibration": _object({"temperature": {"type": "number", "exclusiveMinimum": 0}}, ("temperature",)),
            "detection": {"type": "object", "maxProperties": 20},
            "reconstruction": {"type": "object", "maxProperties": 20},
            "sequence": {"type": "object", "maxProperties": 5},
            "expected": {"type": "object", "maxProperties": 20},
            "reference": {"type": "object", "maxProperties": 50},
            "air": {"type": "object", "maxProperties": 5},
            "windows": {"type": "object", "maxProperties": 5},
        },
        ("task", "channels"),
    ),
}
"""``detection``, ``reconstruction``, ``sequence``, ``expected``, ``reference``, ``air`` and ``windows`` mean what they
mean in a bundle's ``metadata.json`` under ``meddl``, and are held to it there."""

EXAMPLE = """{
  "name": "My model", "version": "1.0.0", "license": "MIT",
  "task": "segmentation",
  "channels": ["CT"],
  "orientation": "RAS", "spacing_mm": [1.5, 1.5, 1.5],
  "intensity": {"clip": [-1000, 1000], "scale": "0..1"},
  "window": [96, 96, 96],
  "activation": "softmax",
  "labels": ["liver", "spleen"]
}"""
"""What a sidecar looks like, for the sentence that asks for one."""

_NEEDED = {"segmentation": "labels", "classification": "classes", "detection": "classes", "landmarks": "points"}
_FOR_TASK = {
    "labels": ("segmentation",),
    "overlapping": ("segmentation",),
    "largest_component": ("segmentation",),
    "threshold": ("segmentation",),
    "classes": ("classification", "detection"),
    "calibration": ("classification",),
    "sequence": ("classification",),
    "points": ("landmarks",),
    "detection": ("detection",),
    "reconstruction": ("reconstruction",),
}


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a sidecar, known to be whole and consistent.

    Raises:
        ModelError: it cannot be read, or a field is wrong; the message names the field.
    """
    content = read_config(path, path.name)
    problems = sidecar_problems(content, path.name)
    if problems:
        raise ModelError(problems[0], "\n".join(problems))
    return content


def sidecar_problems(content: Mapping[str, Any], shown: str = "model.json") -> list[str]:
    """Return what is wrong with a sidecar's content, one sentence each, with the field's name."""
    from jsonschema import Draft202012Validator

    errors = list(islice(Draft202012Validator(SCHEMA).iter_errors(dict(content)), 20))
    if errors:
        return [_sentence(error, shown) for error in sorted(errors, key=lambda error: list(map(str, error.path)))]
    return [f"In {shown} {problem}." for problem in _inconsistencies(content)]


def names_of(entries: Any) -> list[dict[str, Any]]:
    """Return a list of names, each alone or with facts, as facts."""
    return [{"name": entry} if isinstance(entry, str) else dict(entry) for entry in entries or ()]


def _inconsistencies(content: Mapping[str, Any]) -> list[str]:
    """Return what the schema cannot tell."""
    task = content["task"]
    problems = []
    needed = _NEEDED.get(task)
    if needed and needed not in content:
        problems.append(f"'{needed}' is missing, which a model for {task} needs")
    for field, tasks in _FOR_TASK.items():
        if field in content and task not in tasks:
            problems.append(f"'{field}' has no meaning for {task}")
    for field in ("labels", "classes", "points", "channels"):
        names = [entry["name"].strip() for entry in names_of(content.get(field))]
        if len(set(names)) != len(names):
            problems.append(f"'{field}' has a name twice")
    dimensions = content.get("dimensions", 3)
    for field in ("spacing_mm", "size", "window"):
        if field in content and len(content[field]) != dimensions:
            problems.append(f"'{field}' should have {dimensions} numbers, one for each axis")
    for field in ("size", "window"):
        if field in content and math.prod(content[field]) > MAX_VOXELS:
            problems.append(f"'{field}' is larger than any computer's memory")
    if dimensions == 2 and "orientation" in content:
        problems.append("'orientation' has no meaning for flat images")
    problems += _intensity_problems(content.get("intensity", {}))
    softmax = content.get("activation") == "softmax"
    if softmax and content.get("overlapping"):
        problems.append("'overlapping' structures do not go with the activation softmax; use sigmoid")
    if task == "reconstruction" and content.get("activation", "none") != "none":
        problems.append("'activation' has no meaning for reconstruction")
    return problems


def _intensity_problems(intensity: Mapping[str, Any]) -> list[str]:
    problems = []
    for field in ("clip", "clip_percentiles"):
        if field in intensity and not intensity[field][0] < intensity[field][1]:
            problems.append(f"'intensity.{field}' should be a lower and a higher number")
    if "clip" in intensity and "clip_percentiles" in intensity:
        problems.append("'intensity.clip' and 'intensity.clip_percentiles' exclude each other")
    if ("mean" in intensity) != ("std" in intensity):
        problems.append("'intensity.mean' and 'intensity.std' need each other")
    zscore = intensity.get("scale") == "zscore"
    for field in ("nonzero", "mean"):
        if field in intensity and not zscore:
            problems.append(f"'intensity.{field}' needs 'scale': 'zscore'")
    return problems


def _sentence(error: Any, shown: str) -> str:
    """Return what a schema error says, for people."""
    # Of "one of these forms" the most telling branch is the one that got deepest.
    while error.validator == "anyOf" and error.context:
        error = max(error.context, key=lambda each: (len(each.absolute_path), each.validator != "type"))
    where = ".".join(ascii(str(part)[:60])[1:-1] for part in error.absolute_path)
    value = ascii(error.instance)[:60]
    if error.validator == "required":
        missing = next((key for key in error.validator_value if key not in error.instance), "a field")
        return f"{shown} lacks '{f'{where}.' if where else ''}{missing}'."
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next((str(key) for key in error.instance if key not in known), "?")
        place = f"'{where}'" if where else "the file"
        return f"In {shown} {place} has the field {unknown[:60]!a}, which is not known."
    if error.validator == "enum":
        choices = ", ".join(str(choice) for choice in error.validator_value)
        return f"In {shown} '{where}' should be one of {choices}, but is {value}."
    if error.validator == "type":
        wanted = {"object": "an object", "array": "a list", "string": "text", "boolean": "true or false"}
        kind = wanted.get(error.validator_value, f"of type {error.validator_value}")
        return f"In {shown} '{where}' should be {kind}, but is {value}."
    return f"In {shown} '{where}' has a value that is not allowed: {value}."
