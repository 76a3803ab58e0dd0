"""Augmentation as jobs: previews of a case that is sent once, whole variants of what the preview showed, datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meddl.augmentation import PRESETS, AugmentationPlan, Sample, load_plan, preview
from meddl.augmentation.layers import in_few_layers
from meddl.augmentation.preview_case import PreviewCase, on_image_grid
from meddl.augmentation.task import make_variant, preview_variants
from meddl.errors import JobCancelled
from meddl.jobs import JobContext
from meddl.volume import Segment, Volume

OBLIQUE = np.array([[-1.2, 0.3, 0.0, 10.0], [0.3, 1.2, 0.0, -20.0], [0.0, 0.0, 2.0, 5.0], [0.0, 0.0, 0.0, 1.0]])
SEGMENTS = (Segment(1, "Left kidney", (1.0, 0.0, 0.0)), Segment(2, "Right kidney", (0.0, 1.0, 0.0)))


def a_case() -> tuple[Volume, Volume]:
    """Return an oblique image with two kidneys, and their labels."""
    rng = np.random.default_rng(5)
    labels = np.zeros((1, 40, 36, 24), np.uint8)
    labels[0, 6:14, 10:20, 8:16], labels[0, 26:34, 10:20, 8:16] = 1, 2
    image = rng.normal(100, 10, labels.shape).astype(np.float32) + 80 * (labels > 0)
    return Volume(image.astype(np.int16), OBLIQUE), Volume(labels, OBLIQUE)


def params(plan: str = "mr", **more: Any) -> dict[str, Any]:
    image, labels = a_case()
    segments = [{**vars(each)} for each in SEGMENTS]
    sample = {"images": {"T1": image}, "labels": labels, "segments": segments}
    found = {"case": "a", "sample": sample, "plan": dict(PRESETS[plan]), "seed": 3, "axis": 2, "index": 11}
    return {**found, **more}


def without_voxels(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in params(**more).items() if name != "sample"}


def test_a_case_is_sent_once() -> None:
    context = JobContext()
    assert preview_variants(without_voxels(), context)["missing"]

    sent = preview_variants(params(), context)
    kept = preview_variants(without_voxels(), context)

    assert not sent["missing"]
    assert not kept["missing"]
    for one, other in zip(sent["samples"], kept["samples"], strict=True):
        np.testing.assert_array_equal(one["images"]["T1"].array, other["images"]["T1"].array)


def test_another_case_takes_the_place_of_the_first() -> None:
    context = JobContext()
    preview_variants(params(), context)
    preview_variants(params(case="b"), context)

    assert preview_variants(without_voxels(), context)["missing"]
    assert len(context.cache) == 1


def test_the_preview_is_that_of_the_python_face() -> None:
    image, labels = a_case()
    from meddl.augmentation import sides_of_segments

    sample = Sample({"T1": image}, labels, sides=sides_of_segments(SEGMENTS))
    expected = preview(sample, load_plan("mr"), 3, axis=2, index=11, segments=SEGMENTS)

    found = preview_variants(params(), JobContext())["samples"]

    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.sample.images["T1"].array, other["images"]["T1"].array)
        np.testing.assert_array_equal(one.sample.labels.array, other["labels"].array)
        assert one.draw.to_dict() == other["draw"]


def test_the_whole_variant_is_the_one_that_was_shown() -> None:
    context = JobContext()
    plan = {"name": "moves", "transforms": [{"transform": "affine", "shift_mm": [4, 6], "rotation_degrees": [3, 5]}]}
    shown = preview_variants(params() | {"plan": plan}, context)["samples"][2]

    made = make_variant({"case": "a", "draw": shown["draw"]}, context)

    np.testing.assert_array_equal(made["images"]["T1"].array[..., 11:12], shown["images"]["T1"].array)
    np.testing.assert_array_equal(made["labels"].array[..., 11:12], shown["labels"].array)
    assert made["images"]["T1"].array.dtype == np.int16
    assert make_variant({"case": "other", "draw": shown["draw"]}, context) == {"missing": True}


def test_labels_of_a_part_of_the_image_move_beyond_it() -> None:
    """Slicer stores the part of a label map that is filled."""
    image, labels = a_case()
    affine = OBLIQUE.copy()
    affine[:3, 3] += OBLIQUE[:3, :3] @ (6, 10, 8)
    part = Volume(np.ascontiguousarray(labels.array[:, 6:34, 10:20, 8:16]), affine)

    whole = on_image_grid(Sample({"T1": image}, part)).labels

    np.testing.assert_array_equal(whole.array, labels.array)


def test_structures_that_leave_the_image_are_told_and_those_that_leave_the_slice_are_not() -> None:
    image, labels = a_case()
    case = PreviewCase(Sample({"T1": image}, labels), SEGMENTS)

    def realism(**shift: Any) -> Any:
        plan = AugmentationPlan.from_dict({"transforms": [{"transform": "affine", "rotation_degrees": 0, "scale": 1,
                                                           **shift}]})  # fmt: skip
        return case.preview(plan, 0, 0, axis=2, index=11).realism

    assert not realism(shift_mm=12).vanished  # 6 of 8 slices up: not in this slice any more
    assert set(realism(shift_mm=80).vanished) == {"Left kidney", "Right kidney"}
    assert "vanished" in realism(shift_mm=80).warnings[-1]


def test_a_large_image_is_seen_coarser_at_the_same_place() -> None:
    rng = np.random.default_rng(2)
    array = rng.normal(100, 1, (1, 80, 72, 20)).astype(np.int16)
    array[0, 20:30, 40:60] += 100
    case = PreviewCase(Sample({"CT": Volume(array, OBLIQUE)}))
    plan = AugmentationPlan.from_dict({"transforms": [{"transform": "flip", "axis": "up-down"}]})

    made = case.preview(plan, 0, 0, axis=2, index=9, greatest=20).sample.images["CT"]

    index = np.linalg.inv(OBLIQUE) @ made.affine
    assert made.array.dtype == np.int16
    places = np.stack(np.meshgrid(*map(np.arange, made.shape), indexing="ij"), axis=-1) @ index[:3, :3].T + index[:3, 3]
    i, j = (np.rint(places[..., axis]).astype(int) for axis in (0, 1))
    inside = (i > 23) & (i < 27) & (j > 43) & (j < 57)
    assert inside.any()
    assert (made.array[0][inside] > 150).all()
    assert (made.array[0][(i < 16) | (j < 36)] < 150).all()


def test_an_unpaired_side_is_told() -> None:
    one_kidney = params()
    one_kidney["sample"]["segments"] = one_kidney["sample"]["segments"][:1]

    found = preview_variants(one_kidney, JobContext())

    assert "Left kidney has a side" in found["one_sided"]
    assert any("not exchanged" in note for each in found["samples"] for note in each["draw"]["notes"])


def test_structures_that_were_drawn_one_by_one_share_a_layer_and_can_change_sides() -> None:
    _image, labels = a_case()
    apart = params()
    layers = np.concatenate([labels.array == 1, labels.array == 2]).astype(np.uint8)
    apart["sample"]["labels"] = labels.with_array(layers)
    apart["sample"]["segments"] = [{**vars(each), "label": 1, "layer": n} for n, each in enumerate(SEGMENTS)]

    found = preview_variants(apart, JobContext())

    assert found["one_sided"] == ""
    assert [(each["name"], each["layer"]) for each in found["segments"]] == [("Left kidney", 0), ("Right kidney", 0)]
    np.testing.assert_array_equal(found["source"]["labels"].array[..., 0], labels.array[..., 11])


def test_structures_that_overlap_keep_layers_of_their_own() -> None:
    layers = np.zeros((3, 4, 4, 4), np.uint8)
    layers[0, :3], layers[1, 2:], layers[2, 3] = 5, 5, 1
    segments = [Segment(5, "a", (1, 1, 1), "", 0), Segment(5, "b", (1, 1, 1), "", 1), Segment(1, "c", (1, 1, 1), "", 2)]

    made, renamed = in_few_layers(Volume(layers, np.eye(4)), segments)

    assert [(each.name, each.layer) for each in renamed] == [("a", 0), ("b", 1), ("c", 0)]
    for segment, each in zip(segments, renamed, strict=True):
        np.testing.assert_array_equal(made.array[each.layer] == each.label, layers[segment.layer] == segment.label)


def test_a_preview_ends_when_it_is_not_wanted_any_more() -> None:
    with pytest.raises(JobCancelled):
        preview_variants(params(), JobContext(is_cancelled=lambda: True))


def test_variants_of_a_folder_become_a_dataset_and_are_added_to_one(tmp_path: Path) -> None:
    from meddl.augmentation.task import augment
    from meddl.datasets import ExportOptions, SplitOptions
    from meddl.volume import write_segmentation, write_volume

    image, labels = a_case()
    source = tmp_path / "cases"
    for name in ("a", "b", "c"):
        (source / name).mkdir(parents=True)
        write_volume(image, source / name / "image.nii.gz")
        write_segmentation(labels, SEGMENTS, source / name / "label.seg.nrrd")
    plan = {"name": "noisy", "transforms": [{"transform": "noise"}]}
    export = ExportOptions("monai", "Kidneys", split=SplitOptions(folds=0)).to_dict()
    asked = {"source": source, "output": tmp_path / "out", "export": export, "plan": plan, "count": 1, "seed": 0}

    made = augment(asked, JobContext())
    again = augment({"source": made["root"], "plan": plan, "count": 2, "seed": 0}, JobContext())

    assert len(made["done"]) == 3
    assert made["complete"]
    assert made["export"] is not None
    assert len(again["done"]) + len(again["skipped"]) == 6
    assert again["export"] is None
