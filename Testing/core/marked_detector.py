"""A RetinaNet by hand that puts boxes on bright balls and on nothing else, and images with such balls."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from core import zoo_bundles
from meddl.inference import Predictor, RunOptions
from meddl.models import ModelBundle
from meddl.networks import feature_pyramid
from meddl.volume import Volume

RADIUS_MM = 7.0
_STEADY = 100.0


def bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, marked: bool = True, flat: bool = False, **window: object
) -> ModelBundle:
    """Write a RetinaNet with few channels; with random weights unless ``marked``.

    Args:
        window: what its sliding windows are made with instead: ``roi_size``, ``overlap``, ``mode``.
    """
    monkeypatch.setattr(feature_pyramid, "OUT_CHANNELS", 16)
    config, metadata = copy.deepcopy(zoo_bundles.RETINANET), copy.deepcopy(zoo_bundles.RETINANET_METADATA)
    config["backbone"] = config["backbone"].replace("n_input_channels=1", "n_input_channels=1,widen_factor=0.125")
    window = {"roi_size": [32, 32, 16], "overlap": 0.25, "sw_batch_size": 1, "device": "cpu", **window}
    if flat:
        window["roi_size"] = [32, 32]
        metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["*", "*"]
        config["size_divisible"] = [8, 8]
        config["anchor_generator"]["base_anchor_shapes"] = [[6, 8], [10, 10]]
        config["backbone"] = config["backbone"].replace("spatial_dims=3", "spatial_dims=2").replace("[2,2,1]", "[2,2]")
        config["feature_extractor"] = config["feature_extractor"].replace("@backbone,3", "@backbone,2")
        config["network_def"]["spatial_dims"] = config["detector"]["spatial_dims"] = 2
        config["preprocessing"]["transforms"] = [*config["preprocessing"]["transforms"][:2], {
            "_target_": "ScaleIntensityd", "keys": "@image_key",
        }]  # fmt: skip
    config["detector_ops"][2] = (
        f"$@detector.set_sliding_window_inferer({', '.join(f'{name}={value!r}' for name, value in window.items())})"
    )
    root = zoo_bundles.write(folder, config, metadata)
    made = ModelBundle.open(root)
    torch.manual_seed(0)
    network = Predictor(made, RunOptions(device="cpu"), random_weights=True).stages[-1].network
    if marked:
        _mark(network)
    else:  # as sure of some boxes as a trained one
        heads = network.state_dict()
        heads["classification_head.cls_logits.weight"].normal_(std=0.2)
        heads["regression_head.bbox_reg.weight"].normal_(std=0.1)
    torch.save(network.state_dict(), root / "models" / "model.pt")
    return ModelBundle.open(root)


def image(places: Sequence[Sequence[float]], affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    """Return noise of 0 to 0.3 with a ball round each place (RAS mm), 1 in the middle and 0.5 at its rim."""
    array = np.random.default_rng(0).uniform(0, 0.3, (1, *shape)).astype(np.float32)
    made = Volume(array, affine)
    for place in places:
        near = distance_mm(made, place) / RADIUS_MM
        array[0][near <= 1] = 1 - near[near <= 1] / 2
    return made


def distance_mm(volume: Volume, place: Sequence[float]) -> np.ndarray:
    """Return ``(I, J, K)`` how far each voxel lies from a place (RAS mm)."""
    index = np.indices(volume.shape).reshape(3, -1)
    world = volume.affine[:3, :3] @ index + volume.affine[:3, 3:]
    distance: np.ndarray = np.linalg.norm(world - np.asarray(place)[:, None], axis=0).reshape(volume.shape)
    return distance


def _mark(network: torch.nn.Module) -> None:
    """Let the mean of 27 voxels above 0.5 through, and nothing else; boxes stay as their anchors are."""
    for name, parameter in network.named_parameters():
        norm = ".bn" in name or (name.split(".")[-2].isdigit() and parameter.ndim == 1)
        torch.nn.init.constant_(parameter, float(norm and name.endswith("weight")))
    state = network.state_dict()
    with torch.no_grad():
        first = state["feature_extractor.body.conv1.weight"]
        center = tuple(slice(size // 2 - 1, size // 2 + 2) for size in first.shape[2:])
        first[(0, 0, *center)] = 1 / 3 ** (first.ndim - 2)
        state["feature_extractor.body.bn1.bias"].fill_(-0.5)
        _pass_on(state["feature_extractor.fpn.inner_blocks.0.weight"])
        _pass_on(state["feature_extractor.fpn.layer_blocks.0.weight"])
        for number in (0, 3, 6, 9):
            # Half of each group is steady, so that the norm neither shifts nor scales the other half.
            head = f"classification_head.conv.{number}"
            _pass_on(state[f"{head}.weight"])
            state[f"{head}.bias"][1] = _STEADY
            norm = f"classification_head.conv.{number + 1}"
            state[f"{norm}.weight"][0] = state[f"{norm}.bias"][0] = _STEADY / 2
        _pass_on(state["classification_head.cls_logits.weight"], 20.0)
        state["classification_head.cls_logits.bias"].copy_(torch.tensor([-4.0, -20.0]))


def _pass_on(weight: torch.Tensor, gain: float = 1.0) -> None:
    """Let a convolution's first channel go through as it is."""
    weight[(0, 0, *(size // 2 for size in weight.shape[2:]))] = gain
