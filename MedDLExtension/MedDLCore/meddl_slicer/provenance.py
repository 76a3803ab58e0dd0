"""Where a result comes from, written on its node so that it is saved with the scene."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import slicer

if TYPE_CHECKING:
    from meddl.models import ModelBundle

PREFIX = "MedDL."
#: Attribute of nodes that no scanner has made; its value says what has.
SYNTHETIC = PREFIX + "Synthetic"


def write(node: slicer.vtkMRMLNode, facts: Mapping[str, Any]) -> None:
    """Sign ``node``: the main facts as attributes of their own, all of them as JSON in ``MedDL.Provenance``."""
    for name, value in _main_facts(facts).items():
        node.SetAttribute(PREFIX + name, value)
    node.SetAttribute(PREFIX + "Provenance", json.dumps(facts, sort_keys=True, default=str))


def read(node: slicer.vtkMRMLNode) -> dict[str, Any] | None:
    """Return all facts :func:`write` has stored on ``node``, or ``None`` when it carries none that can be read."""
    try:
        facts = json.loads(node.GetAttribute(PREFIX + "Provenance") or "null")
    except ValueError:  # a scene may come from anywhere
        return None
    return facts if isinstance(facts, dict) else None


def is_synthetic(node: slicer.vtkMRMLNode) -> bool:
    """Tell whether an image or segmentation was made by augmentation, simulation or synthesis."""
    return bool(node.GetAttribute(SYNTHETIC))


def model_title(facts: Mapping[str, Any]) -> str:
    """Return name and version of the model, for instance "Brain extraction 1.0.0"."""
    main = _main_facts(facts)
    return " ".join(part for part in (main["Model"], main["ModelVersion"]) if part)


def title_of(bundles: Sequence[ModelBundle | None]) -> str:
    """Return the :func:`model_title` that a result of these models has; "" where one is not known."""
    from meddl.inference.joining import joined_name

    known = [bundle for bundle in bundles if bundle is not None]
    if not known or len(known) < len(bundles):
        return ""
    names = [bundle.name for bundle in known]
    versions = " + ".join(dict.fromkeys(bundle.version for bundle in known))
    name = joined_name(names) if len(names) > 1 else names[0]
    return model_title({"model": {"name": name, "version": versions}})


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
