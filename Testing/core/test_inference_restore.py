"""Scores on the network's grid to labels on the image's grid, against scipy and torch done the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core.phantoms import axis_orders, reordered
from meddl.inference.restore import restore_labels
from meddl.volume import Grid, Volume
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from torch.nn.functional import interpolate

SHAPE = (9, 12, 7)
AFFINE = np.array([[1.5, 0, 0, -4], [0, 0.8, 0, 3], [0, 0, 2.5, 10], [0, 0, 0, 1.0]])


def _scores(channels: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(channels)
    # Smooth, so that a shift by half a voxel shows and a rounding error does not.
    return interpolate(
        torch.randn(1, channels, 4, 4, 4, generator=generator), shape, mode="trilinear", align_corners=True
    )[0]


def _by_scipy(scores: torch.Tensor, affine: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """(labels, lead of the winner over the second) by interpolating every channel at every voxel of the grid."""
    index_map = np.linalg.inv(affine) @ grid.affine
    index = np.indices(grid.shape).reshape(3, -1)
    source = index_map[:3, :3] @ index + index_map[:3, 3:]
    size = np.array(scores.shape[1:])[:, None]
    inside = ((source >= -0.5) & (source <= size - 0.5)).all(axis=0)
    values = np.stack([map_coordinates(channel, source, order=1, mode="nearest") for channel in scores.numpy()])
    ordered = np.sort(values, axis=0)
    lead = np.where(inside, ordered[-1] - ordered[-2], np.inf)
    return np.where(inside, values.argmax(axis=0), 0).reshape(grid.shape), lead.reshape(grid.shape)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_all_48_axis_orders_give_the_very_same_voxels(interpolation: str) -> None:
    scores = _scores(4)
    expected = Volume(scores.argmax(dim=0).numpy()[np.newaxis], AFFINE)
    for permutation, signs in axis_orders():
        wanted = reordered(expected, permutation, signs)
        labels = restore_labels(scores, AFFINE, wanted.grid, interpolation=interpolation)
        np.testing.assert_array_equal(labels, wanted.array[0])


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("turn", [(0, 0, 0), (20, -35, 10)])
def test_linear_restoration_is_the_argmax_of_interpolated_scores(channels: int, turn: tuple[int, int, int]) -> None:
    scores = _scores(channels)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * [0.61, 0.73, 1.13]
    affine[:3, 3] = [-6, 1, 8]
    grid = Grid((25, 21, 18), affine)
    labels = restore_labels(scores, AFFINE, grid)
    expected, lead = _by_scipy(scores, AFFINE, grid)
    assert (labels > 0).any() and (expected != 0).mean() > 0.05
    # Float32 against float64: only a voxel where two classes tie may differ.
    np.testing.assert_array_equal(labels[lead > 1e-4], expected[lead > 1e-4])


def test_nearest_restoration_is_torchs_nearest_exact() -> None:
    scores = _scores(3, (16, 16, 16))
    shape = (11, 37, 23)
    scale = np.array(shape) / 16
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = scale / 2 - 0.5
    labels = restore_labels(scores, affine, Grid(shape, np.eye(4)), interpolation="nearest")
    np.testing.assert_array_equal(labels, interpolate(scores[None], shape, mode="nearest-exact")[0].argmax(0).numpy())


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_single_channel_is_foreground_from_its_threshold_on(interpolation: str) -> None:
    scores = torch.tensor([0.29, 0.3, 0.31]).reshape(1, 3, 1, 1)
    labels = restore_labels(scores, np.eye(4), Grid((3, 1, 1), np.eye(4)), threshold=0.3, interpolation=interpolation)
    assert labels.ravel().tolist() == [0, 1, 1]


def test_outside_the_networks_view_is_background() -> None:
    scores = torch.zeros(2, 4, 4, 4)
    scores[1] = 1
    affine = np.eye(4)
    affine[:3, 3] = 3
    labels = restore_labels(scores, affine, Grid((10, 10, 10), np.eye(4)))
    expected = np.zeros((10, 10, 10), dtype=np.uint8)
    expected[3:7, 3:7, 3:7] = 1
    np.testing.assert_array_equal(labels, expected)
    away = np.eye(4)
    away[:3, 3] = 500
    assert not restore_labels(scores, away, Grid((10, 10, 10), np.eye(4))).any()


def test_more_than_255_labels_need_two_bytes() -> None:
    scores = torch.zeros(300, 2, 1, 1)
    scores[299, 1] = 1
    labels = restore_labels(scores, np.eye(4), Grid((2, 1, 1), np.eye(4)))
    assert labels.dtype == np.uint16
    assert labels.ravel().tolist() == [0, 299]
