"""Small bundles of the shapes that the Model Zoo's have: for files, by other ids, in YAML, with code, refused ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from core import tiny_bundle

LABELS = {"0": "background", "1": "liver", "2": "spleen"}


def image_format(**changes: Any) -> dict[str, Any]:
    """What goes in: one CT channel of 32 x 32 x 32 voxels, but for the changes."""
    plain = copy.deepcopy(tiny_bundle.METADATA["network_data_format"]["inputs"]["image"])
    return {**plain, **changes}


def metadata(
    task: str = "organ segmentation",
    *,
    image: Mapping[str, Any] | None = None,
    output: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Metadata with this task, input and output; ``changes`` replace top-level fields."""
    inputs = {"image": image_format(**(image or {}))}
    plain = copy.deepcopy(tiny_bundle.METADATA["network_data_format"]["outputs"]["pred"])
    outputs = {"pred": {**plain, "channel_def": LABELS, **(output or {})}}
    formats = {"inputs": inputs, "outputs": outputs}
    return {**tiny_bundle.METADATA, "task": task, "network_data_format": formats, **changes}


def write(
    folder: Path,
    config: Mapping[str, Any],
    meta: Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, str] | None = None,
    as_yaml: bool = False,
) -> Path:
    """Write a bundle without weights; ``files`` are its other files by relative path."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    name, text = ("inference.yaml", yaml.safe_dump(dict(config))) if as_yaml else ("inference.json", json.dumps(config))
    (folder / "configs" / name).write_text(text)
    (folder / "configs" / "metadata.json").write_text(json.dumps(meta or metadata()))
    for relative, content in (files or {}).items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(content)
    return folder


def runner(**parts: Any) -> dict[str, Any]:
    """A config for MONAI's runner with the usual ids, but for ``parts``; None leaves one out."""
    config = {
        "imports": ["$import glob", "$import a_package_nobody_has as nobody"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob('/data/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": tiny_bundle.NETWORK,
        "network": "$@network_def.to(@device)",
        "preprocessing": compose(
            {"_target_": "LoadImaged", "keys": "@image_key", "reader": "ITKReader"},
            {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
            {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": "@image_key", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityd", "keys": "@image_key"},
        ),
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "overlap": 0.5},
        "postprocessing": compose(
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ),
        "handlers": [{"_target_": "StatsHandler", "output_transform": "$lambda x: None"}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "checkpointloader": {
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": {"model": "@network"},
        },
        "initialize": ["$monai.utils.set_determinism(seed=123)", "$@checkpointloader(@evaluator)"],
        "run": ["$@evaluator.run()"],
        **parts,
    }
    return {key: value for key, value in config.items() if value is not None}


def compose(*steps: Mapping[str, Any]) -> dict[str, Any]:
    """A ``Compose`` of these steps."""
    return {"_target_": "Compose", "transforms": [dict(step) for step in steps]}


RETINANET: dict[str, Any] = runner(
    size_divisible=[8, 8, 8],
    anchor_generator={
        "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
        "feature_map_scales": [1, 2],
        "base_anchor_shapes": [[6, 8, 4], [10, 10, 6]],
    },
    backbone="$monai.networks.nets.resnet.resnet10(spatial_dims=3,n_input_channels=1,conv1_t_stride=[2,2,1])",
    feature_extractor=(
        "$monai.apps.detection.networks.retinanet_network.resnet_fpn_feature_extractor(@backbone,3,False,[1],None)"
    ),
    network_def={
        "_target_": "RetinaNet", "spatial_dims": 3, "num_classes": 1, "num_anchors": 2,
        "feature_extractor": "@feature_extractor", "size_divisible": "@size_divisible",
    },
    detector={
        "_target_": "RetinaNetDetector", "network": "@network", "anchor_generator": "@anchor_generator",
        "debug": False, "spatial_dims": 3, "num_classes": 1, "size_divisible": "@size_divisible",
    },
    detector_ops=[
        "$@detector.set_target_keys(box_key='box', label_key='label')",
        "$@detector.set_box_selector_parameters(score_thresh=0.02,nms_thresh=0.22,detections_per_img=@most)",
        "$@detector.set_sliding_window_inferer(roi_size=@patch,overlap=0.25,sw_batch_size=1,device='cpu')",
        "$@detector.set_hard_negative_sampler(batch_size_per_image=64, positive_fraction=0.3)",
    ],
    most=50,
    patch=[32, 32, 16],
    inferer={"_target_": "scripts.inferer.RetinaNetInferer", "detector": "@detector"},
    postprocessing=compose({"_target_": "ClipBoxToImaged", "box_keys": "box", "box_ref_image_keys": "image"}),
    evaluator={"_target_": "scripts.evaluator.DetectionEvaluator", "_requires_": "@detector_ops"},
)  # fmt: skip
"""A RetinaNet as lung nodules are found with, but small: its runner's inferer and evaluator are code of the bundle."""
RETINANET_METADATA = metadata(
    "CT nodule detection", output={"type": "object", "format": "dict", "num_channels": 1, "channel_def": {}}
)
