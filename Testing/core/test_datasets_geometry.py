"""The one grid of a case: exact where voxels lie on voxels; turned, straightened, spaced and cropped."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from core.label_phantoms import ALL_PLACES, SHAPE, blobs, on_one_grid, scheme_of, sphere
from core.phantoms import PLACES, SHEARED, axis_orders, numbered, place, ramp, reordered, world_of
from meddl.datasets.geometry.target_grid import cropped, oriented, spaced, straightened
from meddl.datasets.one_grid import to_one_grid
from meddl.datasets.options import GridOptions
from meddl.errors import UsageError, VolumeError
from meddl.volume import Grid, Volume, is_sheared, resample_to

# Exact: voxels on voxels


@pytest.mark.parametrize("where", ALL_PLACES)
def test_a_case_that_is_on_one_grid_stays_as_it_is(where: str) -> None:
    image, labels = numbered(ALL_PLACES[where], SHAPE), blobs(ALL_PLACES[where])
    if where == "sheared":
        return  # see below
    placed = on_one_grid(image, GridOptions(), labels)
    assert placed.images["CT"] is image and placed.labels is labels and placed.notes == ()
    assert placed.facts["images"] == {"CT": "kept"} and placed.facts["labels"] == "kept"


@pytest.mark.parametrize("where", [name for name in PLACES])
def test_all_48_axis_orders_of_label_and_second_image_lie_voxel_on_voxel(where: str) -> None:
    image, labels = numbered(PLACES[where], SHAPE), blobs(PLACES[where])
    for permutation, signs in axis_orders():
        placed = to_one_grid(
            {"T1": image, "T2": reordered(image, permutation, signs)},
            reordered(labels, permutation, signs),
            reordered(image, permutation, signs),
            GridOptions(),
        )
        np.testing.assert_array_equal(placed.images["T2"].array, image.array)
        np.testing.assert_array_equal(placed.labels.array, labels.array)
        np.testing.assert_array_equal(placed.target.array, image.array)
        assert placed.labels.array.dtype == np.uint8 and placed.images["T2"].grid.same_as(image.grid)
        assert placed.facts["labels"] in ("kept", "reordered") and not placed.notes


@pytest.mark.parametrize("where", [name for name in PLACES])
def test_every_orientation_is_exact(where: str) -> None:
    image, labels = numbered(PLACES[where], SHAPE), blobs(PLACES[where])
    by_place = {tuple(np.round(p, 3)): v for p, v in zip(world_of(image.affine, SHAPE).reshape(3, -1).T,
                                                       image.array.ravel(), strict=True)}  # fmt: skip
    for axes in itertools.permutations(["RL", "AP", "SI"]):
        for code in map("".join, itertools.product(*axes)):
            placed = on_one_grid(image, GridOptions(orientation=code), labels)
            turned = placed.images["CT"]
            assert turned.orientation == code == placed.labels.orientation
            places = np.round(world_of(turned.affine, turned.shape).reshape(3, -1).T, 3)
            assert [by_place[tuple(p)] for p in places] == turned.array.ravel().tolist()
            back = on_one_grid(turned, GridOptions(orientation=image.orientation), placed.labels)
            np.testing.assert_array_equal(back.labels.array, labels.array)


@pytest.mark.parametrize("shift", [(2, 0, -1), (-3, 4, 5), (6, 8, 5)])
def test_whole_voxel_shifts_move_voxels_and_nothing_else(shift: tuple[int, int, int]) -> None:
    image = numbered(PLACES["oblique"], SHAPE)
    moved = np.eye(4)
    moved[:3, 3] = shift
    labels = blobs(image.affine @ moved)
    placed = on_one_grid(image, GridOptions(), labels, scheme=scheme_of(5))
    expected = np.zeros(SHAPE, np.uint8)
    for index in np.ndindex(SHAPE):
        source = np.array(index) - shift
        if (source >= 0).all() and (source < SHAPE).all():
            expected[index] = labels.array[0][tuple(source)]
    np.testing.assert_array_equal(placed.labels.array[0], expected)
    assert any("Cut off" in note or "Lost" in note for note in placed.notes)


def test_what_headers_round_moves_no_voxel() -> None:
    image = numbered(place((0.703125, 0.703125, 1.0), (-180, -180, 40)), (200, 180, 5))
    rounded = image.affine.copy()
    rounded[0, 0] = 0.7031
    rounded[:3, 3] += 0.001
    labels = blobs(rounded, (200, 180, 5))
    placed = on_one_grid(image, GridOptions(), labels)
    np.testing.assert_array_equal(placed.labels.array, labels.array)
    assert placed.labels.grid.same_as(image.grid)


def test_a_shear_that_rounding_makes_moves_no_voxel() -> None:
    affine = place((0.9, 0.9, 3.0), (5, 6, 7), 0.2, 0.1, 0.3) @ np.array(
        [[1, 0, 0.0009, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    image = numbered(affine, (10, 12, 11))
    assert is_sheared(image.affine)
    placed = on_one_grid(image, GridOptions(), blobs(affine, (10, 12, 11)))
    assert not is_sheared(placed.images["CT"].affine)
    np.testing.assert_array_equal(placed.images["CT"].array, image.array)
    assert placed.facts["straightened"] == "voxels kept" and not placed.notes


# Grids


@pytest.mark.parametrize("where", ALL_PLACES)
def test_a_spaced_grid_covers_the_same_place_round_the_same_middle(where: str) -> None:
    grid = Grid((13, 17, 9), ALL_PLACES[where])
    for spacing in ((0.7, 2.0, 5.0), (3.0,), (0, 1.0, 0)):
        new = spaced(grid, spacing)
        np.testing.assert_allclose(new.corners().mean(axis=1), grid.corners().mean(axis=1), atol=1e-9)
        lengths = np.array(grid.shape) * grid.spacing, np.array(new.shape) * new.spacing
        assert (lengths[1] >= lengths[0] - 0.02 * new.spacing).all() and (lengths[1] < lengths[0] + new.spacing).all()


def test_a_tilted_gantry_is_resampled_to_a_straight_grid_and_said_so() -> None:
    image, labels = ramp(SHEARED, (20, 24, 12), np.float32), blobs(SHEARED, (20, 24, 12))
    placed = on_one_grid(image, GridOptions(), labels)
    assert not is_sheared(placed.images["CT"].affine) and "right angles" in placed.notes[0]
    expected = resample_to(image, placed.images["CT"].grid, default=float(image.array.min()))
    np.testing.assert_allclose(placed.images["CT"].array, expected.array, rtol=1e-5, atol=1e-3)
    assert placed.facts["straightened"] == "resampled"


@pytest.mark.parametrize("crop", [((0, 4), (0, 9), (0, 6)), ((0, 7), (2, 9), (0, 6)), ((0, 7), (0, 9), (5, 6))])
def test_a_crop_at_any_end_is_a_crop(crop: tuple[tuple[int, int], ...]) -> None:
    image = numbered(PLACES["straight"], SHAPE)
    low, high = ([side[n] - n for side in crop] for n in (0, 1))
    placed = on_one_grid(image, GridOptions(crop="roi", roi=(*low, *high)))
    part = tuple(slice(*side) for side in crop)
    np.testing.assert_array_equal(placed.images["CT"].array, image.array[(slice(None), *part)])
    assert placed.facts["images"]["CT"] == "reordered"


@pytest.mark.parametrize("where", PLACES)
def test_cropping_to_the_label_keeps_exactly_its_voxels_and_a_margin(where: str) -> None:
    image = numbered(PLACES[where], (14, 15, 16))
    array = np.zeros((1, 14, 15, 16), np.uint8)
    array[0, 3:7, 4:5, 6:12] = 2
    labels = Volume(array, image.affine)
    placed = on_one_grid(image, GridOptions(crop="label"), labels)
    np.testing.assert_array_equal(placed.images["CT"].array, image.array[:, 3:7, 4:5, 6:12])
    assert (placed.labels.array == 2).all()
    margin = 1.5 * float(image.spacing.max())
    wide = on_one_grid(image, GridOptions(crop="label", margin_mm=margin), labels).images["CT"]
    more = np.ceil(margin / image.spacing - 1e-6).astype(int)
    low = np.maximum(0, [3, 4, 6] - more)
    high = np.minimum(image.shape, np.array([7, 5, 12]) + more)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    np.testing.assert_array_equal(wide.array, image.array[(slice(None), *part)])


def test_cropping_to_the_foreground_keeps_the_patient_and_the_label() -> None:
    rng = np.random.default_rng(3)
    array = rng.normal(-1000, 12, (40, 44, 30))
    array[10:30, 8:36, 4:26] = rng.normal(40, 20, (20, 28, 22))
    array[2, 2, 2] = 3000  # a speck
    image = Volume(array[np.newaxis].astype(np.int16), PLACES["anisotropic"])
    placed = on_one_grid(image, GridOptions(crop="foreground"))
    assert placed.images["CT"].shape == (20, 28, 22) and placed.facts["crop"]["voxels"][0] == [10, 30]
    labels = np.zeros((1, 40, 44, 30), np.uint8)
    labels[0, 33, 20, 10] = 1
    assert on_one_grid(image, GridOptions(crop="foreground"), Volume(labels, image.affine)).images["CT"].shape == (
        24,
        28,
        22,
    )


def test_nothing_to_crop_to_is_said() -> None:
    image = Volume(np.zeros((1, 5, 5, 5), np.int16), np.eye(4))
    labels = Volume(np.zeros((1, 5, 5, 5), np.uint8), np.eye(4))
    for crop in ("label", "foreground"):
        placed = on_one_grid(image, GridOptions(crop=crop), labels)
        assert placed.images["CT"].shape == (5, 5, 5) and "not cropped" in placed.notes[0]


def test_a_region_in_mm_is_the_voxels_whose_centers_lie_in_it() -> None:
    image = numbered(np.array([[-2.0, 0, 0, 20], [0, 0, 1.5, -3], [0, 1.0, 0, 5], [0, 0, 0, 1]]), (12, 10, 8))
    options = GridOptions(crop="roi", roi=(4, 0, 6, 10, 3, 9))
    placed = on_one_grid(image, options).images["CT"]
    world = world_of(placed.affine, placed.shape)
    assert world.min(axis=(1, 2, 3)).tolist() == [4, 0, 6] and world.max(axis=(1, 2, 3)).tolist() == [10, 3, 9]
    inside = (world_of(image.affine, image.shape).T >= [4, 0, 6]) & (
        world_of(image.affine, image.shape).T <= [10, 3, 9]
    )
    assert sorted(placed.array.ravel()) == sorted(image.array[0][inside.all(axis=-1).T])


def test_crop_orientation_and_spacing_together_leave_everything_where_it_is() -> None:
    source = place((0.8, 0.8, 2.0), (-20, 30, 10), 0.2, -0.1, 0.4)
    shape = (60, 50, 24)
    center = source[:3, :3] @ [30, 25, 12] + source[:3, 3]
    labels = sphere(source, shape, center, 12.0)
    image = Volume(labels.array.astype(np.int16) * 100, source)
    turned = reordered(labels, (2, 0, 1), (-1, 1, -1))
    options = GridOptions(orientation="RAS", spacing_mm=(1, 1, 1), crop="label", margin_mm=4)
    placed = on_one_grid(image, options, turned)
    world = world_of(placed.labels.affine, placed.labels.shape)[:, placed.labels.array[0] > 0]
    np.testing.assert_allclose(world.mean(axis=1), center, atol=0.1)
    assert placed.labels.array.sum() / 1000 == pytest.approx(4 / 3 * np.pi * 12**3 / 1000, rel=0.02)
    assert ((placed.images["CT"].array[0] > 50) == (placed.labels.array[0] > 0)).mean() > 0.999
    assert placed.images["CT"].orientation == "RAS"


def test_a_target_image_of_finer_voxels_is_brought_to_the_images_grid_and_said_so() -> None:
    image = ramp(np.diag([2.0, 2.0, 2.0, 1.0]), (8, 8, 8))
    placed = to_one_grid({"low": image}, None, ramp(np.eye(4), (16, 16, 16)), GridOptions())
    np.testing.assert_allclose(placed.target.array[0, 1:-1, 1:-1, 1:-1], image.array[0, 1:-1, 1:-1, 1:-1])
    assert "finer voxels" in placed.notes[0]


# Refusals


def test_images_that_share_no_place_are_refused() -> None:
    far = np.eye(4)
    far[:3, 3] = 500
    image, other = numbered(np.eye(4), SHAPE), numbered(far, SHAPE)
    with pytest.raises(VolumeError, match="The image 'b' lies beside"):
        to_one_grid({"a": image, "b": other}, None, None, GridOptions())
    with pytest.raises(VolumeError, match="The label lies beside"):
        on_one_grid(image, GridOptions(), Volume(np.ones((1, *SHAPE), np.uint8), far))
    with pytest.raises(VolumeError, match="no voxel of this image"):
        on_one_grid(image, GridOptions(crop="roi", roi=(300, 300, 300, 301, 301, 301)))


@pytest.mark.parametrize(
    "options",
    [
        GridOptions(orientation="RAX"),
        GridOptions(orientation="RLS"),
        GridOptions(orientation="ras"),
        GridOptions(spacing_mm=(1, 1)),
        GridOptions(spacing_mm=(1, -1, 1)),
        GridOptions(spacing_mm=(float("nan"),)),
        GridOptions(spacing_mm=(1e-3,)),
        GridOptions(margin_mm=-1),
        GridOptions(crop="roi"),
        GridOptions(crop="roi", roi=(1, 1, 1, 0, 2, 2)),
        GridOptions(crop="brain"),  # type: ignore[arg-type]
        GridOptions(reference="T9"),
    ],
)
def test_choices_that_make_no_sense_are_refused_in_a_sentence(options: GridOptions) -> None:
    image = Volume(np.broadcast_to(np.zeros(1, np.int16), (1, 64, 64, 64)), np.eye(4))
    with pytest.raises(UsageError) as caught:
        on_one_grid(image, options)
    assert str(caught.value).endswith(".")


def test_grids_are_made_without_voxels() -> None:
    grid = Grid((5, 6, 7), PLACES["oblique"])
    assert oriented(grid, "").same_as(grid) and straightened(grid) is grid and spaced(grid, ()) is grid
    assert cropped(grid, ((1, 3), (0, 6), (2, 3))).shape == (2, 6, 1)


def test_images_and_labels_of_any_places_and_sizes_come_to_one_grid() -> None:
    rng = np.random.default_rng(0)

    def anywhere(channels: int) -> Volume:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        if rng.random() < 0.4:
            turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        if rng.random() < 0.2:
            turn = turn @ (np.eye(3) + np.triu(rng.normal(size=(3, 3)) * 0.2, 1))
        shape = [int(n) for n in rng.integers(1, 25, 3)]
        affine = np.eye(4)
        affine[:3, :3] = turn * rng.uniform(0.3, 5, 3)
        affine[:3, 3] = rng.uniform(-2, 2, 3) - affine[:3, :3] @ (np.array(shape) / 2)
        return Volume(rng.integers(0, 3, (channels, *shape)).astype(np.uint8)[:, ::-1], affine)

    done = 0
    for _ in range(120):
        image, other, labels = anywhere(int(rng.integers(1, 4))), anywhere(1), anywhere(2)
        options = GridOptions(
            orientation=("", "RAS", "LPI", "SAR")[rng.integers(4)],
            spacing_mm=((), (1.0,), (0.7, 0, 3.0))[rng.integers(3)],
            crop=("none", "foreground", "label")[rng.integers(3)],
            margin_mm=float(rng.uniform(0, 5)),
        )
        try:
            placed = to_one_grid({"a": image, "b": other}, labels, other, options)
        except VolumeError:  # they share no place
            continue
        done += 1
        grid = placed.images["a"].grid
        assert all(each.grid.same_as(grid) for each in (placed.images["b"], placed.labels, placed.target))
        assert placed.labels.array.max() <= 2 and placed.images["a"].array.max() <= image.array.max()
        assert not is_sheared(grid.affine) and options.orientation in ("", grid.orientation)
        json.dumps(placed.facts)
    assert done > 60
