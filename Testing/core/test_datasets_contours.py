"""Contours as labels: exact against closed forms, against an independent rasterizer and against real masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import realdata
from core import phantoms
from core.rtstruct_writer import circle, on_slice, write_contours
from meddl.datasets.dicom_contours import fill_polygons, is_contours, read_contours
from meddl.errors import VolumeError
from meddl.volume import Grid, read_segmentation, read_volume
from pydicom.data import get_testdata_file

GRID = Grid((40, 50, 6), phantoms.PLACES["oblique"])


def inside(path: Path, grid: Grid = GRID, label: int = 1) -> np.ndarray:
    drawn = read_contours(path, grid)
    segment = next(each for each in drawn.segments if each.label == label)
    return drawn.labels.array[segment.layer] == label


@pytest.mark.parametrize("place", list(phantoms.PLACES))
def test_a_sphere_has_its_volume_on_every_grid(tmp_path: Path, place: str) -> None:
    axes = phantoms.PLACES[place][:3, :3]
    affine = phantoms.PLACES[place].copy()
    affine[:3, :3] = axes / np.linalg.norm(axes, axis=0) * (0.8, 0.8, 1.0)
    grid = Grid((60, 60, 50), affine)
    radius = 20.0  # mm
    radii = {k: float(np.sqrt(radius**2 - (k - 25.0) ** 2)) / 0.8 for k in range(6, 45)}
    contours = [on_slice(affine, k, circle((29.3, 30.1), each)) for k, each in radii.items()]

    mask = inside(write_contours(tmp_path / "rt.dcm", {"ball": contours}), grid)

    ml = mask.sum() * 0.8 * 0.8 * 1.0 / 1000
    assert ml == pytest.approx(4 / 3 * np.pi * radius**3 / 1000, rel=2e-3)
    index = np.argwhere(mask)
    np.testing.assert_allclose(index.mean(axis=0), (29.3, 30.1, 25.0), atol=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_square_covers_the_voxels_whose_centers_it_holds(tmp_path: Path, axis: int) -> None:
    corners = np.array([(1.5, 2.5), (1.5, 5.5), (4.5, 5.5), (4.5, 2.5)])
    path = write_contours(tmp_path / "rt.dcm", {"square": [on_slice(GRID.affine, 3, corners, axis)]})

    mask = np.moveaxis(inside(path), axis, 0)

    expected = np.zeros_like(mask)
    expected[3, 2:5, 3:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_the_slices_of_a_tilted_gantry_are_slices_too(tmp_path: Path) -> None:
    corners = np.array([(1.5, 2.5), (1.5, 5.5), (4.5, 5.5), (4.5, 2.5)])
    path = write_contours(tmp_path / "rt.dcm", {"square": [on_slice(phantoms.SHEARED, k, corners) for k in (1, 2)]})

    mask = inside(path, Grid((8, 9, 5), phantoms.SHEARED))

    assert np.argwhere(mask).min(axis=0).tolist() == [2, 3, 1]
    assert mask.sum() == 18


def test_holes_islands_and_keyholes_follow_the_even_odd_rule() -> None:
    outer, hole, island = (circle((20, 20), radius) for radius in (15.3, 10.2, 4.1))
    nested = fill_polygons([outer, hole, island], (40, 40))
    areas = np.pi * (15.3**2 - 10.2**2 + 4.1**2)
    assert nested.sum() == pytest.approx(areas, rel=0.02)
    assert not nested[20, 29] and nested[20, 20] and nested[20, 33]

    # One contour that goes in, round the hole and out again on the same way.
    bridge = np.concatenate([outer, outer[:1], hole[::-1][-1:], hole[::-1], hole[::-1][-1:], outer[:1]])
    np.testing.assert_array_equal(fill_polygons([bridge], (40, 40)), fill_polygons([outer, hole], (40, 40)))


def test_random_polygons_agree_with_an_independent_rasterizer() -> None:
    from skimage.measure import points_in_poly

    random = np.random.default_rng(4)
    pixels = np.argwhere(np.ones((30, 25)))
    for _ in range(60):
        polygons = [random.uniform(-8, 36, (random.integers(3, 12), 2)) for _ in range(random.integers(1, 4))]
        expected = np.zeros((30, 25), bool)
        for corners in polygons:
            expected ^= points_in_poly(pixels, corners).reshape(30, 25)

        np.testing.assert_array_equal(fill_polygons(polygons, (30, 25)), expected)


def test_structures_that_share_an_edge_share_no_voxel_and_leave_none_out() -> None:
    random = np.random.default_rng(1)
    # Corners also right on the centers of pixels, where rounding decides.
    cut = np.concatenate([[(0.0, 7.0)], np.round(random.uniform(2, 12, (6, 2)), 1), [(20.0, 9.0)]])
    left = np.concatenate([cut, [(20.0, -1.0), (0.0, -1.0)]])
    right = np.concatenate([cut[::-1], [(0.0, 21.0), (20.0, 21.0)]])
    whole = np.array([(0.0, -1.0), (0.0, 21.0), (20.0, 21.0), (20.0, -1.0)])

    first, second, both = (fill_polygons([each], (20, 20)) for each in (left, right, whole))

    np.testing.assert_array_equal(first ^ second, both)


def test_structures_that_overlap_lie_in_layers(tmp_path: Path) -> None:
    big, small, apart = (on_slice(GRID.affine, 2, circle((c, 20), r)) for c, r in ((15, 10), (15, 4), (33, 4)))
    path = write_contours(tmp_path / "rt.dcm", {"body": [big], "tumor": [small], "node": [apart]})

    drawn = read_contours(path, GRID)

    assert [(each.name, each.label, each.layer) for each in drawn.segments] == [
        ("body", 1, 0),
        ("tumor", 2, 1),
        ("node", 3, 0),
    ]
    assert drawn.segments[0].color == (1.0, 0.0, 0.2)
    assert (drawn.labels.array[0][drawn.labels.array[1] == 2] == 1).all()


def test_real_masks_come_back_to_the_voxel(tmp_path: Path) -> None:
    from skimage.measure import find_contours

    folder = realdata.totalsegmentator()
    labels, segments = read_segmentation(folder / "example_seg_dicom.nii.gz")
    image = read_volume(folder / "example_ct_dicom")
    names = {}
    for segment in segments[4:7]:
        mask = np.pad(labels.array[0] == segment.label, ((1, 1), (1, 1), (0, 0)))
        contours = []
        for k in range(mask.shape[2]):
            for corners in find_contours(mask[:, :, k].astype(float), 0.5):
                contours.append(on_slice(labels.affine, k, corners[:-1] - 1))
        names[segment.name] = contours

    drawn = read_contours(write_contours(tmp_path / "rt.dcm", names), image.grid)

    to_labels = np.linalg.inv(labels.affine) @ image.affine
    for segment, drawn_segment in zip(segments[4:7], drawn.segments, strict=True):
        found = np.argwhere(drawn.labels.array[drawn_segment.layer] == drawn_segment.label)
        index = np.rint(found @ to_labels[:3, :3].T + to_labels[:3, 3]).astype(int)
        expected = np.argwhere(labels.array[0] == segment.label)
        assert {tuple(each) for each in index.tolist()} == {tuple(each) for each in expected.tolist()}


def test_pydicoms_own_example_is_read_though_its_mark_is_missing() -> None:
    path = Path(str(get_testdata_file("rtstruct.dcm")))
    affine = np.diag([-2.0, -2.0, 10.0, 1.0])
    affine[:3, 3] = (300, 300, -200)

    assert is_contours(path)
    drawn = read_contours(path, Grid((300, 300, 9), affine))

    # The header says so itself: the first contour is a rectangle of 400 x 300 mm.
    assert [each.name for each in drawn.segments] == ["patient"]
    assert int((drawn.labels.array[0, :, :, 0] == 1).sum()) * 4 == 400 * 300
    assert "Without closed contours, so left out: 'Isocenter 1', 'Isocenter 2'." in drawn.notes


def test_slices_without_contours_are_told(tmp_path: Path) -> None:
    contours = [on_slice(GRID.affine, k, circle((20, 20), 8)) for k in (0, 2, 4)]

    drawn = read_contours(write_contours(tmp_path / "rt.dcm", {"liver": contours}), GRID)

    assert drawn.notes == (
        "The structure 'liver' has no contour on 2 of the slices between its first and its last: those are empty.",
    )


@pytest.mark.parametrize(
    ("contours", "sentence"),
    [
        ([on_slice(GRID.affine, 2.5, circle((20, 20), 8))], "between the slices"),
        ([on_slice(phantoms.PLACES["straight"], 3, circle((20, 20), 8))], "were not drawn on the slices of this image"),
        ([np.full((5, 3), 1e7)], "nowhere near a patient"),
        ([], "no closed contours"),
        ([np.zeros((2, 3))], "no closed contours"),
    ],
)
def test_contours_that_cannot_be_placed_are_refused(tmp_path: Path, contours: list[np.ndarray], sentence: str) -> None:
    path = write_contours(tmp_path / "rt.dcm", {"liver": contours})

    with pytest.raises(VolumeError, match=sentence):
        read_contours(path, GRID)


def test_contours_outside_of_the_image_are_told(tmp_path: Path) -> None:
    contours = [on_slice(GRID.affine, k, circle((20, 20), 8)) for k in (2, 50)]

    drawn = read_contours(write_contours(tmp_path / "rt.dcm", {"liver": contours}), GRID)

    assert "1 contours lie outside of the image and are left out." in drawn.notes
    assert drawn.labels.array.any(axis=(0, 1, 2)).tolist() == [False, False, True, False, False, False]


def test_broken_files_are_told_in_a_sentence(tmp_path: Path) -> None:
    good = write_contours(tmp_path / "rt.dcm", {"liver": [on_slice(GRID.affine, 2, circle((20, 20), 8))]}).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "broken.dcm"
    for trial in range(120):
        data = bytearray(good)
        if trial % 3 == 0:
            data = data[: random.integers(0, len(data))]
        else:
            for _ in range(random.integers(1, 30)):
                data[random.integers(132, len(data))] = random.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            read_contours(path, GRID)
        except VolumeError as error:
            assert str(tmp_path) not in error.message


def test_a_contour_that_crosses_millions_of_pixels_is_drawn_within_memory() -> None:
    # A comb: every edge crosses all rows.
    corners = np.stack([np.tile((-1e5, 1e5), 5_000), np.linspace(0, 63, 10_000)], axis=1)

    assert fill_polygons([corners], (512, 64)).shape == (512, 64)


def test_an_image_is_no_set_of_contours() -> None:
    path = Path(str(get_testdata_file("CT_small.dcm")))

    assert not is_contours(path)
    with pytest.raises(VolumeError, match="holds no contours"):
        read_contours(path, GRID)
    assert pydicom.dcmread(path).Modality == "CT"
