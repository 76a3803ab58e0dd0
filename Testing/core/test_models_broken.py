"""Broken bundles, none of them hostile: each is told in one clear sentence."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from core.hostile_bundles import INFERENCE, METADATA, state_dict_bytes, write_bundle, zip_of
from meddl.errors import MedDLError, ModelError
from meddl.models import ModelBundle, load_weights

Breaker = Callable[[Path], None]


def text(name: str, content: str | bytes) -> Breaker:
    return lambda root: (root / name).write_bytes(content.encode() if isinstance(content, str) else content) and None


def metadata(change: Callable[[dict[str, Any]], Any]) -> Breaker:
    def apply(root: Path) -> None:
        content = copy.deepcopy(METADATA)
        change(content)
        (root / "configs" / "metadata.json").write_text(json.dumps(content))

    return apply


def config(**values: Any) -> Breaker:
    def apply(root: Path) -> None:
        content = {key: value for key, value in {**INFERENCE, **values}.items() if value != "absent"}
        (root / "configs" / "inference.json").write_text(json.dumps(content))

    return apply


def network(**values: Any) -> Breaker:
    return config(network_def={**INFERENCE["network_def"], **values})


def remove(name: str) -> Breaker:
    return lambda root: (root / name).unlink()


def rename(old: str, new: str) -> Breaker:
    return lambda root: (root / old).rename(root / new) and None


META, CONFIG, WEIGHTS = "configs/metadata.json", "configs/inference.json", "models/model.pt"
_SAFE = struct.pack("<Q", 64) + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'.ljust(64)

BROKEN: dict[str, tuple[Breaker, str]] = {
    "no_metadata": (remove(META), "not a MONAI Bundle"),
    "empty_metadata": (text(META, ""), "metadata.json is empty"),
    "metadata_no_json": (text(META, "{'version': 1}"), "metadata.json is not valid JSON (line 1"),
    "metadata_cut": (text(META, json.dumps(METADATA)[:200]), "metadata.json is not valid JSON"),
    "metadata_a_list": (text(META, "[1, 2]"), "should hold an object"),
    "metadata_not_utf8": (text(META, b'{"a": "\xff\xfe"}'), "not text in UTF-8"),
    "metadata_key_twice": (text(META, '{"version": "1", "version": "2"}'), "has the key 'version' twice"),
    "metadata_nan": (text(META, '{"version": NaN}'), "holds NaN"),
    "metadata_infinite": (text(META, '{"version": 1e999}'), "not finite"),
    "no_version": (metadata(lambda m: m.pop("version")), "lacks 'version'"),
    "version_a_number": (metadata(lambda m: m.update(version=1)), "'version' should be of type string"),
    "no_formats": (metadata(lambda m: m.pop("network_data_format")), "lacks 'network_data_format'"),
    "no_outputs": (metadata(lambda m: m["network_data_format"].pop("outputs")), "lacks 'network_data_format.outputs'"),
    "formats_a_list": (metadata(lambda m: m.update(network_data_format=[])), "should be of type object"),
    "inputs_empty": (metadata(lambda m: m["network_data_format"].update(inputs={})), "'network_data_format.inputs'"),
    "channels_zero": (
        metadata(lambda m: m["network_data_format"]["inputs"]["image"].update(num_channels=0)),
        "image.num_channels",
    ),
    "label_no_number": (
        metadata(lambda m: m["network_data_format"]["outputs"]["pred"].update(channel_def={"one": "organ"})),
        "channel_def",
    ),
    "color_out_of_range": (metadata(lambda m: m.update(meddl={"segments": {"1": {"color": [255, 0, 0]}}})), "color"),
    "cascade_without_localizer": (metadata(lambda m: m.update(meddl={"cascade": {}})), "meddl.cascade"),
    "localizer_missing": (metadata(lambda m: m.update(meddl={"cascade": {"localizer": "c"}})), "no configs/c.json"),
    "wrong_checksum": (
        metadata(lambda m: m.update(meddl={"sha256": {"models/model.pt": "0" * 64}})),
        "'models/model.pt' is damaged",
    ),
    "checksum_of_missing_file": (
        metadata(lambda m: m.update(meddl={"sha256": {"models/x": "0" * 64}})),
        "'models/x' is missing",
    ),
    "no_config": (remove(CONFIG), "has no configs/inference.json"),
    "empty_config": (text(CONFIG, " \n"), "inference.json is empty"),
    "config_no_json": (text(CONFIG, "{,}"), "inference.json is not valid JSON"),
    "no_network": (config(network_def="absent"), "does not tell the network"),
    "network_a_name": (config(network_def="UNet"), "'network_def' is not the description"),
    "network_without_weights": (remove(WEIGHTS), "weights (models/model.pt or model.safetensors) are missing"),
    "weights_not_downloaded": (
        lambda root: (remove(WEIGHTS)(root), text("large_files.yml", "large_files: []")(root))[0],
        "not been downloaded yet",
    ),
    "weights_empty": (text(WEIGHTS, b""), "'model.pt' is empty"),
    "weights_text": (text(WEIGHTS, "version https://git-lfs.github.com/spec/v1"), "is not a weights file"),
    "weights_html": (text(WEIGHTS, "<html>404 not found</html>"), "is not a weights file"),
    "weights_zip_of_else": (
        lambda root: zip_of(root / "configs", root / WEIGHTS) and None,
        "not one that PyTorch wrote",
    ),
    "program_missing": (
        config(network_def={"_target_": "torch.jit.load", "f": "models/model.ts"}),
        "'models/model.ts' is missing",
    ),
    "program_is_none": (config(network_def={"_target_": "torch.jit.load", "f": WEIGHTS}), "not a TorchScript program"),
    "program_unnamed": (config(network_def={"_target_": "torch.jit.load"}), "does not name its TorchScript file"),
    "safetensors_cut": (
        lambda root: (rename(WEIGHTS, "models/model.safetensors")(root), text("models/model.safetensors", _SAFE)(root))[
            0
        ],
        "is cut short or damaged",
    ),
    "safetensors_header": (
        lambda root: (remove(WEIGHTS)(root), text("models/model.safetensors", _SAFE[:20])(root))[0],
        "is cut short or damaged",
    ),
    "bad_relative_id": (network(dropout="@########a"), "outside the configuration"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_bundle_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    breaker, expected = BROKEN[name]
    root = write_bundle(tmp_path / "bundle")
    breaker(root)
    with pytest.raises(ModelError) as caught:
        ModelBundle.open(root).check().raise_if_broken()
    message = caught.value.message
    assert expected in message
    assert "\n" not in message and message.endswith(".") and len(message) < 300
    assert str(tmp_path) not in message


MISFIT: dict[str, tuple[Breaker, str]] = {
    "class_unknown_argument": (network(chanels=3), "UNet cannot be made"),
    "class_missing_argument": (config(network_def={"_target_": "UNet"}), "UNet cannot be made"),
    "class_wrong_type": (network(channels="many"), "UNet cannot be made"),
    "missing_reference": (network(dropout="@nowhere::a"), "'nowhere::a' is referred to but not there"),
    "missing_copy": (network(dropout="%nowhere"), "copies 'nowhere', which is not there"),
    "circle": (network(dropout="@network_def"), "refers to itself in a circle"),
    "division_by_zero": (network(dropout="$1 / 0"), "has no value (division by zero)"),
    "index": (network(dropout="$[1][5]"), "has no value"),
    "no_expression": (network(dropout="$1 +"), "is not an expression"),
    "no_number": (network(dropout="$int('x')"), "has no value"),
}


@pytest.mark.parametrize("name", MISFIT)
def test_a_config_that_cannot_be_made_is_told_with_its_key(name: str, tmp_path: Path) -> None:
    breaker, expected = MISFIT[name]
    root = write_bundle(tmp_path / "bundle")
    breaker(root)
    with pytest.raises(ModelError) as caught:
        ModelBundle.open(root).restricted_config().get("network_def")
    assert expected in caught.value.message and caught.value.message.startswith("configs/inference.json: '")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["zip", "pt", "safetensors"])
def test_cut_files_are_model_errors(kind: str, fraction: float, tmp_path: Path) -> None:
    import io

    import torch
    from safetensors.torch import save

    root = write_bundle(tmp_path / "bundle")
    state = torch.load(io.BytesIO(state_dict_bytes()), weights_only=True)
    data = {
        "zip": lambda: zip_of(root, tmp_path / "whole.zip").read_bytes(),
        "pt": state_dict_bytes,
        "safetensors": lambda: save(state),
    }[kind]()
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ModelError) as caught:
        ModelBundle.open(path) if kind == "zip" else load_weights(path, trusted=True)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_never_give_a_foreign_error(seed: int, tmp_path: Path) -> None:
    import random

    root = write_bundle(tmp_path / "bundle")
    dice = random.Random(seed)
    path = dice.choice([root / META, root / CONFIG, root / WEIGHTS, zip_of(root, tmp_path / "b.zip")])
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice([1, 10, 200])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    path.write_bytes(data)
    try:
        bundle = ModelBundle.open(path if path.suffix == ".zip" else root)
        bundle.check().raise_if_broken()
        bundle.restricted_config().get("network_def")
        load_weights(bundle.path / WEIGHTS, trusted=False)
    except MedDLError as error:
        assert "\n" not in error.message


@pytest.mark.parametrize("name", ["missing", "file.txt", "picture.zip", "empty"])
def test_what_is_no_bundle_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "picture.zip").write_bytes(b"\x89PNG")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError):
        ModelBundle.open(tmp_path / name)


def test_config_names_are_names_only(tmp_path: Path) -> None:
    bundle = ModelBundle.open(write_bundle(tmp_path / "b"))
    for name in ("../inference", "a/b", "", "/etc/passwd", "inference.json"):
        with pytest.raises(ModelError):
            bundle.config_path(name)


def test_a_safetensors_file_is_known_whatever_its_header_is_long(tmp_path: Path) -> None:
    from meddl.models import WeightsKind, inspect_weights, load_weights
    from safetensors.torch import save_file
    from torch import ones

    kinds = set()
    for length in range(1, 40):  # headers of 128 bytes begin as a pickle does
        path = tmp_path / f"{length}.safetensors"
        save_file({"w" * length: ones(2), "b": ones(1)}, path)
        facts = inspect_weights(path)
        assert facts.kind is WeightsKind.SAFETENSORS and not facts.problem, path.read_bytes()[:16]
        assert set(load_weights(path, trusted=False)) == {"w" * length, "b"}
        kinds.add(path.read_bytes()[0])
    assert 0x80 in kinds
