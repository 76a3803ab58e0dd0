"""Images made from images: right place and right units on oblique, flipped and finer grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core import known_bundles
from core.known_bundles import TO_RAS, oblique, voxelwise
from meddl.errors import ModelError
from meddl.inference import Predictor, ReconstructionPrediction, RunOptions
from meddl.models import ModelBundle
from meddl.volume import Volume

SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 1000, "b_min": 0, "b_max": 1}


def image(shape: tuple[int, int, int] = (17, 21, 12), seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).uniform(-900, 900, (1, *shape))
    return Volume(values.astype(np.float32), oblique())


def run(bundle: ModelBundle, volume: Volume, **options: object) -> ReconstructionPrediction:
    prediction = Predictor(bundle, RunOptions(device="cpu", **options)).predict(volume)  # type: ignore[arg-type]
    assert isinstance(prediction, ReconstructionPrediction)
    return prediction


def identity(folder: Path, **more: object) -> ModelBundle:
    facts = {"meddl": {"reconstruction": {"kind": "denoising"}}, "preprocessing": [TO_RAS, SCALE], **more}
    return known_bundles.write(folder, "reconstruction", **voxelwise(1, [[1.0]], [0.0]), **facts)  # type: ignore[arg-type]


def test_a_network_that_changes_nothing_gives_the_image_back_in_its_own_units(tmp_path: Path) -> None:
    volume = image()
    made = run(identity(tmp_path / "model"), volume).image
    assert made.grid.same_as(volume.grid)
    np.testing.assert_allclose(made.array, volume.array, atol=0.05)


def test_what_a_network_adds_comes_back_in_the_units_of_the_input(tmp_path: Path) -> None:
    # It adds 0.1 where 0..1 stands for -1000..1000.
    bundle = known_bundles.write(
        tmp_path / "model", "reconstruction", **voxelwise(1, [[0.0]], [0.1]), preprocessing=[TO_RAS, SCALE],
        meddl={"reconstruction": {"kind": "denoising", "residual": True}},
    )  # fmt: skip
    volume = image()
    prediction = run(bundle, volume, difference=True)
    np.testing.assert_allclose(prediction.image.array, volume.array + 200, atol=0.05)
    assert prediction.difference is not None
    np.testing.assert_allclose(prediction.difference.array, 200, atol=0.1)


def test_units_of_the_network_are_kept_where_the_model_says_so(tmp_path: Path) -> None:
    bundle = identity(tmp_path / "model", meddl={"reconstruction": {"kind": "synthesis", "units": "network"}})
    volume = image()
    made = run(bundle, volume).image
    np.testing.assert_allclose(made.array, (volume.array + 1000) / 2000, atol=1e-4)


def test_preprocessing_that_cannot_be_undone_is_told(tmp_path: Path) -> None:
    steps = [{"_target_": "HistogramNormalized", "keys": "image"}]
    prediction = run(identity(tmp_path / "model", preprocessing=steps), image())
    assert any("cannot be undone" in note for note in prediction.provenance["notes"])


@pytest.mark.parametrize("turned", [False, True])
def test_super_resolution_divides_the_voxels_of_the_input(tmp_path: Path, turned: bool) -> None:
    # Factors are those of the network's axes, which run as R, A, S: the image's last, first and second axis.
    factors = [3, 1, 2] if turned else [2, 2, 2]
    # This layer repeats every voxel.
    network = {"_target_": "torch.nn.ConvTranspose3d", "in_channels": 1, "out_channels": 1, "bias": False,
               "kernel_size": factors, "stride": factors}  # fmt: skip
    bundle = known_bundles.write(
        tmp_path / "model", "reconstruction", network, {"weight": np.ones((1, 1, *factors), np.float32)},
        preprocessing=[TO_RAS] if turned else [], meddl={"reconstruction": {"kind": "super_resolution"}},
    )  # fmt: skip
    volume = image((9, 7, 5))
    made = run(bundle, volume).image
    by_axis = (1, 2, 3) if turned else (2, 2, 2)
    expected = volume.array
    for axis, factor in enumerate(by_axis):
        expected = expected.repeat(factor, axis=axis + 1)
    assert made.shape == expected.shape[1:]
    np.testing.assert_allclose(made.array, expected, atol=1e-3)
    # The outer corner of the first voxel stays where it was.
    corner = [-0.5, -0.5, -0.5, 1.0]
    np.testing.assert_allclose(made.affine @ corner, volume.affine @ corner, atol=1e-9)
    np.testing.assert_allclose(made.spacing, volume.spacing / by_axis, atol=1e-9)


def test_an_answer_of_another_size_is_refused(tmp_path: Path) -> None:
    network = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 2, "bias": False}
    weights = {"weight": np.ones((1, 1, 2, 2, 2), np.float32)}
    bundle = known_bundles.write(tmp_path / "model", "reconstruction", network, weights)
    with pytest.raises(ModelError, match="answered on a grid"):
        run(bundle, image())


def test_a_flat_network_makes_a_volume_slice_by_slice(tmp_path: Path) -> None:
    bundle = known_bundles.write(
        tmp_path / "model", "reconstruction", **voxelwise(1, [[1.0]], [0.05], dims=2), preprocessing=[SCALE], flat=True,
    )  # fmt: skip
    volume = image()
    made = run(bundle, volume).image
    assert made.grid.same_as(volume.grid)
    np.testing.assert_allclose(made.array, volume.array + 100, atol=0.05)


def test_quality_is_told_against_a_reference(tmp_path: Path) -> None:
    volume = image()
    bundle = identity(tmp_path / "model")
    noisy = volume.with_array(volume.array + np.random.default_rng(1).normal(0, 20, volume.array.shape))
    prediction = Predictor(bundle, "cpu").predict(noisy, reference=volume)
    assert isinstance(prediction, ReconstructionPrediction) and prediction.quality is not None
    range_ = float(np.ptp(volume.array))
    assert prediction.quality["psnr_db"] == pytest.approx(20 * np.log10(range_ / 20), abs=0.5)
    assert 0.9 < prediction.quality["ssim"] <= 1.0


def test_a_sheared_image_is_answered_on_its_own_grid(tmp_path: Path) -> None:
    affine = oblique()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    at = np.stack(np.meshgrid(*(np.arange(n) for n in (20, 22, 18)), indexing="ij"), axis=-1)
    world = at @ affine[:3, :3].T + affine[:3, 3]
    volume = Volume((world @ [3.0, -2.0, 4.0])[None].astype(np.float32), affine)  # a ramp: interpolation is exact
    made = run(identity(tmp_path / "model", preprocessing=[TO_RAS]), volume).image
    assert made.grid.same_as(volume.grid)
    inner = (0, slice(4, -4), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(made.array[inner], volume.array[inner], atol=0.1)
