"""What nnU-Net's ``plans.json`` and ``dataset.json`` say, held to what is known before anything is made from it.

nnU-Net looks the names in its plans up as Python objects, so that plans can name anything a computer has. Here a name
counts only where it is one of nnU-Net's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meddl.errors import ModelError

PREPROCESSORS = frozenset({"DefaultPreprocessor"})
NORMALIZATIONS = frozenset(
    {
        "CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization",
        "RGBTo01Normalization",
    }
)  # fmt: skip
RESAMPLINGS = frozenset(
    {"resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_data_or_seg_to_shape"}
)
READERS = frozenset(
    {
        "SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO",
        "Tiff3DIO",
    }
)  # fmt: skip
LAYERS = frozenset(
    f"{kind}{dimensions}d"
    for kind in ("Conv", "InstanceNorm", "BatchNorm", "Dropout")
    for dimensions in (2, 3)
) | {"LeakyReLU", "ReLU", "GELU", "SiLU", "PReLU", "Mish", "ELU", "GroupNorm", "LayerNorm"}  # fmt: skip
"""Classes of ``torch.nn`` that a network's plan may name."""

MAX_WINDOW_VOXELS = 1 << 26
_NETWORK = re.compile(r"dynamic_network_architectures\.architectures\.[a-z0-9_]+\.[A-Za-z0-9_]+")
_LAYER = re.compile(r"torch\.nn\.(?:modules\.[a-z]+\.)?([A-Za-z0-9]+)")
_WORDS = {"mode": ("linear",), "aniso_axis_mode": ("nearest-exact",), "device": ("cpu",)}
_OLD_FIELDS = (
    "n_conv_per_stage_encoder", "n_conv_per_stage_decoder", "UNet_base_num_features", "unet_max_num_features",
    "conv_kernel_sizes", "pool_op_kernel_sizes", "num_pool_per_axis",
)  # fmt: skip
_OLD_NETWORKS = frozenset({"PlainConvUNet", "ResidualEncoderUNet"})


@dataclass(frozen=True)
class Structure:
    """One structure of a model: the label nnU-Net writes into its files, and its name."""

    label: int
    name: str


@dataclass(frozen=True)
class Labels:
    """What the network's channels mean.

    Attributes:
        structures: without background, in the order of the network's channels.
        overlapping: each channel is a region of its own (sigmoid), and regions may overlap; otherwise the first channel
            is background and each voxel belongs to one channel (softmax).
    """

    structures: tuple[Structure, ...]
    overlapping: bool

    @property
    def heads(self) -> int:
        """How many channels the network answers with."""
        return len(self.structures) + (not self.overlapping)


def read_labels(dataset: Mapping[str, Any]) -> Labels:
    """Return what ``dataset.json`` says of labels and regions.

    Raises:
        ModelError: it cannot be understood.
    """
    table = dataset.get("labels")
    if not isinstance(table, dict) or not table or len(table) > 2000:
        raise ModelError("dataset.json does not tell the labels ('labels').")
    values = {name: value for name, value in table.items() if name != "ignore"}
    for name, value in values.items():
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(type(part) is int and 0 <= part < 65_536 for part in parts):
            raise ModelError(f"In dataset.json the label {name[:60]!a} is not a number or a list of numbers.")
    if values.get("background") != 0:
        raise ModelError("In dataset.json the label 'background' should be 0.")
    foreground = {
        name: value for name, value in values.items() if (set(value) if isinstance(value, list) else {value}) != {0}
    }
    if not any(isinstance(value, list) and len(value) > 1 for value in values.values()):
        return _plain_labels(foreground)
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(foreground) or not all(type(each) is int for each in order):
        raise ModelError("In dataset.json 'regions_class_order' should list one number for each region.")
    return Labels(tuple(Structure(label, name) for label, name in zip(order, foreground, strict=True)), True)


def _plain_labels(foreground: Mapping[str, Any]) -> Labels:
    numbers = {(value[0] if isinstance(value, list) else value): name for name, value in foreground.items()}
    if sorted(numbers) != list(range(1, len(foreground) + 1)):
        # nnU-Net itself insists on it: a label's number is its channel.
        raise ModelError("In dataset.json the labels should be 1, 2, 3 and so on, each once.")
    return Labels(tuple(Structure(label, numbers[label]) for label in sorted(numbers)), False)


def read_channels(dataset: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the images the model takes, in order.

    Raises:
        ModelError: ``dataset.json`` does not tell them.
    """
    table = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(table, dict) or not 0 < len(table) <= 256:
        raise ModelError("dataset.json does not tell the channels ('channel_names').")
    if set(table) != {str(index) for index in range(len(table))}:
        raise ModelError("In dataset.json the channels ('channel_names') should be numbered 0, 1, 2 and so on.")
    return tuple(str(table[str(index)])[:100] for index in range(len(table)))


def resolve_configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with what it inherits from others filled in.

    Raises:
        ModelError: there is none of this name, or it inherits in a circle.
    """
    table = plans.get("configurations")
    if not isinstance(table, dict) or not isinstance(table.get(name), dict):
        raise ModelError(f"plans.json has no configuration {str(name)[:60]!a}.")
    chain, seen = [table[name]], {name}
    while "inherits_from" in chain[-1]:
        parent = chain[-1]["inherits_from"]
        if not isinstance(parent, str) or parent in seen or not isinstance(table.get(parent), dict):
            raise ModelError(f"In plans.json the configuration {name[:60]!a} inherits from one that is not there.")
        seen.add(parent)
        chain.append(table[parent])
    result: dict[str, Any] = {}
    for each in reversed(chain):
        result.update(each)
    return result


def check_plans(plans: Mapping[str, Any], name: str, channels: int) -> None:
    """Hold a configuration of the plans to what is known.

    Args:
        plans: content of ``plans.json``.
        name: of the configuration.
        channels: how many images the model takes.

    Raises:
        ModelError: it names what is not nnU-Net's own, or has values that no model has; the message names the field.
    """
    configuration = resolve_configuration(plans, name)
    if configuration.get("previous_stage") is not None:
        raise ModelError(
            f"The nnU-Net configuration {name[:60]!a} is the second stage of a cascade, which needs the answer of the "
            "first. Use a configuration that stands alone, such as 3d_fullres or 3d_lowres."
        )
    _known(configuration, "preprocessor_name", PREPROCESSORS)
    _known(plans, "image_reader_writer", READERS)
    if plans.get("label_manager", "LabelManager") != "LabelManager":
        raise _not_own("label_manager", plans["label_manager"])
    for kind in ("data", "seg", "probabilities"):
        _known(configuration, f"resampling_fn_{kind}", RESAMPLINGS)
        _check_arguments(configuration.get(f"resampling_fn_{kind}_kwargs"), f"resampling_fn_{kind}_kwargs")
    for field, each in (("normalization_schemes", str), ("use_mask_for_norm", bool)):
        values = configuration.get(field)
        if not isinstance(values, list) or len(values) != channels or not all(type(one) is each for one in values):
            raise ModelError(f"In plans.json '{field}' should have one entry for each of the {channels} channels.")
    for scheme in configuration["normalization_schemes"]:
        if scheme not in NORMALIZATIONS:
            raise _not_own("normalization_schemes", scheme)
    _check_sizes(plans, configuration)
    _check_intensities(plans, configuration)
    _check_architecture(configuration)


def _known(table: Mapping[str, Any], field: str, names: frozenset[str]) -> None:
    value = table.get(field)
    if not isinstance(value, str):
        raise ModelError(f"plans.json does not tell its '{field}'.")
    if value not in names:
        raise _not_own(field, value)


def _not_own(field: str, value: Any) -> ModelError:
    return ModelError(
        f"In plans.json '{field}' names {str(value)[:100]!a}, which is not part of nnU-Net itself and is not run."
    )


def _check_arguments(value: Any, field: str) -> None:
    if not isinstance(value, dict) or len(value) > 20:
        raise ModelError(f"In plans.json '{field}' should be an object.")
    for key, each in value.items():
        if each is not None and type(each) not in (bool, int, float) and each not in _WORDS.get(key, ()):
            raise ModelError(f"In plans.json '{field}.{key[:40]}' has a value that is not allowed.")
        if type(each) in (int, float) and not -1 <= each <= 64:
            raise ModelError(f"In plans.json '{field}.{key[:40]}' has a value that is not allowed.")


def _check_sizes(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    window, spacing = configuration.get("patch_size"), configuration.get("spacing")
    if (
        not isinstance(window, list)
        or len(window) not in (2, 3)
        or not all(type(edge) is int and 0 < edge <= 4096 for edge in window)
        or math.prod(window) > MAX_WINDOW_VOXELS
    ):
        raise ModelError("In plans.json 'patch_size' should be two or three numbers of voxels.")
    if (
        not isinstance(spacing, list)
        or len(spacing) != len(window)
        or not all(type(each) in (int, float) and 0.01 <= each <= 1000 for each in spacing)
    ):
        raise ModelError("In plans.json 'spacing' should be as many numbers of millimeters as 'patch_size' has axes.")
    forward, backward = plans.get("transpose_forward"), plans.get("transpose_backward")
    if (
        not isinstance(forward, list)
        or not isinstance(backward, list)
        or not all(type(axis) is int for axis in (*forward, *backward))
        or sorted(forward) != [0, 1, 2]
        or [forward[axis] for axis in backward if 0 <= axis <= 2] != [0, 1, 2]
    ):
        raise ModelError("In plans.json 'transpose_forward' and 'transpose_backward' should turn three axes and back.")


def _check_intensities(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    table = plans.get(
        "foreground_intensity_properties_per_channel", plans.get("foreground_intensity_properties_by_modality")
    )
    if not isinstance(table, dict):
        raise ModelError("plans.json does not tell 'foreground_intensity_properties_per_channel'.")
    for index, scheme in enumerate(configuration["normalization_schemes"]):
        facts = table.get(str(index))
        needed = ("mean", "std", "percentile_00_5", "percentile_99_5") if scheme == "CTNormalization" else ()
        if not isinstance(facts, dict) or not all(type(facts.get(key)) in (int, float) for key in needed):
            raise ModelError(f"In plans.json the intensities of channel {index} are missing.")


def _check_architecture(configuration: Mapping[str, Any]) -> None:
    architecture = configuration.get("architecture")
    if architecture is None:
        if configuration.get("UNet_class_name") not in _OLD_NETWORKS:
            raise _not_own("UNet_class_name", configuration.get("UNet_class_name"))
        for field in _OLD_FIELDS:
            if not _is_plain(configuration.get(field, math.inf)):
                raise ModelError(f"In plans.json '{field}' has a value that is not allowed.")
        return
    if not isinstance(architecture, dict):
        raise ModelError("In plans.json 'architecture' should be an object.")
    name = architecture.get("network_class_name")
    if not isinstance(name, str) or not _NETWORK.fullmatch(name):
        raise _not_own("network_class_name", name)
    arguments, imported = architecture.get("arch_kwargs"), architecture.get("_kw_requires_import")
    if not isinstance(arguments, dict) or not isinstance(imported, list) or not all(
        isinstance(key, str) and key in arguments for key in imported
    ):
        raise ModelError("In plans.json 'architecture' does not tell 'arch_kwargs' and '_kw_requires_import'.")
    for key, value in arguments.items():
        if key in imported:
            if value is not None:
                layer_name(value)
        elif not _is_plain(value):
            raise ModelError(f"In plans.json 'arch_kwargs.{str(key)[:40]}' has a value that is not allowed.")


def layer_name(text: Any) -> str:
    """Return the name in ``torch.nn`` of a layer that plans may name.

    Raises:
        ModelError: they may not.
    """
    match = _LAYER.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] not in LAYERS:
        raise _not_own("arch_kwargs", text)
    return match[1]


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Tell whether a value is made of numbers only."""
    if depth > 6:
        return False
    if isinstance(value, list):
        return len(value) <= 100 and all(_is_plain(each, depth + 1) for each in value)
    if isinstance(value, dict):
        return len(value) <= 100 and all(_is_plain(each, depth + 1) for each in value.values())
    if type(value) in (int, float):
        return bool(abs(value) <= 65_536)
    return value is None or type(value) is bool
