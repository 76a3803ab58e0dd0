"""Images lie where their label maps lie, whatever the grid; the same seed gives the same; structures go by name."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import numpy as np
import pytest
from core.painting_generator import noise_painter, painter
from meddl.errors import JobCancelled, ModelError, UsageError
from meddl.models.bundle import ModelBundle
from meddl.synthesis.generators import Generator, in_batches
from meddl.synthesis.label_windows import Canvas, NoiseField, cut, windows
from meddl.synthesis.synthesizer import Synthesizer
from meddl.volume import Segment, Volume

LIVER, SPLEEN = Segment(1, "liver", (1, 0, 0)), Segment(2, "spleen", (0, 1, 0))
GRAYS = {"liver": 1000.0, "spleen": 0.0}


def grid(order, signs, spacing, turned):
    """Return an affine whose axes come in ``order``, mirrored by ``signs``, and perhaps oblique."""
    axes = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        axes[row, column] = sign
    if turned:
        a = 0.35
        axes = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]]) @ axes
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing)
    affine[:3, 3] = (11, -7, 5)
    return affine


GRIDS = [
    grid((0, 1, 2), (1, 1, 1), (1, 1, 1), False),
    grid((0, 1, 2), (-1, -1, 1), (0.8, 0.8, 3), False),
    grid((1, 2, 0), (1, -1, -1), (1.1, 0.9, 2.5), False),
    grid((2, 0, 1), (-1, 1, 1), (2, 1, 1.3), False),
    grid((0, 1, 2), (-1, 1, -1), (1.2, 0.9, 2), True),
]


def ball(affine, shape=(44, 40, 28), radius=9.0):
    """Return a ball as a label map, and how far each voxel is from its surface in mm, outside positive."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T
    center = affine[:3, :3] @ ((np.array(shape) - 1) / 2 + np.array([2.3, -1.6, 0.4]))
    away = np.sqrt(((points - center) ** 2).sum(axis=-1)) - radius
    return Volume((away <= 0)[None].astype(np.uint8), affine), away


@pytest.mark.parametrize("number", range(len(GRIDS)))
@pytest.mark.parametrize(("size", "spacing"), [((48, 48), 1.0), ((32, 24), 2.0), ((16, 16, 16), 2.0)])
def test_an_images_boundary_lies_within_half_a_voxel_of_the_labels(tmp_path, number, size, spacing):
    labels, away = ball(GRIDS[number])
    synthesizer = Synthesizer(painter(tmp_path, GRAYS, size=size, spacing_mm=spacing), device="cpu")
    (made,) = synthesizer.sample(labels=labels, segments=[LIVER])
    assert made.image.grid.same_as(labels.grid) and np.array_equal(made.labels.array, labels.array)
    # Painted 1000 on 500, so the surface is at 750. Half a voxel, of the coarser of both, is the most that its middle
    # may be off, half of its diagonal at the worst corner.
    inside, labeled = made.image.array[0] > 750, labels.array[0] > 0
    half = 0.5 * max(spacing, *labels.spacing)
    off = np.abs(away[inside != labeled])
    assert off.size == 0 or (np.percentile(off, 90) <= half and off.max() <= half * np.sqrt(3))
    moved_mm = (inside.sum() - labeled.sum()) * labels.voxel_volume_ml * 1000 / (4 * np.pi * 9.0**2)
    assert abs(moved_mm) < 0.2 * half


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_slices_are_made_in_the_generators_plane(tmp_path, plane):
    affine = grid((0, 1, 2), (-1, -1, 1), (1, 1, 1), False)
    labels, _ = ball(affine)
    grainy = painter(tmp_path, GRAYS, size=(48, 48), spacing_mm=1.0, plane=plane, grain=1.0)
    (made,) = Synthesizer(grainy, device="cpu").sample(labels=labels)
    across = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    middle = np.argwhere(labels.array[0]).mean(axis=0).astype(int)
    low, high = (middle - 4), (middle + 4)
    part = made.image.array[0][tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    rough = [np.abs(np.diff(part, axis=axis)).mean() for axis in range(3)]
    assert rough[across] < 0.7 * min(rough[axis] for axis in range(3) if axis != across)  # alike from slice to slice


def test_a_landmark_in_the_label_map_is_where_it_should_be(tmp_path):
    for affine in GRIDS:
        array = np.zeros((1, 44, 40, 28), np.uint8)
        array[0, 17:24, 20:27, 10:15] = 2
        labels = Volume(array, affine)
        (made,) = Synthesizer(painter(tmp_path, GRAYS, size=(48, 48), spacing_mm=1.0), device="cpu").sample(
            labels=labels, segments=[LIVER, SPLEEN]
        )
        weight = np.where(np.abs(made.image.array[0]) < 250, 1.0, 0.0)
        weight *= np.abs(np.indices(weight.shape) - np.array([20, 23, 12])[:, None, None, None]).max(axis=0) < 8
        found = affine[:3, :3] @ np.array([(weight * each).sum() / weight.sum() for each in np.indices(weight.shape)])
        true = affine[:3, :3] @ np.argwhere(array[0]).mean(axis=0)
        assert np.abs(found - true).max() <= 0.5


def test_structures_are_matched_by_name_and_code(tmp_path):
    labels, _ = ball(GRIDS[0])
    synthesizer = Synthesizer(painter(tmp_path, GRAYS, size=(48, 48), spacing_mm=1.0), device="cpu")
    two = labels.with_array(labels.array * 7)
    two.array[0, :3, :3, :3] = 9
    (made,) = synthesizer.sample(labels=two, segments=[Segment(7, "LIVER", (1, 0, 0)), Segment(9, "Cyst", (0, 0, 1))])
    assert set(np.unique(made.labels.array)) == {0, 1} and [each.name for each in made.segments] == ["liver"]
    assert any("Cyst" in note for note in made.facts["notes"])
    with pytest.raises(UsageError, match="liver, spleen"):
        synthesizer.sample(labels=two, segments=[Segment(7, "Heart", (1, 0, 0))])
    with pytest.raises(UsageError, match="values that the generator"):
        synthesizer.sample(labels=two)
    layers = Volume(np.concatenate([labels.array, labels.array]), labels.affine)
    (made,) = synthesizer.sample(
        labels=layers, segments=[Segment(1, "spleen", (0, 1, 0)), Segment(1, "liver", (1, 0, 0), layer=1)]
    )
    assert set(np.unique(made.labels.array)) == {0, 1}
    with pytest.raises(UsageError, match="whole numbers"):
        synthesizer.sample(labels=labels.with_array(labels.array * 0.5))


def test_the_same_seed_gives_the_same_and_another_something_else(tmp_path):
    labels, _ = ball(GRIDS[1])
    synthesizer = Synthesizer(painter(tmp_path / "a", GRAYS, size=(16, 16), grain=0.4), device="cpu")
    one, two = synthesizer.sample(2, seed=3, labels=labels)
    (again,) = synthesizer.sample(1, seed=3, labels=labels)
    assert np.array_equal(one.image.array, again.image.array) and not np.array_equal(one.image.array, two.image.array)
    assert (one.facts["seed"], two.facts["number"]) == (3, 1)
    assert one.facts["generator_sha256"] == synthesizer.bundle.digest
    chance = Synthesizer(noise_painter(tmp_path / "b"), device="cpu")
    many, (first,) = chance.sample(3, seed=1), chance.sample(1, seed=1)
    assert np.allclose(many[0].image.array, first.image.array, atol=1e-3) and len(many) == 3
    assert first.image.shape == (16, 24, 1) and first.image.orientation == "RAS"
    assert first.labels is None and not np.allclose(many[1].image.array, first.image.array)
    index = (np.array(first.image.shape) - 1) / 2
    assert np.allclose(first.image.affine[:3, :3] @ index + first.image.affine[:3, 3], 0)


def test_what_does_not_go_together_is_refused(tmp_path):
    labels, _ = ball(GRIDS[0])
    conditioned = Synthesizer(painter(tmp_path / "a", GRAYS), device="cpu")
    chance = Synthesizer(noise_painter(tmp_path / "b"), device="cpu")
    for synthesizer, given, said in ((conditioned, None, "Give one"), (chance, labels, "takes no label")):
        with pytest.raises(UsageError, match=said):
            synthesizer.sample(labels=given)
    with pytest.raises(UsageError):
        chance.sample(0)
    with pytest.raises(JobCancelled):
        conditioned.sample(labels=labels, cancelled=lambda: True)
    steps = iter([False] * 3 + [True] * 99)
    with pytest.raises(JobCancelled):  # between the steps of the flow
        chance.sample(cancelled=lambda: next(steps))
    weights = tmp_path / "b/models/model.safetensors"
    weights.write_bytes((tmp_path / "a/models/model.safetensors").read_bytes())
    with pytest.raises(ModelError, match="do not fit"):
        Synthesizer(ModelBundle.open(tmp_path / "b"), device="cpu").sample()
    weights.unlink()
    with pytest.raises(ModelError, match="not there"):
        Synthesizer(ModelBundle.open(tmp_path / "b"), device="cpu").sample()


def test_nothing_labeled_is_nothing_made(tmp_path):
    empty = Volume(np.zeros((1, 20, 20, 5), np.uint8), np.eye(4))
    for size in ((16, 16), (16, 16, 16)):
        bundle = painter(tmp_path / str(len(size)), GRAYS, size=size, spacing_mm=1.0)
        (made,) = Synthesizer(bundle, device="cpu").sample(labels=empty, segments=[LIVER])
        assert (made.image.array == 0).all()


def test_windows_cover_what_is_labeled_and_blend_without_a_seam():
    random = np.random.default_rng(0)
    for shape, size in product(((20,), (50,), (200,)), ((16,), (32,))):
        labels = np.zeros((*shape, 24), bool)
        labels[random.integers(0, shape[0], 6), 5] = True
        for whole in (True, False):
            starts = windows(labels, (*size, 24), whole)
            seen = np.zeros(labels.shape, int)
            canvas = Canvas(labels.shape, (*size, 24), -1.0)
            for start in starts:
                canvas.add(np.full((*size, 24), 3.0, np.float32), start)
                mark = np.zeros(labels.shape, int)
                mark[max(0, start[0]) : start[0] + size[0], max(0, start[1]) : start[1] + 24] = 1
                seen += mark
            assert (seen[labels] > 0).all()
            assert np.allclose(canvas.image[seen > 0], 3) and (canvas.image[seen == 0] == -1).all()
            assert cut(labels, starts[0], (*size, 24)).shape == (*size, 24)


def test_noise_lies_still_while_windows_move_and_keeps_its_variance_between_slices():
    field = NoiseField("ab" * 16, (60, 60), (32, 32), 2, knots=4.0)
    one, other = field.at((0, 4), (32, 32), 1), field.at((8, 0), (32, 32), 1)
    assert np.array_equal(one[:, 8:, :28], other[:, :24, 4:])
    assert all(abs(field.at((0, 0), (60, 60), n).std() - 1) < 0.05 for n in range(9))
    near, far = field.at((0, 0), (32, 32), 2), field.at((0, 0), (32, 32), 9)
    base = field.at((0, 0), (32, 32), 1)
    assert np.corrcoef(base.ravel(), near.ravel())[0, 1] > 0.6 > abs(np.corrcoef(base.ravel(), far.ravel())[0, 1])


def test_where_memory_is_short_fewer_are_made_at_once():
    import torch

    class Greedy(Generator):
        noise_shape = (1,)
        sizes: ClassVar[list[int]] = []

        def made(self, noise, labels, cancel):
            self.sizes.append(len(noise))
            if len(noise) > 2:
                raise torch.OutOfMemoryError
            return noise[:, None]

    made = in_batches(Greedy(None, None, None), lambda n: np.array([n]), None, 5, lambda: None, lambda n: None)
    assert made.ravel().tolist() == [0, 1, 2, 3, 4] and Greedy.sizes == [5, 4, 2, 2, 1]
