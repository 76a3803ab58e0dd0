"""The predictor on a bundle as the Model Zoo writes them: results against MONAI itself, and all that can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import brain_model
import numpy as np
import pytest
import realdata
import torch
from core import known_bundles, tiny_bundle
from meddl.errors import JobCancelled, ModelError, UntrustedModelError, UsageError
from meddl.inference import Predictor, SegmentationPrediction
from meddl.inference.device import available_devices, resolve_device
from meddl.inference.task import RUN_INFERENCE
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.models import ModelBundle, TrustStore
from meddl.volume import Volume, read_volume


@pytest.fixture
def no_trust(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "trust.json")


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return ModelBundle.open(tiny_bundle.write(tmp_path / "bundle"))


def vertebra() -> Path:
    """A CT in PIR order with unequal spacing."""
    return realdata.tptbox()["sub-ct_label-22_ct"]


def by_monai(bundle: ModelBundle, image: Path, channel: int | None = 0) -> np.ndarray:
    """What MONAI's own parser, file reader, inferer and inversion make of the same bundle."""
    from monai.bundle import ConfigParser

    config = bundle.config()
    config["postprocessing"]["transforms"].pop()  # saving
    parser = ConfigParser(config)
    parser.parse()
    data = parser.get_parsed_content("preprocessing")({"image": str(image)})
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle.path / "models" / "model.pt", weights_only=True))
    with torch.inference_mode():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    labels = np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])
    return labels if channel is None else labels[channel]


def test_labels_are_those_of_monais_own_pipeline(bundle: ModelBundle, no_trust: TrustStore) -> None:
    prediction = Predictor(bundle, "cpu", no_trust).predict(read_volume(vertebra()))
    labels = prediction.labels.array[0]
    expected = by_monai(bundle, vertebra())
    assert labels.shape == expected.shape
    assert len(np.unique(expected)) == 3, "the random network should find something of everything"
    # Random weights put class borders everywhere: a grid off by half a voxel would agree in about 80 % only.
    assert (labels == expected).mean() > 0.99
    assert set(prediction.volumes_ml) == {"first blob", "second blob"}


def test_progress_runs_from_start_to_end_and_counts_windows(bundle: ModelBundle, no_trust: TrustStore) -> None:
    told: list[tuple[float, str]] = []
    Predictor(bundle, "cpu", no_trust).predict(
        read_volume(vertebra()), progress=lambda fraction, text: told.append((fraction, text))
    )
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    counted = [text for _, text in told if "windows" in text]
    done, total = (int(word) for word in counted[-1].replace("(", " ").split() if word.isdigit())
    assert done == total == len(counted), "the number of windows is known from the start"


def test_a_run_is_cancelled_between_windows(bundle: ModelBundle, no_trust: TrustStore) -> None:
    predictor = Predictor(bundle, "cpu", no_trust)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with pytest.raises(JobCancelled):
        predictor.predict(read_volume(vertebra()), cancelled=cancelled)
    assert asked == 3
    assert predictor.predict(read_volume(vertebra())).labels.array.any(), "it can be used again"


def test_the_input_is_left_as_it_was(bundle: ModelBundle, no_trust: TrustStore) -> None:
    volume = read_volume(vertebra())
    copy = volume.array.copy()
    Predictor(bundle, "cpu", no_trust).predict(volume)
    np.testing.assert_array_equal(volume.array, copy)


def test_provenance_is_complete_and_names_no_file(bundle: ModelBundle, no_trust: TrustStore) -> None:
    prediction = Predictor(bundle, "cpu", no_trust).predict(read_volume(vertebra()))
    text = json.dumps(prediction.provenance)
    assert str(bundle.path) not in text and "label-22" not in text
    model = prediction.provenance["model"]
    assert model == {"name": "Two blobs", "version": "0.3.0", "license": "Apache-2.0", "sha256": bundle.digest}
    assert {"preprocess", "network", "restore", "postprocess", "total"} <= set(prediction.provenance["times_s"])
    assert prediction.provenance["software"]["torch"] == torch.__version__


def test_worker_and_inline_give_the_same(bundle: ModelBundle) -> None:
    params = {"model": str(bundle.path), "volume": read_volume(vertebra()), "device": "cpu"}
    with InlineRunner() as inline, WorkerRunner() as worker:
        here = SegmentationPrediction.from_dict(inline.submit(RUN_INFERENCE, params).wait())
        there = SegmentationPrediction.from_dict(worker.submit(RUN_INFERENCE, params).wait(timeout=300))
    np.testing.assert_array_equal(here.labels.array, there.labels.array)
    assert here.segments == there.segments == bundle.segments
    np.testing.assert_array_equal(there.labels.affine, params["volume"].affine)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_voxel_without_a_number_spoils_nothing_and_is_told(
    bundle: ModelBundle, no_trust: TrustStore, hole: float
) -> None:
    volume = read_volume(vertebra())
    array = volume.array.astype(np.float32)
    array[0, 0, 0, 0] = array.min()
    predictor = Predictor(bundle, "cpu", no_trust)
    expected = predictor.predict(volume.with_array(array))
    spoiled = array.copy()
    spoiled[0, 0, 0, 0] = hole
    got = predictor.predict(volume.with_array(spoiled))
    np.testing.assert_array_equal(got.labels.array, expected.labels.array)
    assert expected.provenance["notes"] == [] and "without a number (NaN, infinity): 1." in got.provenance["notes"][0]


def test_an_image_without_any_number_is_refused(bundle: ModelBundle, no_trust: TrustStore) -> None:
    with pytest.raises(ModelError, match="empty"):
        Predictor(bundle, "cpu", no_trust).predict(Volume(np.full((1, 9, 9, 9), np.nan), np.eye(4)))


def test_another_number_of_channels_is_refused(bundle: ModelBundle, no_trust: TrustStore) -> None:
    two = Volume(np.random.default_rng(0).normal(size=(2, 40, 40, 40)), np.eye(4))
    with pytest.raises(ModelError, match="takes an image with 1 channel; this one has 2"):
        Predictor(bundle, "cpu", no_trust).predict(two)


def test_weights_of_another_network_are_refused(tmp_path: Path, no_trust: TrustStore) -> None:
    other = {**tiny_bundle.NETWORK, "channels": [8, 16]}
    bundle = ModelBundle.open(tiny_bundle.write(tmp_path / "bundle", config={"network_def": other}))
    with pytest.raises(ModelError, match="do not fit its network"):
        Predictor(bundle, "cpu", no_trust)


def test_more_windows_than_a_run_can_take_are_refused(tmp_path: Path, no_trust: TrustStore) -> None:
    config = {"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [2, 2, 2], "overlap": 0.5}}
    bundle = ModelBundle.open(tiny_bundle.write(tmp_path / "bundle", config=config))
    image = Volume(np.random.default_rng(0).normal(size=(1, 160, 160, 160)), np.eye(4))
    with pytest.raises(ModelError, match="would take days"):
        Predictor(bundle, "cpu", no_trust).predict(image)


def test_overlapping_structures_become_layers(tmp_path: Path, no_trust: TrustStore) -> None:
    # Each channel against a threshold, as for nested tumor regions: the largest channel would be a wrong answer.
    steps: list[dict[str, object]] = [
        {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
         "nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        {"_target_": "SaveImaged", "keys": "pred", "output_dir": "."},
    ]  # fmt: skip
    names = {"0": "tumor core", "1": "whole tumor", "2": "enhancing tumor"}
    output = {"type": "image", "format": "segmentation", "num_channels": 3, "channel_def": names}
    config = {"postprocessing": {"_target_": "Compose", "transforms": steps}}
    formats = {**tiny_bundle.METADATA["network_data_format"], "outputs": {"pred": output}}
    folder = tiny_bundle.write(tmp_path / "bundle", config=config, metadata={"network_data_format": formats})
    bundle = ModelBundle.open(folder)
    prediction = Predictor(bundle, "cpu", no_trust).predict(read_volume(vertebra()))
    assert [(each.name, each.label, each.layer) for each in prediction.segments] == [
        ("tumor core", 1, 0), ("whole tumor", 2, 1), ("enhancing tumor", 3, 2),
    ]  # fmt: skip
    expected = by_monai(bundle, vertebra(), channel=None)
    layers = prediction.labels.array
    assert layers.shape == expected.shape
    for index, layer in enumerate(layers):
        assert set(np.unique(layer)) <= {0, index + 1}
        assert ((layer != 0) == (expected[index] != 0)).mean() > 0.99
    overlap = ((layers != 0).sum(axis=0) > 1).mean()
    assert overlap > 0.05, "the random network's structures should overlap, else this test shows nothing"


def test_steps_that_are_not_among_the_usual_ones_are_followed_as_written(
    tmp_path: Path, no_trust: TrustStore
) -> None:
    config = json.loads(json.dumps(tiny_bundle.CONFIG))
    steps = config["postprocessing"]["transforms"]
    steps.insert(3, {"_target_": "MapLabelValued", "keys": "pred", "orig_labels": [1, 2], "target_labels": [7, 3]})
    bundle = ModelBundle.open(
        tiny_bundle.write(tmp_path / "bundle", config={"postprocessing": config["postprocessing"]})
    )
    prediction = Predictor(bundle, "cpu", no_trust).predict(read_volume(vertebra()))
    expected = by_monai(bundle, vertebra())
    assert set(np.unique(expected)) == {0, 3, 7}
    assert (prediction.labels.array[0] == expected).mean() > 0.99
    assert prediction.volumes_ml["Label 7"] > 0, "what the model does not name goes by its number"
    assert any("MapLabelValued" in note for note in prediction.provenance["notes"])


def test_a_flat_network_segments_a_volume_slice_by_slice(tmp_path: Path, no_trust: TrustStore) -> None:
    # What is 1 in the first slice and 2, which nobody has named, in the last: every slice's labels count.
    layer = known_bundles.voxelwise(1, [[0.0], [1.0], [2.0]], [0.0, -0.5, -2.0], dims=2)
    bundle = known_bundles.write(
        tmp_path / "model", "segmentation", **layer,
        classes=["background", "low"], outputs=3, flat=True,
        postprocessing=[{"_target_": "AsDiscreted", "keys": "pred", "argmax": True}],
    )  # fmt: skip
    values = np.zeros((1, 8, 9, 4), np.float32)
    values[..., 0], values[..., 3] = 1.0, 5.0
    prediction = Predictor(bundle, "cpu", no_trust).predict(Volume(values, known_bundles.oblique()))
    assert isinstance(prediction, SegmentationPrediction)
    assert [int(prediction.labels.array[0, 0, 0, k]) for k in range(4)] == [1, 0, 0, 2]
    assert dict(prediction.voxels) == {"low": 72, "Label 2": 72}


def test_a_task_that_cannot_be_run_is_refused(tmp_path: Path, no_trust: TrustStore) -> None:
    bundle = ModelBundle.open(tiny_bundle.write(tmp_path / "bundle", metadata={"meddl": {"task": "registration"}}))
    with pytest.raises(ModelError, match="registration"):
        Predictor(bundle, "cpu", no_trust)


def test_a_program_is_loaded_only_with_consent_to_its_very_bytes(tmp_path: Path, no_trust: TrustStore) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(brain_model.installed().path, folder)
    bundle = ModelBundle.open(folder)
    with pytest.raises(UntrustedModelError) as refused:
        Predictor(ModelBundle.open(tiny_bundle.write_program(tmp_path / "program")), "cpu", no_trust)
    assert any("TorchScript" in reason for reason in refused.value.reasons)
    no_trust.record(bundle, origin="test")
    Predictor(bundle, "cpu", no_trust)
    (folder / "docs" / "README.md").write_text("changed")
    with pytest.raises(UntrustedModelError):
        Predictor(ModelBundle.open(folder), "cpu", no_trust)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:1", "", "cuda:-1"])
def test_a_device_that_is_not_there_is_an_error_not_a_fallback(name: str) -> None:
    with pytest.raises(UsageError):
        resolve_device(name)


def test_the_processor_is_always_a_choice() -> None:
    assert available_devices()[-1].id == "cpu"
    assert resolve_device("cpu").type == "cpu"
