"""Pictures of explanations: slices as radiologists look at them, evidence where it lies, colors with equal steps."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from core import explanations
from core.phantoms import PLACES, axis_orders, reordered
from meddl.errors import UsageError
from meddl.inference import ClassificationPrediction, SegmentationPrediction
from meddl.inference.prediction import Box, DetectionPrediction
from meddl.saliency import Attribution
from meddl.saliency.colors import diverging_colors, growing_colors, map_colors, scale_of
from meddl.saliency.report.outlines import outlines_of, outlines_of_answer, outlines_of_labels
from meddl.saliency.report.pictures import curves_picture, gray_window, planes_picture, shown_planes
from meddl.saliency.report.planes import is_oblique, peak_of, planes_through
from meddl.volume import Segment, Volume
from PIL import Image

STRAIGHT = PLACES["straight"]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def lightness(colors: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colors."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    y = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


# Colors


def test_lightness_goes_in_equal_steps_so_that_equal_differences_look_equal() -> None:
    growing = lightness(growing_colors(np.linspace(0, 1, 101)))
    assert np.ptp(np.diff(growing)) < 0.1 and growing[0] < 5 and growing[-1] > 94
    both = lightness(diverging_colors(np.linspace(-1, 1, 201)))
    np.testing.assert_allclose(both, both[::-1], atol=0.5)
    assert np.ptp(np.diff(both[:101])) < 0.1


def test_no_color_is_cut_off_at_what_a_screen_can_show() -> None:
    for colors in (growing_colors(np.linspace(0, 1, 101)), diverging_colors(np.linspace(-1, 1, 201))):
        assert colors.min() > 0.0 and colors.max() < 1.0
        steps = np.abs(np.diff(colors, axis=0)).max(axis=1)
        assert steps.max() < 0.05  # no jump


def test_for_and_against_differ_for_the_color_blind_too() -> None:
    red, blue = diverging_colors(np.array([1.0, -1.0]))
    assert blue[2] - blue[0] > 0.4 and red[0] - red[2] > 0.3  # told apart along blue and yellow


def test_around_zero_a_map_is_transparent() -> None:
    opacity = map_colors(np.array([-1, -0.2, -0.05, 0, 0.05, 0.2, 1, np.nan]), signed=True, threshold=0.1)[:, 3]
    assert (opacity[[2, 3, 4, 7]] == 0).all()
    assert 0 < opacity[1] < opacity[0] and opacity[1] == opacity[5] and opacity[0] == opacity[6]
    assert map_colors(np.zeros(1), signed=False, threshold=0.0)[0, 3] == 0


def test_a_map_without_signs_shows_no_negative_values() -> None:
    assert map_colors(np.array([-0.8]), signed=False)[0, 3] == 0


def test_the_scale_ends_where_nearly_all_values_are() -> None:
    values = np.zeros(100_000)
    values[:5000] = np.linspace(0, 1, 5000)
    values[0] = 1000.0
    assert scale_of(values) == pytest.approx(1.0, abs=0.01)
    assert scale_of(np.zeros(5)) == 1.0
    assert scale_of(np.array([np.nan, 2.0])) == 2.0


# Slices


@pytest.mark.parametrize("order", axis_orders()[::5])
def test_slices_show_the_same_whatever_the_order_of_axes(order: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    image = explanations.image(PLACES["straight"])
    turned = reordered(image, *order)
    at = np.linalg.inv(turned.affine) @ [5, 8, 3, 1]
    straight, other = planes_through(image, (5, 8, 3)), planes_through(turned, np.rint(at[:3]).astype(int))
    for one, two in zip(straight, other, strict=True):
        assert (one.name, one.sides, one.at) == (two.name, two.sides, two.at)
        np.testing.assert_array_equal(one.of(image.array[0]), two.of(turned.array[0]))
        np.testing.assert_allclose(one.points(image.shape), two.points(turned.shape), atol=1e-9)


def test_slices_lie_as_radiologists_look_at_them() -> None:
    image = explanations.image(STRAIGHT)
    axial, coronal, sagittal = planes_through(image, (5, 8, 3))
    assert (axial.sides, coronal.sides, sagittal.sides) == (tuple("RLAP"), tuple("RLSI"), tuple("APSI"))
    assert axial.of(image.array[0]).shape == (14, 12) and axial.size_mm == (12.0, 14.0)
    assert axial.of(image.array[0])[0, 0] == image.array[0, -1, -1, 3]  # top left: front, right
    assert sagittal.of(image.array[0])[0, 0] == image.array[0, 5, -1, -1]  # top left: front, up


@pytest.mark.parametrize("place", PLACES)
def test_the_peak_is_where_the_marks_are(place: str) -> None:
    image = explanations.image(PLACES[place])
    values = explanations.spot(image, (5, 8, 3))[0]
    index = peak_of(values)
    assert index == (5, 8, 3)
    for plane in planes_through(image, index):
        column, row = plane.at
        assert plane.of(values)[row, column] == values.max()
        np.testing.assert_allclose(
            plane.points(image.shape)[row, column], image.affine[:3, :3] @ index + image.affine[:3, 3]
        )


def test_a_plateau_peaks_in_its_middle_and_negative_maps_at_their_least() -> None:
    values = np.zeros((9, 9, 9))
    values[2:7, 3:6, 4:7] = 1.0
    assert peak_of(values) == (4, 4, 5)
    assert peak_of(-values) == (4, 4, 5)
    assert peak_of(np.ones((5, 5, 5))) == (2, 2, 2)
    assert peak_of(np.full((3, 3, 3), np.nan)) == (1, 1, 1)


def test_oblique_images_are_known() -> None:
    assert not is_oblique(explanations.image(PLACES["flipped"]))
    assert is_oblique(explanations.image(PLACES["oblique"]))


def test_flat_pictures_have_one_slice() -> None:
    flat = explanations.image(STRAIGHT, (20, 16, 1))
    assert [plane.name for plane in planes_through(flat, (3, 4, 0))] == ["axial"]


def test_a_map_of_one_slice_is_shown_alone() -> None:
    image = explanations.image(STRAIGHT)
    values = np.zeros(image.shape)
    values[4:6, 5:9, 3] = 1.0
    assert [plane.name for plane in shown_planes(image, values)] == ["axial"]
    values[4, 5, 6] = 0.5
    assert len(shown_planes(image, values)) == 3


# Pictures


def test_evidence_is_drawn_where_it_lies() -> None:
    image = explanations.image(STRAIGHT, (30, 30, 30)).with_array(np.full((1, 30, 30, 30), 0.5, np.float32))
    right = image.with_array(np.zeros(image.array.shape, np.float32))
    right.array[0, 22:26, 14:18, 14:18] = 1.0  # to the patient's right: to the left in the picture
    drawn = pixels(planes_picture(image, Attribution("saliency", right, "x", 1.0)))
    redness = drawn[..., 0] - drawn[..., 2]
    height, width = redness.shape
    axial = redness[height // 2 :, : int(width * 0.28)] > 60
    assert axial.sum() > 100
    assert np.nonzero(axial)[1].mean() < axial.shape[1] * 0.45
    above = redness[: height // 2, : int(width * 0.28)] > 60
    assert above[:, 12:-12].sum() < axial.sum() / 5  # the image alone (but for the yellow marks)


def test_each_slice_has_its_own_length_bar() -> None:
    """All slices are of one height, but those of 60 mm are drawn larger than those of 120 mm."""
    dark = Volume(np.zeros((1, 30, 30, 15), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    values = dark.with_array(np.zeros(dark.array.shape, np.float32))
    values.array[0, 14:17, 14:17, 7] = 1.0
    values.array[0, 15, 15, 6] = 0.5
    drawn = pixels(planes_picture(dark, Attribution("saliency", values, "x", 1.0)))
    above = drawn[: drawn.shape[0] // 2, : int(0.87 * drawn.shape[1])].min(axis=2)
    found = []
    for row in above[(above < 30).mean(axis=1) > 0.7] > 250:
        ends = np.flatnonzero(np.diff(row.astype(int)))
        found.append([b - a for a, b in pairwise(ends) if not row[a] and b - a > 20])  # white between black
    axial, coronal, sagittal = max(found, key=len)
    assert coronal == sagittal == pytest.approx(2 * axial, abs=2)


def test_a_map_on_another_grid_is_refused() -> None:
    image = explanations.image(STRAIGHT)
    other = explanations.attribution(explanations.image(PLACES["oblique"]))
    with pytest.raises(UsageError, match="another image"):
        planes_picture(image, other)


@pytest.mark.parametrize("shape", [(12, 14, 10), (200, 3, 150), (20, 16, 1), (2, 2, 90)])
def test_any_shape_makes_a_picture(shape: tuple[int, int, int]) -> None:
    image = explanations.image(PLACES["anisotropic"], shape)
    at = (1, 1, shape[2] // 2)
    for signed in (True, False):
        made = explanations.attribution(image, at, signed=signed)
        assert pixels(planes_picture(image, made)).shape[1] == 1110


def test_images_without_contrast_or_with_gaps_are_drawn() -> None:
    image = explanations.image(STRAIGHT)
    for array in (np.zeros(image.array.shape), np.full(image.array.shape, np.nan)):
        low, high = gray_window(array[0])
        assert high > low
        planes_picture(image.with_array(array), explanations.attribution(image))
    empty = explanations.attribution(image, map=image.with_array(np.zeros(image.array.shape, np.float32)))
    planes_picture(image, empty)


def test_outlines_follow_structures_on_other_grids() -> None:
    image = explanations.image(PLACES["oblique"], (30, 30, 30))
    fine = np.diag([2.0, 2.0, 2.0, 1.0])
    labels = Volume(np.zeros((1, 60, 40, 20), np.uint8), image.affine @ np.linalg.inv(fine))
    labels.array[0, 20:40, 10:30, 5:15] = 3
    segments = (Segment(3, "cube", (0, 1, 0)), Segment(4, "nothing", (1, 0, 0)))
    (outline,) = outlines_of_labels(labels, segments)
    assert outline.name == "cube"
    inside = labels.affine[:3, :3] @ (30, 20, 10) + labels.affine[:3, 3]
    outside = labels.affine[:3, :3] @ (30, 35, 10) + labels.affine[:3, 3]
    np.testing.assert_array_equal(outline.contains(np.stack([inside, outside, inside + 1e4])), [True, False, False])


def test_answers_with_a_place_are_outlined() -> None:
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    box = Box("lung", 0.9, np.array([10.0, 0, 0]), np.array([40.0, 10, 10]), turn)
    (outline,) = outlines_of_answer(DetectionPrediction((box,), {}))
    np.testing.assert_array_equal(outline.contains(np.array([[10.0, 19, 0], [29.0, 0, 0]])), [True, False])
    labels = Volume(np.ones((1, 3, 3, 3), np.uint8), np.eye(4))
    brain = Segment(1, "brain", (1, 0, 0))
    assert len(outlines_of_answer(SegmentationPrediction(labels, (brain,), {}, {}, {}))) == 1
    assert outlines_of_answer(ClassificationPrediction((), {})) == ()
    # What was asked about is seen beside the user's structures; the model's own structures make room for those.
    given = (labels, (replace(brain, name="lesion"),))
    assert [each.name for each in outlines_of(DetectionPrediction((box,), {}), given)] == ["lung 0.90", "lesion"]
    found = SegmentationPrediction(labels, (brain,), {}, {}, {})
    assert [each.name for each in outlines_of(found, given)] == ["lesion"]
    assert [each.name for each in outlines_of(found)] == ["brain"]


def test_curves_have_their_picture() -> None:
    several = [replace(explanations.MEASURES[0], name=name) for name in ("deletion", "insertion", "randomization", "x")]
    assert pixels(curves_picture(several)).shape[0] > pixels(curves_picture(several[:1])).shape[0]
