"""What a bundle is for is told by its facts; those that are not for this program are refused by name, with reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from core import zoo_bundles
from core.zoo_bundles import compose, metadata, runner
from meddl.errors import ModelError
from meddl.inference import Predictor
from meddl.models import ModelBundle

RGB = {"type": "magnitude", "format": "RGB", "modality": "regular", "num_channels": 3, "spatial_shape": [64, 64]}
CLASSES = {"type": "probabilities", "format": "classes", "num_channels": 3, "spatial_shape": [1, 3]}
POINTS = {"type": "tuples", "format": "points", "num_channels": 2, "spatial_shape": [2, 3]}
PLAIN = {"type": "image", "format": "magnitude", "channel_def": {"0": "image"}}


@pytest.mark.parametrize(
    ("meta", "task"),
    [
        (metadata(), "segmentation"),
        (metadata("Neural architecture search on the pancreas"), "segmentation"),
        (metadata("segmentation of a gland", output={"format": "labels"}), "segmentation"),
        (metadata("Breast density classification", output={**CLASSES, "format": "labels"}), "classification"),
        (metadata("in-body frames", image=RGB, output=CLASSES), "classification"),
        (
            metadata("metastasis", output={**CLASSES, "type": "probability", "format": "classification"}),
            "classification",
        ),
        (metadata("lung nodules", output={"type": "object", "format": "dict"}), "detection"),
        (metadata("identify valve insertion points", output=POINTS), "landmarks"),
        (metadata("denoising of low-dose CT", output=PLAIN), "reconstruction"),
        (metadata("MR to CT synthesis", output=PLAIN), "reconstruction"),
        (metadata("hand registration", image={"num_channels": 2}, output=PLAIN), "registration"),
        (metadata("CT image synthesis", image={"type": "noise", "format": "image"}, output=PLAIN), "generation"),
        (metadata("anything", meddl={"task": "classification"}), "classification"),
        (metadata("anything", meddl={"task": "denoising"}), "reconstruction"),
    ],
    ids=lambda value: value if isinstance(value, str) else value["task"],
)
def test_the_task_is_told_by_formats_and_words(meta: dict[str, Any], task: str, tmp_path: Path) -> None:
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", runner(), meta))
    assert bundle.task == task
    if task not in ("registration", "generation"):
        assert bundle.refusal is None


def test_what_makes_ct_out_of_nothing_is_told_without_formats(tmp_path: Path) -> None:
    meta = metadata("CT image synthesis", description="creates 3D CT from Gaussian noise", network_data_format=None)
    bundle = ModelBundle.open(
        zoo_bundles.write(tmp_path / "b", {"autoencoder_def": {"_target_": "AutoencoderKL"}}, meta)
    )
    assert bundle.task == "generation" and "noise" in str(bundle.refusal)


CLICKS = compose({"_target_": "LoadImaged", "keys": "image"}, {"_target_": "AddClickSignalsd", "image": "image"})
GUIDED = compose({"_target_": "scripts.transforms.OrientationGuidanced", "ref_image": "image"})


@pytest.mark.parametrize(
    ("config", "meta", "reason"),
    [
        (runner(), metadata("hand x-rays", image={"type": "tuples", "format": "latent"}), "out of noise"),
        (runner(), metadata("x", image={"num_channels": 2, "channel_def": {"0": "moving", "1": "fixed"}}), "lays one"),
        (runner(), metadata("x", image={"type": "text", "format": "prompt"}), "in words"),
        (runner(), metadata("Nuclei segmentation", image=RGB), "microscope"),
        (runner(), metadata("Tumor", image=RGB, description="haematoxylin and eosin sections"), "microscope"),
        (runner(dataset={"_target_": "MaskedPatchWSIDataset"}), metadata("metastasis detection"), "whole slides"),
        (runner(network_def={"_target_": "HoVerNet"}), metadata("x"), "microscope"),
        (runner(preprocessing=CLICKS), metadata("x"), "AddClickSignalsd"),
        (runner(preprocessing=GUIDED), metadata("x"), "OrientationGuidanced"),
        (runner(input_dict="${'image': 'a.nii.gz', 'label_prompt': [3]}"), metadata("x"), "label_prompt"),
        (runner(), metadata("x", image={"num_channels": 2, "channel_def": {"0": "CT", "1": "click map"}}), "click map"),
    ],
    ids=["noise", "pair", "text", "nuclei", "stain", "slide", "class", "clicks", "guidance", "prompt", "channel"],
)
def test_models_of_another_kind_are_refused_by_name(
    config: dict[str, Any], meta: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config, {**meta, "name": "Something like it"}))
    assert bundle.refusal is not None
    assert "'Something like it'" in bundle.refusal and reason in bundle.refusal
    assert bundle.check().refusal == bundle.refusal
    with pytest.raises(ModelError, match="Something like it"):
        Predictor(bundle, random_weights=True)


@pytest.mark.parametrize(
    "meta",
    [
        metadata("liver tumor segmentation", description="confirmed by histology; generated labels were corrected"),
        metadata("skin lesion classification", image=RGB, output=CLASSES, description="proven by pathology"),
        metadata("brain tumor", description="seeds and signal intensities, prompted follow-up scans"),
        metadata("chest pathology classification", image={**RGB, "modality": "DX"}, output=CLASSES),
        metadata("basal cell carcinoma", image=RGB, output=CLASSES, description="histologically proven"),
        metadata("tumor", image={"num_channels": 2, "channel_def": {"0": "T1 signal", "1": "seeded PET"}}),
        metadata("report of lesions", description="a text about registration"),
    ],
    ids=["histology in CT", "dermoscopy", "words", "chest", "skin", "signal", "text"],
)
def test_words_alone_refuse_nothing(meta: dict[str, Any], tmp_path: Path) -> None:
    assert ModelBundle.open(zoo_bundles.write(tmp_path / "b", runner(), meta)).refusal is None
