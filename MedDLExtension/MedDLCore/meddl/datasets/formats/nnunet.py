"""nnU-Net v2's raw datasets: ``Dataset001_Name`` with ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from meddl.datasets.case import PreparedCase
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError
from meddl.volume import Volume, is_sheared

from .dataset_format import DatasetFormat
from .image_files import PNG, write_image
from .index_check import index_problems
from .label_maps import BACKGROUND, IGNORE, case_problems, check_case, check_names, components, folder_name
from .list_files import about, json_bytes, read_json

INDEX = "dataset.json"
SPLITS = "splits_final.json"

_KEY = "nnunet"
_CT = "CT"
_COLORS = ("R", "G", "B")


class NnUNetFormat(DatasetFormat):
    """``imagesTr/case_0001_0000.nii.gz``, ``labelsTr/case_0001.nii.gz``, and a list of both in ``dataset.json``.

    nnU-Net reads what its index names ("dataset") and looks into no folder for training cases, so that half-written
    ones are never taken for cases. Overlapping structures become its regions. It knows no validation set: cases held
    back for validation are training cases that ``splits_final.json`` keeps apart. Where a structure covers another one
    in a prediction of regions, it is the earlier of the two, as in label maps.
    """

    name: ClassVar[str] = "nnunet"
    title: ClassVar[str] = "nnU-Net v2"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    endings: ClassVar[tuple[str, ...]] = (".nii.gz", ".nrrd", PNG)

    def folder(self, options: ExportOptions) -> str:
        """Return ``Dataset001_Name``."""
        return f"Dataset{options.number:03d}_{folder_name(options.name)}"

    def check(self, plan: ExportPlan) -> None:
        """Find out whether nnU-Net could train with the labels and the parts of the dataset."""
        super().check(plan)
        if not 1 <= plan.options.number <= 999:
            raise UsageError(f"nnU-Net numbers datasets from 1 to 999, not {plan.options.number}. Choose another.")
        check_names(plan.scheme, self.title)
        if plan.cases and all(case.split == "test" for case in plan.cases):
            raise UsageError("All cases are in the test set. nnU-Net needs some to learn from: change the split.")

    def neighbors(self, root: Path, plan: ExportPlan) -> tuple[str, ...]:
        """Tell whether another dataset has the same number."""
        return tuple(_number_problems(root, plan.options.number))

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write a file per channel, and the label map."""
        check_case(case, self.title)
        ending = self.ending(plan.options)
        part = "Ts" if case.split == "test" else "Tr"
        volumes, kinds = [], []
        for volume in case.images.values():
            # Colors stay together in a picture; elsewhere nnU-Net knows no vectors.
            volumes += [volume] if ending == PNG else components(volume)
            kinds.append(volume.channels)
        images = [f"images{part}/{case.name}_{n:04d}{ending}" for n in range(len(volumes))]
        for path, volume in zip(images, volumes, strict=True):
            _write(volume, folder / path)
        label = None
        if case.labels is not None:
            label = f"labels{part}/{case.name}{ending}"
            _write(case.labels, folder / label)
        sheared = is_sheared(volumes[0].affine)
        return {_KEY: {"images": images, "label": label, "components": kinds, "sheared": sheared}}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return ``dataset.json``, and ``splits_final.json`` where there are folds or validation cases."""
        assert plan.scheme is not None
        ending = self.ending(plan.options)
        training = [record for record in records if record.case.split != "test"]
        test = [record for record in records if record.case.split == "test"]
        labels, order = _labels(plan.scheme)
        dataset = {
            **about(plan.options),
            "converted_by": "MedDL",
            "channel_names": dict(enumerate(_channel_names(plan, records))),
            "labels": labels,
            **({"regions_class_order": order} if order else {}),
            "numTraining": len(training),
            "file_ending": ending,
            "overwrite_image_reader_writer": _reader(ending, records),
            "dataset": {record.case.name: _files(record) for record in training},
            # What follows is not read by nnU-Net.
            "test": {record.case.name: _files(record) for record in test},
            "images": list(plan.channels),
        }
        held = any(case.split == "validation" for case in plan.cases)
        if not held and all(case.fold is None for case in plan.cases):
            return {INDEX: json_bytes(dataset)}
        dataset["splits"] = _told(self.folder(plan.options), held)
        return {INDEX: json_bytes(dataset), SPLITS: json_bytes(_folds(training))}

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all files, the index and the folds."""
        found: list[str] = []
        for record in records:
            told = record.facts[_KEY]
            colors = told["components"] if self.ending(plan.options) == PNG else [1] * len(told["images"])
            images = dict(zip(told["images"], colors, strict=True))
            found += case_problems(root, images, told["label"], plan.scheme)
            if told["components"] != records[0].facts[_KEY]["components"]:
                found.append(
                    f"{record.case.name} has other kinds of images (color or gray) than {records[0].case.name}."
                )
        index = {path: json.loads(content) for path, content in self.index(plan, records).items()}
        if not any(record.facts[_KEY]["sheared"] for record in records):
            del index[INDEX]["overwrite_image_reader_writer"]  # it may be there for a case that is not among these
        found += index_problems(root, INDEX, index[INDEX], _entries, {"dataset": "numTraining", "test": ""})
        if SPLITS in index:
            found += _split_problems(root, index[SPLITS], {record.case.name for record in records})
        if records and all(record.case.split == "test" for record in records):
            found.append("There is no training case yet, without which nnU-Net refuses the dataset.")
        return (*found, *_number_problems(root, plan.options.number))


def _write(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(volume, path)


def _files(record: CaseRecord) -> dict[str, Any]:
    told = record.facts[_KEY]
    return {"images": told["images"], **({"label": told["label"]} if told["label"] else {})}


def _labels(scheme: LabelScheme) -> tuple[dict[str, int | list[int]], list[int]]:
    """Return the labels as nnU-Net wants them, and the order in which regions are painted; () without regions.

    What is painted later covers what was painted before, so the structures come in reverse.
    """
    if not scheme.combinations:
        labels: dict[str, int | list[int]] = {each.name: n for n, each in enumerate(scheme.structures, start=1)}
        order = []
    else:
        backwards = list(reversed(range(len(scheme.structures))))
        labels = {scheme.structures[n].name: _value_or_values(scheme.values_of(n)) for n in backwards}
        order = [n + 1 for n in backwards]
    ignored = {IGNORE: scheme.ignore_value} if scheme.ignore_value is not None else {}
    return {BACKGROUND: 0, **labels, **ignored}, order


def _value_or_values(values: tuple[int, ...]) -> int | list[int]:
    return values[0] if len(values) == 1 else list(values)


def _channel_names(plan: ExportPlan, records: Sequence[CaseRecord]) -> list[str]:
    """Return the names by which nnU-Net chooses how it normalizes: CT has to be called so."""
    counts = records[0].facts[_KEY]["components"] if records else [1] * len(plan.channels)
    names = []
    for channel, count in zip(plan.channels, counts, strict=True):
        name = _CT if plan.modality.get(channel) == _CT else channel
        if count == 1:
            names.append(name)
        else:
            is_color = count == len(_COLORS) and plan.options.file_ending == PNG
            parts = _COLORS if is_color else range(1, count + 1)
            names += [str(part) if is_color and len(plan.channels) == 1 else f"{name} {part}" for part in parts]
    return names


def _reader(ending: str, records: Sequence[CaseRecord]) -> str:
    """Return which of nnU-Net's readers takes all of the files; by itself it would ask the first case only."""
    if ending == PNG:
        return "NaturalImage2DIO"
    if ending == ".nii.gz" and any(record.facts[_KEY]["sheared"] for record in records):
        return "NibabelIO"  # ITK refuses NIfTI images whose axes are not at right angles, as of a tilted gantry
    return "SimpleITKIO"


def _folds(training: Sequence[CaseRecord]) -> list[dict[str, list[str]]]:
    """Return the folds of cross-validation, and after them that of the cases held back for validation."""
    learned = [record.case for record in training if record.case.split == "train"]
    held = [record.case.name for record in training if record.case.split == "validation"]
    folds = []
    for fold in sorted({case.fold for case in learned if case.fold is not None}):
        train = [case.name for case in learned if case.fold != fold]
        val = [case.name for case in learned if case.fold == fold and not case.source]
        folds.append({"train": train, "val": val})
    folds.append({"train": [case.name for case in learned], "val": held})
    return [fold for fold in folds if fold["train"] and fold["val"]]


def _told(folder: str, held: bool) -> str:
    text = (
        f"{SPLITS} keeps patients together and validation cases apart. nnU-Net takes it from here when it plans the "
        f"experiment; an older one that does not needs a copy in nnUNet_preprocessed/{folder} before it trains."
    )
    return f"{text} Its last fold validates on the cases held back for that." if held else text


def _entries(index: Mapping[str, Any]) -> list[tuple[str, Any]]:
    parts = [(part, index[part]) for part in ("dataset", "test")]
    return [(name, (part, entry["images"], entry.get("label"))) for part, each in parts for name, entry in each.items()]


def _split_problems(root: Path, wanted: Sequence[Mapping[str, Any]], names: set[str]) -> list[str]:
    """Compare the folds with what they should be, as far as ``names`` are in them."""
    try:
        there = [{part: [name for name in fold[part] if name in names] for part in ("train", "val")}
                 for fold in read_json(root, SPLITS)]  # fmt: skip
    except ValueError as error:
        return [str(error)]
    except (KeyError, TypeError):
        return [f"{SPLITS} is damaged: it does not list folds. Export the dataset again."]
    if [fold for fold in there if fold["train"] and fold["val"]] != list(wanted):
        return [f"{SPLITS} does not split the cases as planned: a patient may be on both sides."]
    return []


def _number_problems(root: Path, number: int) -> list[str]:
    place = root.resolve()
    prefix = f"Dataset{number:03d}_"
    same = [path for path in place.parent.glob(f"{prefix}*") if path != place and path.is_dir()]
    if not same or not place.name.startswith(prefix):
        return []
    return [f"Another dataset beside this one has the number {number} too, so that nnU-Net takes neither: rename one."]
