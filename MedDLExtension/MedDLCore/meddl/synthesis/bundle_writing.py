"""A generator as a MONAI Bundle: config, metadata, weights and a page about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from meddl.datasets.markdown import inline, table
from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.cutting import SLICE_AXIS, plane_axes
from meddl.synthesis.facts import SynthesisFacts

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
LEGAL = "Not for diagnosis or treatment: it shows nobody, and nothing in it can be relied on."
TITLES = {"gan": "GAN", "rectified_flow": "rectified flow", "ddpm": "diffusion"}
WEIGHTS = "models/model.safetensors"
KEPT_BACK = (
    "The folder 'training', where it is still there, is not part of the model: its pictures show images of real people "
    "beside synthetic ones. Take it out before the model is given to others."
)


def inference_config(config: SynthesisConfig, facts: SynthesisFacts, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``inference.json``; one that takes label maps brings them to the voxels it was trained on."""
    start: dict[str, Any] = {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(definition),
    }
    if not facts.conditioned:
        return start
    axes = plane_axes(config)
    pixdim = [facts.spacing_mm if axis in axes else -1.0 for axis in range(3)]
    steps = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": [["L", "R"], ["P", "A"], ["I", "S"]]},
        {"_target_": "Spacingd", "keys": "image", "pixdim": pixdim, "mode": "nearest"},
    ]
    inferer: dict[str, Any] = {"_target_": "SlidingWindowInferer", "roi_size": list(config.size)}
    if config.dimensions == 2:
        inferer = {**inferer, "_target_": "SliceInferer", "spatial_dim": SLICE_AXIS[config.plane]}
    inferer |= {"sw_batch_size": 4, "overlap": 0.25, "mode": "gaussian"}
    return {**start, "preprocessing": {"_target_": "Compose", "transforms": steps}, "inferer": inferer}


def metadata_of(config: SynthesisConfig, facts: SynthesisFacts, name: str, license: str = "") -> dict[str, Any]:
    """Return ``metadata.json``: what the generator makes and of how little data it was made.

    Args:
        config: of the training.
        facts: of the generator.
        name: of the model, for people.
        license: of the data.
    """
    told = facts.trained_on
    cases, patients, examples = (int(told.get(key, 0)) for key in ("cases", "patients", "examples"))
    made_of = (
        f"Trained on {examples} {'slices' if config.dimensions == 2 else 'patches'} of {_count(cases, 'case')} of "
        f"{_count(patients, 'person', 'people')}."
    )
    what = "images that fit a label map" if facts.conditioned else "images out of noise"
    shape = " x ".join(map(str, config.size))
    structures = ", ".join(label for value, label in facts.labels.items() if value)
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "trained by MedDL"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "name": name,
        "task": "reconstruction" if facts.conditioned else "generation",
        "description": f"{made_of} Makes {what} ({TITLES[config.kind]}, {shape} voxels of {facts.spacing_mm:g} mm).",
        "authors": "MedDL user",
        "copyright": "the owner of the data it was trained on",
        "license": license or "not stated: whoever owns the data it was trained on decides",
        "intended_use": "Synthetic images for training other models, in addition to real ones. Judge it before use: "
        "whether it helps, and whether it gives images of its training back.",
        "limits": f"{made_of} It knows nothing that these do not show. {LEGAL}",
        "network_data_format": {
            "inputs": {"image": _input(config, facts)},
            "outputs": {"pred": _image(config, facts)},
        },
        "meddl": {
            "task": "reconstruction" if facts.conditioned else "generation",
            **({"reconstruction": {"units": "network"}} if facts.conditioned else {}),
            **({"structures": structures} if structures else {}),
            "synthesis": facts.to_metadata(),
        },
    }


def readme_of(metadata: Mapping[str, Any], facts: SynthesisFacts) -> str:
    """Return a page for people about a generator."""
    labels = f"\n## Labels\n\n{table(('value', 'structure'), facts.labels.items())}\n" if facts.conditioned else ""
    return (
        f"# {inline(metadata['name'])}\n\n{metadata['description']}\n\n**Use**: {metadata['intended_use']}\n\n"
        f"**Limits**: {metadata['limits']}\n\n**Before sharing**: {KEPT_BACK}\n{labels}"
    )


def in_json(data: Mapping[str, Any]) -> bytes:
    """Return JSON for people, the same bytes for the same data."""
    return (json.dumps(data, indent=4, ensure_ascii=False) + "\n").encode()


def weights(state: Mapping[str, Any]) -> bytes:
    """Return the file of a state dictionary."""
    from safetensors.torch import save

    return bytes(save({name: value.contiguous() for name, value in state.items()}))


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _input(config: SynthesisConfig, facts: SynthesisFacts) -> dict[str, Any]:
    shape = list(config.size)
    if not facts.conditioned:
        return {"type": "noise", "format": "noise", "num_channels": 1, "spatial_shape": shape, "dtype": "float32",
                "value_range": [], "is_patch_data": False, "channel_def": {"0": "noise"}}  # fmt: skip
    return {
        "type": "image",
        "format": "segmentation",
        "modality": "label map",
        "num_channels": 1,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [0, max(facts.labels)],
        "is_patch_data": True,
        "channel_def": {"0": "label map"},
    }


def _image(config: SynthesisConfig, facts: SynthesisFacts) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": facts.modality,
        "num_channels": 1,
        "spatial_shape": list(config.size),
        "dtype": "float32",
        "value_range": [facts.low, facts.high],
        "is_patch_data": facts.conditioned,
        "channel_def": {"0": "synthetic image"},
    }
