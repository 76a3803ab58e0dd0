"""Images sorted into a folder per class, with the same in a table and in a list for MONAI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from meddl.batch.naming import safe_names
from meddl.datasets.case import PreparedCase
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError
from meddl.spreadsheet import safe_cell

from .dataset_format import DatasetFormat
from .image_files import read_back, write_images
from .list_files import (
    CLASS_SEPARATOR,
    MONAI_KEYS,
    SYNTHETIC,
    about,
    check_columns,
    json_bytes,
    monai_parts,
    read_json,
    read_table,
    table_bytes,
)

TABLE = "cases.csv"
DATALIST = "datalist.json"

_KEY = "classification"
_UNKNOWN = "@unlabeled"
_COLUMNS = ("case", "patient", "site", "split", "fold", "class")


class ClassificationFormat(DatasetFormat):
    """``train/benign/case_0001.nii.gz``: part of the dataset, class, case; as torchvision's ImageFolder wants it.

    A case of several classes that do not exclude each other lies in a folder named after all of them, and the lists
    then give a 0 or 1 for each class. Names with "@" or "&" are no class's: they are made of several, or of none.
    """

    name: ClassVar[str] = "classification"
    title: ClassVar[str] = "Folder per class"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    endings: ClassVar[tuple[str, ...]] = (".nii.gz", ".nrrd", ".png")

    def check(self, plan: ExportPlan) -> None:
        """Find out whether the classes can be told apart."""
        super().check(plan)
        if not plan.classes:
            raise UsageError("No case has a class, and a model needs at least two to tell apart. Give each case one.")
        for name in plan.classes:
            if any(mark in name for mark in "|;") or not name.strip():
                raise UsageError(f"The class {name!r} cannot stand in a list of classes. Rename it without | and ;.")
        check_columns(plan.channels, _COLUMNS, self.title)

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write the images into the folder of their class."""
        unknown = [name for name in case.classes if name not in plan.classes]
        if unknown:
            raise UsageError(f"{case.name} has the class {unknown[0]!r}, which is not among those of the dataset.")
        place = f"{case.split}/{_class_folder(case.classes, plan)}"
        paths = write_images(case, folder, place, plan.options.file_ending)
        return {_KEY: {"images": paths, "classes": [name for name in plan.classes if name in case.classes]}}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return the table (which can be collected from again) and the list for MONAI."""
        header = (*_COLUMNS, *plan.channels)
        rows = []
        for record in records:
            case, told = record.case, record.facts[_KEY]
            classes = CLASS_SEPARATOR.join(told["classes"])
            rows.append((case.name, case.patient, case.site, case.split, case.fold, classes, *told["images"]))
        several = any(len(record.facts[_KEY]["classes"]) > 1 for record in records)
        datalist = {
            **about(plan.options),
            "task": plan.task,
            "channels": list(plan.channels),
            "classes": list(plan.classes),
            "label_kind": "0 or 1 for each class" if several else "index of the class",
            **monai_parts([(record, _item(record, plan, several)) for record in records], needed="label"),
        }
        return {TABLE: table_bytes(header, rows), DATALIST: json_bytes(datalist)}

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all images, and compare folders, table and list."""
        found: list[str] = []
        for record in records:
            for path in record.facts[_KEY]["images"]:
                image = read_back(root, path)
                found += [image] if isinstance(image, str) else []
        try:
            rows = {row["case"]: row for row in read_table(root, TABLE)}
            lists = read_json(root, DATALIST)
            items = {item["case"]: item for key in (*MONAI_KEYS.values(), SYNTHETIC, "unlabeled")
                     for item in lists.get(key, ())}  # fmt: skip
        except ValueError as error:
            return (*found, str(error))
        except (KeyError, TypeError, AttributeError):
            return (*found, f"{TABLE} or {DATALIST} is damaged: they do not list cases. Export the dataset again.")
        several = lists.get("label_kind") == "0 or 1 for each class"
        for record in records:
            name, told = record.case.name, record.facts[_KEY]
            if name not in rows or name not in items:
                found.append(f"{name} is in the dataset, but not in {TABLE if name not in rows else DATALIST}.")
                continue
            row, item = rows[name], items[name]
            listed = item.get("image")
            agree = (
                row.get("class") == safe_cell(CLASS_SEPARATOR.join(told["classes"]))
                and [row.get(channel) for channel in plan.channels] == told["images"]
                and ([listed] if isinstance(listed, str) else listed) == told["images"]
                and item.get("label") == _item(record, plan, several).get("label")
            )
            if not agree or _class_folder(told["classes"], plan) != Path(told["images"][0]).parts[1]:
                found.append(f"The class of {name} differs between its folder, {TABLE} and {DATALIST}.")
        unknown = sorted((rows.keys() | items.keys()) - {case.name for case in plan.cases})
        found += [f"{name} is listed, but no case of the dataset." for name in unknown]
        return tuple(found)


def _class_folder(classes: Sequence[str], plan: ExportPlan) -> str:
    folders = dict(zip(plan.classes, safe_names(plan.classes), strict=True))
    return "&".join(folders[name] for name in plan.classes if name in classes) or _UNKNOWN


def _item(record: CaseRecord, plan: ExportPlan, several: bool) -> dict[str, Any]:
    """Return a case as MONAI lists it."""
    images, classes = record.facts[_KEY]["images"], record.facts[_KEY]["classes"]
    item: dict[str, Any] = {"image": images[0] if len(images) == 1 else images}
    if classes and several:
        item["label"] = [int(name in classes) for name in plan.classes]
    elif classes:
        item["label"] = plan.classes.index(classes[0])
    return item
