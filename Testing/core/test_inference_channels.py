"""Several images as the channels of one: brought together through the patient's space, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core import known_bundles
from core.known_bundles import oblique, voxelwise
from meddl.errors import ModelError
from meddl.inference import Predictor, ReconstructionPrediction
from meddl.inference.channels import combine_channels, overlap_fraction
from meddl.models import ModelBundle
from meddl.models.channels import Channel, channels_from_metadata
from meddl.volume import Grid, Volume


def ramp(affine: np.ndarray, shape: tuple[int, int, int], slope: tuple[float, float, float]) -> Volume:
    """An image whose values are a linear function of the place in the patient: interpolation is exact."""
    at = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return Volume(((at @ affine[:3, :3].T + affine[:3, 3]) @ slope)[None].astype(np.float32), affine)


def adder(folder: Path) -> ModelBundle:
    """A model of two images whose answer is first + 10 * second."""
    return known_bundles.write(
        folder, "reconstruction", **voxelwise(2, [[1.0, 10.0]], [0.0]), channels=["T1", "T2"],
        meddl={"reconstruction": {"kind": "synthesis", "units": "network"}},
    )  # fmt: skip


def test_the_second_image_is_brought_to_the_grid_of_the_first(tmp_path: Path) -> None:
    first = ramp(oblique(), (12, 14, 10), (1.0, 2.0, 3.0))
    wide = np.diag([-3.0, -3.0, 4.0, 1.0])
    wide[:3, 3] = (90.0, 110.0, -40.0)
    second = ramp(wide, (50, 60, 40), (0.5, -1.0, 0.25))
    prediction = Predictor(adder(tmp_path / "model"), "cpu").predict([first, second])
    assert isinstance(prediction, ReconstructionPrediction)
    assert prediction.image.grid.same_as(first.grid)
    expected = first.array + 10 * ramp(np.array(first.affine), first.shape, (0.5, -1.0, 0.25)).array
    np.testing.assert_allclose(prediction.image.array, expected, atol=0.02)
    assert any("T2 was resampled" in note for note in prediction.provenance["notes"])
    assert len(prediction.provenance["inputs"]) == 2


def test_images_on_one_grid_are_left_as_they_are() -> None:
    first = ramp(oblique(), (6, 7, 5), (1.0, 0.0, 0.0))
    second = ramp(oblique(), (6, 7, 5), (0.0, 1.0, 0.0))
    combined = combine_channels([first, second], ["T1", "T2"])
    np.testing.assert_array_equal(combined.volume.array, np.concatenate([first.array, second.array]))
    assert combined.notes == ()


def test_images_of_different_places_are_refused(tmp_path: Path) -> None:
    first = ramp(oblique(), (12, 14, 10), (1.0, 2.0, 3.0))
    far = np.array(oblique())
    far[0, 3] += 500
    with pytest.raises(ModelError, match="T1 and T2 do not overlap"):
        Predictor(adder(tmp_path / "model"), "cpu").predict([first, ramp(far, (12, 14, 10), (1.0, 2.0, 3.0))])


def test_little_overlap_is_told() -> None:
    affine = np.eye(4)
    moved = np.eye(4)
    moved[0, 3] = 8
    combined = combine_channels(
        [ramp(affine, (10, 10, 10), (1.0, 0, 0)), ramp(moved, (10, 10, 10), (1.0, 0, 0))], ["T1", "T2"]
    )
    assert any("only 21%" in note or "only 20%" in note for note in combined.notes), combined.notes
    values = combined.volume.array[1, :, 0, 0]
    np.testing.assert_allclose(values, [8, 8, 8, 8, 8, 8, 8, 8, 8, 9])  # its least value where it does not reach


@pytest.mark.parametrize("count", [1, 3])
def test_another_number_of_images_is_refused(tmp_path: Path, count: int) -> None:
    images = [ramp(oblique(), (9, 9, 9), (1.0, 2.0, 3.0))] * count
    with pytest.raises(ModelError, match=r"2 images \(T1, T2\)"):
        Predictor(adder(tmp_path / "model"), "cpu").predict(images)


def test_overlap_is_measured_through_the_patients_space() -> None:
    unit = Grid((10, 10, 10), np.eye(4))
    flipped = np.diag([-1.0, -1.0, 1.0, 1.0])
    flipped[:2, 3] = 9
    assert overlap_fraction(unit, Grid((10, 10, 10), flipped)) == 1.0
    assert overlap_fraction(unit, Grid((40, 40, 40), np.diag([0.25, 0.25, 0.25, 1.0]))) == pytest.approx(1.0, abs=0.15)
    quarter = np.eye(4)
    quarter[:2, 3] = 5
    assert overlap_fraction(unit, Grid((10, 10, 10), quarter)) == pytest.approx(0.25, abs=0.01)


def described(**image: object) -> dict[str, object]:
    return {"network_data_format": {"inputs": {"image": image}}}


def test_channels_are_what_the_bundle_calls_them() -> None:
    names = {"0": "T1c", "1": "FLAIR"}
    metadata = described(num_channels=2, modality="MR", channel_def=names)
    assert channels_from_metadata(metadata) == (
        Channel("T1c", "MR", ("t1c",)), Channel("FLAIR", "MR", ("flair",)),
    )  # fmt: skip
    own = {**metadata, "meddl": {"channels": [{"name": "contrast", "hints": ["T1ce", "Gd"]}, {"name": "fluid"}]}}
    first, second = channels_from_metadata(own)
    assert first.hints == ("t1ce", "gd", "contrast") and second.name == "fluid"


def test_a_color_picture_is_one_image() -> None:
    assert len(channels_from_metadata(described(num_channels=3, channel_def={"0": "R", "1": "G", "2": "B"}))) == 1
    assert len(channels_from_metadata(described(num_channels=3, spatial_shape=[224, 224]))) == 1
    assert len(channels_from_metadata(described(num_channels=3, spatial_shape=["*", "*", "*"]))) == 3


@pytest.mark.parametrize("count", [0, -2, "4", None, 10**9, True])
def test_a_count_that_is_none_means_one_image(count: object) -> None:
    assert len(channels_from_metadata(described(num_channels=count))) == 1
