"""A tiny nnU-Net v2 result folder with random weights, written as nnU-Net's training writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

LAYERS = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def plans(dimensions: int = 3, channels: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a ``plans.json`` whose one configuration is ``3d_fullres`` (or ``2d``)."""
    axes = dimensions
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": "nnUNetPlans_x",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 24, 20][-axes:],
        "median_image_size_in_voxels": [20.0] * axes,
        "spacing": [2.0, 1.25, 1.5][-axes:],
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization"][:channels],
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": resampling,
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": 2,
                "features_per_stage": [4, 8],
                "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
                "kernel_sizes": [[3] * axes] * 2,
                "strides": [[1] * axes, [2] * axes],
                "n_conv_per_stage": [1, 1],
                "n_conv_per_stage_decoder": [1],
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": LAYERS,
        },
        **changes.pop("configuration", {}),
    }
    intensities = {
        name: 10.0 * index
        for index, name in enumerate(("min", "percentile_00_5", "mean", "median", "std", "percentile_99_5", "max"))
    }
    return {
        "dataset_name": "Dataset007_Blobs",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [2.0, 1.25, 1.5],
        "original_median_shape_after_transp": [20, 20, 20],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d" if axes == 2 else "3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(index): intensities for index in range(channels)},
        **changes,
    }


def dataset(channels: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a ``dataset.json``."""
    return {
        "channel_names": {str(index): ("T1", "CT")[index] for index in range(channels)},
        "labels": {"background": 0, "kidney": 1, "tumor": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "license": "CC-BY 4.0",
        **changes,
    }


REGIONS = {
    "labels": {"background": 0, "whole": [1, 2], "core": [2]},
    "regions_class_order": [1, 2],
}


def write_folder(
    folder: Path,
    plans: dict[str, Any],
    dataset: dict[str, Any],
    weights: list[dict[str, Any]],
    *,
    mirror: tuple[int, ...] | None = (0, 1, 2),
) -> Path:
    """Write the result folder with one fold for each state dictionary and return it."""
    import torch

    configuration = next(iter(plans["configurations"]))
    root = folder / "Dataset007_Blobs" / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    for fold, state in enumerate(weights):
        home = root / f"fold_{fold}"
        home.mkdir(parents=True)
        (home / "training_log_2026.txt").write_text("not part of the model")
        checkpoint = {
            "network_weights": state,
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            # As nnU-Net logs: numbers that are numpy's, which PyTorch's restricted reader does not know.
            "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(1.0)], "array": np.arange(3.0)},
            "_best_ema": np.float64(0.5),
            "current_epoch": 1,
            "init_args": {
                "plans": plans, "configuration": configuration, "fold": fold, "dataset_json": dataset,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": mirror,
        }  # fmt: skip
        torch.save(checkpoint, home / "checkpoint_final.pth")
    for name, content in (("plans.json", plans), ("dataset.json", dataset)):
        (root / name).write_text(json.dumps(content))
    return root


def random_weights(plans: dict[str, Any], channels: int, heads: int, count: int = 1) -> list[dict[str, Any]]:
    """Return random state dictionaries for the network of the plans; takes nnU-Net's packages."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    configuration = next(iter(plans["configurations"].values()))
    arguments = dict(configuration["architecture"]["arch_kwargs"])
    for name in LAYERS:
        if arguments[name]:
            arguments[name] = getattr(torch.nn, arguments[name].rpartition(".")[2])
    states = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = PlainConvUNet(input_channels=channels, num_classes=heads, deep_supervision=True, **arguments)
        states.append(network.state_dict())
    return states
