"""Images and labels on other voxels: against closed forms, scipy and SimpleITK; what is too small is named."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from core.label_phantoms import ALL_PLACES, blobs, on_one_grid, scheme_of, sphere
from core.phantoms import PLACES, axis_orders, numbered, place, ramp, reordered, world_of
from meddl.datasets.geometry.label_sampling import resampled_labels
from meddl.datasets.geometry.target_grid import spaced
from meddl.datasets.one_grid import to_one_grid
from meddl.datasets.options import GridOptions
from meddl.volume import Grid, Volume, to_sitk
from scipy.ndimage import map_coordinates

# Linear images


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("spacing", [(0.6, 0.7, 0.8), (1.5, 3.1, 7.0), (1.0,), (0, 2.0, 0)])
def test_a_ramp_stays_a_ramp(where: str, spacing: tuple[float, ...]) -> None:
    image = ramp(PLACES[where], (20, 24, 18))
    placed = on_one_grid(image, GridOptions(spacing_mm=spacing)).images["CT"]
    expected = ramp(placed.affine, placed.shape)
    index = (np.linalg.inv(image.affine) @ placed.affine)[:3] @ np.vstack(
        [np.indices(placed.shape).reshape(3, -1), np.ones(int(np.prod(placed.shape)))]
    )
    reach = np.maximum(0, placed.spacing / image.spacing)[:, None]  # beyond half of which no mean is taken
    inside = ((index >= reach) & (index <= np.array(image.shape)[:, None] - 1 - reach)).all(axis=0)
    inside = inside.reshape(placed.shape)
    assert inside.sum() > 20
    np.testing.assert_allclose(placed.array[0][inside], expected.array[0][inside], rtol=1e-9, atol=1e-6)
    wanted = spacing if len(spacing) == 3 else spacing * 3
    for got, asked, old in zip(placed.spacing, wanted, image.spacing, strict=True):
        assert got == pytest.approx(asked or old)


def test_linear_sampling_is_scipys() -> None:
    rng = np.random.default_rng(1)
    image = Volume(rng.normal(size=(1, 12, 10, 8)), PLACES["flipped"])
    placed = on_one_grid(image, GridOptions(spacing_mm=(0.7, 1.1, 2.0))).images["CT"]
    index = np.linalg.inv(image.affine)[:3] @ np.vstack(
        [world_of(placed.affine, placed.shape).reshape(3, -1), np.ones(int(np.prod(placed.shape)))]
    )
    expected = map_coordinates(image.array[0], index, order=1, mode="nearest").reshape(placed.shape)
    np.testing.assert_allclose(placed.array[0], expected, atol=1e-9)


@pytest.mark.parametrize("spacing", [1.2, 2.0, 3.7])
def test_coarser_images_are_means_over_the_new_voxel_of_what_is_linear_between_the_old(spacing: float) -> None:
    values = np.random.default_rng(2).normal(size=40)
    image = Volume(values.reshape(1, 40, 1, 1), np.eye(4))
    placed = on_one_grid(image, GridOptions(spacing_mm=(spacing, 0, 0))).images["CT"]
    length = np.sqrt(spacing**2 - 1)
    for position, found in zip(world_of(placed.affine, placed.shape)[0].ravel(), placed.array.ravel(), strict=True):
        points = position + length * ((np.arange(20001) + 0.5) / 20001 - 0.5)
        if points[0] > 0 and points[-1] < 39:
            assert found == pytest.approx(np.interp(points, np.arange(40), values).mean(), abs=1e-6)


def test_a_stripe_pattern_too_fine_for_the_voxels_becomes_its_mean() -> None:
    stripes = np.zeros((1, 60, 60, 60), np.int16)
    stripes[:, ::2] = 1000
    for affine in (np.eye(4), PLACES["oblique"]):
        reference = numbered(affine @ np.diag([4.0, 4.0, 4.0, 1.0]), (10, 10, 10))
        if not np.array_equal(affine, np.eye(4)):
            reference = Volume(reference.array, place((4, 4, 4), (10, 10, 10), 0.1, 0.2, 0.3))
            stripes_volume = Volume(stripes, np.eye(4))
        else:
            stripes_volume = Volume(stripes, affine)
        placed = to_one_grid({"a": reference, "b": stripes_volume}, None, None, GridOptions()).images["b"].array[0]
        middle = placed[2:6, 2:6, 2:6]
        assert middle.dtype == np.int16 and np.abs(middle - 500).max() < 130


@pytest.mark.parametrize("where", ["oblique", "sheared", "oblique and left-handed"])
def test_a_second_image_that_is_turned_is_sampled_linearly(where: str) -> None:
    reference = Volume(np.zeros((1, 16, 18, 14), np.int16), place((1.1, 1.2, 1.3), (0, 0, 0)))
    affine = ALL_PLACES[where].copy()
    affine[:3, 3] = 0
    affine[:3, 3] = reference.affine[:3, :3] @ [7, 8, 6] - affine[:3, :3] @ [14, 15, 9]
    other = ramp(affine, (30, 32, 20))
    placed = to_one_grid({"a": reference, "b": other}, None, None, GridOptions()).images["b"]
    index = np.linalg.inv(affine)[:3] @ np.vstack(
        [world_of(reference.affine, reference.shape).reshape(3, -1), np.ones(int(np.prod(reference.shape)))]
    )
    last = np.array(other.shape)[:, None]
    inside = ((index >= 1) & (index <= last - 2)).all(axis=0).reshape(reference.shape)
    outside = ((index < -1.5) | (index > last + 0.5)).any(axis=0).reshape(reference.shape)
    expected = ramp(reference.affine, reference.shape).array[0]
    assert inside.sum() > 500
    np.testing.assert_allclose(placed.array[0][inside], expected[inside], atol=1e-4)
    assert (placed.array[0][outside] == other.array.min()).all()


def test_beyond_an_image_is_its_least_value_and_beyond_a_label_background() -> None:
    reference = numbered(np.eye(4), (10, 10, 10))
    shifted = np.eye(4)
    shifted[:3, 3] = 5.5
    ct = Volume(np.full((1, 10, 10, 10), 40, np.int16), shifted)
    ct.array[0, 0, 0, 0] = -1024
    placed = to_one_grid({"a": reference, "b": ct}, Volume(np.ones((1, 10, 10, 10), np.uint8), shifted), None,
                         GridOptions())  # fmt: skip
    assert (placed.images["b"].array[0, :5] == -1024).all() and placed.images["b"].array[0, 9, 9, 9] == 40
    assert not placed.labels.array[0, :5].any() and placed.labels.array[0, 6:, 6:, 6:].all()


def test_voxels_that_are_no_numbers_spoil_no_others() -> None:
    array = np.ones((1, 8, 8, 8), np.float32)
    array[0, 3, 3, 3] = np.nan
    array[0, 0, 0, 0] = np.inf
    array[0, 7, 7, 7] = 0.5
    for reference in (np.diag([0.5, 0.5, 0.5, 1.0]), place((0.7, 0.7, 0.7), (1, 1, 1), 0.1, 0.2, 0.3)):
        base = Volume(np.zeros((1, 8, 8, 8), np.uint8), reference)
        placed = to_one_grid({"a": base, "b": Volume(array, np.eye(4))}, None, None, GridOptions())
        assert np.isfinite(placed.images["b"].array).all()
        assert "no numbers" in placed.notes[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.bool_])
def test_images_keep_their_data_type(dtype: type) -> None:
    image = Volume(np.random.default_rng(0).integers(0, 2, (1, 6, 7, 8)).astype(dtype), np.eye(4))
    placed = on_one_grid(image, GridOptions(spacing_mm=(0.8, 1.3, 1.0), orientation="LPI")).images["CT"]
    assert placed.array.dtype == dtype and placed.array.min() >= 0 and placed.array.max() <= 1


def test_colors_of_a_picture_stay_apart() -> None:
    picture = Volume(np.stack([np.full((8, 9, 1), value, np.uint8) for value in (10, 100, 200)]), np.eye(4))
    placed = on_one_grid(picture, GridOptions(spacing_mm=(2, 2, 2))).images["CT"]
    assert placed.shape == (4, 5, 1) and [int(c.mean()) for c in placed.array] == [10, 100, 200]


# Labels


def _shares(labels: Volume, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, winner, lead over the second) by interpolating each label's membership with scipy, one by one."""
    index = np.linalg.inv(labels.affine)[:3] @ np.vstack(
        [world_of(grid.affine, grid.shape).reshape(3, -1), np.ones(int(np.prod(grid.shape)))]
    )
    values = np.unique(labels.array)
    shares = np.stack([map_coordinates((labels.array[0] == value).astype(float), index, order=1, mode="nearest")
                       for value in values])  # fmt: skip
    inside = ((index >= -0.5) & (index <= np.array(labels.shape)[:, None] - 0.5)).all(axis=0)
    ordered = np.sort(shares, axis=0)
    winner = np.where(inside, values[shares.argmax(axis=0)], 0).reshape(grid.shape)
    return values, winner, np.where(inside, ordered[-1] - ordered[-2], 1).reshape(grid.shape)


@pytest.mark.parametrize("where", ALL_PLACES)
def test_labels_are_the_largest_interpolated_membership(where: str) -> None:
    labels = blobs(np.eye(4), (20, 22, 18), count=7)
    affine = ALL_PLACES[where].copy()
    affine[:3, :3] *= 0.8 / np.linalg.norm(affine[:3, :3], axis=0)  # finer than the labels: no mean over voxels
    affine[:3, 3] = np.array([9, 10, 8]) - affine[:3, :3] @ [14, 15, 12]
    grid = Grid((29, 31, 25), affine)
    found = resampled_labels(labels, grid).array[0]
    _, expected, lead = _shares(labels, grid)
    sure = lead > 2e-3
    assert sure.mean() > 0.9 and len(np.unique(expected)) == 8
    np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.2, 0.3, -0.1)])
def test_labels_are_simpleitks_label_linear_ones(turn: tuple[float, float, float]) -> None:
    import SimpleITK as sitk

    labels = blobs(np.eye(4), (24, 20, 22), count=6)
    grid = Grid((30, 28, 27), place((0.7, 0.71, 0.73), (2.05, 1.07, 3.03), *turn))
    reference = to_sitk(Volume(np.zeros((1, *grid.shape), np.uint8), grid.affine))
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(reference)
    resampler.SetInterpolator(sitk.sitkLabelLinear)
    expected = sitk.GetArrayFromImage(resampler.Execute(to_sitk(labels))).T
    found = resampled_labels(labels, grid).array[0]
    _, _, lead = _shares(labels, grid)
    sure = lead > 2e-3
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("spacing", [0.5, 1.3, 2.0, 3.0])
def test_a_sphere_keeps_its_volume(where: str, spacing: float) -> None:
    source = PLACES[where].copy()
    source[:3, :3] /= np.linalg.norm(source[:3, :3], axis=0)
    source[:3, 3] = source[:3, :3] @ np.array([-25.0, -25.0, -25.0])
    ball = sphere(source, (51, 51, 51), np.array([0.3, -0.2, 0.4]), 18.0)
    for affine in (source, PLACES["straight"], PLACES["oblique"]):
        affine = affine.copy()
        affine[:3, :3] *= spacing / np.linalg.norm(affine[:3, :3], axis=0)
        count = int(46 / spacing)
        affine[:3, 3] = -affine[:3, :3] @ np.full(3, (count - 1) / 2)
        found = resampled_labels(ball, Grid((count,) * 3, affine))
        true = 4 / 3 * np.pi * 18.0**3 / 1000
        assert found.array.sum() * found.voxel_volume_ml == pytest.approx(true, rel=0.015)
        center = world_of(affine, (count,) * 3)[:, found.array[0] > 0].mean(axis=1)
        np.testing.assert_allclose(center, [0.3, -0.2, 0.4], atol=0.1 * spacing)


@pytest.mark.parametrize("spacing", [(0.6, 0.6, 0.6), (2.0, 1.0, 3.0)])
def test_a_planes_normal_stays(spacing: tuple[float, float, float]) -> None:
    normal = np.array([0.5, 0.3, 0.81])
    normal /= np.linalg.norm(normal)
    affine = place((1, 1, 1.5), (-20, -20, -20), 0.1, 0.2, 0.3)
    world = world_of(affine, (60, 60, 40))
    labels = Volume((np.tensordot(normal, world, 1) > 2.0)[np.newaxis].astype(np.uint8), affine)
    image = Volume(np.zeros(labels.array.shape, np.int16), affine)
    placed = on_one_grid(image, GridOptions(spacing_mm=spacing), labels).labels
    away = np.tensordot(normal, world_of(placed.affine, placed.shape), 1) - 2.0
    reach = 0.5 * max(np.abs(placed.affine[:3, :3].T @ normal).sum(), np.abs(affine[:3, :3].T @ normal).sum())
    assert (placed.array[0][away > reach] == 1).all() and (placed.array[0][away < -reach] == 0).all()


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (2.0, 2.0, 2.0), (1.7, 0.6, 3.3)])
def test_all_48_axis_orders_give_the_very_same_labels_ties_included(spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(5)
    labels = Volume(rng.integers(0, 4, (1, 8, 7, 6)).astype(np.uint8), place((1, 1, 1), (3, -4, 5)))
    grid = spaced(labels.grid, spacing)
    expected = resampled_labels(labels, grid)
    for permutation, signs in axis_orders():
        wanted = reordered(expected, permutation, signs)
        for source in (labels, reordered(labels, permutation, signs)):
            found = resampled_labels(source, wanted.grid)
            np.testing.assert_array_equal(found.array, wanted.array)


def test_splitting_into_tiles_changes_no_voxel(monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets.geometry import label_sampling

    labels = blobs(np.eye(4), (40, 37, 35), count=9)
    for affine in (place((0.7, 1.9, 1.1), (0.2, 0.1, 0)), place((1.3, 1.4, 2.2), (2, 3, 1), 0.1, 0.05, 0.2)):
        grid = Grid((33, 20, 17), affine)
        expected = resampled_labels(labels, grid).array
        for name, size in (("_TILE", 7), ("_LEAF", 5), ("_LEAF", 1000)):
            with monkeypatch.context() as patch:
                patch.setattr(label_sampling, name, size)
                np.testing.assert_array_equal(resampled_labels(labels, grid).array, expected)


def test_sixty_structures_do_not_cost_sixty_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    from meddl.datasets.geometry import label_sampling

    computed = []
    contracted = label_sampling._contracted

    def counted(mask: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
        computed.append(mask.size)
        return contracted(mask, matrices)

    monkeypatch.setattr(label_sampling, "_contracted", counted)
    shape = (160, 160, 120)
    # Most of a patient's image is background, or the inside of organs.
    array = np.zeros((1, *shape), np.uint8)
    for value, (i, j, k) in enumerate(itertools.islice(itertools.product(range(4), range(5), range(3)), 60), 1):
        array[0, 20 + 30 * i : 45 + 30 * i, 10 + 28 * j : 30 + 28 * j, 10 + 35 * k : 35 + 35 * k] = value
    labels = Volume(array, np.diag([0.8, 0.8, 1.0, 1.0]))
    tracemalloc.start()
    found = resampled_labels(labels, spaced(labels.grid, (1.1,)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(np.unique(found.array)) == 61
    assert sum(computed) < 4 * array.size
    assert peak < found.array.nbytes + 20_000_000


def test_labels_above_255_keep_their_values() -> None:
    array = np.zeros((1, 12, 12, 12), np.uint16)
    array[0, :6], array[0, 6:, :6], array[0, 6:, 6:] = 300, 65535, 257
    for affine in (np.diag([0.5, 0.5, 0.5, 1.0]), place((0.5, 0.5, 0.5), (2, 2, 2), 0.1, 0.1, 0.1)):
        found = resampled_labels(Volume(array, np.eye(4)), Grid((16, 16, 16), affine)).array
        assert found.dtype == np.uint16 and set(np.unique(found)) <= {0, 300, 65535, 257}
        assert 300 in found


def test_layers_are_resampled_each_by_itself() -> None:
    first, second = blobs(np.eye(4), seed=1), blobs(np.eye(4), seed=2)
    both = Volume(np.concatenate([first.array, second.array]), np.eye(4))
    grid = spaced(both.grid, (0.7,))
    found = resampled_labels(both, grid).array
    for layer, labels in zip(found, (first, second), strict=True):
        np.testing.assert_array_equal(layer, resampled_labels(labels, grid).array[0])


def test_regions_are_resampled_as_if_each_were_alone() -> None:
    affine, shape = np.eye(4), (40, 40, 40)
    first = sphere(affine, shape, np.array([16.0, 20, 20]), 10).array[0] > 0
    second = sphere(affine, shape, np.array([23.0, 20, 20]), 9).array[0] > 0
    combined = Volume((first + 2 * second)[np.newaxis].astype(np.uint8), affine)
    scheme = scheme_of(2, overlaps="regions", combinations=((0, 1),))
    for goal in (np.diag([2.2, 2.2, 2.2, 1.0]), place((1.9, 1.9, 1.9), (1, 1, 1), 0.1, 0.2, 0.1)):
        image = Volume(np.zeros((1, 16, 16, 16), np.int16), goal)
        placed = on_one_grid(image, GridOptions(), combined, scheme=scheme).labels
        for index, mask in enumerate((first, second)):
            alone = resampled_labels(Volume(mask[np.newaxis].astype(np.uint8), affine), placed.grid)
            together = np.isin(placed.array, scheme.values_of(index))
            assert (together != alone.array).mean() < 1e-4


# Small and thin structures


def test_a_thin_sheet_that_vanishes_is_named() -> None:
    array = np.zeros((1, 40, 40, 40), np.uint8)
    array[0, :, :, 20] = 1
    array[0, 5:35, 5:35, 2:12] = 2
    array[0, 3, 3, 30] = 3
    labels = Volume(array, np.eye(4))
    image = Volume(np.zeros(array.shape, np.int16), np.eye(4))
    placed = on_one_grid(image, GridOptions(spacing_mm=(1, 1, 3)), labels, scheme=scheme_of(3))
    assert 2 in placed.labels.array and 3 not in placed.labels.array
    (note,) = [note for note in placed.notes if note.startswith("Vanished")]
    assert "'Structure 1'" in note and "'Structure 3'" in note and "'Structure 2'" not in note


def test_a_structure_that_shrinks_much_is_named() -> None:
    array = np.zeros((1, 40, 40, 40), np.uint8)
    array[0, 10:12, 9:12, :] = 1
    array[0, 18:39, 18:39, 3:36] = 2
    labels = Volume(array, np.eye(4))
    placed = on_one_grid(Volume(array.astype(np.int16), np.eye(4)), GridOptions(spacing_mm=(3, 3, 3)), labels,
                   scheme=scheme_of(2))  # fmt: skip
    named = " ".join(placed.notes)
    assert "'Structure 1'" in named and "'Structure 2'" not in named


def test_structures_that_a_crop_cuts_off_are_named() -> None:
    array = np.zeros((1, 20, 20, 20), np.uint8)
    array[0, 2:6, 2:6, 2:6], array[0, 8:18, 8:18, 8:18], array[0, 10, 10, 12] = 1, 2, 3
    image = Volume(np.zeros(array.shape, np.int16), np.eye(4))
    options = GridOptions(crop="roi", roi=(8, 8, 8, 19, 19, 12))
    placed = on_one_grid(image, options, Volume(array, np.eye(4)), scheme=scheme_of(3))
    assert placed.images["CT"].shape == (12, 12, 5)
    lost = next(note for note in placed.notes if note.startswith("Lost"))
    cut = next(note for note in placed.notes if note.startswith("Cut off"))
    assert "'Structure 1'" in lost and "'Structure 2' (50 %)" in cut and "Structure 3" not in lost + cut
