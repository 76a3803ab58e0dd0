"""nnU-Net v2 result folders are run, with the very labels that nnU-Net's own predictor gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core import tiny_nnunet
from core.nnunet_folders import ARCH, altered, old_plans, take_nnunet
from core.tiny_nnunet import REGIONS, write_folder
from meddl.errors import ModelError
from meddl.models import ModelBundle
from meddl.volume import Volume

needs_nnunet = pytest.mark.usefixtures("nnunet_installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def nnunet_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net as if it were installed."""
    take_nnunet(monkeypatch)


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
