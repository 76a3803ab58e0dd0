"""Configs written for a file-to-file runner: their parts are found by id, by the evaluator and by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from core import tiny_bundle, zoo_bundles
from core.zoo_bundles import compose, metadata, runner
from meddl.errors import ModelError, UntrustedModelError
from meddl.models import ModelBundle, RestrictedConfig, inference_parts
from meddl.models.inference_parts import InferenceParts, find_parts
from meddl.models.requirements import large_files

BRATS_STEPS = compose(
    {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"},
    {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
    {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: torch.where(x[[0]] > 0, 1, 0)"},
    {"_target_": "SaveImaged", "keys": "pred"},
)


def parts_of(config: dict[str, Any], root: Path, meta: dict[str, Any] | None = None) -> InferenceParts:
    return find_parts(RestrictedConfig(config, bundle_root=root), meta or metadata())


@pytest.mark.parametrize("as_yaml", [False, True], ids=["json", "yaml"])
def test_a_runners_config_runs_without_trust_by_its_usual_ids(as_yaml: bool, tmp_path: Path) -> None:
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", runner(), as_yaml=as_yaml))
    parts = inference_parts(bundle)
    assert parts.ids == ("network_def", "preprocessing", "inferer", "postprocessing")
    assert (parts.input_keys, parts.image_key, parts.pred_key, parts.spatial_dims) == (("image",), "image", "pred", 3)
    config = bundle.restricted_config()
    assert config.reasons(parts.ids, drop=parts.drop) == ()
    steps = config.get(parts.preprocessing_id, drop=parts.drop).transforms
    assert [type(step).__name__ for step in steps][1:] == ["Orientationd", "Spacingd", "ScaleIntensityd"]


def test_parts_with_other_ids_are_found_by_what_the_evaluator_takes(tmp_path: Path) -> None:
    usual = runner()
    config = {
        **{key: value for key, value in usual.items() if key not in ("network_def", "network", "inferer")},
        "unet": usual["network_def"],
        "on_device": "$@unet.to(@device)",
        "windows": usual["inferer"],
        "preprocessing": None,
        "postprocessing": None,
        "dataset": {**usual["dataset"], "transform": usual["preprocessing"]},
        "evaluator": {
            **usual["evaluator"], "network": "@on_device", "inferer": "@windows",
            "postprocessing": usual["postprocessing"],
        },
    }  # fmt: skip
    parts = parts_of({key: value for key, value in config.items() if value is not None}, tmp_path)
    assert parts.network_id == "unet"
    assert parts.preprocessing_id == "dataset::transform"
    assert parts.inferer_id == "windows"
    assert parts.postprocessing_id == "evaluator::postprocessing"


def test_parts_are_found_by_class_where_nothing_else_tells(tmp_path: Path) -> None:
    usual = runner()
    config = {
        "bundle_root": ".",
        "mine": {"unet": usual["network_def"], "way_in": usual["preprocessing"], "way_out": usual["postprocessing"]},
        "sliding": usual["inferer"],
        "image_key": "image",
        "output_dir": "x",
    }
    parts = parts_of(config, tmp_path)
    assert parts.ids == ("mine::unet", "mine::way_in", "sliding", "mine::way_out")


def test_a_sum_of_lists_is_followed_to_its_steps(tmp_path: Path) -> None:
    config = runner(
        loading=[{"_target_": "LoadImaged", "keys": ["t1", "t2", "label"]}],
        joining=[{"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "both"}],
        preprocessing={"_target_": "Compose", "transforms": "$@loading + @joining"},
    )
    parts = parts_of(config, tmp_path)
    assert parts.input_keys == ("t1", "t2"), "what is only compared with is no input"
    assert parts.image_key == "both"


def test_steps_that_only_shape_the_file_are_left_out(tmp_path: Path) -> None:
    parts = parts_of(runner(postprocessing=BRATS_STEPS), tmp_path)
    assert parts.file_steps == ("postprocessing::transforms::3",)
    config = RestrictedConfig(runner(postprocessing=BRATS_STEPS), bundle_root=tmp_path)
    assert config.reasons(parts.ids, drop=parts.drop) == ()
    kept = config.get("postprocessing", drop=parts.drop | {"Invertd"}).transforms
    assert [type(step).__name__ for step in kept] == ["Activationsd", "AsDiscreted"]


@pytest.mark.parametrize(
    "steps",
    [
        [BRATS_STEPS["transforms"][3], BRATS_STEPS["transforms"][2], BRATS_STEPS["transforms"][4]],
        [*BRATS_STEPS["transforms"][2:4], {"_target_": "FillHolesd", "keys": "pred"}, BRATS_STEPS["transforms"][4]],
    ],
    ids=["before the labels are chosen", "before a step that changes them"],
)
def test_a_function_that_changes_the_answer_is_not_left_out(steps: list[dict[str, Any]], tmp_path: Path) -> None:
    config = runner(postprocessing=compose(*steps))
    parts = parts_of(config, tmp_path)
    assert parts.file_steps == ()
    assert any("Lambdad" in reason for reason in RestrictedConfig(config, bundle_root=tmp_path).reasons(parts.ids))


def test_a_bundles_own_saving_step_needs_no_trust(tmp_path: Path) -> None:
    own = {"_target_": "scripts.saving.NpySaverd", "keys": "pred", "output_dir": "x"}
    config = runner(postprocessing=compose(*BRATS_STEPS["transforms"][:3], own))
    parts = parts_of(config, tmp_path)
    assert parts.file_steps == ("postprocessing::transforms::3",)
    assert RestrictedConfig(config, bundle_root=tmp_path).reasons(parts.ids, drop=parts.drop) == ()


def test_steps_that_only_print_are_left_out(tmp_path: Path) -> None:
    printing = {"_target_": "DataStatsd", "keys": "image", "additional_info": "$lambda x: print(x)"}
    config = runner(preprocessing=compose(*runner()["preprocessing"]["transforms"], printing))
    parts = parts_of(config, tmp_path)
    assert RestrictedConfig(config, bundle_root=tmp_path).reasons(parts.ids, drop=parts.drop) == ()


def test_flat_networks_are_told_from_those_that_read_volumes_slice_by_slice(tmp_path: Path) -> None:
    flat = {**tiny_bundle.NETWORK, "spatial_dims": 2}
    slices = {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2}
    assert parts_of(runner(network_def=flat, inferer={"_target_": "SimpleInferer"}), tmp_path).spatial_dims == 2
    assert parts_of(runner(network_def=flat, inferer=slices), tmp_path).spatial_dims == 3
    unknown = {"_target_": "scripts.net.Net"}
    meta = metadata(image={"spatial_shape": [64, 64]})
    assert parts_of(runner(network_def=unknown, inferer=None), tmp_path, meta).spatial_dims == 2


def test_the_weights_are_those_that_the_runner_loads(tmp_path: Path) -> None:
    loader = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/finetuned.pt'"}
    config = runner(checkpointloader=None, handlers=[loader])
    root = zoo_bundles.write(
        tmp_path / "b", config, files={"large_files.yml": "large_files:\n- path: models/finetuned.pt"}
    )
    bundle = ModelBundle.open(root)
    assert [file.path for file in large_files(bundle)] == ["models/finetuned.pt"]
    report = bundle.check()
    assert report.downloads == ("models/finetuned.pt",) and any("downloaded" in line for line in report.problems)
    torch.save(tiny_bundle.network().state_dict(), root / "models" / "finetuned.pt")
    assert bundle.weights_path == (root / "models" / "finetuned.pt").resolve()
    assert bundle.check().problems == () and bundle.check().downloads == ()


def test_packages_are_read_off_the_code_that_would_be_imported(tmp_path: Path) -> None:
    files = {
        "scripts/__init__.py": "from . import losses",
        "scripts/losses.py": "import absent_losses\ntry:\n    import absent_but_tried\nexcept OSError:\n    pass",
        "scripts/net.py": "from scripts.blocks.one import Block\nimport numpy as np\ndef f():\n    import absent_later",
        "scripts/blocks/one.py": "from absent_blocks.deep import x\nfrom ..losses import y",
        "scripts/training.py": "import absent_training",
        "canary.py": "raise SystemExit('it was imported')",
    }
    config = runner(network_def={"_target_": "scripts.net.Net"})
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", config, files=files))
    assert set(bundle.required_packages) == {"absent_losses", "absent_blocks"}
    assert set(bundle.check().packages) == {"absent_losses", "absent_blocks"}


def test_a_class_that_takes_an_optional_package_says_so(tmp_path: Path) -> None:
    network = {"_target_": "TorchVisionFCModel", "model_name": "resnet18", "num_classes": 2}
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", runner(network_def=network)))
    assert bundle.required_packages == ("torchvision",)


def test_known_classes_may_be_called_in_expressions(tmp_path: Path) -> None:
    config = RestrictedConfig(
        {
            "width": 4,
            "net": "$monai.networks.nets.UNet(spatial_dims=3, in_channels=1, out_channels=2, "
            "channels=[@width, 2 * @width], strides=[2])",
        },
        bundle_root=tmp_path,
    )
    assert config.reasons() == ()
    assert config.get("net").channels == [4, 8]


@pytest.mark.parametrize(
    "text",
    [
        "monai.networks.nets.UNet(3, 1, 2, [4, 8], [2])",
        "monai.networks.nets.resnet.resnet10(pretrained=True)",
        "monai.networks.nets.resnet.resnet10(**@arguments)",
        "monai.networks.nets.resnet.resnet10(*@arguments)",
        "monai.networks.nets.UNet(act=open('x'))",
        "monai.bundle.download(name='x')",
        "monai.networks.nets.UNet.forward(self=1)",
    ],
)
def test_calls_of_other_kinds_are_refused(text: str, tmp_path: Path) -> None:
    config = RestrictedConfig({"arguments": {}, "a": f"${text}"}, bundle_root=tmp_path)
    assert config.reasons(["a"])
    with pytest.raises(UntrustedModelError):
        config.get("a")


def test_method_calls_are_read_and_not_made(tmp_path: Path) -> None:
    tree = {
        "thing": {"_target_": "UNet"},
        "n": 3,
        "ops": ["$@thing.fit(size=@n + 1, name='x')", "$@other.fit(size=1)", "$@thing.fit(3)", "$@n + 1"],
        "bad": "$@thing.fit(size=open('/etc/passwd'))",
    }
    config = RestrictedConfig(tree, bundle_root=tmp_path)
    assert config.method_calls("thing") == [("fit", {"size": 4, "name": "x"})]


def test_a_config_without_a_network_is_a_problem(tmp_path: Path) -> None:
    bundle = ModelBundle.open(zoo_bundles.write(tmp_path / "b", runner(network_def=None, network=None, evaluator=None)))
    assert any("does not tell the network" in line for line in bundle.check().problems)
    with pytest.raises(ModelError):
        bundle.check().raise_if_broken()
