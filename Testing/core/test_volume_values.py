"""What a Volume, a Grid and a Segment accept, and that using them costs no heavy import."""

from __future__ import annotations

import doctest
import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from core.phantoms import PLACES, SHEARED, axis_orders, numbered, place, reordered
from meddl.errors import VolumeError
from meddl.volume import Grid, Segment, Volume, orientation_code

ONE = np.zeros((1, 2, 3, 4))


def affine_with(**entries: float) -> np.ndarray:
    affine = np.eye(4)
    for where, value in entries.items():
        affine[int(where[1]), int(where[2])] = value
    return affine


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 3, 4)), "three space axes"),
        (np.zeros((1, 2, 3, 4, 5)), "three space axes"),
        (np.zeros((1, 0, 3, 4)), "empty"),
        (np.zeros((1, 2, 3, 4), complex), "complex"),
        (np.array([[[["a"]]]]), "real numbers"),
        (np.zeros((1, 2, 3, 4), object), "real numbers"),
    ],
)
def test_refuses_arrays_that_are_no_image(array: np.ndarray, says: str) -> None:
    with pytest.raises(VolumeError, match=says):
        Volume(array, np.eye(4))


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.eye(3), "4x4"),
        ("nonsense", "not a matrix"),
        (affine_with(_00=np.nan), "finite"),
        (affine_with(_03=np.inf), "finite"),
        (affine_with(_30=1.0), "last row"),
        (affine_with(_00=0.0), "voxel size"),
        (affine_with(_11=1e-4), "voxel size"),
        (affine_with(_22=1001.0), "voxel size"),
        (affine_with(_00=0.0, _10=1.0), "not invertible"),
        (affine_with(_23=1e7), "kilometer"),
    ],
)
def test_refuses_affines_that_place_nothing(affine: object, says: str) -> None:
    with pytest.raises(VolumeError, match=says):
        Volume(ONE, affine)  # type: ignore[arg-type]


def test_a_volume_keeps_its_own_affine() -> None:
    affine = np.eye(4)
    volume = Volume(ONE, affine)
    affine[0, 3] = 99
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 1


def test_voxel_volume_is_right_where_axes_are_sheared() -> None:
    # A prism's volume is base times height, however far its top is shifted.
    assert Volume(ONE, SHEARED).voxel_volume_ml == pytest.approx(1.0 * 1.2 * 2.5 / 1000)
    assert Volume(ONE, PLACES["flipped"]).voxel_volume_ml == pytest.approx(6 / 1000)


def test_with_array_keeps_the_place_and_refuses_another_shape() -> None:
    volume = Volume(ONE, PLACES["oblique"], "a name", {"modality": "MR"})
    other = volume.with_array(np.zeros((7, 2, 3, 4), np.uint8))
    assert (other.channels, other.name, other.meta["modality"]) == (7, "a name", "MR")
    assert other.grid.same_as(volume.grid)
    with pytest.raises(VolumeError, match="does not fit"):
        volume.with_array(np.zeros((1, 2, 3, 5)))


def test_orientation_codes_are_those_of_nibabel() -> None:
    rng = np.random.default_rng(7)
    affines = [reordered(numbered(SHEARED), *order).affine for order in axis_orders()]
    affines += [place((0.5, 1, 4), (0, 0, 0), *rng.uniform(-np.pi, np.pi, 3)) for _ in range(200)]
    for affine in affines:
        assert orientation_code(affine) == "".join(nibabel.aff2axcodes(affine))


def test_grids_are_the_same_only_if_every_voxel_is() -> None:
    shape, affine = (100, 100, 100), PLACES["oblique"]
    shifted, turned = affine.copy(), affine @ place((1, 1, 1), (0, 0, 0), 1e-5)
    shifted[0, 3] += 0.01
    grid = Grid(shape, affine)
    assert grid.same_as(Grid(shape, affine.copy()))
    assert not grid.same_as(Grid((100, 100, 99), affine))
    assert not grid.same_as(Grid(shape, shifted))
    assert grid.same_as(Grid(shape, shifted), tol=0.011)
    assert not grid.same_as(Grid(shape, turned)), "the last voxel is 3 micrometers off"


def test_volumes_survive_pickling() -> None:
    volume = Volume(ONE, SHEARED, "n", {"modality": "CT"})
    copy = pickle.loads(pickle.dumps(volume))
    assert copy.grid.same_as(volume.grid) and dict(copy.meta) == {"modality": "CT"}


@pytest.mark.parametrize(("label", "color"), [(0, (0, 0, 0)), (-1, (0, 0, 0)), (1, (255, 0, 0)), (1, (0.1, 0.2))])
def test_refuses_segments_without_a_label_or_a_color(label: int, color: tuple[float, ...]) -> None:
    with pytest.raises(VolumeError):
        Segment(label, "x", color)  # type: ignore[arg-type]


def test_importing_the_package_needs_numpy_only() -> None:
    heavy = ("SimpleITK", "nibabel", "pydicom", "scipy", "torch", "nrrd", "monai")
    code = f"import sys, meddl.volume; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["data", "itk", "reading", "segmentation_file", "writing"])
def test_the_examples_in_the_documentation_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"meddl.volume.{module}"))
    assert result.attempted and not result.failed


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
