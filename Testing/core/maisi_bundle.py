"""A bundle as the Model Zoo's ``maisi_ct_generative``, its networks made small by the same arguments."""

from __future__ import annotations

import json
import zlib

import numpy as np
import torch
from meddl.models.bundle import ModelBundle
from meddl.randomness import Stream, normal_field
from meddl.synthesis.maisi_grid import KnownSizes

DICTIONARY = {
    "liver": 1, "dummy1": 2, "spleen": 3, "right kidney": 5, "left kidney": 14, "bladder": 15, "brain": 22,
    "hepatic tumor": 26, "left lung upper lobe": 28, "vertebrae L5": 33, "left rib 1": 63, "skull": 120,
    "left femur": 93, "left iliac vena": 60,
}  # fmt: skip
METADATA = {
    "name": "Small CT", "version": "0.4.5", "task": "CT image synthesis", "data_source": "nobody",
    "description": "A generative model for creating 3D CT from Gaussian noise",
    "generator_data_format": {"inputs": {"latent": {"type": "noise", "format": "image"}},
                              "outputs": {"pred": {"type": "feature", "format": "image"}}},
}  # fmt: skip
WEIGHTS = {"autoencoder": "autoencoder_epoch273.pt", "diffusion_unet": "unet.pt", "controlnet": "controlnet.pt"}
SIZES = KnownSizes(across=(32, 64), along=(32, 64), head_mm=48.0, body_mm=64.0, good_mm=(2.0, 2.5))
"""As MAISI's, but small."""
SCALE = 0.9
DDPM = {
    "_target_": "monai.networks.schedulers.ddpm.DDPMScheduler", "num_train_timesteps": 3, "beta_start": 0.05,
    "beta_end": 0.3, "schedule": "scaled_linear_beta", "clip_sample": False,
}  # fmt: skip
RFLOW = {
    "_target_": "monai.networks.schedulers.rectified_flow.RFlowScheduler", "num_train_timesteps": 1000,
    "use_discrete_timesteps": False, "use_timestep_transform": True, "sample_method": "uniform", "scale": 1.4,
}  # fmt: skip
_NETWORKS = "monai.apps.generation.maisi.networks"


def config(scheduler=DDPM, **changes):
    """Return an inference config; with a flow, as the authors' second version has its networks."""
    flow = scheduler is RFLOW
    levels = {
        "spatial_dims": "@spatial_dims", "in_channels": "@latent_channels", "num_channels": [8, 8, 16, 16],
        "attention_levels": [False, False, True, True], "num_head_channels": [0, 0, 8, 8], "num_res_blocks": 1,
        "norm_num_groups": 4, "use_flash_attention": True,
        **({"num_class_embeds": 4, "resblock_updown": True, "include_fc": True} if flow else {}),
    }  # fmt: skip
    return {
        "imports": ["$import torch", "$from pathlib import Path", "$import scripts"],
        "bundle_root": ".",
        "model_dir": "$@bundle_root + '/models'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "trained_autoencoder_path": "$@model_dir + '/autoencoder_epoch273.pt'",
        "trained_diffusion_path": "$@model_dir + '/unet.pt'",
        "trained_controlnet_path": "$@model_dir + '/controlnet.pt'",
        "label_dict_json": "$@bundle_root + '/configs/label_dict.json'",
        "label_dict_remap_json": "$@bundle_root + '/configs/label_dict_124_to_132.json'",
        "num_inference_steps": 3,
        "spatial_dims": 3, "image_channels": 1, "latent_channels": 4,
        "autoencoder_sliding_window_infer_size": [96, 96, 96],
        "autoencoder_sliding_window_infer_overlap": 0.6667,
        "autoencoder_def": {
            "_target_": f"{_NETWORKS}.autoencoderkl_maisi.AutoencoderKlMaisi", "spatial_dims": "@spatial_dims",
            "in_channels": "@image_channels", "out_channels": "@image_channels", "latent_channels": "@latent_channels",
            "num_channels": [4, 4, 8], "num_res_blocks": [1, 1, 1], "norm_num_groups": 2, "norm_eps": 1e-06,
            "attention_levels": [False, False, False], "with_encoder_nonlocal_attn": False,
            "with_decoder_nonlocal_attn": False, "use_checkpointing": False, "use_convtranspose": False,
            "norm_float16": True, "num_splits": 2, "dim_split": 1,
        },
        "diffusion_unet_def": {
            "_target_": f"{_NETWORKS}.diffusion_model_unet_maisi.DiffusionModelUNetMaisi", **levels,
            "out_channels": "@latent_channels", "include_top_region_index_input": not flow,
            "include_bottom_region_index_input": not flow, "include_spacing_input": True,
        },
        "controlnet_def": {
            "_target_": f"{_NETWORKS}.controlnet_maisi.ControlNetMaisi", **levels,
            "conditioning_embedding_in_channels": 8, "conditioning_embedding_num_channels": [4, 4, 8],
        },
        "mask_generation_scale_factor": "$@checkpoint_mask_generation_diffusion_unet['scale_factor']",
        "scale_factor": "$@checkpoint_diffusion_unet['scale_factor'].to(@device)",
        "noise_scheduler": scheduler,
        "ldm_sampler": {"_target_": "scripts.sample.LDMSampler", "autoencoder": "@autoencoder"},
        "run": ["$@ldm_sampler.sample_multiple_images(@num_output_samples)"],
        **changes,
    }  # fmt: skip


def networks(folder):
    """Return the three networks of a bundle on a processor, with weights that are the same everywhere."""
    found = {}
    for name in WEIGHTS:
        id = f"{name}_def"
        changes = {f"{id}::use_flash_attention": False}
        if name == "autoencoder":
            changes = {f"{id}::norm_float16": False}
        network = ModelBundle.open(folder).restricted_config(overrides=changes).get(id)
        for place, weights in network.named_parameters():
            drawn = normal_field(Stream("maisi", name, place).token(), weights.shape)
            flat = weights.dim() == 1  # of a normalization, round 1; or what is added, round 0
            scale = 0.1 if flat else (1.0 / weights[0].numel()) ** 0.5
            weights.data = scale * torch.from_numpy(drawn) + float(flat and place.endswith("weight"))
        found[name] = network.eval()
    last = found["autoencoder"].decoder.blocks[-1].conv.conv
    last.weight.data *= 0.15
    last.bias.data.fill_(0.45)  # somewhere between air and bone
    return found


def write(folder, tree=None, weights=True, dictionary=DICTIONARY):
    """Write a bundle whose scripts must not run; return it and its networks."""
    for part in ("configs", "models", "scripts"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    remap = {"liver": [1, 1], "body": [124, 200]}
    named = {"inference": tree or config(), "metadata": METADATA, "label_dict_124_to_132": remap}
    if dictionary is not None:
        named["label_dict"] = dictionary
    for name, content in named.items():
        (folder / "configs" / f"{name}.json").write_text(json.dumps(content))
    for name in ("__init__", "sample", "utils"):
        (folder / "scripts" / f"{name}.py").write_text("raise SystemExit('a script of the bundle was run')")
    if not weights:
        return ModelBundle.open(folder), {}
    made = networks(folder)
    states = {name: network.state_dict() for name, network in made.items()}
    saved = {
        "autoencoder": states["autoencoder"],
        "diffusion_unet": {"epoch": 3, "loss": 0.5, "scale_factor": torch.tensor(SCALE),
                           "unet_state_dict": states["diffusion_unet"]},
        "controlnet": {"epoch": 3, "controlnet_state_dict": states["controlnet"]},
    }  # fmt: skip
    for name, file in WEIGHTS.items():
        torch.save(saved[name], folder / "models" / file)
    return ModelBundle.open(folder), made


def body(shape=(32, 32, 32)):
    """Return a label map of a trunk with a liver, a tumor in it, a kidney, a rib and a part of a lung."""
    i, j, k = np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in shape], indexing="ij", sparse=True)
    labels = np.zeros(shape, np.uint8)
    labels[(i / 0.42) ** 2 + (j / 0.3) ** 2 + 0 * k < 1] = 200
    for (a, b, c), (x, y, z), value in (
        ((0.15, 0.02, 0.1), (0.15, 0.17, 0.25), 1), ((0.2, 0.05, 0.1), (0.08, 0.08, 0.1), 26),
        ((-0.15, -0.08, -0.1), (0.1, 0.1, 0.2), 14), ((0.0, -0.2, 0.2), (0.2, 0.08, 0.08), 63),
        ((0.1, 0.05, 0.4), (0.2, 0.15, 0.12), 28),
    ):  # fmt: skip
        labels[((i - a) / x) ** 2 + ((j - b) / y) ** 2 + ((k - c) / z) ** 2 < 1] = value
    return labels


def noise(shape=(4, 8, 8, 8), name="noise"):
    """Return noise that is the same everywhere."""
    return normal_field(Stream("maisi", name, zlib.crc32(str(shape).encode())).token(), shape)
