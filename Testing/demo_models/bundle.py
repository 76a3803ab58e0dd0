"""Writing a trained demo model as a MONAI Bundle, and preparing images exactly as that bundle will."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from meddl.inference import RunOptions
from meddl.inference.features import FeatureMonitor, reference_statistics
from meddl.models import ModelBundle, RestrictedConfig
from meddl.models.package_source import sha256_of
from meddl.volume import Volume
from monai.data import MetaTensor
from safetensors.torch import save_file

MODELS = Path(__file__).resolve().parents[2] / "Resources" / "Models"
LOADING = ("LoadImaged", "EnsureChannelFirstd")
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
NOT_CLINICAL = "Not for clinical use."
CPU = RunOptions(device="cpu", engine="torch", precision="float32")
"""How figures are taken: the same on every machine, but for the last digits."""


@dataclass(frozen=True)
class Definition:
    """What of a bundle is known before it is trained.

    Attributes:
        id: the folder's name and the id in the catalog.
        metadata: what is not the same in all demo models.
        inference: the config.
        flat: whether the network looks at single slices.
    """

    id: str
    metadata: Mapping[str, Any]
    inference: Mapping[str, Any]
    flat: bool = False

    @property
    def folder(self) -> Path:
        """Where the bundle lies in the source tree."""
        return MODELS / self.id

    def network(self) -> torch.nn.Module:
        """Return the network, with random weights."""
        return self._config().get("network_def")

    def steps(self) -> list[Any]:
        """Return the preprocessing's transforms, without those that load files."""
        return list(self._config().get("preprocessing", drop=LOADING).transforms)

    def prepare(self, volume: Volume) -> MetaTensor:
        """Return the image as the network gets it, ``(C, ...)`` with its affine."""
        array = volume.array[..., 0] if self.flat else volume.array
        image = MetaTensor(torch.from_numpy(array.astype(np.float32, order="C")), affine=torch.tensor(volume.affine))
        data: dict[str, Any] = {"image": image}
        for step in self.steps():
            data = step(data)
        return data["image"]

    def _config(self) -> RestrictedConfig:
        tree = {**self.inference, "device": "cpu"}
        return RestrictedConfig(tree, bundle_root=self.folder, source="inference.json")


def save_weights(definition: Definition, network: torch.nn.Module, dtype: torch.dtype) -> int:
    """Write the network's weights, rounded to ``dtype``, and round those in memory; returns the file's bytes."""
    state = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    path = definition.folder / "models" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    path.chmod(0o644)  # it is made for its owner only
    if path.stat().st_size > 1_000_000:
        raise ValueError(f"{path} is larger than the megabyte that may be committed")
    return path.stat().st_size


def save_configs(
    definition: Definition, data: str, extra: Mapping[str, Any], performance: str, figures: Mapping[str, float]
) -> ModelBundle:
    """Write configs and README with the figures that were measured on data the training never saw.

    Args:
        definition: the model.
        data: what it was trained on: the description's first sentence.
        extra: what training found out, for the metadata's part "meddl".
        performance: the figures as a sentence.
        figures: the same by name; a test holds the committed weights to them.
    """
    metadata = _metadata(definition, data, extra, performance, figures)
    configs, docs = definition.folder / "configs", definition.folder / "docs"
    for folder in (configs, docs):
        folder.mkdir(parents=True, exist_ok=True)
    (configs / "metadata.json").write_text(_in_lines(metadata) + "\n", encoding="utf-8")
    (configs / "inference.json").write_text(json.dumps(definition.inference, indent=4) + "\n", encoding="utf-8")
    (docs / "README.md").write_text(_readme(definition.id, metadata), encoding="utf-8")
    return ModelBundle.open(definition.folder)


def reference_of(network: torch.nn.Module, layer: str, variants: Iterable[torch.Tensor], data: str) -> dict[str, Any]:
    """Return, for the metadata, how the network sees the images of its training: see meddl.inference.features.

    Args:
        network: trained.
        layer: whose features are looked at.
        variants: ``(C, ...)`` images as training drew them. The people are too few to learn from them alone how images
            of one kind differ; what training made of them is what the network knows.
        data: what they were made of, for the record.
    """
    cases = []
    with torch.inference_mode():
        for image in variants:
            with FeatureMonitor(network, layer) as monitor:
                network(image[None])
            cases.append(monitor.features())
    told = (
        f"{len(cases)} random variants, drawn as in training. {data} The threshold is the greatest distance of one "
        "variant from all others: an image beyond it is unlike anything the network was shown, one within it may "
        "still be of another kind."
    )
    return {**reference_statistics(cases, layer).to_metadata(), "made_of": told}


def load_network(definition: Definition) -> torch.nn.Module:
    """Return the network with the committed weights, ready to answer."""
    from safetensors.torch import load_file

    network = definition.network()
    network.load_state_dict(load_file(definition.folder / "models" / "model.safetensors"))
    return network.eval()


def save_catalog(definition: Definition, bundle: ModelBundle) -> None:
    """Put the model into the catalog, or its new weights' SHA-256 where it is there already."""
    path = MODELS / "catalog.json"
    catalog = json.loads(path.read_text(encoding="utf-8"))
    weights = "models/model.safetensors"
    image = bundle.metadata["network_data_format"]["inputs"]["image"]
    row = {
        "id": definition.id,
        "name": bundle.name,
        "description": bundle.description,
        "task": bundle.task,
        "organ": bundle.metadata["meddl"]["organ"],
        "modality": image["modality"],
        "license": bundle.license,
        "version": bundle.version,
        "keywords": ["demo", "example", "small"],
        "size_mb": 0,
        "source": None,
        "files": {weights: sha256_of(definition.folder / weights)},
    }
    rows = catalog["models"]
    at = next((index for index, each in enumerate(rows) if each["id"] == definition.id), len(rows))
    rows[at : at + 1] = [row]
    path.write_text(json.dumps(catalog, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _metadata(
    definition: Definition, data: str, extra: Mapping[str, Any], performance: str, figures: Mapping[str, float]
) -> dict[str, Any]:
    own = dict(definition.metadata)
    told = f"{data} {performance} {NOT_CLINICAL}"
    meddl = {**own.pop("meddl"), **extra, "performance": told, "held_out": dict(figures)}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "first training"},
        "monai_version": "1.6.1",
        "pytorch_version": "2.13.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {},
        "name": own.pop("name"),
        "task": own.pop("task"),
        "description": f"{data} {own.pop('description')} A demonstration of the software. {NOT_CLINICAL}",
        "authors": "MedDL contributors",
        "copyright": "Copyright (c) the MedDL contributors",
        "license": "Apache-2.0",
        "intended_use": own.pop("intended_use"),
        "limits": own.pop("limits"),
        **own,
        "meddl": meddl,
    }


def _in_lines(metadata: Mapping[str, Any]) -> str:
    """Return JSON with one line for each row of numbers."""
    text = json.dumps(metadata, indent=4)
    rows = re.compile(r"\[\s+(?:-?\d[\d.e+-]*,?\s+)+\]")
    return rows.sub(lambda match: re.sub(r"\s+", " ", match[0]).replace("[ ", "[").replace(" ]", "]"), text)


def _readme(id: str, metadata: Mapping[str, Any]) -> str:
    figures = "\n".join(f"| {name} | {value:g} |" for name, value in metadata["meddl"]["held_out"].items())
    return (
        f"# {metadata['name']}\n\n{metadata['description']}\n\n"
        f"**Use**: {metadata['intended_use']}\n\n**Limits**: {metadata['limits']}\n\n"
        f"**Data**: {metadata['data_source']}\n\n"
        f"## What it reaches on images it never saw\n\n{metadata['meddl']['performance']}\n\n"
        f"| figure | value |\n|---|---|\n{figures}\n\n"
        f"Made by `python3 setup_dev.py train {id}`, which trains it anew and writes this page; "
        "`Testing/core/test_demo_models.py` holds the weights to the figures.\n"
    )
