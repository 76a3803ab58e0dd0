"""Configs of the usual kind give the same objects and values as MONAI's own parser, without trust."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from core.hostile_bundles import INFERENCE, write_bundle
from meddl.errors import ModelError, UntrustedModelError
from meddl.models import ModelBundle, RestrictedConfig, load_weights
from meddl.models.allowed_targets import _TABLE, IO_TRANSFORMS, REFUSED_ARGUMENTS, SUBSTITUTES, find_target
from meddl.models.expressions import CONSTANTS, NAMES
from meddl.models.inference_parts import find_parts
from monai.bundle import ConfigParser

NETWORKS: dict[str, dict[str, Any]] = {
    "UNet": {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8, 16],
        "strides": [2, 2], "num_res_units": 2, "norm": "batch",
    },
    "SegResNet": {
        "_target_": "monai.networks.nets.SegResNet", "blocks_down": [1, 2], "blocks_up": [1], "init_filters": 8,
        "in_channels": 1, "out_channels": 3, "dropout_prob": 0.2,
    },
    "SwinUNETR": {
        "_target_": "monai.networks.nets.swin_unetr.SwinUNETR", "in_channels": 1, "out_channels": 2, "feature_size": 12,
        "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "use_checkpoint": False,
    },
    "DynUNet": {
        "_target_": "DynUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 8],
    },
}  # fmt: skip


def zoo_config(network: dict[str, Any]) -> dict[str, Any]:
    """An inference config as those of the Model Zoo are written."""
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "image_key": "image",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$list(sorted(glob.glob(@output_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "highres": True,
        "pixdim": "$[1.5, 1.5, 2.0] if @highres else [3.0, 3.0, 3.0]",
        "roi_size": [32, 32, 32],
        "first": [
            {"_target_": "LoadImaged", "keys": "@image_key"},
            {"_target_": "EnsureChannelFirstd", "keys": "@image_key"},
            {"_target_": "Orientationd", "keys": "@image_key", "axcodes": "RAS"},
        ],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": "$@first + @second",
        },
        "second": [
            {"_target_": "Spacingd", "keys": "@image_key", "pixdim": "@pixdim", "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1,
                "clip": True,
            },
            {"_target_": "CropForegroundD", "keys": "image", "source_key": "image", "_disabled_": "$not @highres"},
            {"_target_": "Flipd", "keys": "image", "_disabled_": True},
            {"_target_": "EnsureTyped", "keys": "image", "device": "@device", "dtype": "$torch.float32"},
        ],
        "inferer": {
            "_target_": "SlidingWindowInferer", "roi_size": "$[int(@roi_size#0), @roi_size[1], 2**5]",
            "sw_batch_size": 4, "overlap": 0.5, "mode": "gaussian", "_requires_": ["@device"],
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@image_key",
                    "nearest_interp": False, "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
            ],
        },
        "values": {
            "a": "%roi_size", "b": "@##roi_size#2", "c": "$len(@roi_size) * 2 - 1", "d": "plain # text",
            "e": [None, True, 1.5],
            "f": "$max(@roi_size) // 3 + min(1, 2)", "g": "$'x' + str(3) if 1 < 2 <= 2 else None",
            "h": "$(1, 2)[-1]",
            "i": "$tuple(range(1, 4))", "j": "$@roi_size[:2]", "k": "$3 in @roi_size or not False", "l": "@values::c",
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "network": "@network"},
        "evaluating": ["$@evaluator.run()"],
    }  # fmt: skip


def both(config: dict[str, Any], root: Path) -> tuple[RestrictedConfig, ConfigParser]:
    parser = ConfigParser(copy.deepcopy({**config, "bundle_root": str(root)}))
    return RestrictedConfig(config, bundle_root=root), parser


def facts(step: Any) -> dict[str, Any]:
    """What a transform or inferer was made with, comparable."""
    return {
        key: facts(value) if hasattr(value, "__dict__") and type(value).__module__.startswith("monai") else str(value)
        for key, value in sorted(vars(step).items())
        if not key.startswith("_") and not any(word in str(value) for word in ("function", "RandomState", "0x"))
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_those_of_monai_and_compute_the_same(name: str, tmp_path: Path) -> None:
    restricted, parser = both(zoo_config(NETWORKS[name]), tmp_path)
    network, expected = restricted.get("network_def"), parser.get_parsed_content("network_def")
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {f"module.{key}": value for key, value in expected.state_dict().items()}}, path)
    network.load_state_dict(load_weights(path, trusted=False))
    assert type(network) is type(expected)
    image = torch.rand(1, 1, 64, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network.eval()(image), expected.eval()(image))
    assert restricted.get("network") is network


def test_steps_are_those_of_monai_but_for_the_dropped_ones(tmp_path: Path) -> None:
    restricted, parser = both(zoo_config(NETWORKS["UNet"]), tmp_path)
    preprocessing = restricted.get("preprocessing", drop=IO_TRANSFORMS)
    expected = parser.get_parsed_content("preprocessing").transforms
    assert [type(step) for step in preprocessing.transforms] == [type(step) for step in expected[1:]]
    assert [facts(step) for step in preprocessing.transforms] == [facts(step) for step in expected[1:]]
    postprocessing = restricted.get("postprocessing", drop=IO_TRANSFORMS)
    expected = parser.get_parsed_content("postprocessing").transforms
    assert [type(step).__name__ for step in postprocessing.transforms] == ["Activationsd", "Invertd", "AsDiscreted"]
    assert [facts(step) for step in postprocessing.transforms[::2]] == [facts(step) for step in expected[:3:2]]
    assert postprocessing.transforms[1].transform is preprocessing


def test_the_inferer_and_values_are_those_of_monai(tmp_path: Path) -> None:
    restricted, parser = both(zoo_config(NETWORKS["UNet"]), tmp_path)
    assert facts(restricted.get("inferer")) == facts(parser.get_parsed_content("inferer"))
    values = restricted.get("values")
    expected = parser.get_parsed_content("values")
    assert values.pop("d") == "plain # text"  # MONAI turns the '#' into '::'
    assert expected.pop("d") == "plain :: text"
    assert values == expected
    for id in ("pixdim", "device", "inferer#roi_size", "values::e::2", "output_dir", "first::2::axcodes"):
        assert restricted.get(id) == parser.get_parsed_content(id)


def test_a_preprocessed_image_is_that_of_monai(tmp_path: Path) -> None:
    from monai.data import MetaTensor

    restricted, parser = both(zoo_config(NETWORKS["UNet"]), tmp_path)
    image = MetaTensor(torch.rand(1, 12, 14, 10) * 300 - 100, affine=torch.diag(torch.tensor([-2.0, 1.0, 3.0, 1.0])))
    steps = restricted.get("preprocessing", drop={"LoadImaged", "EnsureChannelFirstd"})
    ours = steps({"image": image.clone()})["image"]
    data = {"image": image.clone()}
    for step in parser.get_parsed_content("preprocessing").transforms[2:]:
        data = step(data)
    assert torch.equal(ours.as_tensor(), data["image"].as_tensor())
    assert torch.equal(ours.affine, data["image"].affine)


def test_only_what_inference_needs_decides_about_trust(tmp_path: Path) -> None:
    restricted, _ = both(zoo_config(NETWORKS["UNet"]), tmp_path)
    assert restricted.reasons(find_parts(restricted).ids) == ()
    everything = "\n".join(restricted.reasons())
    for part in ("imports::0", "datalist", "dataset", "evaluator", "evaluating::0"):
        assert f"'{part}" in everything
    with pytest.raises(UntrustedModelError) as caught:
        restricted.get("datalist")
    assert caught.value.reasons and "glob.glob" in caught.value.message


def test_overrides_replace_ids_as_those_of_monai_do(tmp_path: Path) -> None:
    device = torch.device("cpu")
    overrides = {
        "device": device,
        "highres": False,
        "inferer#overlap": 0.75,
        "second::1::a_min": 5,
        "fresh": [1, "$1 + 1"],
    }
    config = RestrictedConfig(zoo_config(NETWORKS["UNet"]), bundle_root=tmp_path, overrides=overrides)
    assert config.get("device") is device
    assert config.get("inferer").overlap == 0.75
    assert config.get("pixdim") == [3.0, 3.0, 3.0]
    assert "CropForegroundd" not in [type(step).__name__ for step in config.get("second")]
    assert config.get("fresh") == [1, 2]
    assert config.get("second::1::a_min") == 5
    assert overrides["fresh"] == [1, "$1 + 1"], "the caller's values are left alone"
    assert config.get("bundle_root") == str(tmp_path)


def test_get_answers_missing_ids_with_the_default(tmp_path: Path) -> None:
    config = RestrictedConfig({"a": {"b": [1]}}, bundle_root=tmp_path)
    assert config.get("nothing", None) is None
    assert config.get("a#b#7", default=3) == 3
    assert "a::b" in config and "a::c" not in config
    assert config.get("a", raw=True) == {"b": [1]}
    with pytest.raises(ModelError, match="has no 'x'"):
        config.get("x")


def test_the_config_given_is_not_changed(tmp_path: Path) -> None:
    tree = zoo_config(NETWORKS["UNet"])
    before = json.dumps(tree)
    config = RestrictedConfig(tree, bundle_root=tmp_path, overrides={"highres": False})
    config.get("inferer")
    config.get("preprocessing", raw=True)["_target_"] = "os.system"
    assert json.dumps(tree) == before
    assert config.get("preprocessing", raw=True)["_target_"] == "Compose"


def test_every_allowed_name_means_in_monai_what_it_means_here() -> None:
    from monai.bundle.config_item import ComponentLocator, ConfigComponent

    locator = ComponentLocator()
    for spelling, allowed in _TABLE.items():
        made = allowed.load()
        if not spelling.startswith("torch.") and spelling not in SUBSTITUTES:
            path = ConfigComponent({"_target_": spelling}, locator=locator).resolve_module_name()
            module, _, name = path.rpartition(".")
            assert getattr(__import__(module, fromlist=[name]), name) is made, spelling


def test_arguments_that_can_do_harm_are_known_or_have_no_say() -> None:
    """Every argument of every allowed class that sounds like code, a file or an address is refused or harmless."""
    import inspect

    sounds = ("pretrain", "path", "url", "file", "func", "fn", "logger", "writer", "reader", "hook", "call", "load")
    harmless = {"progress", "save_attn", "save_theta"}
    for spelling, allowed in _TABLE.items():
        try:
            names = inspect.signature(allowed.load()).parameters
        except ValueError:
            continue
        for name in names:
            if any(sound in name for sound in sounds) and "path_rate" not in name:
                assert name in REFUSED_ARGUMENTS | harmless, f"{spelling}({name})"


def test_efficientnet_downloads_nothing_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai.networks.nets.efficientnet._load_state_dict", lambda *a, **k: pytest.fail("downloads"))
    tree = {"n": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "in_channels": 1, "num_classes": 2}}
    assert RestrictedConfig(tree, bundle_root=tmp_path).get("n") is not None


def test_an_argument_that_monai_no_longer_knows_is_left_out(tmp_path: Path) -> None:
    config = {"n": {**NETWORKS["SwinUNETR"], "img_size": 96}, "image": "$monai.utils.CommonKeys.IMAGE"}
    restricted = RestrictedConfig(config, bundle_root=tmp_path)
    assert restricted.reasons() == () and restricted.get("image") == "image"
    assert type(restricted.get("n")).__name__ == "SwinUNETR"


def test_keys_of_yaml_that_are_no_texts_are_found(tmp_path: Path) -> None:
    restricted = RestrictedConfig({"a": {1: "x", 2.5: "y", None: "n"}}, bundle_root=tmp_path)
    expected = ["x", "y", "n", None, None]
    assert [restricted.get(f"a::{key}", None) for key in ("1", "2.5", "None", "01", "1e0")] == expected


def test_dotted_constants_exist() -> None:
    import numpy

    for name in CONSTANTS:
        module, _, attribute = name.partition(".")
        assert hasattr(torch if module == "torch" else numpy, attribute)
    for name, value in NAMES.items():
        assert ConfigParser({"a": f"${name}"}).get_parsed_content("a") == value


def test_unknown_targets_are_not_found() -> None:
    for target in ("os.system", "UNet.forward", "monai.networks.nets", "monai.networks.nets.unet.nn.Module", " UNet"):
        assert find_target(target) is None


def test_wrong_arguments_are_told_with_the_key(tmp_path: Path) -> None:
    write_bundle(tmp_path, {"network_def": {**INFERENCE["network_def"], "chanels": [1]}})
    with pytest.raises(ModelError, match=r"configs/inference.json: 'network_def': UNet cannot be made .*chanels"):
        ModelBundle.open(tmp_path).restricted_config().get("network_def")
