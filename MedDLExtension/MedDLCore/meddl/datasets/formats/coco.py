"""Boxes for detection: one dataset with COCO's lists and one for MONAI, in millimeters and in voxels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from meddl.datasets.case import PreparedCase
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError
from meddl.volume import Volume

from .boxes import is_straight, place_box, to_center_and_size
from .dataset_format import DatasetFormat
from .image_files import PNG, read_back, write_images
from .list_files import MONAI_KEYS, SYNTHETIC, about, json_bytes, monai_parts, read_json

DATALIST = "datalist.json"
COCO_LISTS = {split: f"annotations/instances_{split}.json" for split in ("train", "validation", "test")}

_KEY = "detection"
_DIGITS = 6
_TOLD = 5
_Entries: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
_SPACES = {
    "box_voxel": "MONAI's xyzxyz (xyxy in pictures): lowest and highest index along the axes of the array, voxel "
    "centers at whole numbers. The smallest box along these axes that contains what was marked, cut to the image. "
    "Right on every grid: train with it as it is, without AffineBoxToImageCoordinated.",
    "box_world": "MONAI's xyzxyz: lowest and highest R, A, S in mm; the smallest box along them that contains what was "
    "marked.",
    "box_world_cccwhd": "the same as center and lengths.",
    "box_is_straight": "the voxel axes run along R, A, S, so that AffineBoxToImageCoordinated (with "
    "affine_lps_to_ras=False) of box_world gives box_voxel where the box was not cut; where it says false, it would "
    "not.",
    "label": "index of the class in categories, from 0.",
}
_COCO_SPACES = (
    "bbox of pictures: x, y, width, height in pixels, the corner of the first pixel at 0, x along I (right), y along J "
    "(down). bbox of volumes: x, y, z, width, height, depth in voxels along I, J, K, likewise; area is then the volume "
    "in voxels, and images have a depth (files hold I fastest). affine: voxel index (centers at whole numbers) to RAS "
    "mm. Images that are not annotated have no boxes because nobody looked. grown: share of a bbox that lies beyond "
    "what was marked, whose edges do not run along the voxel axes. cut: what was marked reaches out of the image. "
    "boxes_outside: how many lie outside of the image, and are not listed."
)


class CocoFormat(DatasetFormat):
    """``images/case_0001.nii.gz``, ``annotations/instances_train.json`` (COCO) and ``datalist.json`` (MONAI).

    Flat pictures are PNG with COCO's own boxes. COCO has no volumes: theirs are COCO's lists with a third axis.
    """

    name: ClassVar[str] = "coco"
    title: ClassVar[str] = "COCO and MONAI detection"
    tasks: ClassVar[tuple[str, ...]] = ("detection",)
    endings: ClassVar[tuple[str, ...]] = (".nii.gz", ".nrrd", ".png")

    def check(self, plan: ExportPlan) -> None:
        """Find out whether there is something to detect."""
        super().check(plan)
        if not plan.classes:
            raise UsageError("No case has a box, so that there is nothing to detect. Give boxes to the cases.")

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write the images, and return where the boxes are."""
        first = next(iter(case.images.values()))
        paths = write_images(case, folder, "images", plan.options.file_ending)
        facts = {
            "images": paths,
            "shape": [int(n) for n in first.shape],
            "affine": [[float(x) for x in row] for row in first.affine],
            "picture": paths[0].endswith(PNG),
            "straight": is_straight(first.affine),
        }
        if case.boxes is None:
            return {_KEY: facts}
        unknown = sorted({box.label for box in case.boxes} - set(plan.classes))
        if unknown:
            raise UsageError(f"{case.name} has a box called {unknown[0]!r}, which is not among those of the dataset.")
        placed = [place_box(box, first.grid) for box in case.boxes]
        boxes = [
            {
                "label": plan.classes.index(box.label),
                "voxel": _numbers(box.voxel),
                "world": _numbers(box.world),
                "grown": round(box.grown, 4),
                "cut": box.cut,
            }
            for box in placed
            if box is not None
        ]
        return {_KEY: {**facts, "boxes": boxes, "boxes_outside": len(placed) - len(boxes)}}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return COCO's list of each part of the dataset, and MONAI's."""
        datalist = {
            **about(plan.options),
            "task": plan.task,
            "channels": list(plan.channels),
            "categories": list(plan.classes),
            "box_modes": _SPACES,
            **monai_parts([(record, _item(record)) for record in records], needed="box_voxel"),
        }
        lists = {path: _coco(plan, records, split) for split, path in COCO_LISTS.items()}
        return {DATALIST: json_bytes(datalist), **{path: json_bytes(each) for path, each in lists.items()}}

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all images and lists, and compare boxes with images."""
        found = [problem for record in records for problem in _image_problems(root, record)]
        if len({record.facts[_KEY]["picture"] for record in records}) > 1:
            found.append("Some cases are pictures and some volumes, which no detector learns from at once.")
        for split, path in COCO_LISTS.items():
            expected = _coco(plan, records, split)
            found += _list_problems(root, path, expected, _coco_entries)
        parts = monai_parts([(record, _item(record)) for record in records], needed="box_voxel")
        return (*found, *_list_problems(root, DATALIST, parts, _monai_entries))


def _item(record: CaseRecord) -> dict[str, Any]:
    """Return a case as MONAI lists it."""
    told = record.facts[_KEY]
    images = told["images"]
    item: dict[str, Any] = {"image": images[0] if len(images) == 1 else images}
    if "boxes" in told:
        item["box_voxel"] = [_flat(box["voxel"]) if told["picture"] else box["voxel"] for box in told["boxes"]]
        item["box_world"] = [box["world"] for box in told["boxes"]]
        item["box_world_cccwhd"] = [_numbers(to_center_and_size(np.array(box["world"]))) for box in told["boxes"]]
        item["box_is_straight"] = told["straight"]
        item["label"] = [box["label"] for box in told["boxes"]]
    return item


def _coco(plan: ExportPlan, records: Sequence[CaseRecord], split: str) -> dict[str, Any]:
    options = plan.options
    images, annotations = [], []
    boxes = 0
    for number, record in enumerate(records, start=1):
        told = record.facts[_KEY]
        entries = list(_annotations(told, number, boxes))
        boxes += len(entries)
        if record.case.split != split:
            continue
        across, down, depth = told["shape"]
        images.append(
            {
                "id": number,
                "file_name": told["images"][0],
                "width": across,
                "height": down,
                **({} if told["picture"] else {"depth": depth}),
                **({"channel_files": told["images"]} if len(told["images"]) > 1 else {}),
                "annotated": "boxes" in told,
                **({"boxes_outside": told["boxes_outside"]} if told.get("boxes_outside") else {}),
                "affine": told["affine"],
                "license": 1,
            }
        )
        annotations += entries
    return {
        "info": {"description": options.description or options.name, "contributor": options.contact,
                 "split": split, "bbox_spaces": _COCO_SPACES},
        "licenses": [{"id": 1, "name": options.license, "url": ""}],
        "categories": [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(plan.classes, start=1)],
        "images": images,
        "annotations": annotations,
    }  # fmt: skip


def _annotations(told: Mapping[str, Any], image: int, before: int) -> Iterator[dict[str, Any]]:
    """Yield the boxes of an image as COCO lists them; ``before`` is how many other images have."""
    for number, box in enumerate(told.get("boxes", ()), start=before + 1):
        corners = np.array(_flat(box["voxel"]) if told["picture"] else box["voxel"])
        axes = len(corners) // 2
        size = corners[axes:] - corners[:axes]
        yield {
            "id": number,
            "image_id": image,
            "category_id": box["label"] + 1,
            "bbox": _numbers(np.concatenate([corners[:axes] + 0.5, size])),
            "area": round(float(np.prod(size)), _DIGITS),
            "iscrowd": 0,
            "bbox_world": box["world"],
            **({"grown": box["grown"]} if box["grown"] else {}),
            **({"cut": True} if box["cut"] else {}),
        }


def _image_problems(root: Path, record: CaseRecord) -> Iterator[str]:
    told = record.facts[_KEY]
    for path in told["images"]:
        image = read_back(root, path)
        if isinstance(image, str):
            yield image
        elif not _has_place(image, told, path):
            yield f"{path} is not of the size, or not at the place, that its boxes were made for."
    for box in told.get("boxes", ()):
        voxel = np.array(box["voxel"])
        inside = (voxel[:3] >= -0.5).all() and (voxel[3:] <= np.array(told["shape"]) - 0.5).all()
        if not (voxel[:3] < voxel[3:]).all() or not inside:
            yield f"{record.case.name} has a box that is empty or reaches out of its image."


def _has_place(image: Volume, told: Mapping[str, Any], path: str) -> bool:
    if list(image.shape) != list(told["shape"]):
        return False
    # A PNG keeps no place: the list's affine has it.
    return path.endswith(PNG) or bool(np.allclose(image.affine, np.array(told["affine"]), atol=1e-3))


def _list_problems(root: Path, path: str, expected: Mapping[str, Any], entries: _Entries) -> list[str]:
    """Compare what a list tells of each case with what it should; it may tell of more cases."""
    try:
        told = entries(read_json(root, path))
    except ValueError as error:
        return [str(error)]
    except (KeyError, TypeError, AttributeError):
        return [f"{path} is damaged: it does not list boxes. Export the dataset again."]
    differing = sorted(name for name, entry in entries(expected).items() if told.get(name) != entry)
    more = f" and {len(differing) - _TOLD} more" if len(differing) > _TOLD else ""
    return [f"{path} does not tell what is in {', '.join(differing[:_TOLD])}{more}."] if differing else []


def _monai_entries(lists: Mapping[str, Any]) -> dict[str, Any]:
    return {
        item["case"]: (key, item)
        for key in (*MONAI_KEYS.values(), SYNTHETIC, "unlabeled")
        for item in lists.get(key, ())
    }


def _coco_entries(lists: Mapping[str, Any]) -> dict[str, Any]:
    """Return images and boxes by the image's name; their numbers depend on what else is in the list."""
    names = {image["id"]: image["file_name"] for image in lists["images"]}
    entries: dict[str, Any] = {"categories": lists["categories"]}
    for image in lists["images"]:
        entries[image["file_name"]] = [{**image, "id": 0}]
    for box in lists["annotations"]:
        entries[names[box["image_id"]]].append({**box, "id": 0, "image_id": 0})
    return entries


def _flat(voxel: Sequence[float]) -> list[float]:
    return [*voxel[:2], *voxel[3:5]]


def _numbers(array: np.ndarray) -> list[float]:
    return [round(float(x), _DIGITS) + 0.0 for x in array]
