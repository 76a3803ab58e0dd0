"""MONAI's RetinaNet in the executor: MONAI's own answer, windows counted, and the ladder when memory runs out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import realdata
import torch
from core import zoo_bundles
from meddl.errors import OutOfMemory
from meddl.inference import DetectionPrediction, Predictor, RunOptions
from meddl.inference import stage as stages
from meddl.inference.executor import Executor
from meddl.inference.memory import Settings
from meddl.models import ModelBundle
from meddl.volume import Volume, read_volume

GPU = torch.device("cuda", 0)
Enough = Callable[[Settings, torch.Tensor], bool]


class OnPretendedGpu(Executor):
    """Settles on the CPU whatever device it is told."""

    def _place(self, name: str) -> torch.device:
        return torch.device("cpu")


def write(folder: Path, *, batch: int = 1, patch: tuple[int, int, int] = (32, 32, 16), **facts: Any) -> ModelBundle:
    config = copy.deepcopy(zoo_bundles.RETINANET)
    config["patch"] = list(patch)
    config["detector_ops"] = [
        text.replace("sw_batch_size=1", f"sw_batch_size={batch}") for text in config["detector_ops"]
    ]
    metadata = copy.deepcopy(zoo_bundles.RETINANET_METADATA)
    metadata["meddl"] = {**metadata.get("meddl", {}), **facts}
    return ModelBundle.open(zoo_bundles.write(folder, config, metadata))


def predictor_of(bundle: ModelBundle, **options: Any) -> Predictor:
    torch.manual_seed(0)
    return Predictor(bundle, RunOptions(device="cpu", **{"engine": "torch", **options}), random_weights=True)


@pytest.fixture(scope="module")
def lungs() -> Volume:
    """A part of a real CT with a tumor in it."""
    image = read_volume(realdata.pyradiomics()["lung1_image"])
    mask = read_volume(realdata.pyradiomics()["lung1_label"])
    center = np.argwhere(mask.array[0]).mean(axis=0).astype(int)
    size = np.minimum((96, 80, 12), image.shape)
    low = np.clip(center - size // 2, 0, np.array(image.shape) - size)
    a, b, c = (slice(start, start + edge) for start, edge in zip(low, size, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] = (image.affine @ [*low, 1])[:3]
    array = np.ascontiguousarray(image.array[:, a, b, c]).astype(np.float32)
    return Volume((array - array.mean()) / array.std(), affine)


def numbers(prediction: Any) -> np.ndarray:
    assert isinstance(prediction, DetectionPrediction)
    return np.array([[box.score, *box.center, *box.size] for box in prediction.boxes])


def pretend(predictor: Predictor, monkeypatch: pytest.MonkeyPatch, enough: Enough) -> tuple[Executor, list[str]]:
    """Let the network run out of memory on a GPU that is none, until ``enough`` says that it suffices."""
    task: Any = predictor._task
    stage = task._stage
    monkeypatch.setattr(stages, "Executor", OnPretendedGpu)
    stage._device = GPU
    executor = stage.make_executor(stage.executor._network, task._inferer, half_scores=False)
    stage.executor = executor
    tried: list[str] = []

    def check(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if not enough(executor._settings, inputs[0]):
            tried.append(str(executor._settings))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    stage.network.register_forward_pre_hook(check)
    return executor, tried


def test_the_answer_is_that_of_monais_own_detector(tmp_path: Path, lungs: Volume) -> None:
    predictor = predictor_of(write(tmp_path / "b"))
    prediction = predictor.predict(lungs)
    task: Any = predictor._task
    prepared = task._stage.prepare(lungs)
    with torch.inference_mode():
        found = task._detector(prepared.image[None], use_inferer=True)[0]
    expected = sorted(task._boxes(found, prepared), key=lambda box: -box.score)
    assert len(expected) > 1
    np.testing.assert_allclose(numbers(prediction), [[b.score, *b.center, *b.size] for b in expected], atol=1e-4)
    execution = prediction.provenance["execution"]
    # Resampled and enlarged to multiples of 8, the image has 40 x 32 x 32 voxels: 2 x 1 x 3 windows.
    assert execution["windows"] == 6 and execution["rungs"] == []


def test_several_windows_at_once_become_one(tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    predictor = predictor_of(write(tmp_path / "b", batch=4), precision="float32")
    pretend(predictor, monkeypatch, lambda settings, batch: batch.shape[0] == 1)
    told: list[str] = []
    prediction = predictor.predict(lungs, log=told.append)
    assert told == ["Not enough GPU memory for 4 windows at once: going on with 1."]
    assert prediction.provenance["execution"]["rungs"] == told and told[0] in prediction.provenance["notes"]
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_the_answer_is_put_together_in_main_memory(
    tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    predictor = predictor_of(write(tmp_path / "b"), precision="float32")
    pretend(predictor, monkeypatch, lambda settings, batch: settings.stitch == "cpu")
    prediction = predictor.predict(lungs)
    assert prediction.provenance["execution"]["rungs"] == [
        "Not enough GPU memory: the answer is put together in main memory."
    ]
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_smaller_windows_where_the_model_allows_them(
    tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers(predictor_of(write(tmp_path / "a", patch=(16, 16, 16))).predict(lungs))
    bundle = write(tmp_path / "b", windows={"divisible_by": 8, "min": [16, 16, 16]})
    predictor = predictor_of(bundle, precision="float32")
    pretend(predictor, monkeypatch, lambda settings, batch: batch[0, 0].numel() <= 16**3)
    prediction = predictor.predict(lungs)
    rungs = prediction.provenance["execution"]["rungs"]
    assert rungs[-1] == "Not enough GPU memory: going on with smaller windows (16 x 16 x 16 voxels)."
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_the_processor_is_the_last_resort(tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    predictor = predictor_of(write(tmp_path / "b"), precision="float32")
    pretend(predictor, monkeypatch, lambda settings, batch: settings.device == "cpu")
    prediction = predictor.predict(lungs)
    execution = prediction.provenance["execution"]
    assert execution["rungs"][-1].endswith("which takes longer.") and execution["device"] == "cpu"
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_half_precision_where_the_processor_has_it(
    tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meddl.inference.engines import torch_engine

    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    monkeypatch.setattr(torch_engine, "cpu_has_bfloat16", lambda: True)
    predictor = predictor_of(write(tmp_path / "b"))
    network = predictor._task._stage.network  # type: ignore[attr-defined]
    executor = predictor._task._stage.executor  # type: ignore[attr-defined]

    def check(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if executor._settings.precision == "float32" or not torch.is_autocast_enabled("cpu"):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    network.register_forward_pre_hook(check)
    prediction = predictor.predict(lungs)
    execution = prediction.provenance["execution"]
    assert execution["rungs"] == ["Not enough memory: going on in half precision."]
    assert execution["precision"] == "bfloat16"
    # Which of nearly equal boxes stays is decided by the last digits; the best ones are the same.
    best, found = expected[0], numbers(prediction)
    assert np.abs(found[:, 0] - best[0]).min() < 0.02
    assert min(np.abs(row[1:4] - best[1:4]).max() for row in found) < 3.0


def test_half_precision_on_a_gpu_is_compared_with_full_first(
    tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = predictor_of(write(tmp_path / "b", batch=1))
    pretend(predictor, monkeypatch, lambda settings, batch: True)
    first = predictor.predict(lungs)
    assert first.provenance["execution"]["precision"] in ("float16", "float32")
    assert first.provenance["execution"]["windows"] == 6


def test_an_image_in_one_piece_climbs_down_too(tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Volume(np.ascontiguousarray(lungs.array[:, :48, :48, :6]), lungs.affine)
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(small))
    predictor = predictor_of(write(tmp_path / "b"), precision="float32")
    pretend(predictor, monkeypatch, lambda settings, batch: settings.device == "cpu")
    prediction = predictor.predict(small)
    assert prediction.provenance["execution"]["windows"] == 1
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_the_end_of_the_ladder_says_what_to_do(tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_of(write(tmp_path / "b", windows={"divisible_by": 8, "min": [16, 16, 16]}))
    _, tried = pretend(predictor, monkeypatch, lambda settings, batch: False)
    with pytest.raises(OutOfMemory, match="whatever was tried"):
        predictor.predict(lungs)
    assert len(tried) > 4


def test_memory_that_runs_out_while_boxes_are_chosen_counts_too(
    tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    predictor = predictor_of(write(tmp_path / "b"), precision="float32")
    executor, _ = pretend(predictor, monkeypatch, lambda settings, batch: True)
    detector: Any = predictor._task._detector  # type: ignore[attr-defined]
    choose = detector.postprocess_detections

    def greedy(*args: Any, **more: Any) -> Any:
        if executor._settings.stitch != "cpu":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return choose(*args, **more)

    monkeypatch.setattr(detector, "postprocess_detections", greedy)
    prediction = predictor.predict(lungs)
    assert prediction.provenance["execution"]["windows"] == 6
    np.testing.assert_allclose(numbers(prediction), expected, atol=1e-4)


def test_openvino_gives_the_same_boxes(tmp_path: Path, lungs: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("MEDDL_CACHE", str(tmp_path / "cache"))
    expected = numbers(predictor_of(write(tmp_path / "a")).predict(lungs))
    prediction = predictor_of(write(tmp_path / "b"), engine="openvino", precision="float32").predict(lungs)
    assert prediction.provenance["execution"]["engine"] == "openvino", prediction.provenance["execution"]
    np.testing.assert_allclose(numbers(prediction)[:10], expected[:10], atol=0.05)
