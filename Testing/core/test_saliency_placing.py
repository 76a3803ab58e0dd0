"""What is given beside an image, on the grid that the network sees: nothing gets lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from core.known_bundles import TO_RAS, oblique, voxelwise, write
from core.test_saliency_explain import _AS_DISCRETE, CPU, SEGMENTS, block
from meddl.errors import UsageError
from meddl.models import ModelBundle
from meddl.saliency import ExplainOptions, Target, explain
from meddl.saliency.placing import Structures, mask_on
from meddl.volume import Grid, Segment, Volume

RED = (1.0, 0.0, 0.0)


@pytest.fixture
def bright(tmp_path: Path) -> ModelBundle:
    """Segments what is above 10; its gradient to the score of "Bright" is 3 there, and 0 elsewhere."""
    return write(
        tmp_path / "bright", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        preprocessing=[TO_RAS], postprocessing=_AS_DISCRETE, meddl=SEGMENTS,
    )  # fmt: skip


def drawn_finer(place: np.ndarray, at: tuple[int, int, int], times: int = 8) -> Volume:
    """A mask of one voxel, ``times`` finer than the image's, within the image's voxel ``at``."""
    affine = place.copy()
    affine[:3, :3] /= times
    affine[:3, 3] = place[:3, :3] @ (np.array(at) + 0.3) + place[:3, 3] - affine[:3, :3] @ [4, 4, 4]
    mask = np.zeros((1, 9, 9, 9), np.uint8)
    mask[0, 4, 4, 4] = 1
    return Volume(mask, affine)


def test_a_region_smaller_than_a_voxel_is_the_voxel_it_lies_in(bright: ModelBundle) -> None:
    image, _ = block(affine=oblique())
    region = drawn_finer(oblique(), (3, 4, 2))
    made = explain(bright, image, ["saliency"], Target("structure", "Bright", region=region), CPU, truth=region,
                   faithfulness=("pointing_game",)).attributions[0]  # fmt: skip
    assert np.argwhere(made.map.array[0] != 0).tolist() == [[3, 4, 2]]
    assert made.measures[0].value == 1.0


def test_an_empty_region_is_not_said_to_lie_outside(bright: ModelBundle) -> None:
    image, _ = block()
    empty = image.with_array(np.zeros((1, *image.shape), np.uint8))
    with pytest.raises(UsageError, match="region is empty"):
        explain(bright, image, ["saliency"], Target("structure", "Bright", region=empty), CPU)
    far = drawn_finer(np.eye(4), (900, 0, 0))
    with pytest.raises(UsageError, match="lies outside"):
        explain(bright, image, ["saliency"], Target("structure", "Bright", region=far), CPU)


def test_masks_keep_their_place_on_any_grid() -> None:
    grid = Grid((12, 10, 8), oblique())
    assert np.argwhere(mask_on(drawn_finer(oblique(), (7, 1, 5)), grid)).tolist() == [[7, 1, 5]]
    whole = Volume(np.ones((1, *grid.shape), np.uint8), grid.affine)
    assert mask_on(whole, grid).all()
    assert not mask_on(drawn_finer(oblique(), (-3, 1, 5)), grid).any()


def organ_with_lesion() -> tuple[Volume, tuple[Segment, ...]]:
    """An organ in the first layer, a lesion within it in the second, and a structure that is elsewhere."""
    labels = np.zeros((2, 12, 10, 8), np.uint8)
    labels[0, 1:8, 1:9, 1:6] = 1
    labels[1, 3:5, 4:6, 2:4] = 1
    names = ("organ", "lesion", "not drawn")
    layers, numbers = (0, 1, 1), (1, 1, 2)
    return Volume(labels, np.eye(4)), tuple(
        Segment(number, name, RED, layer=layer) for number, name, layer in zip(numbers, names, layers, strict=True)
    )


def test_a_lesion_is_not_lost_in_its_organ(bright: ModelBundle) -> None:
    labels, segments = organ_with_lesion()
    structures = Structures(labels, segments, labels.grid)
    regions = structures.regions().numpy()
    assert np.array_equal(regions == 2, labels.array[1] == 1)
    assert np.array_equal(regions == 1, (labels.array[0] == 1) & (labels.array[1] != 1))
    assert np.array_equal(structures.mask(0), labels.array[0] == 1)  # all of it, where it is asked for alone
    image, where = block()
    why = explain(bright, image, ["ablation"], options=CPU, segmentation=(labels, segments), counterfactual=True)
    falls = why.attributions[0].facts["falls"]
    assert falls["lesion"] > 0
    assert any("not with the rest of the image" in note for note in why.attributions[0].notes)
    organ, lesion, absent = why.counterfactuals
    inside = where & (labels.array[1] == 1)
    assert "lesion" in lesion.sentence and "organ" in organ.sentence and organ.value > lesion.value
    assert lesion.value == pytest.approx(inside.sum() / where.sum(), abs=0.5) and inside.any()
    assert absent.value is None and "not drawn" in absent.sentence


def test_regions_are_those_of_the_masks_one_by_one() -> None:
    rng = np.random.default_rng(5)
    labels = Volume(rng.integers(-3, 40, (3, 14, 12, 10)).astype(np.int16), oblique())
    segments = tuple(
        Segment(number, f"{layer} {number}", RED, layer=layer) for layer in range(3) for number in (7, 1, 39, 60)
    )
    structures = Structures(labels, segments, Grid((9, 11, 8), oblique((1.7, 1.6, 2.1))))
    masks = [structures.mask(index) for index in range(len(segments))]
    expected = np.zeros((9, 11, 8), np.int64)
    for index in sorted(range(len(masks)), key=lambda each: -masks[each].sum()):
        expected[masks[index]] = index + 1
    np.testing.assert_array_equal(structures.regions().numpy(), expected)
    assert len(np.unique(expected)) > 5


def test_a_segmentation_of_another_place_is_told(bright: ModelBundle) -> None:
    labels, segments = organ_with_lesion()
    image, _ = block()
    affine = np.eye(4)
    affine[:3, 3] = 900
    elsewhere = Volume(labels.array, affine)
    made = explain(bright, image, ["saliency"], options=CPU, segmentation=(elsewhere, segments)).attributions[0]
    assert any("No structure of the segmentation" in note for note in made.notes)
    with pytest.raises(UsageError, match="no layer"):
        explain(bright, image, ["saliency"], options=CPU, segmentation=(labels, (Segment(1, "x", RED, layer=5),)))


def test_a_reference_image_lies_where_the_image_does(bright: ModelBundle, tmp_path: Path) -> None:
    how = ExplainOptions("cpu", baseline="reference", steps=2)
    image, where = block(affine=oblique())
    ramp = np.arange(image.array.size, dtype=np.float32).reshape(image.array.shape) / 1e4
    healthy = image.with_array(ramp)
    made = explain(bright, image, ["integrated_gradients"], options=how, reference=healthy).attributions[0]
    assert np.allclose(made.map.array[0][where], 3 * (image.array - ramp)[0][where], atol=1e-2)
    far = oblique()
    far[:3, 3] += 900
    with pytest.raises(UsageError, match="reference image holds nothing"):
        explain(bright, image, ["integrated_gradients"], options=how, reference=Volume(ramp, far))
    flat = write(
        tmp_path / "s", "segmentation", **voxelwise(1, [[0], [3]], [0, -30], 2), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, meddl=SEGMENTS, flat=True,
    )  # fmt: skip
    at = Target("structure", "Bright", position=tuple((image.affine @ [3, 4, 1, 1])[:3].tolist()))
    made = explain(flat, image, ["integrated_gradients"], at, how, reference=healthy).attributions[0]
    # Not that of the middle slice.
    assert made.map.array[0, 3, 4, 1] == pytest.approx(3 * (40 - ramp[0, 3, 4, 1]), abs=1e-3)


def test_a_reference_that_is_cropped_elsewhere_is_put_in_its_place(tmp_path: Path) -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": 0, "allow_smaller": True}
    bundle = write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        preprocessing=[TO_RAS, crop], postprocessing=_AS_DISCRETE, meddl=SEGMENTS,
    )  # fmt: skip
    image, where = block()
    image.array[0, ~where] = 0
    other = np.zeros_like(image.array)
    other[0, 3:11, 2:8, 2:8] = 20
    other[0, 4, 4, 3] = 30
    how = ExplainOptions("cpu", baseline="reference", steps=2)
    made = explain(bundle, image, ["integrated_gradients"], options=how, reference=image.with_array(other))
    values = made.attributions[0].map.array[0]
    assert values[4, 4, 3] == pytest.approx(3 * (40 - 30), abs=1e-2)
    assert values[4, 4, 2] == pytest.approx(3 * (40 - 20), abs=1e-2)


def test_a_structure_is_asked_about_without_running_the_network_over_all_of_the_image_again(
    bright: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meddl.inference.stage import Stage

    monkeypatch.setattr(Stage, "scores", lambda *_, **__: pytest.fail("the whole answer was asked for"))
    image, where = block()
    made = explain(bright, image, ["saliency"], options=CPU).attributions[0]
    assert np.array_equal(made.map.array[0] != 0, where)


def test_the_gap_is_that_of_all_windows(tmp_path: Path) -> None:
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "overlap": 0.25}
    bundle = write(
        tmp_path / "b", "segmentation", **voxelwise(1, [[0], [3]], [0, -30]), classes=("background", "Bright"),
        postprocessing=_AS_DISCRETE, inferer=inferer, meddl=SEGMENTS,
    )  # fmt: skip
    image, where = block((14, 12, 9))
    how = ExplainOptions("cpu", baseline="zero", steps=2)
    made = explain(bundle, image, ["integrated_gradients"], options=how).attributions[0]
    assert made.facts["windows"] > 1
    assert made.facts["score"] == pytest.approx(made.score) == pytest.approx(90 * where.sum())
    assert made.facts["baseline_score"] == pytest.approx(-30 * where.sum())
    assert made.facts["completeness_gap"] == pytest.approx(0, abs=1e-5)


def test_progress_begins_with_the_models_own_work(bright: ModelBundle) -> None:
    told: list[tuple[float, str]] = []
    image, _ = block()
    explain(bright, image, ["saliency"], options=CPU, progress=lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert len({fraction for fraction in fractions if 0 < fraction < 0.1}) > 1
    assert torch.is_grad_enabled()
