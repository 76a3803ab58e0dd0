"""Scores on the network's grid to labels on the image's grid, against scipy and torch done the slow way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from core.phantoms import axis_orders, reordered
from meddl.errors import ModelError
from meddl.inference import restore, tiles
from meddl.inference.restore import RestoreLabels, restore_labels, restore_values
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


def _organs(channels: int, shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    """Logits as of a many-organ model: background, and blobs here and there, with some noise on all."""
    generator = torch.Generator().manual_seed(seed)
    scores = -6 + 0.3 * torch.randn(channels, *shape, generator=generator)
    scores[0] += 10
    where = torch.stack(torch.meshgrid(*[torch.arange(size).float() for size in shape], indexing="ij"))
    for channel in range(1, channels):
        center = torch.rand(3, generator=generator) * torch.tensor(shape)
        distance = (where - center.reshape(3, 1, 1, 1)).square().sum(dim=0).sqrt()
        scores[channel] += 14 - 1.5 * distance
    return scores


def _resized(source: tuple[int, ...], target: tuple[int, int, int]) -> Grid:
    """Return the grid that ``torch.nn.functional.interpolate`` gives a source with the affine 1."""
    scale = np.array(source) / np.array(target)
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = scale / 2 - 0.5
    return Grid(target, affine)


@pytest.mark.parametrize("channels", [2, 3, 26])
@pytest.mark.parametrize("target", [(60, 75, 82), (30, 41, 37), (17, 64, 20)])
def test_labels_are_torchs_interpolate_and_argmax_voxel_for_voxel(channels: int, target: tuple[int, int, int]) -> None:
    scores = _organs(channels, (30, 41, 37))
    expected = interpolate(scores[None], target, mode="trilinear", align_corners=False)[0].argmax(dim=0).numpy()
    assert 0.0005 < (expected > 0).mean() < 0.5 and len(np.unique(expected)) > channels // 2
    labels = restore_labels(scores, np.eye(4), _resized(scores.shape[1:], target))
    np.testing.assert_array_equal(labels, expected)


def test_leaving_classes_out_changes_no_voxel_even_where_they_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = _resized((30, 41, 37), (61, 70, 45))
    # Whole numbers tie everywhere, noise leaves every class in the running.
    generator = torch.Generator().manual_seed(4)
    for scores in (
        torch.randint(0, 3, (5, 30, 41, 37), generator=generator).float(),
        torch.randn(5, 30, 41, 37, generator=generator),
        _organs(12, (30, 41, 37)),
    ):
        labels = restore_labels(scores, np.eye(4), grid)
        with monkeypatch.context() as patch:
            patch.setattr(tiles, "contenders", lambda tile: list(range(tile.shape[0])))
            np.testing.assert_array_equal(labels, restore_labels(scores, np.eye(4), grid))


def _streamed(scores: torch.Tensor, grid: Grid, rows: list[int], **options: object) -> np.ndarray:
    sink = RestoreLabels(AFFINE, grid, **options)
    sink.begin(int(scores.shape[0]), tuple(scores.shape[1:]))
    start = 0
    for count in rows:
        part = scores[:, start : start + count].clone()
        sink.add(start, part)
        part.fill_(float("nan"))  # its memory is used again
        start += count
    return sink.labels


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("rows", [[9], [1] * 9, [4, 1, 4], [2, 7]])
def test_labels_do_not_depend_on_how_the_rows_arrive(rows: list[int], interpolation: str) -> None:
    for channels in (1, 2, 4):
        scores = _scores(channels)
        for permutation, signs in list(axis_orders())[::5]:
            grid = reordered(Volume(np.zeros((1, *SHAPE), np.uint8), AFFINE), permutation, signs).grid
            finer = Grid(
                tuple(2 * size + 1 for size in grid.shape), grid.affine @ np.diag([0.47, 0.47, 0.47, 1.0])
            )
            whole = restore_labels(scores, AFFINE, finer, interpolation=interpolation, threshold=0.1)
            assert whole.any()
            np.testing.assert_array_equal(
                _streamed(scores, finer, rows, interpolation=interpolation, threshold=0.1), whole
            )


def test_a_sink_that_is_begun_again_forgets_what_came() -> None:
    scores, grid = _scores(3), Grid(SHAPE, AFFINE)
    sink = RestoreLabels(AFFINE, grid)
    sink.begin(3, SHAPE)
    sink.add(0, -scores[:, :5])
    with pytest.raises(ModelError, match="not complete"):
        sink.labels  # noqa: B018
    sink.begin(3, SHAPE)
    sink.add(0, scores)
    np.testing.assert_array_equal(sink.labels, scores.argmax(dim=0).numpy())


@pytest.mark.parametrize("turn", [0, 25])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_structures_that_overlap_become_layers(interpolation: str, turn: int) -> None:
    scores = _scores(3)
    affine = AFFINE.copy()
    affine[:3, :3] = Rotation.from_euler("z", turn, degrees=True).as_matrix() @ AFFINE[:3, :3] * 0.7
    grid = Grid((14, 15, 9), affine)
    sink = RestoreLabels(
        AFFINE, grid, threshold=0.6, interpolation=interpolation, activate=torch.sigmoid, multilabel=True
    )
    sink.begin(3, SHAPE)
    sink.add(0, scores)
    layers = sink.labels
    assert layers.shape == (3, 14, 15, 9) and layers.dtype == np.uint8
    for layer, channel in zip(layers, torch.sigmoid(scores), strict=True):
        expected = restore_labels(channel[None], AFFINE, grid, threshold=0.6, interpolation=interpolation)
        np.testing.assert_array_equal(layer, expected)
    assert (layers.sum(axis=0) > 1).any()


def test_scores_kept_for_a_turned_grid_may_be_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = _organs(9, (20, 22, 18))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, 20, -15), degrees=True).as_matrix() * 0.8
    grid = Grid((24, 26, 20), affine)
    exact = restore_labels(scores, np.eye(4), grid)
    monkeypatch.setattr(restore, "_FLOAT_BYTES", 1)
    halved = restore_labels(scores, np.eye(4), grid)
    assert (exact != halved).mean() < 1e-3 and len(np.unique(exact)) > 3


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0, 90), (20, -35, 10)])
def test_numbers_are_interpolated_linearly_and_filled_outside(turn: tuple[int, int, int]) -> None:
    values = _scores(2).numpy()
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * [0.61, 0.73, 1.13]
    # About one center.
    affine[:3, 3] = AFFINE[:3, :3] @ [4, 6, 3] + AFFINE[:3, 3] - affine[:3, :3] @ [13, 10, 9]
    grid = Grid((25, 21, 18), affine)
    index = np.concatenate([np.indices(grid.shape).reshape(3, -1), np.ones((1, 25 * 21 * 18))])
    source = np.linalg.inv(AFFINE) @ affine @ index
    size = np.array(SHAPE)[:, None]
    inside = ((source[:3] >= -0.5 - 1e-9) & (source[:3] <= size - 0.5 + 1e-9)).all(axis=0)
    found = restore_values(values, AFFINE, grid, fill=-7.0)
    assert found.dtype == np.float32 and 0.1 < inside.mean() < 0.9
    for channel, restored in zip(values, found, strict=True):
        expected = map_coordinates(channel, source[:3], order=1, mode="nearest")
        np.testing.assert_allclose(restored.ravel(), np.where(inside, expected, -7.0), atol=1e-5)
