"""Where a result comes from, written on its node so that it is saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import slicer

PREFIX = "MedDL."


def write(node: slicer.vtkMRMLNode, facts: Mapping[str, Any]) -> None:
    """Sign ``node``: the main facts as attributes of their own, all of them as JSON in ``MedDL.Provenance``."""
    for name, value in _main_facts(facts).items():
        node.SetAttribute(PREFIX + name, value)
    node.SetAttribute(PREFIX + "Provenance", json.dumps(facts, sort_keys=True, default=str))


def read(node: slicer.vtkMRMLNode) -> dict[str, Any] | None:
    """Return all facts :func:`write` has stored on ``node``, or ``None`` when it carries none."""
    text = node.GetAttribute(PREFIX + "Provenance")
    return json.loads(text) if text else None


def model_title(facts: Mapping[str, Any]) -> str:
    """Return name and version of the model, for instance "Brain extraction 1.0.0"."""
    main = _main_facts(facts)
    return " ".join(part for part in (main["Model"], main["ModelVersion"]) if part)


def _main_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    model = facts.get("model", {})
    return {
        "Model": str(model.get("name", "")),
        "ModelVersion": str(model.get("version", "")),
        "ModelDigest": str(model.get("sha256", "")),
        "License": str(model.get("license", "")),
        "Device": _device_text(facts.get("device", "")),
    }


def _device_text(device: Mapping[str, Any] | str) -> str:
    """Return "cuda:0 (NVIDIA RTX A2000)", or the plain name where no more is known."""
    if isinstance(device, str):
        return device
    kind, name = str(device.get("type", "")), str(device.get("name", ""))
    return f"{kind} ({name})" if name else kind
