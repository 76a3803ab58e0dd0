"""nnU-Net v2 result folders: recognized without nnU-Net, refused where they name anything that is not its own, and run
with the very labels that nnU-Net's own predictor gives."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import nnunet_environment, tiny_nnunet
from core.fuzzing import broken
from core.tiny_nnunet import REGIONS, write_folder
from meddl.errors import ModelError
from meddl.models import ModelBundle
from meddl.models.formats.nnunet_checkpoint import load_checkpoint
from meddl.models.formats.nnunet_plans import check_plans
from meddl.models.metadata_schema import metadata_problems
from meddl.volume import Volume

CORE = Path(__file__).resolve().parents[2] / "MedDLExtension" / "MedDLCore"
needs_nnunet = pytest.mark.usefixtures("nnunet_installed")


@pytest.fixture
def nnunet_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net as if it were installed: from the cache of the test data, after everything else."""
    packages = str(nnunet_environment.packages())
    monkeypatch.setattr(sys, "path", [*sys.path, packages])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), packages]))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with weights of nothing in particular: recognizing it takes no network."""
    import torch

    weights = [{"layer.weight": torch.ones(2)}, {"layer.weight": torch.zeros(2)}]
    return write_folder(tmp_path / "results", tiny_nnunet.plans(), tiny_nnunet.dataset(), weights)


def change(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_result_folder_is_a_bundle(folder: Path) -> None:
    bundle = ModelBundle.open(folder)
    assert (bundle.name, bundle.task, bundle.format, bundle.license) == (
        "Blobs (nnU-Net 3d_fullres)", "segmentation", "nnunet", "CC-BY 4.0",
    )  # fmt: skip
    assert [(each.label, each.name) for each in bundle.segments] == [(1, "kidney"), (2, "tumor")]
    assert [channel.name for channel in bundle.channels] == ["T1"]
    assert bundle.required_packages == ("nnunetv2",)
    assert bundle.files == (
        "dataset.json", "fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth", "plans.json",
    )  # fmt: skip
    assert bundle.weights_path == folder / "fold_0" / "checkpoint_final.pth"
    report = bundle.check()
    assert report.problems == report.needs_trust == report.code == ()
    assert metadata_problems(bundle.metadata) == []


def test_it_is_found_from_the_folders_round_it_and_in_a_zip(folder: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "results"))
    digests = {ModelBundle.open(place).digest for place in (folder, folder.parent, tmp_path / "results", archive)}
    assert len(digests) == 1
    shutil.copytree(folder, folder.with_name("nnUNetTrainer__nnUNetPlans__2d"))
    with pytest.raises(ModelError, match="several nnU-Net models"):
        ModelBundle.open(folder.parent)


def test_the_digest_is_of_the_model_and_not_of_what_training_left(folder: Path) -> None:
    bundle = ModelBundle.open(folder)
    before = bundle.digest
    (folder / "fold_0" / "progress.png").write_bytes(b"x")
    (folder / "fold_0" / "validation").mkdir()
    assert ModelBundle.open(folder).digest == before
    change(folder, "dataset.json", release="2.0")
    assert ModelBundle.open(folder).digest != before


def test_regions_come_in_layers_and_the_ignored_label_not_at_all(folder: Path) -> None:
    change(folder, "dataset.json", **{**REGIONS, "labels": {**REGIONS["labels"], "ignore": 3}})
    bundle = ModelBundle.open(folder)
    assert bundle.multilabel
    assert [(each.name, each.layer) for each in bundle.segments] == [("whole", 0), ("core", 1)]


def test_a_folder_of_all_data_and_an_unfinished_one_are_found(folder: Path) -> None:
    for name in ("fold_0", "fold_1"):
        (folder / name).rename(folder / name.replace("fold_", "kept_"))
    (folder / "kept_0").rename(folder / "fold_all")
    assert ModelBundle.open(folder).folds == ("fold_all/checkpoint_final.pth",)
    (folder / "fold_all" / "checkpoint_final.pth").rename(folder / "fold_all" / "checkpoint_best.pth")
    assert ModelBundle.open(folder).folds == ("fold_all/checkpoint_best.pth",)
    shutil.rmtree(folder / "fold_all")
    assert any("has no checkpoint" in problem for problem in ModelBundle.open(folder).check().problems)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": None}, "'labels'"),
        ({"labels": {"a": 1}}, "'background' should be 0"),
        ({"labels": {"background": 0, "a": 2}}, "should be 1, 2, 3"),
        ({"labels": {"background": 0, "a": "1"}}, "is not a number"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "'regions_class_order'"),
        ({"channel_names": {}}, "'channel_names'"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "numbered 0, 1, 2"),
    ],
)
def test_a_mistake_in_the_data_set_is_told(changes: dict[str, Any], said: str, folder: Path) -> None:
    change(folder, "dataset.json", **changes)
    with pytest.raises(ModelError, match=r"dataset\.json") as caught:
        ModelBundle.open(folder)
    assert said in caught.value.message


def altered(path: str, value: Any) -> dict[str, Any]:
    """Return plans with one value replaced."""
    plans = json.loads(json.dumps(tiny_nnunet.plans()))
    part = plans if path.startswith("/") else plans["configurations"]["3d_fullres"]
    *parents, last = path.strip("/").split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    return plans


ARCH = "architecture.arch_kwargs"


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


def old_plans() -> dict[str, Any]:
    """Return plans as nnU-Net wrote them before 2.4, with the network told by its numbers."""
    plans = json.loads(json.dumps(tiny_nnunet.plans()))
    configuration = plans["configurations"]["3d_fullres"]
    del configuration["architecture"]
    configuration.update(
        UNet_class_name="PlainConvUNet", UNet_base_num_features=4, unet_max_num_features=8,
        n_conv_per_stage_encoder=[1, 1], n_conv_per_stage_decoder=[1], num_pool_per_axis=[1, 1, 1],
        pool_op_kernel_sizes=[[1, 1, 1], [2, 2, 2]], conv_kernel_sizes=[[3, 3, 3], [3, 3, 3]],
    )  # fmt: skip
    return plans


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


def test_missing_nnunet_is_said_and_looking_a_folder_over_does_without(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'nnunetv2' else real(name, *rest)\n"
        "from meddl.models import ModelBundle\n"
        f"bundle = ModelBundle.open({str(folder)!r})\n"
        "print(bundle.check().warnings, 'torch' in sys.modules)\n"
        "from meddl.errors import ModelError\nfrom meddl.inference import Predictor\n"
        "try:\n    Predictor(bundle, 'cpu')\nexcept ModelError as error:\n    print(error.message)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CORE), "MEDDL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    looked, said = done.stdout.splitlines()
    assert "takes the Python package nnunetv2" in looked and looked.endswith("False")
    assert "which is not installed" in said and "pip install nnunetv2" in said


def image(channels: int = 1, shape: tuple[int, int, int] = (30, 28, 16), affine: Any = None) -> Volume:
    """Return smooth noise with a margin of zeros, which nnU-Net crops."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(channels)
    array = np.stack([gaussian_filter(rng.normal(size=shape), 2) * 50 + 5 for _ in range(channels)])
    array[:, :4] = 0
    return Volume(array.astype(np.float32), np.diag([-1.0, -1.1, 2.5, 1]) if affine is None else np.asarray(affine))


def theirs(root: Path, volume: Volume, mirror: bool, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Return the labels ``(I, J, K)`` of nnU-Net's own predictor, with sums in full precision."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=mirror, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(root), None)
    array = np.ascontiguousarray(volume.array.transpose(0, 3, 2, 1))
    with monkeypatch.context() as patched:
        # It adds windows up in half precision, in which neighboring labels may swap.
        patched.setattr(torch, "half", torch.float32)
        labels = predictor.predict_single_npy_array(array, {"spacing": [float(each) for each in volume.spacing[::-1]]})
    return labels.transpose(2, 1, 0)


CASES: dict[str, dict[str, Any]] = {
    "one fold": {},
    "older plans": {"old": True},
    "three folds": {"folds": 3},
    "mirrored": {"mirror": True},
    "two channels": {"channels": 2},
    "regions": {"regions": True},
    "slices": {"dimensions": 2},
    "slices, mirrored": {"dimensions": 2, "mirror": True},
    "thick slices of the network": {"plans": {"configuration": {"spacing": [6.0, 1.25, 1.5]}}},
    "thick slices of the image": {"affine": np.diag([1.0, 1, 5, 1])},
    "resampled by torch": {
        "affine": np.diag([1.0, 1, 5, 1]),
        "plans": {
            "configuration": {
                name: value
                for kind in ("data", "seg", "probabilities")
                for name, value in (
                    (f"resampling_fn_{kind}", "resample_torch_fornnunet"),
                    (f"resampling_fn_{kind}_kwargs", {"is_seg": kind == "seg"}),
                )
            }
        },
    },
    "turned axes": {"plans": {"transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}},
    "smaller than a window": {"shape": (12, 14, 9)},
}


@needs_nnunet
@pytest.mark.parametrize("case", CASES)
def test_the_labels_are_those_of_nnunets_own_predictor(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meddl.inference import Predictor
    from meddl.inference.options import RunOptions

    facts = CASES[case]
    channels, dimensions, mirror = facts.get("channels", 1), facts.get("dimensions", 3), facts.get("mirror", False)
    plans = tiny_nnunet.plans(dimensions, channels, **facts.get("plans", {}))
    built = plans
    if facts.get("old"):
        plans = old_plans()
    dataset = tiny_nnunet.dataset(channels, **(REGIONS if facts.get("regions") else {}))
    heads = 2 if facts.get("regions") else 3
    weights = tiny_nnunet.random_weights(built, channels, heads, facts.get("folds", 1))
    axes = tuple(range(dimensions))
    root = write_folder(tmp_path / "results", plans, dataset, weights, mirror=axes)
    volume = image(channels, facts.get("shape", (30, 28, 16)), facts.get("affine"))
    predictor = Predictor(ModelBundle.open(root), RunOptions(device="cpu", mirror=mirror))
    layers = predictor.predict(volume).labels.array
    ours = layers[0].copy()
    for layer, label in zip(layers[1:], (2,), strict=False):
        ours[layer > 0] = label  # as nnU-Net paints regions over one another
    reference = theirs(root, volume, mirror, monkeypatch)
    assert len(np.unique(reference)) > 1
    assert np.array_equal(ours, reference)


@needs_nnunet
def test_an_image_turned_before_reading_gets_the_turned_labels(tmp_path: Path) -> None:
    """With a reader that turns images to RAS first, the order in which voxels are stored does not matter."""
    from meddl.inference import Predictor

    plans = tiny_nnunet.plans(image_reader_writer="NibabelIOWithReorient")
    root = write_folder(tmp_path / "results", plans, tiny_nnunet.dataset(), tiny_nnunet.random_weights(plans, 1, 3))
    predictor = Predictor(ModelBundle.open(root), "cpu")
    volume = image(affine=np.diag([1.0, 1.1, 2.5, 1]))
    expected = predictor.predict(volume).labels.array
    # The same voxels in the same places, stored with other axes first and the other way round.
    stored = np.flip(volume.array.transpose(0, 3, 1, 2), 2)
    affine = np.array([[0, -1.0, 0, 29.0], [0, 0, 1.1, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
    answer = predictor.predict(Volume(np.ascontiguousarray(stored), affine)).labels.array
    assert np.array_equal(np.flip(answer, 2).transpose(0, 2, 3, 1), expected)


@needs_nnunet
def test_uncertainty_flips_only_where_training_did(tmp_path: Path) -> None:
    from meddl.inference import Predictor
    from meddl.inference.options import RunOptions

    plans = tiny_nnunet.plans()
    root = write_folder(
        tmp_path / "results", plans, tiny_nnunet.dataset(), tiny_nnunet.random_weights(plans, 1, 3), mirror=(1,)
    )
    options = RunOptions(device="cpu", uncertainty="flips", passes=2, probabilities=True)
    prediction = Predictor(ModelBundle.open(root), options).predict(image())
    assert prediction.provenance["parameters"]["flip_axes"] == [1]
    assert prediction.probabilities.channels == 2
    assert prediction.uncertainty.passes == 2


@needs_nnunet
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_folds_tell_how_sure_the_model_is(regions: bool, mirror: bool, tmp_path: Path) -> None:
    from meddl.inference import Predictor
    from meddl.inference.options import RunOptions

    plans, dataset = tiny_nnunet.plans(), tiny_nnunet.dataset(**(REGIONS if regions else {}))
    weights = tiny_nnunet.random_weights(plans, 1, 2 if regions else 3, 3)
    root = write_folder(tmp_path / "results", plans, dataset, weights, mirror=(0, 1))
    plain = RunOptions(device="cpu", mirror=mirror)
    predictor = Predictor(ModelBundle.open(root), plain)
    expected = predictor.predict(image())
    single = [
        Predictor(ModelBundle.open(write_folder(tmp_path / f"fold {number}", plans, dataset, [each], mirror=(0, 1))),
                  plain).predict(image())
        for number, each in enumerate(weights)
    ]  # fmt: skip
    options = RunOptions(device="cpu", mirror=mirror, uncertainty="folds", probabilities=True)
    told = predictor.predict(image(), options=options)
    assert np.array_equal(told.labels.array, expected.labels.array), "asking how sure it is changes nothing"
    assert (told.uncertainty.method, told.uncertainty.passes) == ("ensemble", 3)
    assert "Over 3 folds" in told.uncertainty.sentence
    for name, (low, high) in told.uncertainty.intervals.items():
        volumes = [each.volumes_ml[name] for each in single]
        assert (low, high) == (pytest.approx(min(volumes), abs=1e-3), pytest.approx(max(volumes), abs=1e-3))
    entropy = told.uncertainty.entropy.array
    assert entropy.shape == (1, 30, 28, 16) and entropy.min() >= 0 and 0.1 < entropy.max() <= 1
    again = predictor.predict(image())
    assert np.array_equal(again.labels.array, expected.labels.array), "afterwards all folds answer again"
    assert told.provenance["execution"]["windows"] == again.provenance["execution"]["windows"] > 1


@needs_nnunet
def test_mirroring_is_a_choice_and_stands_in_the_record(tmp_path: Path) -> None:
    from meddl.inference import Predictor
    from meddl.inference.options import RunOptions

    plans = tiny_nnunet.plans()
    weights = tiny_nnunet.random_weights(plans, 1, 3)
    root = write_folder(tmp_path / "results", plans, tiny_nnunet.dataset(), weights, mirror=(0, 2))
    answers = [
        Predictor(ModelBundle.open(root), RunOptions(device="cpu", mirror=mirror)).predict(image())
        for mirror in (False, True)
    ]
    assert not np.array_equal(answers[0].labels.array, answers[1].labels.array)
    assert "mirrored_axes" not in answers[0].provenance["parameters"]
    assert answers[1].provenance["parameters"]["mirrored_axes"] == [0, 2]


@needs_nnunet
def test_folds_and_mirroring_on_a_real_head_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An oblique T1, shrunk; nnU-Net's own labels of it are known from the plain run with the same mirroring."""
    import realdata
    from meddl.cli import main
    from meddl.volume import read_volume, write_volume

    whole = read_volume(realdata.head())
    affine = whole.affine.copy()
    affine[:3, :3] *= 8
    head = Volume(np.ascontiguousarray(whole.array[:, ::8, ::8, ::8]), affine)
    write_volume(head, tmp_path / "head.nrrd")
    plans = tiny_nnunet.plans(configuration={"spacing": [9.0, 9.0, 9.0]})
    weights = tiny_nnunet.random_weights(plans, 1, 3, 3)
    root = write_folder(tmp_path / "results", plans, tiny_nnunet.dataset(), weights, mirror=(0, 1, 2))
    words = ["infer", "--model", str(root), "--input", str(tmp_path / "head.nrrd"), "--device", "cpu", "--mirror"]
    report = tmp_path / "told.json"
    assert main([*words, "--output", str(tmp_path / "plain.nrrd")]) == 0
    assert (
        main([*words, "--output", str(tmp_path / "told.nrrd"), "--uncertainty", "folds", "--report", str(report)]) == 0
    )
    plain, told = (read_volume(tmp_path / f"{name}.nrrd").array for name in ("plain", "told"))
    assert len(np.unique(plain)) > 1 and np.array_equal(plain, told)
    facts = json.loads(report.read_text())
    assert "Over 3 folds" in json.dumps(facts) and '"mirrored_axes": [0, 1, 2]' in json.dumps(facts)
    assert "Over 3 folds" in capsys.readouterr().out


@needs_nnunet
def test_a_model_of_one_fold_has_none_to_compare(tmp_path: Path) -> None:
    from meddl.inference import Predictor
    from meddl.inference.options import RunOptions

    plans = tiny_nnunet.plans()
    root = write_folder(tmp_path / "a", plans, tiny_nnunet.dataset(), tiny_nnunet.random_weights(plans, 1, 3))
    with pytest.raises(ModelError, match="has no folds to compare"):
        Predictor(ModelBundle.open(root), RunOptions(device="cpu", uncertainty="folds")).predict(image())


@needs_nnunet
def test_weights_of_another_network_and_huge_images_are_refused_in_a_sentence(tmp_path: Path) -> None:
    from meddl.inference import Predictor

    plans = tiny_nnunet.plans()
    weights = tiny_nnunet.random_weights(plans, 1, 4)
    root = write_folder(tmp_path / "a", plans, tiny_nnunet.dataset(), weights)
    with pytest.raises(ModelError, match="do not fit the network of its plans"):
        Predictor(ModelBundle.open(root), "cpu")
    plans = tiny_nnunet.plans(configuration={"spacing": [0.01, 0.01, 0.01]})
    root = write_folder(tmp_path / "b", plans, tiny_nnunet.dataset(), tiny_nnunet.random_weights(plans, 1, 3))
    with pytest.raises(ModelError, match="too many"):
        Predictor(ModelBundle.open(root), "cpu").predict(image())


@needs_nnunet
def test_an_image_that_nnunet_cannot_prepare_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from meddl.inference import Predictor

    plans = tiny_nnunet.plans(configuration={"normalization_schemes": ["RGBTo01Normalization"]})
    root = write_folder(tmp_path / "a", plans, tiny_nnunet.dataset(), tiny_nnunet.random_weights(plans, 1, 3))
    volume = image()
    with pytest.raises(ModelError, match="cannot prepare this image"):
        Predictor(ModelBundle.open(root), "cpu").predict(volume.with_array(volume.array * 1000))
    thin = Volume(volume.array[..., :1], np.diag([1.0, 1, 0.5, 1]))
    with pytest.raises(ModelError, match="nnU-Net cannot prepare this image"):
        Predictor(ModelBundle.open(root), "cpu").predict(thin)


@needs_nnunet
def test_a_network_beyond_any_memory_is_refused_before_it_is_made(tmp_path: Path) -> None:
    import torch
    from meddl.inference import Predictor

    plans = altered(f"{ARCH}.features_per_stage", [60_000, 60_000])
    root = write_folder(tmp_path / "a", plans, tiny_nnunet.dataset(), [{"a": torch.zeros(1)}])
    with pytest.raises(ModelError, match="GB of memory"):
        Predictor(ModelBundle.open(root), "cpu")
