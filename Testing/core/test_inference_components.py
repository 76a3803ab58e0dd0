"""Largest components and holes, against MONAI's transforms on label maps with many labels."""

from __future__ import annotations

import numpy as np
import pytest
from meddl.inference.components import fill_holes, keep_largest
from monai.transforms import FillHoles, KeepLargestConnectedComponent
from scipy.ndimage import gaussian_filter


def _labels(seed: int, kinds: int = 4, shape: tuple[int, int, int] = (30, 26, 22)) -> np.ndarray:
    """Blobs in many pieces, some with holes."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((kinds, *shape)), (0, 1.5, 1.5, 1.5))
    labels = noise.argmax(axis=0).astype(np.uint8)
    labels[noise.max(axis=0) < 0.08] = 0
    return labels


@pytest.mark.parametrize("connectivity", [None, 1, 2, 3])
@pytest.mark.parametrize("applied", [None, [1, 3], 2])
@pytest.mark.parametrize("independent", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_the_largest_components_are_monais(connectivity: int, applied: object, independent: bool, count: int) -> None:
    for seed in range(2):
        labels = _labels(seed)
        monai = KeepLargestConnectedComponent(
            applied_labels=applied, independent=independent, connectivity=connectivity, num_components=count
        )
        expected = np.asarray(monai(labels[None].copy()))[0]
        found = keep_largest(
            labels, applied, independent=independent, connectivity=connectivity, num_components=count
        )
        # Which of two components of one size stays is left open by MONAI.
        assert (found > 0).sum() == (expected > 0).sum() < (labels > 0).sum()
        if not _has_tie(labels, applied, connectivity):
            np.testing.assert_array_equal(found, expected)


def _has_tie(labels: np.ndarray, applied: object, connectivity: int | None) -> bool:
    from skimage.measure import label

    del applied
    for number in range(1, 5):
        sizes = np.sort(np.bincount(label(labels == number, connectivity=connectivity).ravel())[1:])[::-1][:4]
        if len(set(sizes)) < len(sizes):
            return True
    return False


@pytest.mark.parametrize("connectivity", [None, 1, 2])
@pytest.mark.parametrize("applied", [None, [1, 3]])
def test_filled_holes_are_monais(connectivity: int, applied: object) -> None:
    filled = 0
    for seed in range(4):
        labels = _labels(seed, kinds=3)
        labels[5:20, 5:20, 5:15] = 1
        labels[8:12, 8:12, 8:12] = 2
        labels[9:11, 9:11, 9:11] = 0
        labels[14:16, 14:16, 0:9] = 0
        expected = np.asarray(FillHoles(applied_labels=applied, connectivity=connectivity)(labels[None].copy()))[0]
        found = fill_holes(labels, applied, connectivity=connectivity)
        np.testing.assert_array_equal(found, expected)
        filled += int((found != labels).sum())
    assert filled > 0


def test_of_two_components_alike_the_later_one_stays() -> None:
    labels = np.zeros((9, 3, 3), dtype=np.uint8)
    labels[1:3] = labels[5:7] = 1
    assert np.flatnonzero(keep_largest(labels).any(axis=(1, 2))).tolist() == [5, 6]


def test_nothing_stays_nothing_and_the_input_is_left_alone() -> None:
    empty = np.zeros((4, 4, 4), dtype=np.uint16)
    assert not keep_largest(empty).any() and not fill_holes(empty).any()
    labels = _labels(1)
    before = labels.copy()
    keep_largest(labels)
    fill_holes(labels)
    np.testing.assert_array_equal(labels, before)
    assert keep_largest(labels).dtype == labels.dtype
