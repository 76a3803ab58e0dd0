"""What speaks against running a model on an image is said before the run, and nothing is said without a reason."""

from __future__ import annotations

import copy
import doctest
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import realdata
import torch
from core import tiny_bundle
from core.phantoms import axis_orders, reordered
from meddl.errors import ModelError, UsageError
from meddl.inference import Predictor, RunOptions
from meddl.inference.domain import check_domain
from meddl.inference.features import FeatureMonitor, ReferenceStatistics, reference_statistics
from meddl.models import ModelBundle
from meddl.volume import Volume, read_volume

_numbers = itertools.count()


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Return a function that makes a bundle: its input's entries, its preprocessing and ``meddl.expected``."""

    def made(expected: Any = None, steps: list[dict[str, Any]] | None = None, **image: Any) -> ModelBundle:
        formats = copy.deepcopy(tiny_bundle.METADATA["network_data_format"])
        formats["inputs"]["image"].update(image)
        metadata = {"network_data_format": formats, **({"meddl": {"expected": expected}} if expected else {})}
        config = {} if steps is None else {"preprocessing": {"_target_": "Compose", "transforms": steps}}
        return ModelBundle.open(tiny_bundle.write(tmp_path / str(next(_numbers)), config=config, metadata=metadata))

    return made


def ct(shape: tuple[int, int, int] = (64, 64, 64), spacing: float | tuple[float, ...] = 2.0, **meta: str) -> Volume:
    """Air round soft tissue with a little bone, in Hounsfield units."""
    random = np.random.default_rng(0)
    array = np.full((1, *shape), -1000.0)
    inner = tuple(slice(size // 8, size - size // 8) for size in shape)
    array[(0, *inner)] = random.normal(30, 60, array[(0, *inner)].shape)
    array[0, shape[0] // 2, shape[1] // 2] = 700
    return Volume(np.rint(array).astype(np.int16), np.diag([*np.broadcast_to(spacing, 3), 1.0]), meta=meta)


def test_an_image_of_the_right_kind_gives_no_warning(make: Any) -> None:
    assert check_domain(make(), [ct()]) == ()
    assert check_domain(make(), [ct(modality="CT")]) == ()


def test_another_modality_is_said_in_words_of_both(make: Any) -> None:
    assert check_domain(make(), [ct(modality="MR")]) == ("The image is MR; the model was made for CT.",)
    mammogram = make(modality="Mammogram", format="magnitude")
    assert check_domain(mammogram, [ct(modality="DX")]) == ("The image is DX; the model was made for MG.",)


@pytest.mark.parametrize(("named", "actual"), [("MRI", "MR"), ("T1-weighted MR", "MR"), ("X-ray", "DX"), ("PET", "PT")])
def test_names_of_one_modality_are_the_same(make: Any, named: str, actual: str) -> None:
    volume = ct((64, 64, 1), modality=actual)
    assert check_domain(make(modality=named, format="magnitude", spatial_shape=[64, 64]), [volume]) == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a: (a + 1000) / 2000.0, "scaled to 0..1"),
        (lambda a: np.clip((a + 1000) / 8, 0, 255).astype(np.uint8), "gray levels"),
        (lambda a: a + 1024, "no negative values"),
    ],
)
def test_ct_in_other_units_than_hounsfield_is_noticed(make: Any, change: Any, word: str) -> None:
    volume = ct()
    (sentence,) = check_domain(make(), [volume.with_array(change(volume.array))])
    assert word in sentence


def test_a_masked_ct_is_noticed(make: Any) -> None:
    volume = ct()
    array = volume.array.copy()
    array[array == -1000] = 0
    (sentence,) = check_domain(make(), [volume.with_array(array)])
    assert "masked" in sentence


def test_a_label_map_is_noticed(make: Any) -> None:
    labels = ct().with_array((ct().array > 0).astype(np.uint8))
    assert check_domain(make(), [labels]) == ("The image has only 2 different values: is it a label map?",)


def test_a_volume_in_a_model_for_radiographs_is_noticed(make: Any) -> None:
    (sentence,) = check_domain(make(modality="X-ray", format="magnitude", spatial_shape=[64, 64]), [ct()])
    assert sentence == "The image is a volume; the model was made for single images (radiographs)."


def test_ct_values_in_a_model_for_mr_are_noticed(make: Any) -> None:
    (sentence,) = check_domain(make(modality="MR", format="magnitude"), [ct()])
    assert "as CT has" in sentence


WINDOW = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -175, "a_max": 250, "b_min": 0, "b_max": 1}


def test_values_that_the_preprocessing_would_squash_are_noticed(make: Any) -> None:
    bundle = make(modality="none", format="magnitude", steps=[WINDOW])
    volume = ct()
    assert check_domain(bundle, [volume]) == ()
    (scaled,) = check_domain(bundle, [volume.with_array((volume.array + 1000) / 2000.0)])
    assert "hardly tell apart" in scaled
    (beyond,) = check_domain(bundle, [volume.with_array(volume.array.astype(np.float32) + 5000)])
    assert "only looks at" in beyond


def test_a_window_that_follows_another_scaling_is_not_taken_for_the_images(make: Any) -> None:
    steps = [{"_target_": "NormalizeIntensityd", "keys": "image"}, WINDOW]
    bundle = make(modality="MR", format="magnitude", steps=steps)
    assert check_domain(bundle, [Volume(np.random.default_rng(0).random((1, 32, 32, 32)), np.eye(4))]) == ()


def expected(**entries: Any) -> dict[str, Any]:
    return {"modality": ["CT"], **entries}


def test_spacing_and_field_of_view_are_compared_along_the_patients_axes(make: Any) -> None:
    bundle = make(
        expected(
            spacing_mm={"min": [1, 1, 2], "max": [2, 2, 6]}, field_of_view_mm={"min": [90, 90, 50], "max": [500] * 3}
        )
    )
    good = ct((64, 60, 40), (1.5, 1.9, 5.0))
    thick = ct((64, 60, 40), (1.5, 1.9, 8.0))
    for permutation, signs in axis_orders()[::7]:
        assert check_domain(bundle, [reordered(good, permutation, signs)]) == ()
        assert check_domain(bundle, [reordered(thick, permutation, signs)]) == (
            "The image's voxels measure 8 mm from foot to head (2 to 6 expected).",
        )
    assert check_domain(bundle, [ct((64, 60, 8), (1.5, 1.9, 5.0))]) == (
        "The image shows 40 mm from foot to head (50 to 500 expected).",
    )


def test_lengths_rounded_in_the_header_are_within(make: Any) -> None:
    bundle = make(expected(spacing_mm={"min": [1, 1, 1], "max": [1, 1, 1]}))
    assert check_domain(bundle, [ct(spacing=0.9999)]) == ()


def test_percentiles_are_compared(make: Any) -> None:
    bundle = make(expected(intensity={"p1": [-1100, -900], "p50": [-1024, 200], "p99": [100, 900], "nonsense": 3}))
    assert check_domain(bundle, [ct()]) == ()
    brighter = ct().with_array(ct().array + np.int16(400))
    (sentence,) = check_domain(bundle, [brighter])
    assert "1 % of its voxels are up to -600, where -1100 to -900 is expected" in sentence


def test_a_stripped_head_is_noticed_where_the_model_tells_how_much_is_empty(make: Any) -> None:
    bundle = make(expected(empty_fraction=[0.3, 0.7]))
    assert check_domain(bundle, [ct()]) == ()
    array = ct().array.copy()
    array[:, :, :, 20:] = -1000
    (sentence,) = check_domain(bundle, [ct().with_array(array)])
    assert "cut away" in sentence


def test_few_or_thick_slices_are_noticed_for_volumes_only(make: Any) -> None:
    flat = ct((64, 64, 1))
    (sentence,) = check_domain(make(), [flat])
    assert sentence == "The image has only 1 slice; the model was made for whole volumes."
    assert check_domain(make(spatial_shape=[64, 64]), [flat]) == ()
    (thick,) = check_domain(make(), [ct(spacing=(1, 1, 8))])
    assert "8 mm apart" in thick


def test_an_image_much_smaller_than_the_window_is_noticed(make: Any) -> None:
    steps = [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]},
    ]
    bundle = make(steps=steps, spatial_shape=[96, 96, 96])
    assert check_domain(bundle, [ct(spacing=2.0)]) == ()
    (sentence,) = check_domain(bundle, [ct((64, 64, 20), 2.0)])
    assert sentence == "The image shows only 40 mm from foot to head; the model looks at 192 mm at a time."


def test_each_input_is_compared_with_its_own_channel(make: Any) -> None:
    bundle = make(num_channels=2, channel_def={"0": "CT", "1": "PET"}, modality="CT")
    assert check_domain(bundle, [ct(modality="CT"), ct(modality="MR")]) == (
        "Image 2 is MR; the model was made for CT.",
    )


def test_a_model_that_tells_nothing_is_not_passed_over_in_silence(make: Any) -> None:
    (sentence,) = check_domain(make(modality="none", format="magnitude"), [ct()])
    assert "does not tell for which images" in sentence


@pytest.mark.parametrize(
    "broken",
    [
        {"spacing_mm": {"min": [1, 1], "max": [2, 2, 2]}},
        {"spacing_mm": {"min": [3, 3, 3], "max": [1, 1, 1]}},
        {"intensity": {"p1": ["a", "b"]}, "empty_fraction": "much"},
        {"modality": {"x": [1]}, "field_of_view_mm": 7},
        [1, 2, 3],
    ],
)
def test_nonsense_in_the_metadata_raises_nothing(make: Any, broken: Any) -> None:
    assert check_domain(make(broken), [ct()]) == ()


def test_odd_images_raise_nothing(make: Any) -> None:
    nothing = Volume(np.full((1, 8, 8, 8), np.nan), np.eye(4))
    assert isinstance(check_domain(make(), [nothing]), tuple)
    assert isinstance(check_domain(make(), []), tuple)
    assert check_domain(None, [ct()]) == (  # type: ignore[arg-type]
        "Whether the image is of the kind the model was made for could not be checked.",
    )


def test_it_is_quick_on_a_large_image(make: Any) -> None:
    volume = Volume(np.zeros((1, 512, 512, 300), np.int16), np.eye(4))
    bundle = make(expected(intensity={"p50": [0, 1]}, empty_fraction=[0, 1]))
    check_domain(bundle, [volume])
    start = time.perf_counter()
    check_domain(bundle, [volume])
    assert time.perf_counter() - start < 0.5


def test_it_runs_without_torch() -> None:
    code = "import sys, meddl.inference.domain; print({'torch', 'monai', 'scipy', 'SimpleITK'} & set(sys.modules))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "set()"


def test_real_heads_are_of_the_kind_the_brain_model_was_made_for() -> None:
    model = Path(__file__).resolve().parents[2] / "Resources" / "Models" / "brain_extraction"
    assert check_domain(ModelBundle.open(model), [read_volume(realdata.head())]) == ()


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(6, 2, 3, padding=1)
    ).eval()


def test_features_are_the_layers_channels_averaged_over_each_window() -> None:
    net, windows = network(), torch.rand(3, 1, 6, 5, 4)
    with torch.inference_mode(), FeatureMonitor(net, "1") as monitor:
        net(windows[:2])
        net(windows[2:])
    with torch.inference_mode():
        net(windows)  # no longer watched
        expected_values = net[1](net[0](windows)).mean(dim=(2, 3, 4))
    np.testing.assert_allclose(monitor.features(), expected_values.numpy(), rtol=1e-5)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelError, match="does not have"):
        FeatureMonitor(network(), "encoder.9")


def cases(count: int, features: int, windows: int = 12, shift: float = 0.0) -> list[np.ndarray]:
    random = np.random.default_rng(features)
    mix = random.normal(size=(features, features))
    return [random.normal(size=(windows, features)) @ mix + 5 + shift for _ in range(count)]


@pytest.mark.parametrize("features", [6, 200])
def test_images_of_another_kind_are_far_away(features: int) -> None:
    reference = reference_statistics(cases(12, features), "bottom", margin=1.1)
    assert reference.spread.ndim == (2 if features == 6 else 1)
    same, other = cases(1, features)[0], cases(1, features, shift=25.0)[0]
    assert reference.distance(same) == pytest.approx(1, abs=0.4)
    assert reference.sentence(same) == ""
    assert "unlike the 12" in reference.sentence(other)


def test_the_distance_is_mahalanobis_over_the_root_of_the_features() -> None:
    covariance = np.array([[4.0, 1.0], [1.0, 2.0]])
    reference = ReferenceStatistics("x", np.array([1.0, -1.0]), covariance, 2.0, 5)
    apart = np.array([3.0, 2.0])
    expected_value = np.sqrt(apart @ np.linalg.inv(covariance) @ apart / 2)
    assert reference.distance(np.array([[4.0, 1.0], [4.0, 1.0]])) == pytest.approx(expected_value)
    diagonal = ReferenceStatistics("x", np.array([1.0, -1.0]), np.array([4.0, 2.0]), 2.0, 5)
    assert diagonal.distance(np.array([[4.0, 1.0]])) == pytest.approx(np.sqrt((9 / 4 + 4 / 2) / 2))


@pytest.mark.parametrize("features", [6, 200])
def test_statistics_survive_the_metadata(features: int) -> None:
    reference = reference_statistics(cases(5, features), "bottom")
    again = ReferenceStatistics.from_metadata({"meddl": {"reference": reference.to_metadata()}})
    assert again is not None and (again.layer, again.cases) == ("bottom", 5)
    other = cases(1, features, shift=3.0)[0]
    assert again.distance(other) == pytest.approx(reference.distance(other), rel=1e-2)
    assert ReferenceStatistics.from_metadata({}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [1, 2]}, {"variance": [1, -1, 1]}, {"threshold": 0}, {"n": "many"}, {"mean": "x"}, {"n": 0},
        {"covariance": [[1, 2, 0], [2, 1, 0], [0, 0, 1]]}, {"variance": [1, float("nan"), 1]}, {"mean": []},
    ],
)  # fmt: skip
def test_statistics_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    entry = {"layer": "x", "mean": [0, 0, 0], "variance": [1, 1, 1], "threshold": 1.5, "n": 4, **change}
    with pytest.raises(ModelError, match=r"meddl\.reference"):
        ReferenceStatistics.from_metadata({"meddl": {"reference": entry}})


def test_statistics_of_too_little_are_refused() -> None:
    with pytest.raises(UsageError, match="at least three"):
        reference_statistics(cases(2, 4), "x")
    with pytest.raises(UsageError, match="as many"):
        reference_statistics([*cases(3, 4), *cases(1, 5)], "x")


def test_a_layer_that_did_not_run_is_said() -> None:
    reference = reference_statistics(cases(3, 4), "x")
    with FeatureMonitor(network(), "1") as monitor:
        pass
    assert "could not be measured" in reference.sentence(monitor.features())
    with pytest.raises(ModelError, match="of 4 features"):
        reference.distance(np.zeros((2, 7)))


def test_a_run_tells_when_the_image_is_strange_to_the_network(tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def noise() -> np.ndarray:  # on the grid and in the range that the preprocessing makes
        array = random.random((1, 32, 32, 32), np.float32)
        return (array - array.min()) / np.ptp(array)

    net, collected = tiny_bundle.network(), []
    for _ in range(6):
        with torch.inference_mode(), FeatureMonitor(net, "model.0") as monitor:
            net(torch.from_numpy(noise())[None])
        collected.append(monitor.features())
    statistics = reference_statistics(collected, "model.0", margin=2.0).to_metadata()
    bundle = ModelBundle.open(tiny_bundle.write(tmp_path / "b", metadata={"meddl": {"reference": statistics}}))
    predictor = Predictor(bundle, RunOptions(device="cpu", engine="torch"))
    place = np.diag([1.5, 1.5, 1.5, 1.0])
    stripes = np.zeros((1, 32, 32, 32), np.float32)
    stripes[:, ::8] = 1

    def told(array: np.ndarray) -> list[str]:
        return [each for each in predictor.predict(Volume(array, place)).provenance["domain"] if "network" in each]

    assert told(noise()) == []
    (sentence,) = told(stripes)
    assert "unlike the 6 it was compared with" in sentence


def test_examples_work() -> None:
    from meddl.inference import expectations

    result = doctest.testmod(expectations)
    assert result.attempted and not result.failed
