"""Classifiers: pictures, volumes, stacks of slices, time frames; calibrated; alone, repeated and several together."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from core import known_bundles
from core.known_bundles import oblique, voxelwise
from meddl.errors import ModelError, UsageError
from meddl.inference import ClassificationPrediction, Ensemble, Predictor, RunOptions, prediction_from_dict
from meddl.inference.joining import check_joined
from meddl.inference.task import run_inference
from meddl.jobs import JobContext
from meddl.models import ModelBundle, TrustStore
from meddl.networks import RecurrentClassifier
from meddl.volume import Volume
from monai.networks.nets import DenseNet
from safetensors.torch import save_file

DENSE = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "init_features": 4, "growth_rate": 4,
         "block_config": [2, 2], "dropout_prob": 0.0}  # fmt: skip
NAMES = ["head", "chest", "belly"]
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}


def image(shape: tuple[int, int, int] = (20, 24, 18), seed: int = 3) -> Volume:
    return Volume(np.random.default_rng(seed).normal(0, 1, (1, *shape)).astype(np.float32), oblique())


def dense(folder: Path, seed: int = 0, **more: object) -> tuple[ModelBundle, DenseNet]:
    arguments = {**DENSE, **more.pop("network", {})}  # type: ignore[dict-item]
    torch.manual_seed(seed)
    network = DenseNet(**arguments).eval()
    facts = {"classes": NAMES, "postprocessing": [SOFTMAX], **more}
    known_bundles.write(
        folder,
        "classification",
        {"_target_": "DenseNet", **arguments},
        **facts,  # type: ignore[arg-type]
    )
    save_file(network.state_dict(), folder / "models" / "model.safetensors")
    return ModelBundle.open(folder), network


def asked(network: torch.nn.Module, array: np.ndarray) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.from_numpy(array.astype(np.float32))[None])[0]


def probabilities(prediction: object) -> list[float]:
    assert isinstance(prediction, ClassificationPrediction)
    return [each.probability for each in prediction.classes]


def test_probabilities_are_those_of_the_network_itself(tmp_path: Path) -> None:
    bundle, network = dense(tmp_path / "model")
    volume = image()
    prediction = Predictor(bundle, "cpu").predict(volume)
    assert isinstance(prediction, ClassificationPrediction)
    expected = asked(network, volume.array).softmax(0)
    np.testing.assert_allclose(probabilities(prediction), expected.tolist(), atol=2e-6)
    assert [each.name for each in prediction.classes] == NAMES
    assert prediction.best.name == NAMES[int(expected.argmax())]
    assert prediction.exclusive and not prediction.calibrated
    again = prediction_from_dict(prediction.to_dict())
    assert again.row() == prediction.row() and set(again.row()) == {"class", *(f"{n} (probability)" for n in NAMES)}


def test_a_temperature_calibrates_the_scores(tmp_path: Path) -> None:
    classes = [{"name": name, "code": f"SCT^{index}^{name}"} for index, name in enumerate(NAMES)]
    facts = {"calibration": {"temperature": 2.5}, "classes": classes}
    bundle, network = dense(tmp_path / "model", meddl=facts)
    prediction = Predictor(bundle, "cpu").predict(image())
    assert isinstance(prediction, ClassificationPrediction) and prediction.calibrated
    expected = (asked(network, image().array) / 2.5).softmax(0)
    np.testing.assert_allclose(probabilities(prediction), expected.tolist(), atol=2e-6)
    assert prediction.classes[2].code == "SCT^2^belly"


@pytest.mark.parametrize("temperature", [0, -1, "hot", 1e9])
def test_a_temperature_that_is_none_is_refused(tmp_path: Path, temperature: object) -> None:
    bundle, _ = dense(tmp_path / "model", meddl={"calibration": {"temperature": temperature}})
    with pytest.raises(ModelError, match="temperature"):
        Predictor(bundle, "cpu")


def test_findings_that_do_not_exclude_each_other(tmp_path: Path) -> None:
    bundle, network = dense(tmp_path / "model", postprocessing=[SIGMOID])
    prediction = Predictor(bundle, "cpu").predict(image())
    assert isinstance(prediction, ClassificationPrediction) and not prediction.exclusive
    np.testing.assert_allclose(probabilities(prediction), asked(network, image().array).sigmoid().tolist(), atol=2e-6)
    assert "class" not in prediction.row()


def test_a_single_score_is_yes_or_no(tmp_path: Path) -> None:
    bundle, network = dense(
        tmp_path / "model", network={"out_channels": 1}, classes=["fracture"], postprocessing=[SIGMOID]
    )
    prediction = Predictor(bundle, "cpu").predict(image())
    assert isinstance(prediction, ClassificationPrediction) and prediction.exclusive
    yes = float(asked(network, image().array).sigmoid())
    assert [each.name for each in prediction.classes] == ["no fracture", "fracture"]
    np.testing.assert_allclose(probabilities(prediction), [1 - yes, yes], atol=2e-6)


def test_a_flat_network_is_shown_the_middle_slice_of_a_volume(tmp_path: Path) -> None:
    bundle, network = dense(tmp_path / "model", network={"spatial_dims": 2}, flat=True)
    volume = image((24, 28, 7))
    predictor = Predictor(bundle, "cpu")
    expected = asked(network, volume.array[..., 3]).softmax(0)
    whole = predictor.predict(volume)
    np.testing.assert_allclose(probabilities(whole), expected.tolist(), atol=2e-6)
    assert any("middle one (4 of the volume)" in note for note in whole.provenance["notes"])
    alone = predictor.predict(Volume(volume.array[..., 3:4], volume.affine))
    assert probabilities(alone) == probabilities(whole)


def test_pictures_in_color_and_in_gray_fit_each_other(tmp_path: Path) -> None:
    color, network = dense(
        tmp_path / "color", network={"spatial_dims": 2, "in_channels": 3}, flat=True, channels=["R", "G", "B"]
    )
    gray = image((24, 28, 1))
    prediction = Predictor(color, "cpu").predict(gray)
    expected = asked(network, gray.array[..., 0].repeat(3, axis=0)).softmax(0)
    np.testing.assert_allclose(probabilities(prediction), expected.tolist(), atol=2e-6)
    plain, network = dense(tmp_path / "gray", network={"spatial_dims": 2}, flat=True)
    picture = gray.with_array(np.random.default_rng(0).integers(0, 255, (3, 24, 28, 1)).astype(np.uint8))
    prediction = Predictor(plain, "cpu").predict(picture)
    luma = np.tensordot([0.299, 0.587, 0.114], picture.array[..., 0].astype(float), axes=1)[None]
    np.testing.assert_allclose(probabilities(prediction), asked(network, luma).softmax(0).tolist(), atol=2e-5)
    assert any("without its colors" in note for note in prediction.provenance["notes"])


RECURRENT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "features": [4, 8], "hidden": 6}


def recurrent(folder: Path, axis: str, dims: int = 2) -> tuple[ModelBundle, RecurrentClassifier]:
    torch.manual_seed(1)
    arguments = {**RECURRENT, "spatial_dims": dims}
    network = RecurrentClassifier(**arguments).eval()  # type: ignore[arg-type]
    known_bundles.write(
        folder, "classification", {"_target_": "meddl.networks.RecurrentClassifier", **arguments},
        classes=["up", "down"], postprocessing=[SOFTMAX], meddl={"sequence": {"axis": axis}},
    )  # fmt: skip
    save_file(network.state_dict(), folder / "models" / "model.safetensors")
    return ModelBundle.open(folder), network


def test_a_recurrent_network_reads_the_slices_in_order(tmp_path: Path) -> None:
    bundle, network = recurrent(tmp_path / "model", "slices")
    volume = image((16, 20, 9))
    prediction = Predictor(bundle, "cpu").predict(volume)
    assert isinstance(prediction, ClassificationPrediction)
    np.testing.assert_allclose(probabilities(prediction), asked(network, volume.array).softmax(0).tolist(), atol=2e-6)
    assert len(prediction.evidence) == 9 and sum(prediction.evidence) == pytest.approx(1.0, abs=1e-4)
    turned = Predictor(bundle, "cpu").predict(volume.with_array(volume.array[..., ::-1]))
    assert probabilities(turned) != probabilities(prediction)
    np.testing.assert_allclose(prediction.evidence, network.evidence[0], atol=1e-5)  # type: ignore[index]


def test_a_recurrent_network_reads_time_frames(tmp_path: Path) -> None:
    bundle, network = recurrent(tmp_path / "model", "frames", dims=3)
    frames = [image((8, 10, 8), seed) for seed in range(5)]
    params = {"model": str(bundle.path), "frames": frames, "options": {"device": "cpu"}}
    prediction = prediction_from_dict(run_inference(params, JobContext()))
    expected = asked(network, np.stack([frame.array for frame in frames], axis=-1)).softmax(0)
    np.testing.assert_allclose(probabilities(prediction), expected.tolist(), atol=2e-6)
    with pytest.raises(ModelError, match="sequence of time frames"):
        Predictor(bundle, "cpu").predict(frames[0])
    with pytest.raises(ModelError, match="different sizes"):
        Predictor(bundle, "cpu").predict(frames[0], frames=[image((8, 10, 12))])


def test_frames_are_refused_by_models_that_take_one_image(tmp_path: Path) -> None:
    bundle, _ = dense(tmp_path / "model")
    with pytest.raises(ModelError, match="one image at a time"):
        Predictor(bundle, "cpu").predict(image(), frames=[image()])


def test_a_sure_classifier_is_told_apart_from_an_unsure_one(tmp_path: Path) -> None:
    # Dropout in front of the answer makes it differ from pass to pass.
    bundle, network = dense(tmp_path / "model", network={"dropout_prob": 0.3})
    options = RunOptions(device="cpu", uncertainty="dropout", passes=6)
    first = Predictor(bundle, options).predict(image())
    assert isinstance(first, ClassificationPrediction) and first.uncertainty is not None
    spread = {name: high - low for name, (low, high) in first.uncertainty.intervals.items()}
    assert set(spread) == set(NAMES) and max(spread.values()) > 1e-3
    assert first.uncertainty.passes == 6 and first.uncertainty.sentence in first.provenance["notes"]
    again = Predictor(bundle, options).predict(image())
    assert probabilities(again) == probabilities(first), "the same seed gives the same answer"
    sure = Predictor(bundle, "cpu").predict(image())
    np.testing.assert_allclose(probabilities(sure), asked(network, image().array).softmax(0).tolist(), atol=2e-6)


def test_an_ensemble_answers_the_mean(tmp_path: Path) -> None:
    models = [dense(tmp_path / f"model{seed}", seed) for seed in range(3)]
    prediction = Ensemble([bundle for bundle, _ in models], "cpu").predict(image())
    expected = np.mean([asked(network, image().array).softmax(0).numpy() for _, network in models], axis=0)
    np.testing.assert_allclose(probabilities(prediction), expected, atol=2e-6)
    assert isinstance(prediction, ClassificationPrediction) and prediction.uncertainty is not None
    assert prediction.uncertainty.method == "ensemble" and len(prediction.provenance["models"]) == 3


def above(folder: Path, threshold: float, name: str = "bright") -> ModelBundle:
    """A model whose probability of ``name`` is a sigmoid round the threshold."""
    return known_bundles.write(
        folder, "segmentation", **voxelwise(1, [[-4.0], [4.0]], [4 * threshold, -4 * threshold]),
        classes=["background", name], outputs=2,
        postprocessing=[{**SOFTMAX}, {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
    )  # fmt: skip


def test_an_ensemble_of_segmentations_is_decided_on_mean_probabilities(tmp_path: Path) -> None:
    volume = image()
    models = [above(tmp_path / f"model{index}", threshold) for index, threshold in enumerate((0.0, 0.5, 1.3))]
    options = RunOptions(device="cpu", probabilities=True)
    prediction = Ensemble(models, options).predict(volume)
    each = [1 / (1 + np.exp(-8.0 * (volume.array - threshold))) for threshold in (0.0, 0.5, 1.3)]
    mean = np.mean(each, axis=0)
    labels = prediction.labels.array  # type: ignore[union-attr]
    clear = np.abs(mean - 0.5) > 1e-3
    np.testing.assert_array_equal(labels[clear], (mean > 0.5)[clear])
    np.testing.assert_allclose(prediction.probabilities.array, mean, atol=1e-3)  # type: ignore[union-attr]
    low, high = prediction.uncertainty.intervals["bright"]  # type: ignore[union-attr]
    counts = sorted((volume.array > threshold).sum() * volume.voxel_volume_ml for threshold in (0.0, 0.5, 1.3))
    assert (low, high) == (pytest.approx(counts[0], rel=1e-3), pytest.approx(counts[-1], rel=1e-3))


def test_doubt_about_structures_that_may_overlap_is_told_one_by_one(tmp_path: Path) -> None:
    # The config does not threshold: that the structures overlap stands in the metadata alone.
    model = known_bundles.write(
        tmp_path / "model", "segmentation", **voxelwise(1, [[2.0], [2.0]], [0.0, 0.0]), classes=["edema", "tumor"],
        postprocessing=[SIGMOID], meddl={"multilabel": True},
    )  # fmt: skip
    volume = image()
    prediction = Predictor(model, RunOptions(device="cpu", uncertainty="flips", passes=2)).predict(volume)
    chance = 1 / (1 + np.exp(-2.0 * volume.array))
    bits = -(chance * np.log2(chance) + (1 - chance) * np.log2(1 - chance))
    np.testing.assert_allclose(prediction.uncertainty.entropy.array, bits, atol=1e-4)  # type: ignore[union-attr]


def test_models_that_look_for_different_things_cannot_be_joined(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="different things"):
        Ensemble([above(tmp_path / "a", 0.0, "bright"), above(tmp_path / "b", 0.0, "dark")], "cpu")
    with pytest.raises(UsageError, match="two models or more"):
        Ensemble([above(tmp_path / "c", 0.0)], "cpu")


def two_structures(folder: Path, names: list[str], weights: list[float], bias: list[float]) -> ModelBundle:
    return known_bundles.write(
        folder, "segmentation", **voxelwise(1, [[each] for each in weights], bias),
        classes=["background", *names], outputs=3,
        postprocessing=[{**SOFTMAX}, {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
    )  # fmt: skip


def test_structures_in_another_order_are_joined_by_name(tmp_path: Path) -> None:
    volume = image()
    first = two_structures(tmp_path / "a", ["bright", "dark"], [0.0, 6.0, -6.0], [0.0, -3.0, -3.0])
    second = two_structures(tmp_path / "b", ["dark", "bright"], [0.0, -6.0, 6.0], [0.0, -3.0, -3.0])
    single = Predictor(first, RunOptions(device="cpu", probabilities=True)).predict(volume)
    joined = Ensemble([first, second], RunOptions(device="cpu", probabilities=True)).predict(volume)
    np.testing.assert_array_equal(joined.labels.array, single.labels.array)  # type: ignore[union-attr]
    np.testing.assert_allclose(joined.probabilities.array, single.probabilities.array, atol=1e-6)  # type: ignore[union-attr]
    for low, high in joined.uncertainty.intervals.values():  # type: ignore[union-attr]
        assert low == high
    assert joined.provenance["model"]["name"] == "Known segmentation (2 models)"
    assert joined.provenance["execution"]["windows"] == 2


@pytest.mark.parametrize(
    ("channels", "names", "said"),
    [
        (("T1", "T2"), ["bright"], "the one takes 1 image, the other 2 images"),
        (("T1",), ["bright", "dark"], "only 'Known segmentation' knows dark"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_loaded(
    tmp_path: Path, channels: tuple[str, ...], names: list[str], said: str
) -> None:
    count = 1 + len(names)
    other = known_bundles.write(
        tmp_path / "other", "segmentation",
        **voxelwise(len(channels), [[0.0] * len(channels)] * count, [0.0] * count),
        channels=channels, classes=["background", *names], outputs=count,
    )  # fmt: skip
    with pytest.raises(ModelError, match=said):
        check_joined([above(tmp_path / "model", 0.0), other])


def test_the_same_model_twice_is_no_ensemble(tmp_path: Path) -> None:
    model = above(tmp_path / "model", 0.0)
    shutil.copytree(model.path, tmp_path / "copy")
    with pytest.raises(UsageError, match="twice"):
        check_joined([model, ModelBundle.open(tmp_path / "copy")])


def test_maps_of_several_models_are_not_kept(tmp_path: Path) -> None:
    volume = image((48, 48, 48))
    models = [above(tmp_path / str(index), index / 10) for index in range(6)]
    peaks = []
    for count in (2, 6):
        ensemble = Ensemble(models[:count], "cpu")
        ensemble.predict(volume)
        tracemalloc.start()
        ensemble.predict(volume)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_a_model_is_kept_for_the_next_run_and_its_options_may_change(tmp_path: Path) -> None:
    bundle = above(tmp_path / "model", 0.2)
    context, trust = JobContext(), TrustStore(tmp_path / "trust.json")
    params = {"model": str(bundle.path), "volume": image(), "device": "cpu", "trust_file": str(trust.path)}
    first = run_inference(params, context)
    assert len(context.cache) == 1
    second = run_inference({**params, "options": {"uncertainty": "flips", "passes": 4}}, context)
    assert len(context.cache) == 1, "flips need no other network"
    np.testing.assert_array_equal(first["labels"].array, second["labels"].array)
    # A network that looks at single voxels is as sure of a flipped image.
    low, high = second["uncertainty"]["intervals"]["bright"]
    assert low == high == pytest.approx(first["volumes_ml"]["bright"], abs=2e-3)
    entropy = second["uncertainty"]["entropy"]
    assert entropy.shape == image().shape and entropy.array.min() >= 0 and entropy.array.max() <= 1


def test_another_number_of_frames_than_the_model_reads_is_refused(tmp_path: Path) -> None:
    bundle, _ = recurrent(tmp_path / "model", "frames")
    path = bundle.path / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["meddl"]["sequence"]["length"] = 4
    path.write_text(json.dumps(metadata))
    predictor = Predictor(ModelBundle.open(bundle.path), "cpu")
    frames = [image((16, 20, 9)) for _ in range(3)]
    assert predictor.predict(frames[0], frames=frames).provenance
    with pytest.raises(ModelError, match="reads 4 time frames; this sequence has 3"):
        predictor.predict(frames[0], frames=frames[1:])
