"""The shares of a map in the structures of a segmentation, wherever the two grids lie."""

from __future__ import annotations

import numpy as np
import pytest
from core.phantoms import PLACES, axis_orders, place, reordered
from meddl.errors import UsageError
from meddl.saliency.anatomy import OUTSIDE, anatomy_sentence, anatomy_shares
from meddl.saliency.attribution import AnatomyShare
from meddl.volume import Segment, Volume

RED = (1.0, 0.0, 0.0)
LESION, TABLE = Segment(1, "lesion", RED), Segment(2, "table", RED)


def scene(affine: np.ndarray) -> tuple[Volume, Volume]:
    """A signed map (60 % of the positive in the lesion, 10 % in the table; all negative in the table), and labels."""
    values = np.zeros((1, 8, 9, 10), dtype=np.float32)
    labels = np.zeros((1, 8, 9, 10), dtype=np.uint8)
    labels[0, 1:3, 2:4, 3:5], labels[0, 6, 6:8, 6:9] = 1, 2
    values[0, 1:3, 2:4, 3:5] = 6 / 8
    values[0, 6, 6, 6] = 1
    values[0, 5, 0, 0] = 3
    values[0, 6, 7, 7] = -4
    return Volume(values, affine), Volume(labels, affine)


@pytest.mark.parametrize("name", PLACES)
def test_shares_on_one_grid_are_exact(name: str) -> None:
    map, labels = scene(PLACES[name])
    lesion, table, rest = anatomy_shares(map, labels, [LESION, TABLE])
    assert [share.name for share in (lesion, table, rest)] == ["lesion", "table", OUTSIDE]
    assert [share.positive for share in (lesion, table, rest)] == pytest.approx([0.6, 0.1, 0.3])
    assert [share.negative for share in (lesion, table, rest)] == pytest.approx([0.0, 1.0, 0.0])
    assert lesion.density == pytest.approx(6 / 14 / (8 / 720))
    assert table.density == pytest.approx(5 / 14 / (6 / 720))
    assert lesion.volume_ml == pytest.approx(8 * map.voxel_volume_ml)
    assert rest.volume_ml == pytest.approx(706 * map.voxel_volume_ml)


@pytest.mark.parametrize("order", axis_orders()[::7])
def test_the_order_of_axes_changes_nothing(order: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    map, labels = scene(PLACES["oblique"])
    expected = anatomy_shares(map, labels, [LESION, TABLE])
    found = anatomy_shares(map, reordered(labels, *order), [LESION, TABLE])
    for a, b in zip(found, expected, strict=True):
        assert (a.positive, a.negative, a.density) == pytest.approx((b.positive, b.negative, b.density))


@pytest.mark.parametrize("finer", ["labels", "map"])
def test_a_finer_grid_of_one_of_the_two_changes_nothing(finer: str) -> None:
    map, labels = scene(PLACES["oblique"])
    expected = anatomy_shares(map, labels, [LESION, TABLE])

    def refined(volume: Volume) -> Volume:
        array = volume.array.repeat(2, 1).repeat(2, 2).repeat(2, 3)
        affine = volume.affine @ np.diag([0.5, 0.5, 0.5, 1])
        affine[:3, 3] = volume.affine[:3, 3] - volume.affine[:3, :3] @ [0.25, 0.25, 0.25]
        return Volume(array, affine)

    found = anatomy_shares(*((map, refined(labels)) if finer == "labels" else (refined(map), labels)), [LESION, TABLE])
    for a, b in zip(found, expected, strict=True):
        assert (a.positive, a.negative, a.volume_ml) == pytest.approx((b.positive, b.negative, b.volume_ml))
        assert a.density == pytest.approx(b.density)


def test_a_turned_grid_of_another_spacing_gives_nearly_the_same() -> None:  # but for voxels of the rim
    index = np.indices((40, 40, 40)) - 19.5
    ball = ((index**2).sum(axis=0) < 10**2).astype(np.uint8)[None]
    map = Volume(np.where(ball, 3.0, 1.0).astype(np.float32), place((1, 1, 1), (-19.5, -19.5, -19.5)))
    turned = place((0.8, 0.8, 0.8), (0, 0, 0), 0.4, 0.2, -0.3)
    turned[:3, 3] = -turned[:3, :3] @ [39.5, 39.5, 39.5]
    inside = ((0.8 * (np.indices((80, 80, 80)) - 39.5)) ** 2).sum(axis=0) < 10**2
    share, rest = anatomy_shares(map, Volume(inside.astype(np.uint8)[None], turned), [LESION])
    same, _ = anatomy_shares(map, map.with_array(ball), [LESION])
    assert share.positive == pytest.approx(same.positive, rel=0.05)
    assert share.density == pytest.approx(same.density, rel=0.05)
    assert rest.positive == pytest.approx(1 - same.positive, rel=0.05)


def test_overlapping_structures_each_get_all_of_theirs() -> None:
    map, labels = scene(PLACES["straight"])
    both = labels.with_array(np.concatenate([labels.array, (labels.array > 0).astype(np.uint8)]))
    whole = Segment(1, "both", RED, layer=1)
    lesion, everything, rest = anatomy_shares(map, both, [LESION, whole])
    assert (lesion.positive, everything.positive, rest.positive) == pytest.approx((0.6, 0.7, 0.3))


def test_a_structure_that_lies_outside_of_the_map_has_a_volume_only() -> None:
    map, labels = scene(PLACES["straight"])
    away = Volume(labels.array, labels.affine + 1000 * np.eye(4)[[3, 3, 3, 0]].T * [[1], [1], [1], [0]])
    lesion, rest = anatomy_shares(map, away, [LESION])
    assert (lesion.positive, lesion.density) == (0.0, 0.0)
    assert lesion.volume_ml == pytest.approx(0.008)
    assert rest.positive == 1.0


def test_an_empty_map_and_one_with_gaps_are_no_trouble() -> None:
    map, labels = scene(PLACES["straight"])
    shares = anatomy_shares(map.with_array(np.zeros_like(map.array)), labels, [LESION])
    assert all(share.positive == share.negative == share.density == 0 for share in shares)
    assert "empty" in anatomy_sentence(shares)
    holes = map.array.copy()
    holes[0, 7, 8, 9] = np.nan
    assert anatomy_shares(map.with_array(holes), labels, [LESION])[0].positive == pytest.approx(0.6)


def test_a_segment_of_a_layer_that_is_not_there_is_refused() -> None:
    map, labels = scene(PLACES["straight"])
    with pytest.raises(UsageError, match="no layer 3"):
        anatomy_shares(map, labels, [Segment(1, "lesion", RED, layer=3)])


def test_the_sentence_names_the_most_and_what_speaks_against() -> None:
    map, labels = scene(PLACES["straight"])
    sentence = anatomy_sentence(anatomy_shares(map, labels, [LESION, TABLE]))
    assert sentence == (
        "60 % of the evidence lies in lesion (where all evidence is 39 times as dense as by chance), 10 % in table, "
        "30 % outside all structures. 100 % of what speaks against it lies in table, 0 % outside all structures."
    )
    only_against = [AnatomyShare("lesion", 0.0, 0.9, 9.0, 1.0), AnatomyShare(OUTSIDE, 0.0, 0.1, 0.1, 10.0)]
    assert anatomy_sentence(only_against) == (
        "Nothing speaks for the answer. 90 % of what speaks against it lies in lesion, 10 % outside all structures."
    )
    nearly_all = [AnatomyShare("lesion", 0.996, 0.0, 1.5, 1.0), AnatomyShare(OUTSIDE, 0.004, 0.0, 0.1, 10.0)]
    assert anatomy_sentence(nearly_all) == "99.6 % of the evidence lies in lesion, 0.4 % outside all structures."
    none = [AnatomyShare("lesion", 0.0, 0.0, 0.0, 1.0), AnatomyShare(OUTSIDE, 1.0, 0.0, 1.0, 10.0)]
    assert anatomy_sentence(none) == "100 % of the evidence lies outside all structures."
