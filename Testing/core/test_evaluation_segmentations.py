"""Agreement of segmentations: against closed forms, brute force and MONAI's own metrics."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from core.phantoms import PLACES, SHEARED, axis_orders, reordered, world_of
from meddl.errors import UsageError, VolumeError
from meddl.evaluation import StructureAgreement, compare_segmentations, compare_surfaces
from meddl.volume import Segment, Volume
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.spatial.distance import cdist

GRAY = (0.5, 0.5, 0.5)
BRAIN = Segment(1, "Brain", GRAY)


def ball(center: tuple[float, float, float], radius: float, affine: np.ndarray, shape: tuple[int, int, int]) -> Volume:
    world = world_of(affine, shape)
    inside = ((world - np.reshape(center, (3, 1, 1, 1))) ** 2).sum(axis=0) <= radius**2
    return Volume(inside[None].astype(np.uint8), affine)


def blobs(seed: int, shape: tuple[int, int, int] = (14, 12, 10)) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5) > 0.03


def only(prediction: Volume, reference: Volume, tolerance_mm: float = 1.0) -> StructureAgreement:
    return compare_segmentations(prediction, reference, [BRAIN], tolerance_mm=tolerance_mm).rows[0]


def test_equal_segmentations_agree_entirely() -> None:
    volume = ball((10, 10, 10), 6, np.eye(4), (20, 20, 20))
    row = only(volume, volume, tolerance_mm=0)
    assert (row.dice, row.hd95_mm, row.mean_distance_mm, row.nsd, row.difference_ml) == (1, 0, 0, 1, 0)
    assert row.note == ""


def test_a_shifted_ball_has_the_dice_of_the_closed_form() -> None:
    radius, shift = 20.0, 8.0
    reference = ball((30, 30, 30), radius, np.eye(4), (64, 60, 60))
    moved = ball((30 + shift, 30, 30), radius, np.eye(4), (64, 60, 60))
    row = only(moved, reference)
    # Volume of the lens of two equal balls over the volume of one.
    expected = 1 - 3 * shift / (4 * radius) + shift**3 / (16 * radius**3)
    assert row.dice == pytest.approx(expected, abs=0.003)
    assert row.reference_ml == pytest.approx(4 / 3 * math.pi * radius**3 / 1000, rel=0.005)
    assert row.difference_ml == pytest.approx(0, abs=1e-9)


def test_concentric_balls_are_as_far_apart_as_their_radii() -> None:
    affine = PLACES["oblique and left-handed"].copy()
    affine[:3, :3] *= 0.5
    center = tuple((affine @ [50, 40, 40, 1])[:3])
    small, large = (ball(center, radius, affine, (100, 80, 80)) for radius in (14.0, 18.0))
    row = only(small, large)
    edge = float(np.linalg.norm(affine[:3, :3], axis=0).max())
    assert row.mean_distance_mm == pytest.approx(4, abs=edge / 2)
    assert row.hd95_mm == pytest.approx(4, abs=edge)
    assert row.nsd == 0 and only(small, large, tolerance_mm=4 + edge).nsd == 1


@pytest.mark.parametrize("where", [*PLACES, "sheared"])
@pytest.mark.parametrize("seed", range(3))
def test_distances_are_those_of_brute_force(where: str, seed: int) -> None:
    affine = {**PLACES, "sheared": SHEARED}[where]
    first, second = blobs(seed), blobs(seed + 100)

    def points(mask: np.ndarray) -> np.ndarray:
        edge = [
            index for index in map(tuple, np.argwhere(mask))
            if any(not _at(mask, index, axis, step) for axis in range(3) for step in (-1, 1))
        ]  # fmt: skip
        return np.array(edge) @ affine[:3, :3].T

    apart = cdist(points(first), points(second))
    forth, back = apart.min(axis=1), apart.min(axis=0)
    tolerance = float(np.median(np.concatenate([forth, back]))) + 0.01
    got = compare_surfaces(first, second, affine, tolerance)
    assert got.hd95_mm == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)))
    assert got.mean_distance_mm == pytest.approx(np.concatenate([forth, back]).mean())
    assert got.within_tolerance == pytest.approx((np.concatenate([forth, back]) <= tolerance).mean())


def _at(mask: np.ndarray, index: tuple[int, ...], axis: int, step: int) -> bool:
    there = list(index)
    there[axis] += step
    return 0 <= there[axis] < mask.shape[axis] and bool(mask[tuple(there)])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.8, 5.0)])
def test_figures_are_those_of_monai(spacing: tuple[float, float, float]) -> None:
    first, second = blobs(1, (20, 18, 12)), blobs(2, (20, 18, 12))
    affine = np.diag([*spacing, 1.0])
    row = only(Volume(first[None].astype(np.uint8), affine), Volume(second[None].astype(np.uint8), affine))
    a, b = (torch.from_numpy(mask)[None, None].float() for mask in (first, second))
    how = {"include_background": True, "spacing": spacing}
    assert row.dice == pytest.approx(float(compute_dice(a, b)), rel=1e-6)
    assert row.hd95_mm == pytest.approx(float(compute_hausdorff_distance(a, b, percentile=95, **how)), rel=1e-5)
    mean = compute_average_surface_distance(a, b, symmetric=True, **how)
    assert row.mean_distance_mm == pytest.approx(float(mean), rel=1e-5)
    assert row.nsd == pytest.approx(float(compute_surface_dice(a, b, [1.0], **how)), rel=1e-5)


def test_a_single_slice_is_measured_by_its_outline() -> None:
    array = np.zeros((1, 40, 40, 1), np.uint8)
    array[0, 10:30, 10:30] = 1
    larger = np.zeros_like(array)
    larger[0, 7:33, 7:33] = 1
    place = np.diag([2.0, 2.0, 8.0, 1.0])
    row = only(Volume(larger, place), Volume(array, place))
    assert row.nsd == 0  # the areas overlap, the outlines are 6 mm apart everywhere
    assert 6 <= row.mean_distance_mm < 6.5


def test_any_axis_order_gives_the_same_figures() -> None:
    prediction, reference = (
        Volume(blobs(seed)[None].astype(np.uint8), PLACES["anisotropic"]) for seed in (5, 6)
    )
    expected = only(prediction, reference)
    for permutation, signs in axis_orders()[::5]:
        row = only(prediction, reordered(reference, permutation, signs))
        assert row.dice == expected.dice
        assert row.hd95_mm == pytest.approx(expected.hd95_mm)
        assert row.nsd == expected.nsd
        assert row.note == ""
    turned = reordered(reference, (2, 0, 1), (1, -1, 1))
    assert compare_segmentations(prediction, turned, [BRAIN]).notes == ()


def test_a_cropped_reference_is_compared_voxel_for_voxel() -> None:
    whole = ball((10, 10, 10), 6, PLACES["straight"], (20, 20, 20))
    place = np.eye(4)
    place[:3, 3] = 3
    cropped = Volume(whole.array[:, 3:18, 3:18, 3:18], place)
    agreement = compare_segmentations(whole, cropped, [BRAIN])
    assert agreement.rows[0].dice == 1 and agreement.notes == ()


def test_a_reference_on_another_grid_takes_the_nearest_labels_and_says_so() -> None:
    prediction = ball((10, 10, 10), 6, np.diag([0.5, 0.5, 0.5, 1]), (44, 44, 44))
    reference = ball((10, 10, 10), 6, np.diag([0.7, 0.9, 2.0, 1]), (30, 24, 11))
    agreement = compare_segmentations(prediction, reference, [BRAIN])
    row = agreement.rows[0]
    assert "nearest voxel" in agreement.notes[0]
    assert row.dice > 0.9
    assert row.reference_ml == pytest.approx(np.count_nonzero(reference.array) * 0.7 * 0.9 * 2 / 1000)


def test_what_lies_outside_the_image_is_said() -> None:
    reference = ball((10, 10, 10), 6, np.eye(4), (20, 20, 20))
    half = Volume(reference.array[:, :10], np.eye(4))
    row = only(half, reference)
    outside = np.count_nonzero(reference.array[:, 10:]) / np.count_nonzero(reference.array)
    assert f"{100 * outside:.2g} % of the reference" in row.note
    assert row.dice == 1
    assert row.difference_percent == pytest.approx(-100 * outside)


def test_a_reference_elsewhere_is_refused() -> None:
    place = np.eye(4)
    place[0, 3] = 500
    volume = ball((10, 10, 10), 6, np.eye(4), (20, 20, 20))
    with pytest.raises(VolumeError, match="do not overlap"):
        only(volume, Volume(volume.array, place))


def test_a_small_reference_within_a_large_image_is_found() -> None:
    big = Volume(np.zeros((1, 200, 200, 200), np.uint8), np.eye(4))
    big.array[0, 101:103, 101:103, 101:103] = 1
    place = np.eye(4)
    place[:3, 3] = 100
    assert only(big, Volume(big.array[:, 100:104, 100:104, 100:104], place)).dice == 1


@pytest.mark.parametrize(
    ("predicted", "there", "dice", "note"),
    [(False, False, math.nan, "Neither"), (True, False, 0.0, "Only the prediction"), (False, True, 0.0, "Only the r")],
)
def test_empty_structures_are_told_and_not_scored(predicted: bool, there: bool, dice: float, note: str) -> None:
    def made(filled: bool) -> Volume:
        array = np.zeros((1, 6, 6, 6), np.uint8)
        array[0, 2:4, 2:4, 2:4] = filled
        return Volume(array, np.eye(4))

    row = only(made(predicted), made(there))
    assert row.dice == pytest.approx(dice, nan_ok=True)
    assert math.isnan(row.hd95_mm) and math.isnan(row.mean_distance_mm)
    assert note in row.note
    assert row.difference_ml == pytest.approx(0.008 * (predicted - there))


def test_an_empty_label_map_lacks_what_the_other_has() -> None:
    full, empty = ball((5, 5, 5), 3, np.eye(4), (10, 10, 10)), Volume(np.zeros((1, 10, 10, 10), np.uint8), np.eye(4))
    missed = compare_segmentations(empty, full, [], [BRAIN]).rows[0]
    invented = compare_segmentations(full, empty, [BRAIN], []).rows[0]
    assert "Only the reference" in missed.note and "Only the prediction" in invented.note
    assert missed.difference_ml == -invented.difference_ml == -missed.reference_ml


def two(labels: tuple[int, int]) -> Volume:
    array = np.zeros((1, 10, 10, 10), np.uint8)
    array[0, 1:4], array[0, 5:9] = labels
    return Volume(array, np.eye(4))


def test_structures_meet_by_name_whatever_their_labels() -> None:
    ours = (Segment(1, "Left Kidney", GRAY), Segment(2, "Liver", GRAY), Segment(3, "Spleen", GRAY))
    theirs = (Segment(7, "liver", GRAY), Segment(4, "left_kidney", GRAY), Segment(9, "Pancreas", GRAY))
    agreement = compare_segmentations(two((1, 2)), two((4, 7)), ours, theirs)
    assert [row.dice for row in agreement.rows[:2]] == [1, 1]
    assert math.isnan(agreement.rows[2].dice) and "no structure of this name" in agreement.rows[2].note
    assert agreement.notes == ("Only the reference has: Pancreas.",)


def test_without_common_names_labels_decide_and_a_note_says_so() -> None:
    ours = (Segment(1, "Liver", GRAY), Segment(2, "Spleen", GRAY))
    theirs = (Segment(1, "Label 1", GRAY), Segment(2, "Label 2", GRAY))
    agreement = compare_segmentations(two((1, 2)), two((1, 2)), ours, theirs)
    assert [row.dice for row in agreement.rows] == [1, 1]
    assert "label's number" in agreement.notes[0]


def test_a_single_structure_on_each_side_is_compared() -> None:
    agreement = compare_segmentations(
        two((1, 1)), two((5, 5)), [Segment(1, "Brain", GRAY)], [Segment(5, "Label 5", GRAY)]
    )
    assert agreement.rows[0].dice == 1 and "'Label 5'" in agreement.notes[0]


def test_overlapping_structures_are_compared_in_their_layers() -> None:
    array = np.zeros((2, 8, 8, 8), np.uint8)
    array[0, 1:7], array[1, 3:5] = 1, 1
    segments = (Segment(1, "Liver", GRAY), Segment(1, "Tumor", GRAY, layer=1))
    rows = compare_segmentations(Volume(array, np.eye(4)), Volume(array[::-1], np.eye(4)), segments, (
        Segment(1, "Tumor", GRAY), Segment(1, "Liver", GRAY, layer=1))).rows  # fmt: skip
    assert [row.dice for row in rows] == [1, 1]
    assert [row.prediction_ml for row in rows] == pytest.approx([0.384, 0.128])


def test_wrong_arguments_are_named() -> None:
    volume = two((1, 1))
    with pytest.raises(UsageError, match="tolerance"):
        only(volume, volume, tolerance_mm=-1)
    with pytest.raises(UsageError, match="nothing to compare"):
        compare_segmentations(volume, volume, [])
    with pytest.raises(UsageError, match="layer 3"):
        compare_segmentations(volume, volume, [Segment(1, "x", GRAY, layer=3)])


def test_the_table_holds_every_figure_and_nothing_a_table_program_would_run(tmp_path: Path) -> None:
    segments = (Segment(1, "=HYPERLINK()", GRAY), Segment(2, "Liver, left", GRAY), Segment(3, "absent", GRAY))
    agreement = compare_segmentations(two((1, 2)), two((1, 2)), segments, tolerance_mm=2.5)
    agreement.write_csv(tmp_path / "table.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == ["'=HYPERLINK()", "Liver, left", "absent"]
    assert rows[1]["dice"] == "1" and rows[1]["tolerance_mm"] == "2.5" and rows[1]["reference_ml"] == "0.4"
    assert rows[2]["dice"] == "" and rows[2]["note"].startswith("Neither")
    assert json.loads(json.dumps(agreement.to_dict(), allow_nan=False))["structures"][2]["dice"] is None
