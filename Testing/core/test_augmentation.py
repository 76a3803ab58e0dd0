"""What a draw does to an image it does to all that is known about it, again and again, and back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import realdata
from core.phantoms import PLACES, SHEARED, place, world_of
from meddl.augmentation import (
    PRESETS,
    TRANSFORMS,
    AugmentationPlan,
    Draw,
    Sample,
    Sides,
    augment,
    coarse,
    compare,
    draw,
    histogram_distance,
    inverse,
    load_plan,
    preview,
    replay,
    sides_of_segments,
    slice_grid,
)
from meddl.augmentation.resampling import moved_labels
from meddl.augmentation.sample import range_of
from meddl.augmentation.sides import mirrored_name, with_names
from meddl.augmentation.world_map import Movement
from meddl.errors import UsageError
from meddl.inference.prediction import Box, Landmark
from meddl.randomness import Stream, normal_field
from meddl.volume import Grid, Segment, Volume, read_volume
from scipy.ndimage import map_coordinates

ALL_PLACES = {**PLACES, "sheared": SHEARED}
SPATIAL = ("flip", "affine", "elastic")


def plan_of(*names: str, **settings: object) -> AugmentationPlan:
    steps = [{"transform": name, **(settings if name == names[-1] else {})} for name in names]
    return AugmentationPlan.from_dict({"name": "test", "transforms": steps})


def balls(affine: np.ndarray, shape: tuple[int, int, int] = (40, 36, 32)) -> tuple[Sample, np.ndarray]:
    """Four balls of light round landmarks, as an image of two channels of other grids, labels and points."""
    grid = Grid(shape, affine)
    index = np.array([[12, 12, 10], [26, 14, 20], [14, 24, 21], [25, 23, 12]], np.float64) + 0.3
    centers = index @ affine[:3, :3].T + affine[:3, 3]
    radius = 5.0 * grid.spacing.min()
    index_grid = np.moveaxis(np.indices(shape), 0, -1).astype(np.float64)
    light = np.zeros(shape, np.float32)
    labels = np.zeros((1, *shape), np.uint8)
    metric = affine[:3, :3]
    for number, each in enumerate(index, 1):
        away = np.sqrt((((index_grid - each) @ metric.T) ** 2).sum(-1)) / radius
        light += 100 * np.exp(-4 * away**2).astype(np.float32)
        labels[0][((np.abs(index_grid - each)).max(-1) <= 3.2)] = number
    points = tuple(Landmark(f"p{n}", center, 1.0) for n, center in enumerate(centers))
    boxes = tuple(Box(f"b{n}", 1.0, center, 6.4 * grid.spacing, affine[:3, :3] / grid.spacing)
                  for n, center in enumerate(centers))  # fmt: skip
    image = Volume(light[np.newaxis], affine)
    return Sample({"a": image}, Volume(labels, affine), boxes, points, sides=Sides()), index


def centers_of_labels(labels: Volume) -> np.ndarray:
    return np.array([np.argwhere(labels.array[0] == n).mean(axis=0) for n in range(1, 5)])


def index_of(volume: Volume, points: object) -> np.ndarray:
    back = np.linalg.inv(volume.affine)
    return np.array([each.position for each in points]) @ back[:3, :3].T + back[:3, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_seed_repeats_bytes_and_a_record_replays_them(name):
    sample, _ = balls(PLACES["anisotropic"])
    plan = plan_of(name)
    np.random.seed(1)
    first = augment(sample, plan, seed=3, key="k")
    np.random.seed(2)
    record = Draw.from_dict(json.loads(json.dumps(first.draw.to_dict())))
    again, replayed = augment(sample, plan, seed=3, key="k"), replay(sample, record)
    for made in (again.sample, replayed):
        assert made.images["a"].array.tobytes() == first.sample.images["a"].array.tobytes()
        assert made.labels.array.tobytes() == first.sample.labels.array.tobytes()
        assert np.array_equal(index_of(made.labels, made.points), index_of(made.labels, first.sample.points))
    assert first.draw.steps and again.draw == first.draw == record
    other = augment(sample, plan, seed=4, key="k")
    assert name == "flip" or not np.array_equal(other.sample.images["a"].array, first.sample.images["a"].array)
    assert first.sample.images["a"].grid.same_as(sample.images["a"].grid)


def test_chance_depends_on_no_library_and_never_changes():
    stream = Stream("meddl", 1)
    assert [round(stream.uniform(), 12) for _ in range(2)] == [0.498881506384, 0.234036238882]
    field = normal_field(Stream("a").token(), (100, 100))
    assert abs(field.mean()) < 0.03 and abs(field.std() - 1) < 0.03
    before = np.random.get_state()[1].copy()
    augment(balls(PLACES["straight"])[0], load_plan("mr"), 1)
    assert np.array_equal(before, np.random.get_state()[1])


def test_another_range_of_one_transform_leaves_the_draws_of_the_others():
    sample, _ = balls(PLACES["straight"])
    one = draw(plan_of("affine", "noise", strength=0.1), sample, 5)
    other = draw(plan_of("affine", "noise", strength=0.4), sample, 5)
    assert one.steps[0] == other.steps[0] and one.steps[1] != other.steps[1]


@pytest.mark.parametrize("where", ALL_PLACES)
@pytest.mark.parametrize("names", [*((name,) for name in SPATIAL), SPATIAL, ("elastic", "affine", "flip")])
def test_landmarks_boxes_and_labels_move_with_the_image(where, names):
    sample, index = balls(ALL_PLACES[where])
    size = float(sample.grid.spacing.min())
    # An image of its own coordinates: what is seen at a moved landmark tells where that came from.
    ramp = Volume(np.indices(sample.grid.shape).astype(np.float32), sample.grid.affine)
    sample = replace(sample, images={"a": ramp})
    settings = {
        "affine": {"shift_mm": [-3 * size, 3 * size], "scale": [0.85, 1.2], "rotation_degrees": [-20, 20]},
        # not finer than the slices: between them nothing is seen
        "elastic": {"spacing_mm": max(12 * size, 4 * float(sample.grid.spacing.max())), "amplitude_mm": 3 * size},
    }
    steps = [{"transform": name, **settings.get(name, {})} for name in names]
    for seed in range(3):
        made = augment(sample, AugmentationPlan.from_dict({"name": "t", "transforms": steps}), seed).sample
        told = index_of(made.labels, made.points)
        inside = ((told > 1) & (told < np.array(sample.grid.shape) - 2)).all(axis=1)
        seen = np.stack([map_coordinates(each, told.T, order=1) for each in made.images["a"].array], axis=1)
        assert inside.any() and np.abs(seen - index)[inside].max() <= 0.5
        for number, (box, point) in enumerate(zip(made.boxes, made.points, strict=True), 1):
            at = tuple(np.clip(np.rint(told[number - 1]).astype(int), 0, np.array(sample.grid.shape) - 1))
            assert not inside[number - 1] or made.labels.array[0][at] == number
            local = (point.position - box.center) @ box.axes
            assert (np.abs(local) < 0.45 * box.size).all()


@pytest.mark.parametrize("where", ["straight", "oblique and left-handed"])
@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in (*SPATIAL, "cutout")])
def test_what_the_scanner_does_moves_nothing(where, name):
    sample, index = balls(ALL_PLACES[where])
    for seed in range(2):
        settings = {"factor": 2} if name == "anisotropy" else {}  # 5 is more than a ball has
        made = augment(sample, plan_of(name, **settings), seed).sample
        seen = np.array([light_at(made.images["a"], each) for each in index])
        assert np.abs(seen - index).max() <= 0.5
        assert np.array_equal(made.labels.array, sample.labels.array)
        assert np.array_equal(index_of(made.labels, made.points), index_of(sample.labels, sample.points))


def light_at(image: Volume, near: np.ndarray) -> np.ndarray:
    """Return the center of the light round a place, found without what the transforms told."""
    array = image.array[0].astype(np.float64)
    at = np.rint(near).astype(int)
    for _ in range(8):
        low = np.maximum(at - 4, 0)
        part = array[tuple(slice(a, b + 5) for a, b in zip(low, at, strict=True))]
        weight = np.clip(part - np.quantile(part, 0.75), 0, None) ** 2
        if weight.sum() == 0:
            return near
        center = np.array([(weight * axis).sum() for axis in np.indices(part.shape)]) / weight.sum() + low
        if np.array_equal(np.rint(center).astype(int), at):
            break
        at = np.clip(np.rint(center).astype(int), 0, np.array(array.shape) - 1)
    return center


@pytest.mark.parametrize("where", ALL_PLACES)
def test_labels_are_where_their_own_membership_is_greatest(where):
    sample, _ = balls(ALL_PLACES[where])
    made = augment(sample, plan_of("affine", "elastic", spacing_mm=40), 2)
    drawn = made.draw
    each = [sample.labels.with_array((sample.labels.array == n).astype(np.float32)) for n in range(5)]
    share = np.stack([replay(Sample({"a": one}), _without_ranges(drawn)).images["a"].array[0] for one in each[1:]])
    share = np.concatenate([1 - share.sum(axis=0, keepdims=True), share])
    ordered = np.sort(share, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-3
    assert np.array_equal(share.argmax(axis=0)[clear], made.sample.labels.array[0][clear])
    assert clear.mean() > 0.98


def _without_ranges(drawn: Draw) -> Draw:
    return Draw(drawn.plan, drawn.plan_sha256, drawn.seed, drawn.key, {"a": (0.0, 1.0)}, drawn.steps)


def test_content_moves_in_the_world_and_volumes_of_other_grids_with_it():
    sample, _ = balls(PLACES["oblique"])
    image = sample.images["a"]
    finer = image.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    finer[:3, 3] = image.affine[:3, 3] - 0.25 * image.affine[:3, :3].sum(axis=1)
    fine = Volume(np.repeat(np.repeat(np.repeat(image.array, 2, 1), 2, 2), 2, 3), finer)
    made = augment(Sample({"a": image, "fine": fine}), plan_of("affine"), 4).sample
    coarse_again = coarse(Sample({"fine": made.images["fine"]}), 40).images["fine"].array
    assert np.corrcoef(coarse_again.ravel(), made.images["a"].array.ravel())[0, 1] > 0.99
    assert made.images["fine"].grid.same_as(fine.grid)


@pytest.mark.parametrize("where", ALL_PLACES)
def test_a_mirror_only_reorders_voxels_and_undoes_itself(where):
    sample, _ = balls(ALL_PLACES[where])
    made = augment(sample, plan_of("flip", axis="up-down"), 0)
    assert np.array_equal(np.sort(made.sample.images["a"].array, None), np.sort(sample.images["a"].array, None))
    back, lasting = inverse(made.draw)
    again = replay(made.sample, back)
    assert lasting == () and again.images["a"].array.tobytes() == sample.images["a"].array.tobytes()
    assert again.labels.array.tobytes() == sample.labels.array.tobytes()
    assert np.allclose(index_of(sample.labels, again.points), index_of(sample.labels, sample.points), atol=1e-6)


def test_what_moved_moves_back_and_values_come_back():
    sample, index = balls(PLACES["straight"])
    made = augment(sample, plan_of("affine", "elastic", "gain", "contrast", "bias_field"), 6)
    back, lasting = inverse(made.draw)
    again = replay(made.sample, back)
    assert lasting == ()
    assert np.abs(index_of(sample.labels, again.points) - index).max() < 1e-3
    middle = (slice(None), *(slice(8, -8) for _ in range(3)))
    assert np.abs(again.images["a"].array - sample.images["a"].array)[middle].max() < 20
    values = plan_of("gain", "contrast", "bias_field")
    changed = augment(sample, values, 6)
    exact = replay(changed.sample, inverse(changed.draw)[0])
    assert np.allclose(exact.images["a"].array, sample.images["a"].array, atol=1e-2)
    assert inverse(augment(sample, plan_of("noise", "gain"), 1).draw)[1] == (TRANSFORMS["noise"].title,)


def test_left_and_right_change_their_labels_with_the_image():
    affine = place((-1, 1, 1), (20, 0, 0))
    labels = np.zeros((1, 20, 10, 10), np.uint8)
    labels[0, 2:6, 3:7, 3:7], labels[0, 13:18, 3:7, 3:7], labels[0, 9:11] = 1, 2, 3
    names = (
        Segment(1, "Right kidney", (1, 0, 0)),
        Segment(2, "Left kidney", (0, 1, 0)),
        Segment(3, "Spine", (0, 0, 1)),
    )
    points = (Landmark("eye_L", np.array([3.0, 5, 5]), 1.0), Landmark("eye_R", np.array([17.0, 5, 5]), 1.0))
    sides = with_names(sides_of_segments(names), ("eye_L", "eye_R"), ("eye_L", "eye_R"))
    image = Volume(labels.astype(np.float32), affine)
    source = Sample({"a": image}, Volume(labels, affine), points=points, sides=sides)
    augmented = augment(source, plan_of("flip"), 0)
    made, mirrored = augmented.sample, labels[:, ::-1]
    assert np.array_equal(made.labels.array, np.array([0, 2, 1, 3], np.uint8)[mirrored])
    assert np.array_equal(made.images["a"].array, mirrored.astype(np.float32))
    assert {each.name: each.position.round(3).tolist() for each in made.points} == {
        "eye_R": [18.0, 5.0, 5.0], "eye_L": [4.0, 5.0, 5.0]}  # fmt: skip
    # the patient's left is still on the left: what was on the right has become it
    x = world_of(affine, (20, 10, 10))[0]
    assert x[made.labels.array[0] == 2].mean() < x[made.labels.array[0] == 1].mean()
    # each is compared with what it was: the smaller kidney is no smaller than before
    assert augmented.draw.exchanges_sides
    found = compare(source, made, names, exchanged=True)
    assert set(found.volumes.values()) == {1.0}
    assert set(compare(source, source, names, exchanged=False).volumes.values()) == {1.0}


def test_without_the_other_side_there_is_no_mirror():
    sides = sides_of_segments((Segment(1, "Left lung", (1, 0, 0)),))
    image = balls(PLACES["straight"])[0].images["a"]
    labels = image.with_array((image.array > 50).astype(np.uint8))
    made = augment(Sample({"a": image}, labels, sides=sides), plan_of("flip"), 0)
    assert made.sample.images["a"].array.tobytes() == image.array.tobytes()
    assert made.draw.steps == () and "Left lung" in made.draw.notes[0]
    unsaid = augment(Sample({"a": image}, labels), plan_of("flip"), 0)
    assert unsaid.draw.steps == () and augment(Sample({"a": image}), plan_of("flip"), 0).draw.steps
    up = augment(Sample({"a": image}, labels, sides=sides), plan_of("flip", axis="up-down"), 0)
    assert len(up.draw.steps) == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [("kidney_left", "kidney_right"), ("Right-Hippocampus", "Left-Hippocampus"), ("rib_left_1", "rib_right_1"),
     ("LungLeft", "LungRight"), ("eye R", "eye L"), ("liver", "liver"), ("cleft lip", "cleft lip"),
     ("brightness", "brightness"), ("vertebrae_L1", "vertebrae_L1"), ("LH", "RH")],
)  # fmt: skip
def test_names_in_a_mirror(name, other):
    assert mirrored_name(name) == other and mirrored_name(other) == name


def test_codes_tell_sides_where_names_do_not():
    def entry(side: str, meaning: str) -> str:
        return f"l~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^{side}^{meaning}~r~^^~^^"

    both = (
        Segment(1, "RK", (1, 0, 0), entry("24028007", "Right")),
        Segment(4, "LK", (1, 0, 0), entry("7771000", "Left")),
    )
    assert sides_of_segments(both).values == ({1: 4, 4: 1},)
    assert sides_of_segments(both[:1]).reason


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"transforms": []}, "at least one"),
        ({"transforms": [{"transform": "warp"}]}, "Transform 1: there is no transform 'warp'"),
        ({"transforms": [{"transform": "noise", "strenght": 1}]}, "'strenght'"),
        ({"transforms": [{"transform": "noise", "strength": [0.5, 0.1]}]}, "the lower number first"),
        ({"transforms": [{"transform": "noise", "strength": 7}]}, "from 0 to 1"),
        ({"transforms": [{"transform": "noise", "strength": "much"}]}, "range of two numbers"),
        ({"transforms": [{"transform": "noise", "kind": "pink"}]}, "gaussian, rician"),
        ({"transforms": [{"transform": "noise", "probability": 2}]}, "from 0 to 1"),
        ({"transforms": [{"transform": "spike", "number": 1.5}]}, "whole numbers"),
        ({"transforms": [{"transform": "gain"}], "seed": 1}, "no 'seed'"),
        ([], "an object"),
    ],
)
def test_a_broken_plan_is_refused_with_its_place(data, told):
    with pytest.raises(UsageError) as error:
        AugmentationPlan.from_dict(data)
    assert told in error.value.message


def test_plans_are_files(tmp_path):
    for name in PRESETS:
        plan = load_plan(name)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(plan.to_dict()), encoding="utf-8")
        assert load_plan(file) == plan and load_plan(file).digest == plan.digest
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    for missing in ("nothing", tmp_path / "none.json", tmp_path / "broken.json"):
        with pytest.raises(UsageError):
            load_plan(missing)
    with pytest.raises(UsageError):
        Draw.from_dict({"meddl_draw": 99})


def test_pictures_and_single_slices_stay_in_their_plane():
    affine = place((0.2, 0.2, 1.0), (0, 0, 0))
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(1, 9, 9, 1)).repeat(8, 1).repeat(8, 2).astype(np.float32)
    sample = Sample({"x": Volume(smooth, affine)}, Volume((smooth > 1).astype(np.uint8), affine), sides=Sides())
    for name in TRANSFORMS:
        made = augment(sample, plan_of(name), 1).sample
        assert made.images["x"].shape == (72, 72, 1) and np.isfinite(made.images["x"].array).all()
        assert made.labels.array.any()


@pytest.mark.parametrize("name", ["blur", "sharpen"])
def test_what_lies_beyond_the_image_does_not_shine_into_it(name):
    """The air at the borders of a CT stays air: beyond it there is no water."""
    made = augment(Sample({"a": Volume(np.full((1, 12, 12, 12), -1000, np.int16), np.eye(4))}), plan_of(name), 3)
    assert made.draw.steps
    assert (made.sample.images["a"].array == -1000).all()


def test_dark_and_bright_do_not_depend_on_how_an_image_lies_in_memory():
    array = np.random.default_rng(4).normal(size=(1, 90, 80, 70)).astype(np.float32)
    assert range_of(Volume(np.asfortranarray(array), np.eye(4))) == range_of(Volume(array, np.eye(4)))


def test_a_slice_shows_what_the_whole_becomes():
    sample, _ = balls(PLACES["oblique"])
    plan = plan_of("flip", "affine", "elastic", "gain", "contrast", "bias_field", "spike")
    shown = preview(sample, plan, 9, axis=2, index=15, count=2)
    for each in shown:
        whole = replay(sample, each.draw)
        assert np.allclose(each.sample.images["a"].array, whole.images["a"].array[..., 15:16], atol=0.05)
        assert (each.sample.labels.array == whole.labels.array[..., 15:16]).mean() > 0.999
        assert each.sample.images["a"].grid.same_as(slice_grid(sample.grid, 2, 15))


def test_the_guard_warns_when_a_structure_vanishes_or_values_are_far():
    sample, _ = balls(PLACES["straight"])
    far = augment(sample, plan_of("affine", shift_mm=[35, 35], rotation_degrees=0, scale=1), 0).sample
    found = compare(sample, far, [Segment(n, f"ball {n}", (1, 0, 0)) for n in range(1, 5)])
    assert "ball 4" in found.vanished and not found.is_usable and any("vanished" in text for text in found.warnings)
    bright = augment(sample, plan_of("gain", factor=3), 0).sample
    told = compare(sample, bright)
    assert told.is_usable and histogram_distance(sample.images["a"], bright.images["a"]) > 0.02
    assert compare(sample, sample).warnings == () and compare(sample, sample).histogram == {"a": 0.0}


@pytest.mark.parametrize("name", ["motion", "ghosting", "spike", "gibbs"])
def test_what_goes_wrong_in_kspace_leaves_the_anatomy_in_its_place(name):
    head = read_volume(realdata.head())
    part = Volume(head.array[:, ::3, ::3, ::3].copy(), head.affine @ np.diag([3.0, 3.0, 3.0, 1.0]))
    made = augment(Sample({"T1": part}), plan_of(name), 2).sample.images["T1"].array
    assert made.dtype == part.array.dtype and not np.array_equal(made, part.array)
    one, other = (np.fft.fftn(np.asarray(each[0], np.float64)) for each in (part.array, made))
    peak = np.unravel_index(
        np.argmax(np.fft.ifftn(one * other.conj() / np.abs(one * other).clip(1e-9)).real), one.shape
    )
    assert all(min(at, size - at) <= 1 for at, size in zip(peak, one.shape, strict=True))


@pytest.mark.parametrize(
    ("preset", "image", "labels"),
    [("ct", "example_ct_sm.nii.gz", "example_seg.nii.gz"), ("mr", "example_mr_sm.nii.gz", "example_seg_mr.nii.gz")],
)
def test_real_images_with_many_labels_stay_real(preset, image, labels):
    folder = realdata.totalsegmentator()
    scan, organs = read_volume(folder / image), read_volume(folder / labels)
    sample = Sample({"scan": scan}, Volume(organs.array, scan.affine))
    made = augment(sample, load_plan(preset), 11)
    assert made.sample.images["scan"].array.dtype == scan.array.dtype
    assert set(np.unique(made.sample.labels.array)) <= set(np.unique(organs.array))
    assert compare(sample, made.sample).histogram["scan"] < 0.25
    again = replay(sample, Draw.from_dict(json.loads(json.dumps(made.draw.to_dict()))))
    assert again.images["scan"].array.tobytes() == made.sample.images["scan"].array.tobytes()


def test_labels_that_lie_outside_become_background():
    labels = Volume(np.ones((1, 6, 6, 6), np.uint8), np.eye(4))
    from meddl.augmentation.world_map import LinearMap

    shift = np.eye(4)
    shift[:3, 3] = 2.5, 0, 0
    moved = moved_labels(labels, Movement([LinearMap(shift)]), labels.grid).array[0]
    assert moved[:2].sum() == 0 and moved[3:].all() and Sides().reason == ""


def test_the_example_of_the_guide_runs():
    page = Path(__file__).resolve().parents[2] / "Docs" / "Augmentation.md"
    text = page.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (plan,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    told: dict = {}
    exec(code, told)
    assert np.array_equal(told["again"].images["T1"].array, told["made"].sample.images["T1"].array)
    assert AugmentationPlan.from_dict(json.loads(plan)).steps
    assert all(f"`{name}`" in text for name in (*TRANSFORMS, *PRESETS))
