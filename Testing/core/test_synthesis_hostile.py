"""What others have written, or a slip of the hand, where a generator is made: each is told in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from core.maisi_bundle import DDPM, DICTIONARY, RFLOW, SIZES, body, config, write
from meddl.errors import ModelError, UntrustedModelError, UsageError
from meddl.models.bundle import ModelBundle
from meddl.models.restricted_config import RestrictedConfig
from meddl.synthesis import SynthesisConfig, free_gan_trainer
from meddl.synthesis.maisi_config import maisi_config
from meddl.synthesis.maisi_labels import maisi_labels
from meddl.synthesis.networks import discriminator_config, make_network
from meddl.synthesis.synthesizer import Synthesizer
from meddl.synthesis.zoo_maisi import LabelsToCT
from meddl.volume import Volume

VECTOR = {"_target_": "meddl.networks.VectorToImage", "latent": 8, "size": [32, 32], "features": [8, 16]}
FOLDED = {
    "_target_": "meddl.networks.Folded", "network": {"_target_": "torch.nn.Identity"}, "fold": [2, 2, 2],
    "in_channels": 1, "out_channels": 1, "features": 8,
}  # fmt: skip
MAISI = config()
RUN = "$__import__('os').system('touch pwned')"


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    monkeypatch.setattr(LabelsToCT, "known_sizes", SIZES)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The folder of a bundle with weights."""
    return write(tmp_path_factory.mktemp("maisi") / "good")[0].path / "models"


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        # A text, or a list, where a number belongs: times a number, or its remainder, it is as long as it likes.
        (VECTOR, {"size": ["x%3000000000d", 32]}),
        (VECTOR, {"features": ["a" * 100], "size": [16_384, 2048]}),
        (VECTOR, {"features": [[1] * 100], "size": [16_384, 2048]}),
        (MAISI["diffusion_unet_def"], {"num_channels": ["x%3000000000d", 8, 16, 16]}),
        (VECTOR, {"size": [16_384] * 3}),
        (VECTOR, {"size": [16_384] * 5, "features": [8]}),
        (VECTOR, {"size": [-32, -32]}),
        (VECTOR, {"size": [0, 0]}),
        (VECTOR, {"size": [True, True], "features": [True]}),
        (VECTOR, {"features": []}),
        (VECTOR, {"features": [1] * 20_000}),
        (VECTOR, {"latent": RUN}),
        (VECTOR, {"latent": "@network_def"}),
        (FOLDED, {"fold": [17, 2, 2]}),
        (FOLDED, {"fold": {"a": 1, "b": 2}}),
        (FOLDED, {"features": 16_384, "in_channels": 16_384}),
        (FOLDED, {"network": {"_target_": "os.system", "command": "touch pwned"}}),
        (FOLDED, {"network": "@network_def"}),
        (MAISI["diffusion_unet_def"], {"num_res_blocks": 16_384, "spatial_dims": 3, "in_channels": 4}),
        (MAISI["autoencoder_def"], {"ckpt_path": "/etc/passwd"}),
        (MAISI["controlnet_def"], {"_mode_": "debug"}),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_a_network_may_be_given(tmp_path, monkeypatch, network, changes):
    monkeypatch.chdir(tmp_path)
    tree = {"network_def": {**network, **changes}, "spatial_dims": 3, "latent_channels": 4, "image_channels": 1}
    with pytest.raises((ModelError, UntrustedModelError)) as told:
        RestrictedConfig(tree, bundle_root=tmp_path).get("network_def")
    assert len(str(told.value)) < 600 and not list(tmp_path.iterdir())


def maisi(folder, weights, changes):
    write(folder, {**config(), **changes}, weights=False)
    (folder / "models").rmdir()
    _copy(weights, folder / "models")
    return ModelBundle.open(folder)


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for each in source.iterdir():
        (target / each.name).hardlink_to(each)


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_scheduler": {**RFLOW, "base_img_size_numel": 0}},
        {"noise_scheduler": {**RFLOW, "spatial_dim": 0}},
        {"noise_scheduler": {**DDPM, "schedule": "sigmoid_beta", "sig_range": 10**300}},
        {"noise_scheduler": {**DDPM, "schedule": "nothing"}},
        {"noise_scheduler": {**DDPM, "beta_end": {"_target_": "os.system", "command": "touch pwned"}}},
        {"autoencoder_def": {**MAISI["autoencoder_def"], "num_channels": []}},
        {"autoencoder_def": {**MAISI["autoencoder_def"], "num_splits": 16_384}},
        {"autoencoder_sliding_window_infer_size": [1, 1, 1]},
        {"diffusion_unet_def": {**MAISI["diffusion_unet_def"], "_disabled_": True}},
        {"label_dict_json": "/etc/passwd"},
        {"trained_controlnet_path": "/etc/passwd"},
        {"modality": RUN},
    ],
    ids=lambda each: str(each)[:60],
)
def test_what_a_bundle_of_maisi_may_tell(tmp_path, weights, monkeypatch, changes, capfd):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    bundle = maisi(tmp_path / "bundle", weights, changes)
    with pytest.raises((ModelError, UntrustedModelError)) as told:
        Synthesizer(bundle, device="cpu").sample(labels=Volume(body()[None], np.diag([2.0, 2.0, 2.5, 1.0])))
    assert len(str(told.value)) < 600 and not list((tmp_path / "here").iterdir())
    assert not capfd.readouterr().out  # what is made is told there as JSON


@pytest.mark.parametrize(
    "found",
    [
        {}, [1, 2], {"liver": -1}, {"liver": 256}, {"liver": 1.0}, {"liver": True}, {"liver": 1, "spleen": 1},
        {"body": 0}, {**DICTIONARY, "x": 200}, "[" * 100_000, '{"liver": 1' + "0" * 10_000 + "}",
    ],
    ids=lambda each: str(each)[:30],
)  # fmt: skip
def test_odd_dictionaries_are_told(tmp_path, found):
    bundle, _ = write(tmp_path, weights=False)
    (tmp_path / "configs" / "label_dict.json").write_text(found if isinstance(found, str) else json.dumps(found))
    with pytest.raises(ModelError, match="dictionary"):
        maisi_labels(bundle, 8)


def test_a_body_is_one_however_it_is_written(tmp_path):
    bundle, _ = write(tmp_path, weights=False, dictionary={**DICTIONARY, "Body": 200, "x" * 100_000: 7})
    labels = maisi_labels(bundle, 8)
    assert labels.body == 200 and len(labels.names[7]) <= 200


def test_a_wide_level_counts_where_memory_is_reckoned(tmp_path):
    wide = {**MAISI["autoencoder_def"], "num_channels": [4, 4096, 8]}
    bundle, _ = write(tmp_path, config(autoencoder_def=wide), weights=False)
    assert maisi_config(bundle).decoder == 512 and maisi_config(bundle).first == 8


def test_labels_without_end_are_none(tmp_path):
    bundle, _ = write(tmp_path, weights=False)
    labels = np.where(body() == 1, np.inf, body().astype(np.float32))
    with pytest.raises(UsageError, match="whole numbers"):
        Synthesizer(bundle, device="cpu").sample(labels=Volume(labels[None], np.eye(4)))


@pytest.mark.parametrize("size", [(16, 16), (16, 128), (256, 24), (16, 16, 64), (48, 128)], ids=str)
def test_a_discriminator_sees_long_images_too(size):
    made = make_network(discriminator_config(SynthesisConfig("gan", conditioned=False, size=size), 0))
    with torch.inference_mode():
        assert made(torch.zeros(1, 1, *size))[-1].numel() > 0


def test_numbers_far_from_zero_still_have_a_shape():
    numbers = free_gan_trainer.Numbers(3)
    for step in range(40):
        numbers.follow(torch.full((4, 3), 900.0) + 1e-3 * torch.randn(4, 3), torch.full((4, 3), 1e-4), step)
    assert torch.isfinite(numbers.drawn(5)).all()
