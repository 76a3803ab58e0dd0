"""What ``metadata.json`` must hold, as a JSON schema: those of MONAI's fields that running a model needs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_FORMAT: dict[str, Any] = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": _TEXT,
        "format": _TEXT,
        "modality": {"type": "string"},
        "num_channels": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"type": "string"}]},
        "spatial_shape": {"type": "array", "maxItems": 4, "items": {"type": ["integer", "string"], "minimum": 1}},
        "dtype": _TEXT,
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]{1,5}$"},
            "additionalProperties": {"type": "string"},
        },
    },
}
_FORMATS = {"type": "object", "minProperties": 1, "additionalProperties": _FORMAT}
_SEGMENT = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": _TEXT,
        "color": {
            "type": "array",
            "minItems": 3,
            "maxItems": 3,
            "items": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "terminology": {"type": "string"},
    },
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": [
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "network_data_format",
    ],
    "properties": {
        "version": {"type": "string", "pattern": "^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$"},
        "monai_version": _TEXT,
        "pytorch_version": _TEXT,
        "numpy_version": _TEXT,
        "name": _TEXT,
        "task": _TEXT,
        "description": {"type": "string"},
        "authors": {"type": ["string", "array"]},
        "copyright": {"type": "string"},
        "license": {"type": "string"},
        "changelog": {"type": "object"},
        "required_packages_version": {"type": "object"},
        "intended_use": {"type": "string"},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": _FORMATS, "outputs": _FORMATS},
        },
        "meddl": {
            "type": "object",
            "properties": {
                "task": _TEXT,
                "segments": {
                    "type": "object",
                    "propertyNames": {"pattern": "^[1-9][0-9]{0,4}$"},
                    "additionalProperties": _SEGMENT,
                },
                "cascade": {
                    "type": "object",
                    "required": ["localizer"],
                    "additionalProperties": False,
                    "properties": {
                        "localizer": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$"},
                        "margin": {"type": "number", "minimum": 0, "maximum": 10},
                        "min_fraction": {"type": "number", "minimum": 0, "maximum": 1},
                    },
                },
                "sha256": {
                    "type": "object",
                    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
            },
        },
    },
}

MAX_PROBLEMS = 20
_EXPECTED = ("authors", "copyright", "changelog", "intended_use")


def metadata_problems(metadata: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the content of ``metadata.json``, one sentence each."""
    from jsonschema import Draft202012Validator

    # The first ones only: finding all of a hundred thousand takes long.
    found = islice(Draft202012Validator(SCHEMA).iter_errors(dict(metadata)), MAX_PROBLEMS)
    return [_sentence(error) for error in sorted(found, key=lambda error: list(map(str, error.path)))]


def metadata_warnings(metadata: Mapping[str, Any]) -> list[str]:
    """Return what a reader of ``metadata.json`` would miss, one sentence each."""
    return [f"metadata.json does not tell its '{key}'." for key in _EXPECTED if not metadata.get(key)]


def _sentence(error: Any) -> str:
    where = ".".join(ascii(str(part)[:60])[1:-1] for part in error.path)
    value = ascii(error.instance)[:60]
    if error.validator == "required":
        missing = next((key for key in error.validator_value if key not in error.instance), "a field")
        return f"metadata.json lacks '{f'{where}.' if where else ''}{missing}'."
    if error.validator == "type":
        wanted = error.validator_value
        wanted = wanted if isinstance(wanted, str) else " or ".join(wanted)
        return f"In metadata.json '{where}' should be of type {wanted}, but is {value}."
    if error.validator == "additionalProperties":
        return f"In metadata.json '{where}' has a field that is not known: {error.message[:100]}."
    return f"In metadata.json '{where}' has a value that is not allowed: {value}."
