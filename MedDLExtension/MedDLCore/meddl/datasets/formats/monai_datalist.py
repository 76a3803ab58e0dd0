"""A list of cases for MONAI, for all tasks: ``datalist.json`` beside images, labels and target images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from meddl.datasets.case import PreparedCase
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.volume import Grid, Volume

from .boxes import place_box
from .dataset_format import DatasetFormat
from .image_files import PNG, file_stems, write_image
from .index_check import index_problems
from .label_maps import case_problems, check_case, check_names, check_numbers, components, value_names
from .list_files import SYNTHETIC, about, json_bytes, monai_parts, read_json

DATALIST = "datalist.json"

_KEY = "monai"
_DIGITS = 4
_NEEDED = {"segmentation": "label", "classification": "label", "detection": "label",
           "landmarks": "landmarks", "reconstruction": "target"}  # fmt: skip
_SEVERAL = "0 or 1 for each class"
_SPACES = {
    "detection": {
        "box_voxel": "MONAI's xyzxyz: lowest and highest index along the axes of the array, voxel centers at whole "
        "numbers, cut to the image. Right on every grid: train with it as it is.",
        "box_world": "MONAI's xyzxyz: lowest and highest R, A, S in mm.",
        "label": "index of the class in classes, for each box.",
    },
    "landmarks": {
        "landmarks": "R, A, S in mm, in the order of classes; 0, 0, 0 where the point is not there.",
        "landmarks_voxel": "the same as indices along the axes of the array, voxel centers at whole numbers.",
        "landmarks_there": "1 for a point that is there, else 0: leave the others out of the loss.",
    },
}


class MonaiDatalistFormat(DatasetFormat):
    """``images/case_0001.nii.gz``, ``labels/case_0001.nii.gz``, ``targets/...`` and ``datalist.json``.

    ``monai.data.load_decathlon_datalist`` reads it ("training", "validation", "test"); training cases have their
    "fold". The keys of a case: "image" (several files are channels, as ``LoadImaged`` stacks them) and, by task,
    "label" (segmentation: a file; classification: index of the class, or 0 and 1 for each; detection: index of each
    box's), "box_voxel" and "box_world", "landmarks", "landmarks_voxel" and "landmarks_there", or "target" (a file).
    """

    name: ClassVar[str] = "monai"
    title: ClassVar[str] = "MONAI datalist"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation", "classification", "detection", "landmarks", "reconstruction")
    endings: ClassVar[tuple[str, ...]] = (".nii.gz", ".nrrd", PNG)

    def check(self, plan: ExportPlan) -> None:
        """Find out whether labels and classes can be told apart."""
        super().check(plan)
        if plan.task == "segmentation":
            check_names(plan.scheme, self.title)
        elif plan.task != "reconstruction" and not plan.classes:
            raise UsageError("The cases' labels name nothing, so that there is nothing to learn. Name them.")

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write images, label map and target, and return the rest of the label."""
        ending = self.ending(plan.options)
        if plan.task == "segmentation":
            check_case(case, self.title)
        check_numbers(case.name, [*case.images.values(), *([case.target] if case.target is not None else [])])
        stems = file_stems(case.name, tuple(case.images))
        images = _write(list(case.images.values()), stems, "images", folder, ending)
        target = _write([case.target], [case.name], "targets", folder, ending) if case.target is not None else {}
        facts: dict[str, Any] = {"images": list(images), "channels": [*images.values(), *target.values()]}
        if target:
            facts["target"] = list(target)
        if case.labels is not None:
            (facts["label"],) = _write([case.labels], [case.name], "labels", folder, ending)
        grid = next(iter(case.images.values())).grid
        if case.classes:
            facts["classes"] = [_known(name, plan, case) for name in case.classes]
        if case.boxes is not None:
            boxes = [(box, _known(box.label, plan, case)) for box in case.boxes]
            placed = [(place_box(box, grid), label) for box, label in boxes]
            facts["boxes"] = [
                {"label": label, "voxel": _numbers(box.voxel), "world": _numbers(box.world)}
                for box, label in placed
                if box is not None
            ]
            facts["boxes_outside"] = len(placed) - len(facts["boxes"])
        if case.points is not None:
            facts["points"] = _points(case, plan, grid)
        return {_KEY: facts}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return the datalist."""
        several = any(len(record.facts[_KEY].get("classes", ())) > 1 for record in records)
        return {DATALIST: json_bytes(self._datalist(plan, records, several))}

    def _datalist(self, plan: ExportPlan, records: Sequence[CaseRecord], several: bool) -> dict[str, Any]:
        items = [(record, _item(record, plan, several)) for record in records]
        parts = monai_parts(items, _NEEDED[plan.task])
        return {
            **about(plan.options),
            "task": plan.task,
            "channels": list(plan.channels),
            "modality": dict(enumerate(plan.modality.get(name, "") or name for name in plan.channels)),
            **_meaning(plan, several),
            "numTraining": len(parts.get("training", ())),
            "numTest": len(parts.get("test", ())),
            "training": [],  # always there, so that a list of the first cases can be read too
            **parts,
        }

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all files and the list."""
        found: list[str] = []
        for record in records:
            told = record.facts[_KEY]
            paths = [*told["images"], *told.get("target", ())]
            images = dict(zip(paths, told["channels"], strict=True))
            found += case_problems(root, images, told.get("label"), plan.scheme)
            if len(told["images"]) != len(records[0].facts[_KEY]["images"]):
                found.append(f"{record.case.name} has another number of images than {records[0].case.name}.")
        several = any(len(record.facts[_KEY].get("classes", ())) > 1 for record in records) or _says_several(root)
        wanted = json.loads(json_bytes(self._datalist(plan, records, several)))
        lists = {"training": "numTraining", "validation": "", "test": "numTest", SYNTHETIC: "", "unlabeled": ""}
        lists = {key: count for key, count in lists.items() if key in wanted}
        return (*found, *index_problems(root, DATALIST, wanted, _entries, lists))


def _write(volumes: Sequence[Volume], stems: Sequence[str], place: str, folder: Path, ending: str) -> dict[str, int]:
    """Write volumes, a file per value of a voxel, but colors of a picture in one; return values per voxel by path."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    files: dict[str, Volume] = {}
    for stem, volume in zip(stems, volumes, strict=True):
        parts = {"": volume}
        if volume.channels > 1 and ending != PNG:
            parts = {f"@{n}": each for n, each in enumerate(components(volume))}  # no channel's file has an "@"
        files.update({f"{place}/{stem}{part}{ending}": each for part, each in parts.items()})
    for path, volume in files.items():
        write_image(volume, folder / path)
    return {path: volume.channels for path, volume in files.items()}


def _known(name: str, plan: ExportPlan, case: PreparedCase) -> int:
    if name not in plan.classes:
        raise VolumeError(f"{case.name} has a label {name!r}, which is not among those of the dataset.")
    return plan.classes.index(name)


def _points(case: PreparedCase, plan: ExportPlan, grid: Grid) -> list[dict[str, Any] | None]:
    """Return the points in the order of the dataset's, None for those that are not there."""
    points: list[dict[str, Any] | None] = [None] * len(plan.classes)
    inverse = np.linalg.inv(grid.affine)
    for point in case.points or ():
        index = _known(point.name, plan, case)
        if points[index] is not None:
            raise VolumeError(f"{case.name} has two points called {point.name!r}. Rename one of them.")
        world = np.asarray(point.position, dtype=np.float64)
        points[index] = {"world": _numbers(world), "voxel": _numbers(inverse[:3, :3] @ world + inverse[:3, 3])}
    return points


def _numbers(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) + 0.0 for value in values]


def _meaning(plan: ExportPlan, several: bool) -> dict[str, Any]:
    """Return what the labels mean."""
    if plan.scheme is not None:
        structures = {each.name: plan.scheme.values_of(n) for n, each in enumerate(plan.scheme.structures)}
        return {"labels": value_names(plan.scheme), "structures": structures, "ignore": plan.scheme.ignore_value}
    kinds = {"classification": _SEVERAL if several else "index of the class"}
    kind = {"label_kind": kinds[plan.task]} if plan.task in kinds else {}
    return {"classes": list(plan.classes), **kind, **({"spaces": _SPACES[plan.task]} if plan.task in _SPACES else {})}


def _item(record: CaseRecord, plan: ExportPlan, several: bool) -> dict[str, Any]:
    """Return a case as MONAI lists it."""
    told = record.facts[_KEY]
    item: dict[str, Any] = {"image": _one_or_all(told["images"])}
    if "label" in told:
        item["label"] = told["label"]
    if "target" in told:
        item["target"] = _one_or_all(told["target"])
    if "classes" in told:
        classes = told["classes"]
        item["label"] = [int(n in classes) for n in range(len(plan.classes))] if several else classes[0]
    if "boxes" in told:
        item["box_voxel"] = [box["voxel"] for box in told["boxes"]]
        item["box_world"] = [box["world"] for box in told["boxes"]]
        item["label"] = [box["label"] for box in told["boxes"]]
    if "points" in told:
        nowhere = {"world": [0.0] * 3, "voxel": [0.0] * 3}
        points = [*told["points"], *[None] * (len(plan.classes) - len(told["points"]))]
        item["landmarks"] = [(point or nowhere)["world"] for point in points]
        item["landmarks_voxel"] = [(point or nowhere)["voxel"] for point in points]
        item["landmarks_there"] = [int(point is not None) for point in points]
    return item


def _says_several(root: Path) -> bool:
    """Say whether the list has a number for each class: maybe for a case that is not among those looked at."""
    try:
        return bool(read_json(root, DATALIST)["label_kind"] == _SEVERAL)
    except (ValueError, KeyError, TypeError):
        return False


def _one_or_all(paths: Sequence[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else list(paths)


def _entries(index: Mapping[str, Any]) -> list[tuple[str, Any]]:
    parts = ("training", "validation", "test", SYNTHETIC, "unlabeled")
    return [(item["case"], (part, item)) for part in parts for item in index.get(part, ())]
