"""What the configs and metadata of the Model Zoo's generators tell, read without making or running anything."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from meddl.errors import ModelError
from meddl.models import content
from meddl.models.bundle import ModelBundle
from meddl.models.metadata_values import as_mapping, as_text, image_format
from meddl.synthesis.facts import SynthesisFacts

LEVELS = 16
"""The most that an image may be halved or doubled: each level does it once."""

_SIZE_IN_WORDS = re.compile(
    r"(?<![\d.])(\d{1,3}(?:\.\d{1,6})?)\s{0,3}(?:x\s{0,3}\d{1,3}(?:\.\d{1,6})?\s{0,3}){0,2}mm", re.IGNORECASE
)
_LARGEST = 1 << 30
_MODALITIES = ((r"\bMRI?\b", "MR"), (r"\bCT\b", "CT"), (r"x.?ray", "DX"))


def told_facts(bundle: ModelBundle, kind: Any, size: tuple[int, ...]) -> tuple[SynthesisFacts, tuple[str, ...]]:
    """Return what an unconditioned generator makes, and what the user should know, as far as its metadata tell."""
    if math.prod(size) > _LARGEST:
        raise ModelError(f"The model '{bundle.name}' tells of images of {' x '.join(map(str, size))} voxels, too many.")
    metadata = bundle.metadata
    said = " ".join(as_text(metadata.get(key)) for key in ("image_classes", "description", "task"))
    found = _SIZE_IN_WORDS.search(said)
    notes = []
    if not found:
        notes.append(f"The model '{bundle.name}' does not tell the size of its voxels: 1 mm is taken.")
    notes.append(unknown_patients(bundle))
    value_range = as_mapping(as_mapping(metadata.get("autoencoder_data_format")).get("outputs")).get("pred")
    low, high = _range(as_mapping(value_range) or image_format(metadata, "outputs"))
    modality = next((name for word, name in _MODALITIES if re.search(word, said, re.IGNORECASE)), "")
    facts = SynthesisFacts(
        kind, False, size, float(found[1]) if found else 1.0, "axial", {}, low, high, modality, {"dataset": as_text(
            metadata.get("data_source"))},
    )  # fmt: skip
    return facts, tuple(notes)


def unknown_patients(bundle: ModelBundle) -> str:
    """Return the warning that goes with a generator of others."""
    return (f"Nobody can tell here which patients '{bundle.name}' has learned from: make sure that none of them is "
            "among those that judge.")  # fmt: skip


def weights_file(bundle: ModelBundle, keys: tuple[str, ...], name: str) -> Path:
    """Return where the weights of one of a bundle's networks are, by its config or by habit.

    Raises:
        ModelError: the config names a file that is not there, or is outside of the bundle.
    """
    config = bundle.restricted_config()
    for key in keys:
        if (path := config.text(key)) is not None:
            try:
                return content.inside(bundle.path, path)
            except ModelError as error:
                raise ModelError(f"{error.message} Fetch the weights of '{bundle.name}' as the page about the model "
                                 "says, and put them into its folder 'models'.") from error  # fmt: skip
    for ending in (".safetensors", ".pt"):
        if (bundle.path / "models" / f"{name}{ending}").is_file():
            return content.inside(bundle.path, f"models/{name}{ending}")
    return bundle.path / "models" / f"{name}.pt"


def is_shape(value: Any, lengths: Container[int]) -> bool:
    """Say whether a shape is one, of no more numbers than fit into a memory."""
    return (
        isinstance(value, list)
        and len(value) in lengths
        and all(type(each) is int and each > 0 for each in value)
        and math.prod(value) < 1 << 28
    )


def _range(said: Mapping[str, Any]) -> tuple[float, float]:
    limits = said.get("value_range")
    if isinstance(limits, list) and len(limits) == 2 and all(isinstance(each, int | float) for each in limits):
        low, high = float(limits[0]), float(limits[1])
        if low < high:
            return low, high
    return 0.0, 1.0
