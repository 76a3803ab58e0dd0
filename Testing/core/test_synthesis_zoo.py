"""Generators of the Model Zoo: what their own config tells is what runs, and none of their scripts does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from meddl.errors import ModelError, UsageError
from meddl.models.bundle import ModelBundle
from meddl.randomness import Stream, normal_field, uniform_field
from meddl.synthesis.synthesizer import Synthesizer

NOISE = {"inputs": {"latent": {"type": "noise", "format": "image", "num_channels": 2, "spatial_shape": [8, 8]}},
         "outputs": {"pred": {"type": "feature", "format": "image", "num_channels": 2}}}  # fmt: skip
PICTURE = {"type": "image", "format": "image", "num_channels": 1, "value_range": [0, 1]}
METADATA = {"name": "Small diffusion", "version": "1.1.2", "task": "MRI synthesis",
            "description": "Makes brains from Gaussian noise", "image_classes": "Brain MRI with 1.1x1.1 mm voxel size",
            "network_data_format": NOISE, "autoencoder_data_format": {"outputs": {"pred": PICTURE}}}  # fmt: skip


def latent_diffusion(dimensions=2, **changes):
    """Return a config as the Zoo's BraTS generators have it, made small."""
    latent = [2, 8, 8] if dimensions == 2 else [2, 4, 8, 4]
    config = {
        "imports": ["$import torch", "$from scripts.utils import visualize_2d_image", "$import os"],
        "bundle_root": ".",
        "model_dir": "$@bundle_root + '/models'",
        "output_dir": "$@bundle_root + '/output'",
        "create_output_dir": "$Path(@output_dir).mkdir(exist_ok=True)",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "spatial_dims": dimensions,
        "latent_channels": 2,
        "latent_shape": ["@latent_channels", *latent[1:]],
        "autoencoder_def": {
            "_target_": "monai.networks.nets.autoencoderkl.AutoencoderKL", "spatial_dims": "@spatial_dims",
            "in_channels": 1, "out_channels": 1, "latent_channels": "@latent_channels", "channels": [8, 8, 16],
            "num_res_blocks": 1, "norm_num_groups": 4, "norm_eps": 1e-06, "attention_levels": [False, False, False],
            "with_encoder_nonlocal_attn": True, "with_decoder_nonlocal_attn": True, "include_fc": False,
        },
        "network_def": {
            "_target_": "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet", "spatial_dims": "@spatial_dims",
            "in_channels": "@latent_channels", "out_channels": "@latent_channels", "channels": [8, 16],
            "attention_levels": [False, True], "num_head_channels": [0, 8], "num_res_blocks": 1, "norm_num_groups": 4,
            "include_fc": False, "use_combined_linear": False,
        },
        "load_autoencoder_path": "$@bundle_root + '/models/model_autoencoder.pt'",
        "load_autoencoder": "$@autoencoder_def.load_old_state_dict(torch.load(@load_autoencoder_path))",
        "load_diffusion_path": "$@model_dir + '/model.pt'",
        "load_diffusion": "$@network_def.load_old_state_dict(torch.load(@load_diffusion_path))",
        "noise_scheduler": {
            "_target_": "monai.networks.schedulers.ddim.DDIMScheduler",
            "_requires_": ["@load_diffusion", "@load_autoencoder"], "num_train_timesteps": 1000, "beta_start": 0.0015,
            "beta_end": 0.0195, "schedule": "scaled_linear_beta", "clip_sample": False,
        },
        "noise": "$torch.randn([1]+@latent_shape).to(@device)",
        "set_timesteps": "$@noise_scheduler.set_timesteps(num_inference_steps=5)",
        "inferer": {"_target_": "scripts.ldm_sampler.LDMSampler", "_requires_": "@set_timesteps"},
        "run": ["$@create_output_dir", "$@inferer.run(@noise, @autoencoder_def, @network_def, @noise_scheduler)"],
    }  # fmt: skip
    return {**config, **changes}


def bundle(folder, config, metadata=METADATA, weights=()):
    """Write a bundle whose scripts must not run, with random weights."""
    for name, content in (("inference", config), ("metadata", metadata)):
        (folder / "configs").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    (folder / "models").mkdir()
    (folder / "scripts").mkdir()
    for name in ("__init__", "ldm_sampler", "utils"):
        (folder / "scripts" / f"{name}.py").write_text("raise SystemExit('a script of the bundle was run')")
    opened = ModelBundle.open(folder)
    networks = {}
    torch.manual_seed(0)
    for id, name in weights:
        networks[id] = opened.restricted_config().get(id).eval()
        torch.save(networks[id].state_dict(), folder / "models" / name)
    return ModelBundle.open(folder), networks


BOTH = (("network_def", "model.pt"), ("autoencoder_def", "model_autoencoder.pt"))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_latent_diffusion_makes_what_monais_own_inferer_makes(tmp_path, dimensions):
    from monai.inferers import LatentDiffusionInferer
    from monai.networks.schedulers import DDIMScheduler

    opened, networks = bundle(tmp_path, latent_diffusion(dimensions), weights=BOTH)
    synthesizer = Synthesizer(opened, device="cpu")
    (made,) = synthesizer.sample(seed=4)
    size = (32, 32, 1) if dimensions == 2 else (16, 32, 16)
    assert made.image.shape == size and np.allclose(made.image.spacing, 1.1)
    assert synthesizer.facts.kind == "ddpm" and not synthesizer.facts.conditioned
    assert synthesizer.facts.modality == "MR" and synthesizer.facts.size == tuple(n for n in size if n > 1)
    shape = (2, 8, 8) if dimensions == 2 else (2, 4, 8, 4)
    noise = normal_field(Stream("meddl synthesis", 4, 0).token(), shape)
    scheduler = DDIMScheduler(
        1000, beta_start=0.0015, beta_end=0.0195, schedule="scaled_linear_beta", clip_sample=False
    )
    scheduler.set_timesteps(5)
    with torch.inference_mode():
        theirs = LatentDiffusionInferer(scheduler, scale_factor=1.0).sample(
            torch.from_numpy(noise)[None],
            networks["autoencoder_def"],
            networks["network_def"],
            scheduler,
            verbose=False,
        )
    assert np.allclose(made.image.array.reshape(theirs.shape[2:]), theirs[0, 0].numpy(), atol=1e-4)
    assert any("which patients" in note for note in synthesizer.notes)


def test_weights_under_the_names_of_before_are_taken(tmp_path):
    opened, networks = bundle(tmp_path, latent_diffusion(), weights=BOTH)
    before = Synthesizer(opened, device="cpu").sample(seed=1)[0].image.array
    old = {}
    for name, value in networks["autoencoder_def"].state_dict().items():
        for now, then in ((".attn.to_q.", ".to_q."), (".attn.to_k.", ".to_k."), (".attn.to_v.", ".to_v."),
                          (".attn.out_proj.", ".proj_attn."), ("postconv.conv.", "conv.conv.")):  # fmt: skip
            name = name.replace(now, then)
        old[name] = value
    torch.save(old, tmp_path / "models/model_autoencoder.pt")
    again = Synthesizer(ModelBundle.open(tmp_path), device="cpu").sample(seed=1)[0].image.array
    assert set(old) != set(networks["autoencoder_def"].state_dict()) and np.array_equal(before, again)


def test_what_is_missing_or_not_known_here_is_said(tmp_path):
    opened, _ = bundle(tmp_path / "bare", latent_diffusion())
    synthesizer = Synthesizer(opened, device="cpu")  # what it makes can be told without its weights
    with pytest.raises(ModelError, match=r"model\.pt' is missing. Fetch"):
        synthesizer.sample()
    with pytest.raises(UsageError, match="takes no label"):
        from meddl.volume import Volume

        synthesizer.sample(labels=Volume(np.ones((1, 4, 4, 4), np.uint8), np.eye(4)))
    strange = latent_diffusion(noise_scheduler={"_target_": "os.system", "command": "true"})
    for name, config, said in (
        ("scheduler", strange, "system, which is not known"),
        ("maisi", latent_diffusion(controlnet_def={"_target_": "ControlNet", "spatial_dims": 3}), "controlnet_def"),
        ("huge", latent_diffusion(latent_shape=[4, 1 << 20, 1 << 20]), "shape of its noise"),
        ("foreign", {"network_def": {"_target_": "scripts.net.Net"}}, "not known here"),
    ):
        with pytest.raises(ModelError, match=said):
            Synthesizer(bundle(tmp_path / name, config)[0])
    outside = latent_diffusion(load_diffusion_path="/etc/passwd")
    with pytest.raises(ModelError, match="outside"):
        Synthesizer(bundle(tmp_path / "outside", outside)[0], device="cpu").sample()
    segmenter = {**METADATA, "task": "spleen segmentation", "network_data_format": {"inputs": {"image": PICTURE}}}
    with pytest.raises(ModelError, match="for segmentation"):
        Synthesizer(bundle(tmp_path / "other", latent_diffusion(), segmenter)[0])


def test_a_gan_makes_its_image_of_the_numbers_it_was_trained_with(tmp_path):
    config = {
        "latent_size": 8,
        "network_def": {"_target_": "Generator", "latent_shape": "@latent_size", "start_shape": [4, 2, 4],
                        "channels": [4, 1], "strides": [2, 1]},
        "dataset": {"_target_": "Dataset", "data": "$[torch.rand(@latent_size) for i in range(10)]"},
        "postprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}]},
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"}],
    }  # fmt: skip
    metadata = {**METADATA, "name": "Hands", "task": "Generate random hand images", "image_classes": "X-ray"}
    opened, networks = bundle(tmp_path, config, metadata, [("network_def", "model.pt")])
    synthesizer = Synthesizer(opened, device="cpu")
    one, two = synthesizer.sample(2, seed=9)
    noise = (uniform_field(Stream("meddl synthesis", 9, 1).token(), (8,)) + 1) / 2
    with torch.inference_mode():
        theirs = torch.sigmoid(networks["network_def"](torch.from_numpy(noise.astype(np.float32))[None]))[0, 0].numpy()
    assert one.image.shape == (4, 8, 1) and np.allclose(two.image.array[0, ..., 0], theirs, atol=1e-6)
    assert two.image.orientation == "LPS"  # a picture's axes go to the right and down
    assert synthesizer.facts.kind == "gan" and any("1 mm is taken" in note for note in synthesizer.notes)
