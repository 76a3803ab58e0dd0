"""The box of a cascade, and images whose axes are not at right angles."""

from __future__ import annotations

import numpy as np
import pytest
from meddl.errors import ModelError
from meddl.inference.cascade import box_around
from meddl.inference.shear import straight_grid, without_shear
from meddl.volume import Grid, Volume, is_sheared


def test_the_box_is_found_in_the_voxels_of_another_grid() -> None:
    mask = np.zeros((20, 20, 20))
    mask[5:15, 8:12, 0:20] = 1
    # The target's voxels are half as long; its outer edges are where the mask's are.
    target = np.diag([0.5, 0.5, 0.5, 1.0])
    target[:3, 3] = -0.25
    box = box_around(mask, np.eye(4), (40, 40, 40), target, margin=0.1, min_fraction=0.0)
    assert box.start == (8, 15, 0)  # 10 to 30 and 10 % of 20 on each side; 16 to 24 and 10 % of 8, rounded; all
    assert box.end == (32, 25, 40)


def test_slices_with_too_little_foreground_do_not_widen_the_box() -> None:
    mask = np.zeros((10, 10, 10))
    mask[3:7, 3:7, 3:7] = 1
    mask[9, 9, 9] = 1
    box = box_around(mask, np.eye(4), (10, 10, 10), np.eye(4), margin=0.0, min_fraction=0.02)
    assert (box.start, box.end) == ((3, 3, 3), (7, 7, 7))


def test_nothing_found_is_said() -> None:
    with pytest.raises(ModelError, match="found nothing"):
        box_around(np.zeros((4, 4, 4)), np.eye(4), (4, 4, 4), np.eye(4), margin=0.1, min_fraction=0.02)


def test_grids_whose_axes_run_differently_are_refused() -> None:
    flipped = np.diag([-1.0, 1, 1, 1])
    with pytest.raises(ModelError, match="turn the image differently"):
        box_around(np.ones((4, 4, 4)), np.eye(4), (4, 4, 4), flipped, margin=0.1, min_fraction=0.02)


def _sheared_affine(degrees: float = 20.0) -> np.ndarray:
    affine = np.diag([1.0, -1.2, 2.0, 1.0])
    affine[1, 2] = 2.0 * np.tan(np.radians(degrees))
    affine[:3, 3] = [-40, 30, -60]
    return affine


def test_the_straight_grid_covers_every_corner() -> None:
    grid = Grid((50, 40, 30), _sheared_affine())
    straight = straight_grid(grid)
    assert not is_sheared(straight.affine)
    to_straight = np.linalg.inv(straight.affine) @ grid.affine
    corners = np.array(np.meshgrid(*[[-0.5, size - 0.5] for size in grid.shape])).reshape(3, -1)
    index = to_straight[:3, :3] @ corners + to_straight[:3, 3:]
    assert (index >= -0.5 - 1e-6).all()
    assert (index <= np.array(straight.shape)[:, None] - 0.5 + 1e-6).all()


def test_a_sphere_keeps_its_place_and_volume_when_the_shear_is_taken_out() -> None:
    affine = _sheared_affine()
    shape = (80, 80, 50)
    center = (affine @ [40, 40, 25, 1])[:3]
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    distance = np.linalg.norm(world - center[:, None], axis=0).reshape(shape)
    sphere = np.clip(20.5 - distance, 0, 1).astype(np.float32)
    straight = without_shear(Volume(sphere[None], affine))
    volume = straight.array.sum() * straight.voxel_volume_ml
    assert volume == pytest.approx(4 / 3 * np.pi * 20**3 / 1000, rel=0.01)
    weights = straight.array[0] / straight.array.sum()
    mean = np.array([(weights * grid).sum() for grid in np.indices(straight.shape)])
    np.testing.assert_allclose((straight.affine @ [*mean, 1])[:3], center, atol=0.05)
