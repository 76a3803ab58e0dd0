"""The main job on real heads with the real networks: accuracy, an independent reference, and geometry."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import brain_model
import nibabel
import numpy as np
import pytest
import realdata
from core import deepbet_reference
from core.phantoms import axis_orders, reordered
from meddl.inference import Predictor
from meddl.inference.prediction import Prediction
from meddl.inference.stage import Stage
from meddl.volume import Grid, Volume, read_volume
from scipy.ndimage import affine_transform

README = Path(__file__).resolve().parents[2] / "README.md"


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(brain_model.installed(), "cpu")


@pytest.fixture(scope="module")
def colin() -> Volume:
    return read_volume(realdata.colin27()[0])


@pytest.fixture(scope="module")
def colins_prediction(predictor: Predictor, colin: Volume) -> Prediction:
    return predictor.predict(colin)


@pytest.fixture(scope="module")
def brain(colins_prediction: Prediction) -> Volume:
    return colins_prediction.labels


def resampled(volume: Volume, grid: Grid, order: int) -> Volume:
    """Resampling by scipy, so that MedDL's own geometry is not its own judge."""
    index_map = np.linalg.inv(volume.affine) @ grid.affine
    array = affine_transform(
        volume.array[0].astype(np.float32), index_map[:3, :3], index_map[:3, 3], grid.shape, order=order
    )
    return Volume(array[None], grid.affine)


@pytest.mark.parametrize(("name", "least"), [("colin27", 0.93), ("itk_subject", 0.96)])
def test_brains_agree_with_another_tools_masks_and_with_the_reference(
    predictor: Predictor, colins_prediction: Prediction, name: str, least: float
) -> None:
    head, stripped = getattr(realdata, name)()
    volume = read_volume(head)
    prediction = colins_prediction if name == "colin27" else predictor.predict(volume)
    labels = prediction.labels.array[0]
    other_tool = np.asarray(nibabel.load(stripped).dataobj) > 0
    assert dice(labels > 0, other_tool) >= least
    reference = deepbet_reference.brain_mask(head, *realdata.deepbet_weights())
    assert dice(labels > 0, reference) >= 0.995
    voxel_ml = abs(np.linalg.det(nibabel.load(head).affine)) / 1000
    assert prediction.volumes_ml == {"Brain": pytest.approx((labels > 0).sum() * voxel_ml, abs=0.01)}
    np.testing.assert_array_equal(prediction.labels.affine, volume.affine)


def test_the_readmes_example_segments_the_demo_head_as_the_reference_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brain_model.installed()
    shutil.copy(realdata.head(), tmp_path / "head.nii.gz")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(from pathlib.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1], names)
    labels = names["prediction"].labels.array[0]
    reference = deepbet_reference.brain_mask(realdata.head(), *realdata.deepbet_weights())
    assert dice(labels > 0, reference) >= 0.995
    np.testing.assert_array_equal(read_volume("brain.seg.nrrd").array[0], labels)
    printed = re.search(r"\{'Brain': ([\d.]+)\}", code[1])
    assert printed and names["prediction"].volumes_ml["Brain"] == pytest.approx(float(printed[1]), rel=0.001)


def test_the_network_sees_the_same_head_in_another_axis_order(predictor: Predictor, colin: Volume) -> None:
    # With the very same input the network gives the very same answer; the way back is tested with the restoration.
    stage: Stage = predictor.stages[0]
    expected = stage.prepare(colin)
    for permutation, signs in axis_orders()[::5]:  # each permutation, and each way to flip
        seen = stage.prepare(reordered(colin, permutation, signs))
        np.testing.assert_array_equal(np.asarray(seen.image), np.asarray(expected.image))
        np.testing.assert_allclose(seen.affine, expected.affine, atol=1e-6)


def test_an_axis_order_and_a_turn_of_the_head_in_space_change_nothing_end_to_end(
    predictor: Predictor, colin: Volume, brain: Volume
) -> None:
    # A turn is what a rotated parent transform does: the same voxels at another place.
    order, affine = ((2, 0, 1), (-1, 1, -1)), oblique(colin).affine
    labels = predictor.predict(reordered(Volume(colin.array, affine), *order)).labels
    expected = reordered(Volume(brain.array, affine), *order)
    np.testing.assert_array_equal(labels.array, expected.array)
    np.testing.assert_array_equal(labels.affine, expected.affine)


@pytest.mark.slow
def test_all_48_axis_orders_end_to_end(predictor: Predictor, colin: Volume, brain: Volume) -> None:
    for permutation, signs in axis_orders():
        labels = predictor.predict(reordered(colin, permutation, signs)).labels
        np.testing.assert_array_equal(labels.array, reordered(brain, permutation, signs).array)


def thick_slices(colin: Volume) -> Grid:
    affine = colin.affine.copy()
    affine[:, 2] *= 3
    affine[:3, 3] += colin.affine[:3, 2]
    return Grid((181, 217, 60), affine)


def sheared(colin: Volume) -> Grid:
    affine = colin.affine.copy()
    affine[1, 2] += np.tan(np.radians(15))
    affine[1, 3] -= np.tan(np.radians(15)) * 90
    return Grid(colin.shape, affine)


def oblique(colin: Volume) -> Grid:
    from scipy.spatial.transform import Rotation

    center = np.array([90, 108, 90, 1])
    affine = colin.affine.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", (15, 20, 10), degrees=True).as_matrix() @ colin.affine[:3, :3]
    affine[:3, 3] = (colin.affine @ center)[:3] - affine[:3, :3] @ center[:3]
    return Grid(colin.shape, affine)


@pytest.mark.parametrize("frame", [thick_slices, sheared, oblique])
def test_the_same_brain_is_found_in_another_frame(predictor: Predictor, colin: Volume, brain: Volume, frame) -> None:  # type: ignore[no-untyped-def]
    grid = frame(colin)
    prediction = predictor.predict(resampled(colin, grid, order=1))
    expected = resampled(brain, grid, order=0)
    assert dice(prediction.labels.array > 0, expected.array > 0.5) >= 0.98
    whole = float(np.count_nonzero(brain.array)) * brain.voxel_volume_ml
    assert prediction.volumes_ml["Brain"] == pytest.approx(whole, rel=0.02)
    assert bool(prediction.provenance["notes"]) == (frame is sheared)


def test_an_empty_image_is_refused_and_noise_is_no_crash(predictor: Predictor) -> None:
    from meddl.errors import ModelError

    with pytest.raises(ModelError, match="empty"):
        predictor.predict(Volume(np.zeros((1, 20, 20, 20), np.int16), np.eye(4)))
    noise = np.random.default_rng(0).normal(size=(1, 40, 40, 40)).astype(np.float32)
    try:
        predictor.predict(Volume(noise, np.eye(4)))
    except ModelError as error:
        assert "found nothing" in error.message


def test_the_weights_are_those_of_the_published_package() -> None:
    box, fine = realdata.deepbet_weights()
    folder = brain_model.installed().path / "models"
    assert (folder / "localizer.ts").read_bytes() == Path(box).read_bytes()
    assert (folder / "model.ts").read_bytes() == Path(fine).read_bytes()
