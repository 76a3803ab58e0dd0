"""nnU-Net v2 result folders are refused where they name or hold anything that is not nnU-Net's own."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import tiny_nnunet
from core.fuzzing import broken
from core.nnunet_folders import ARCH, altered, old_plans, write_small_folder
from meddl.errors import ModelError
from meddl.models import ModelBundle
from meddl.models.formats.nnunet_checkpoint import load_checkpoint
from meddl.models.formats.nnunet_plans import check_plans


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights of nothing in particular: recognizing it takes no network."""
    return write_small_folder(tmp_path / "results")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("architecture.network_class_name", "os.system", "network_class_name"),
        ("architecture.network_class_name", "subprocess.Popen", "network_class_name"),
        ("architecture.network_class_name", "torch.nn.Sequential", "network_class_name"),
        ("architecture.network_class_name", "dynamic_network_architectures.os.system", "network_class_name"),
        ("architecture.network_class_name", 7, "network_class_name"),
        (f"{ARCH}.conv_op", "os.system", "'os.system', which is not part of nnU-Net"),
        (f"{ARCH}.nonlin", "torch.nn.modules.os.system", "which is not part of nnU-Net"),
        (f"{ARCH}.nonlin", "torch.nn.Module", "which is not part of nnU-Net"),
        (f"{ARCH}.nonlin_kwargs", {"x": "$import os"}, "'arch_kwargs.nonlin_kwargs' has a value"),
        (f"{ARCH}.pretrained", "/etc/passwd", "'arch_kwargs.pretrained' has a value"),
        (f"{ARCH}.features_per_stage", [10**9, 8], "'arch_kwargs.features_per_stage' has a value"),
        ("architecture._kw_requires_import", ["nothing"], "_kw_requires_import"),
        ("architecture", [], "'architecture' should be an object"),
        ("preprocessor_name", "Evil", "preprocessor_name"),
        ("preprocessor_name", None, "preprocessor_name"),
        ("normalization_schemes", ["Evil"], "normalization_schemes"),
        ("normalization_schemes", [], "one entry for each of the 1 channels"),
        ("use_mask_for_norm", ["no"], "use_mask_for_norm"),
        ("resampling_fn_data", "system", "resampling_fn_data"),
        ("resampling_fn_seg_kwargs", {"order": "3"}, "resampling_fn_seg_kwargs.order"),
        ("resampling_fn_seg_kwargs", {"order": 10**9}, "resampling_fn_seg_kwargs.order"),
        ("resampling_fn_probabilities_kwargs", [], "should be an object"),
        ("patch_size", [10**6, 10**6, 10**6], "patch_size"),
        ("patch_size", [True, 8, 8], "patch_size"),
        ("patch_size", [4096, 4096, 4096], "patch_size"),
        ("spacing", [1e-9, 1, 1], "spacing"),
        ("spacing", [1, 1], "spacing"),
        ("previous_stage", "3d_lowres", "second stage of a cascade"),
        ("inherits_from", "3d_fullres", "inherits from one that is not there"),
        ("inherits_from", "none", "inherits from one that is not there"),
        ("/transpose_forward", [0, 0, 1], "transpose_forward"),
        ("/transpose_backward", [1, 0, 2], "transpose_forward"),
        ("/transpose_backward", [7, 8, 9], "transpose_forward"),
        ("/image_reader_writer", "Evil", "image_reader_writer"),
        ("/label_manager", "Evil", "label_manager"),
        ("/foreground_intensity_properties_per_channel", {}, "intensities of channel 0"),
        ("/configurations", {"3d_fullres": 3}, "no configuration"),
    ],
)
def test_plans_that_name_what_is_not_nnunets_own_are_refused(path: str, value: Any, said: str, folder: Path) -> None:
    plans = altered(path, value)
    with pytest.raises(ModelError) as caught:
        check_plans(plans, "3d_fullres", 1)
    assert said in caught.value.message
    (folder / "plans.json").write_text(json.dumps(plans))
    assert any(said in problem for problem in ModelBundle.open(folder).check().problems)


def test_older_plans_are_held_to_the_same() -> None:
    check_plans(old_plans(), "3d_fullres", 1)
    for field, value in (
        ("UNet_class_name", "os.system"), ("n_conv_per_stage_encoder", [1] * 1000), ("UNet_base_num_features", "4"),
        ("unet_max_num_features", 10**9), ("conv_kernel_sizes", None),
    ):  # fmt: skip
        plans = old_plans()
        plans["configurations"]["3d_fullres"][field] = value
        if value is None:
            del plans["configurations"]["3d_fullres"][field]
        with pytest.raises(ModelError, match=field):
            check_plans(plans, "3d_fullres", 1)


def test_random_damage_to_the_descriptions_ends_in_a_sentence(folder: Path) -> None:
    rng = random.Random(11)
    for name in ("plans.json", "dataset.json"):
        original = (folder / name).read_bytes()
        for _ in range(250):
            (folder / name).write_bytes(broken(original, rng)[1])
            try:
                problems = ModelBundle.open(folder).check().problems
            except ModelError as error:
                problems = (error.message,)
            assert all(len(problem) < 500 for problem in problems)
        (folder / name).write_bytes(original)


def test_a_configuration_may_inherit_from_another() -> None:
    plans = tiny_nnunet.plans()
    plans["configurations"]["bigger"] = {"inherits_from": "3d_fullres", "batch_size": 4}
    check_plans(plans, "bigger", 1)


def test_a_checkpoint_is_read_without_unpickling_what_is_in_it(folder: Path) -> None:
    checkpoint = load_checkpoint(folder / "fold_0" / "checkpoint_final.pth")
    assert list(checkpoint.weights) == ["layer.weight"]
    assert (checkpoint.configuration, checkpoint.trainer, checkpoint.mirror_axes) == (
        "3d_fullres", "nnUNetTrainer", (0, 1, 2),
    )  # fmt: skip


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


class DtypeEvil(Evil):
    """Asks for a numpy name that is allowed, with something else in its arguments."""

    def __reduce__(self) -> Any:
        return np.dtype, (Evil(self.canary),)


@pytest.mark.parametrize("kind", [Evil, DtypeEvil])
@pytest.mark.parametrize("saved_by", ["torch", "old torch", "pickle"])
def test_a_hostile_checkpoint_runs_nothing(kind: Any, saved_by: str, folder: Path, tmp_path: Path) -> None:
    import torch

    canary = tmp_path / "canary"
    path = folder / "fold_0" / "checkpoint_final.pth"
    content = {"network_weights": {"a": torch.zeros(1)}, "logging": kind(canary)}
    if saved_by == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=saved_by == "torch")
    problems = ModelBundle.open(folder).check().problems
    assert any("fold_0/checkpoint_final.pth" in problem for problem in problems), problems
    with pytest.raises(ModelError):
        load_checkpoint(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    "content", [[], {}, {"network_weights": {}}, {"network_weights": {"a": 1}}, {"network_weights": {1: 2}}]
)
def test_a_checkpoint_that_is_none_is_refused_in_a_sentence(content: Any, tmp_path: Path) -> None:
    import torch

    path = tmp_path / "checkpoint_final.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"checkpoint_final\.pth"):
        load_checkpoint(path)


def test_a_link_to_a_checkpoint_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    shutil.move(path, tmp_path / "elsewhere.pth")
    path.symlink_to(tmp_path / "elsewhere.pth")
    assert any("outside its own folder" in problem for problem in ModelBundle.open(folder).check().problems)
