"""Hostile and broken inputs of generators: each ends in a sentence, soon, and touches nothing that is not its own."""

from __future__ import annotations

import time

import pytest
import torch
from core.test_synthesis_zoo import METADATA, bundle, latent_diffusion
from meddl.errors import ModelError, UsageError
from meddl.networks import ImageFromNoise, LabelsToImage
from meddl.synthesis import SynthesisConfig, SynthesisFacts
from meddl.synthesis.networks import make_network, network_config
from meddl.synthesis.synthesizer import Synthesizer
from torch import nn

SOUND = {"kind": "gan", "conditioned": True, "size": [16, 16], "spacing_mm": 1.0, "labels": {"0": "back", "1": "Liver"}}
INFINITE = float("inf")


# --- What a bundle says of itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"size": [INFINITE, 16]},
        {"size": [10**9, 10**9]},
        {"spacing_mm": INFINITE},
        {"spacing_mm": 1e-9},
        {"low": -INFINITE},
        {"high": INFINITE},
        {"labels": {"-1": "Liver", "300": "Spleen"}},
        {"labels": {"1.5": "Liver"}},
        {"trained_on": {"images_sha256": 5}},
        {"trained_on": {"images_sha256": [[1]]}},
    ],
    ids=str,
)
def test_absurd_facts_are_a_damaged_model(change):
    with pytest.raises(ModelError, match="Train it anew"):
        SynthesisFacts.from_metadata({**SOUND, **change})


def test_names_in_the_facts_steer_nothing():
    labels = {"0": "back", "1": "\x1b[2J\u202eLiver\nTotal"}
    facts = SynthesisFacts.from_metadata({**SOUND, "labels": labels, "modality": "\x07" + "M" * 5000})
    assert all(name.isprintable() for name in facts.labels.values()) and facts.labels[1].endswith("Liver Total")
    assert facts.modality.isprintable() and len(facts.modality) < 100


def test_a_network_that_would_fill_the_memory_is_not_made():
    layer = nn.Conv2d(6, 1, 1)
    for size, more in (((60_000, 60_000), {}), ((16, 16), {"noise_channels": 60_000_000})):
        with pytest.raises(ValueError, match="too large"):
            LabelsToImage(layer, "gan", labels=2, size=size, **more)
    with pytest.raises(ValueError, match="256"):
        LabelsToImage(layer, "gan", labels=1_000_000, size=(16, 16))
    with pytest.raises(ValueError, match="too large"):
        ImageFromNoise(layer, "gan", (16, 16), latent=10**11)


# --- Generators of the Model Zoo --------------------------------------------------------------------------------------


def test_a_long_number_in_the_description_takes_no_time(tmp_path):
    opened, _ = bundle(tmp_path, latent_diffusion(), {**METADATA, "image_classes": "1" * 20_000})
    before = time.perf_counter()
    assert Synthesizer(opened).facts.spacing_mm == 1.0
    assert time.perf_counter() - before < 5


@pytest.mark.parametrize("change", [{"strides": [[2, 2], 2]}, {"strides": [0, 2]}, {"strides": [2] * 3000}], ids=str)
def test_odd_strides_of_a_gan_are_told(tmp_path, change):
    network = {"_target_": "Generator", "latent_shape": 64, "start_shape": [8, 4, 4], "channels": [8, 1], **change}
    opened, _ = bundle(tmp_path, {"network_def": network, "device": "cpu"})
    with pytest.raises(ModelError, match=r"does not tell|too many"):
        Synthesizer(opened)


def test_a_decoder_of_absurd_depth_is_told(tmp_path):
    decoder = {**latent_diffusion()["autoencoder_def"], "channels": [8] * 20_000}
    opened, _ = bundle(tmp_path, latent_diffusion(autoencoder_def=decoder))
    with pytest.raises(ModelError):
        Synthesizer(opened)


# --- Settings of a training -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"seed": 10**30},
        {"spacing_mm": INFINITE},
        {"spacing_mm": float("nan")},
        {"size": [100_000, 100_000]},
        {"batch_size": 10**9},
        {"sampling_steps": 10**9},
        {"steps": 10**30},
        {"features": [100_000]},
        {"features": [8] * 12},
        {"kind": "gan", "conditioned": False, "size": [24, 24], "features": [8] * 5},
        {"size": [24, 24], "features": [8] * 5},
    ],
    ids=str,
)
def test_settings_that_no_training_can_have_are_told_at_once(change):
    with pytest.raises(UsageError):
        SynthesisConfig.from_dict(change)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "gan", "size": [16, 16], "features": [8]},
        {"kind": "gan", "conditioned": False, "size": [24, 16], "features": [8, 8, 8, 8]},
        {"size": [16, 16], "features": [6, 6, 6, 6]},
        {"size": [16, 16], "features": [8, 8, 8, 8, 8]},
        {"kind": "gan", "size": [16, 16], "features": [2]},
    ],
    ids=str,
)
def test_what_settings_allow_makes_an_image(said):
    config = SynthesisConfig.from_dict({**said, "sampling_steps": 1})
    network = make_network(network_config(config, 3 if config.conditioned else 0, 0.0, 1.0)).eval()
    with torch.inference_mode():
        made = network.generate(torch.zeros(1, 1, *config.size) if config.conditioned else None, 1)
    assert made.shape == (1, 1, *config.size)
