"""Boxes for detection: read back by pycocotools and by MONAI's detection transforms, on every kind of grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from core.dataset_by_hand import digests, list_again, patient, plan_of, vertebra, written
from core.phantoms import PLACES, SHEARED, axis_orders, numbered, reordered, world_of
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.boxes import is_straight, place_box
from meddl.datasets.formats.coco import CocoFormat
from meddl.errors import UsageError
from meddl.inference.prediction import Box
from meddl.volume import Grid, Volume, write_volume
from monai.data import load_decathlon_datalist

FORMAT = CocoFormat()
CLASSES = ("lesion", "vertebra")


def box_round(labels: Volume, label: str) -> Box:
    """The box along the voxel axes that just holds what is labeled, as Slicer would draw it."""
    where = np.argwhere(labels.array[0] > 0)
    low, high = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
    center = labels.affine @ [*((low + high) / 2), 1]
    spacing = labels.spacing
    return Box(label, 1.0, center[:3], (high - low) * spacing, labels.affine[:3, :3] / spacing)


def cases() -> list[PreparedCase]:
    brain, tumor = patient("brain1")
    lung, nodule = patient("lung1")
    spine, parts = vertebra()
    return [
        PreparedCase("case_0001", "patient_0001", {"T1": brain}, "", "train", 0, boxes=(box_round(tumor, "lesion"),)),
        PreparedCase("case_0002", "patient_0002", {"T1": lung}, "", "train", 1, boxes=()),
        PreparedCase(
            "case_0003", "patient_0003", {"T1": spine}, "", "validation",
            boxes=(box_round(parts, "vertebra"), Box("lesion", 1.0, np.zeros(3) + 9000, np.ones(3))),
        ),
        PreparedCase("case_0004", "patient_0004", {"T1": lung}, "", "test"),
        PreparedCase("case_0005", "patient_0002", {"T1": lung}, "", "train", 1, boxes=(box_round(nodule, "lesion"),)),
    ]  # fmt: skip


def test_monai_reads_the_boxes_and_its_own_way_from_world_to_voxels_gives_the_same(tmp_path: Path) -> None:
    from monai.apps.detection.transforms.dictionary import AffineBoxToImageCoordinated, ConvertBoxToStandardModed
    from monai.data.box_utils import box_area, clip_boxes_to_image
    from monai.transforms import Compose, LoadImaged

    given = cases()
    plan = plan_of(given, "detection", format="coco", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    read = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            ConvertBoxToStandardModed("box_world_cccwhd", mode="cccwhd"),
            AffineBoxToImageCoordinated("box_world_cccwhd", "image", affine_lps_to_ras=False),
        ]
    )
    items = load_decathlon_datalist(tmp_path / "datalist.json", data_list_key="training")
    assert [item["label"] for item in items] == [[0], [], [0]] and [item["fold"] for item in items] == [0, 1, 1]
    for item, labels in ((items[0], patient("brain1")[1]), (items[2], patient("lung1")[1])):
        where = np.argwhere(labels.array[0] > 0)
        expected = [*(where.min(axis=0) - 0.5), *(where.max(axis=0) + 0.5)]
        np.testing.assert_allclose(item["box_voxel"], [expected], atol=1e-4)
        assert item["box_is_straight"]
        item = {**item, **{key: np.array(item[key], float) for key in item if key.startswith("box_")}}
        loaded = read(item)
        np.testing.assert_allclose(loaded["box_world_cccwhd"], [expected], atol=1e-3)
        clipped, _ = clip_boxes_to_image(np.array([expected]), loaded["image"].shape[1:], remove_empty=True)
        assert float(box_area(clipped)[0]) == pytest.approx(float(np.prod(np.ptp(where, axis=0) + 1)), rel=1e-6)
    (spine,) = load_decathlon_datalist(tmp_path / "datalist.json", data_list_key="validation")
    assert spine["label"] == [1] and records[2].facts["detection"]["boxes_outside"] == 1
    (test,) = load_decathlon_datalist(tmp_path / "datalist.json", data_list_key="test")
    assert "box_voxel" not in test


def test_monai_draws_the_boxes_as_masks_that_just_hold_the_lesion(tmp_path: Path) -> None:
    from monai.apps.detection.transforms.dictionary import BoxToMaskd
    from monai.transforms import LoadImaged

    given = cases()
    plan = plan_of(given, "detection", format="coco", classes=CLASSES)
    written(FORMAT, plan, given, tmp_path)
    item = load_decathlon_datalist(tmp_path / "datalist.json")[0]
    item = LoadImaged("image", image_only=True, ensure_channel_first=True)(item)
    item["box_voxel"], item["label"] = np.array(item["box_voxel"]) + 0.5, np.array(item["label"])
    made = BoxToMaskd(["box_voxel"], ["mask"], ["label"], "image", min_fg_label=0)(item)
    tumor = patient("brain1")[1].array[0] > 0
    mask = np.asarray(made["mask"][0]) > 0
    assert mask[tumor].all() and mask.sum() == np.prod(np.ptp(np.argwhere(tumor), axis=0) + 1)


def test_pycocotools_reads_pictures_as_true_coco_and_evaluates_a_perfect_answer_as_perfect(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    image, mask = patient("breast1")
    k = int(np.argmax(mask.array[0].sum(axis=(0, 1))))
    place = image.affine.copy()
    place[:3, 3] = (image.affine @ [0, 0, k, 1])[:3]
    picture = Volume(image.array[..., k : k + 1].astype(np.uint8), place)
    on_slice = Volume(mask.array[..., k : k + 1], place)
    drawn = box_round(on_slice, "lesion")
    flat = Box("lesion", 1.0, drawn.center, drawn.size * (1, 1, 0), drawn.axes)
    given = [
        PreparedCase("case_0001", "p1", {"image": picture}, boxes=(drawn,)),
        PreparedCase("case_0002", "p2", {"image": picture}, boxes=()),
        PreparedCase("case_0003", "p3", {"image": picture}, boxes=(flat,)),
        PreparedCase("case_0004", "p4", {"image": picture}, split="test"),
    ]
    plan = plan_of(given, "detection", format="coco", classes=("lesion",))
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    coco = COCO(tmp_path / "annotations/instances_train.json")
    assert coco.getImgIds() == [1, 2, 3] and [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["lesion"]
    assert [(each["width"], each["height"]) for each in coco.loadImgs([1])] == [picture.shape[:2]]
    annotation = coco.loadAnns(coco.getAnnIds(imgIds=1))[0]
    lesion = np.argwhere(on_slice.array[0, :, :, 0] > 0)
    np.testing.assert_allclose(annotation["bbox"], [*lesion.min(axis=0), *(np.ptp(lesion, axis=0) + 1)], atol=1e-4)
    assert coco.loadAnns(coco.getAnnIds(imgIds=3))[0]["bbox"] == annotation["bbox"]
    answers = [{**{key: each[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
               for each in coco.loadAnns(coco.getAnnIds())]  # fmt: skip
    judged = COCOeval(coco, coco.loadRes(answers), "bbox")
    judged.evaluate(), judged.accumulate(), judged.summarize()
    assert judged.stats[0] == pytest.approx(1.0)
    held_out = json.loads((tmp_path / "annotations/instances_test.json").read_text())
    assert held_out["images"][0]["annotated"] is False and held_out["annotations"] == []
    assert len(load_decathlon_datalist(tmp_path / "datalist.json")[0]["box_voxel"][0]) == 4


def test_pycocotools_indexes_volumes_whose_third_axis_is_told(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    given = cases()
    plan = plan_of(given, "detection", format="coco", classes=CLASSES)
    written(FORMAT, plan, given, tmp_path)
    coco = COCO(tmp_path / "annotations/instances_train.json")
    (image,) = coco.loadImgs([1])
    assert (image["width"], image["height"], image["depth"]) == given[0].images["T1"].shape
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[5]))
    where = np.argwhere(patient("lung1")[1].array[0] > 0)
    np.testing.assert_allclose(annotation["bbox"], [*where.min(axis=0), *(np.ptp(where, axis=0) + 1)], atol=1e-4)
    assert annotation["area"] == pytest.approx(np.prod(np.ptp(where, axis=0) + 1))


def test_boxes_that_were_enlarged_cut_or_left_out_say_so(tmp_path: Path) -> None:
    from core.dataset_by_hand import on

    image = on(patient("brain1")[0], PLACES["oblique"])
    inside, edge = ((image.affine @ [*at, 1])[:3] for at in ((30, 40, 6), (0, 40, 6)))
    boxes = tuple(Box("lesion", 1.0, center, np.full(3, 6.0)) for center in (inside, edge, inside + 5000))
    given = [PreparedCase("case_0001", "p1", {"image": image}, boxes=boxes)]
    plan = plan_of(given, "detection", format="coco", classes=("lesion",))
    records = written(FORMAT, plan, given, tmp_path)
    assert FORMAT.problems(tmp_path, plan, records) == ()
    told = json.loads((tmp_path / "annotations/instances_train.json").read_text())
    assert told["images"][0]["boxes_outside"] == 1
    assert [(0.3 < each["grown"] < 1, each.get("cut")) for each in told["annotations"]] == [(True, None), (True, True)]
    assert "grown" in told["info"]["bbox_spaces"]
    assert load_decathlon_datalist(tmp_path / "datalist.json")[0]["box_is_straight"] is False


@pytest.mark.parametrize("where", [*PLACES, "sheared"])
def test_the_voxel_box_holds_all_of_the_marked_box_and_nothing_it_needs_not(where: str) -> None:
    grid = Grid((40, 30, 20), SHEARED if where == "sheared" else PLACES[where])
    middle = grid.affine @ [20, 15, 10, 1]
    drawn = Box("lesion", 1.0, middle[:3], np.array([9.0, 7.0, 12.0]))
    placed = place_box(drawn, grid)
    assert placed is not None and not placed.cut
    points = world_of(grid.affine, grid.shape).reshape(3, -1).T
    inside = (np.abs(points - drawn.center) <= drawn.size / 2).all(axis=1)
    index = np.indices(grid.shape).reshape(3, -1).T
    assert ((index[inside] >= placed.voxel[:3] - 1e-6) & (index[inside] <= placed.voxel[3:] + 1e-6)).all()
    corners = (np.linalg.inv(grid.affine) @ np.c_[drawn.corners(), np.ones(8)].T)[:3].T
    np.testing.assert_allclose(placed.voxel, [*corners.min(axis=0), *corners.max(axis=0)], atol=1e-6)
    np.testing.assert_allclose(placed.world, [*(middle[:3] - drawn.size / 2), *(middle[:3] + drawn.size / 2)])
    assert is_straight(grid.affine) == (placed.grown == 0.0) == (where in ("straight", "anisotropic", "flipped"))
    # A box drawn along the voxel axes is not enlarged there, however they lie.
    if where != "sheared":
        along = Box("lesion", 1.0, middle[:3], 3 * grid_spacing(grid), grid.affine[:3, :3] / grid_spacing(grid))
        exact = place_box(along, grid)
        assert exact is not None and exact.grown == 0.0
        np.testing.assert_allclose(exact.voxel, [18.5, 13.5, 8.5, 21.5, 16.5, 11.5], atol=1e-6)


def grid_spacing(grid: Grid) -> np.ndarray:
    return np.linalg.norm(grid.affine[:3, :3], axis=0)


def test_boxes_are_the_same_voxels_in_every_axis_order_and_are_cut_to_the_image() -> None:
    image = numbered(PLACES["oblique"], (9, 8, 7))
    drawn = Box("lesion", 1.0, (image.affine @ [2, 3, 4, 1])[:3], np.array([4.0, 3.0, 6.0]))
    expected = place_box(drawn, image.grid)
    assert expected is not None
    for permutation, signs in axis_orders():
        placed = place_box(drawn, reordered(image, permutation, signs).grid)
        assert placed is not None
        low, high = expected.voxel[:3][list(permutation)], expected.voxel[3:][list(permutation)]
        size = np.array(image.shape)[list(permutation)]
        mirrored = np.array(signs) < 0
        low, high = np.where(mirrored, size - 1 - high, low), np.where(mirrored, size - 1 - low, high)
        np.testing.assert_allclose(placed.voxel, [*low, *high], atol=1e-6)
    far = Box("lesion", 1.0, (image.affine @ [8, 7, 6, 1])[:3], np.array([9.0, 9.0, 9.0]))
    cut = place_box(far, image.grid)
    assert cut is not None and cut.cut and (cut.voxel[3:] <= np.array(image.shape) - 0.5).all()
    assert place_box(Box("x", 1.0, np.full(3, 1e4), np.ones(3)), image.grid) is None


def test_writing_again_gives_the_same_bytes_and_the_index_names_only_what_is_done(tmp_path: Path) -> None:
    given = cases()
    plan = plan_of(given, "detection", format="coco", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path / "a")
    written(FORMAT, plan, given, tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    list_again(FORMAT, plan, records[:1], tmp_path / "a")
    assert FORMAT.problems(tmp_path / "a", plan, records[:1]) == ()
    assert "case_0002" not in (tmp_path / "a/annotations/instances_train.json").read_text()


def test_what_is_damaged_is_named_and_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    given = cases()
    plan = plan_of(given, "detection", format="coco", classes=CLASSES)
    records = written(FORMAT, plan, given, tmp_path)
    image = given[0].images["T1"]
    write_volume(
        Volume(image.array, image.affine + np.eye(4)[3] * [[3], [0], [0], [0]]), tmp_path / "images/case_0001.nii.gz"
    )
    (tmp_path / "images/case_0002.nii.gz").unlink()
    path = tmp_path / "annotations/instances_train.json"
    path.write_text(path.read_text().replace('"category_id": 1', '"category_id": 2'))
    (tmp_path / "datalist.json").write_text("{")
    found = " ".join(FORMAT.problems(tmp_path, plan, records))
    assert "case_0001.nii.gz is not of the size, or not at the place" in found
    assert "case_0002.nii.gz cannot be read" in found
    assert "instances_train.json does not tell what is in images/case_0001.nii.gz" in found
    assert "datalist.json is damaged" in found
    with pytest.raises(UsageError, match="nothing to detect"):
        FORMAT.check(plan_of(given, "detection", format="coco"))
    with pytest.raises(UsageError, match="'lesion'"):
        FORMAT.write_case(given[0], plan_of(given, "detection", format="coco", classes=("nodule",)), tmp_path)
