"""The Medical Segmentation Decathlon's folders: ``Task01_Name`` with 4-D images and ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from meddl.datasets.case import PreparedCase
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError
from meddl.volume import Volume, write_volume

from .dataset_format import DatasetFormat
from .index_check import index_problems
from .label_maps import case_problems, check_case, check_names, folder_name, value_names
from .list_files import SYNTHETIC, about, json_bytes

INDEX = "dataset.json"

_KEY = "msd"
_ENDING = ".nii.gz"
_PARTS = {"train": "Tr", "validation": "Val", "test": "Ts"}
_TEST_FOLDER = "imagesTs/.keep"
"""Converters of the Decathlon want the folder of the test images, also where there are none."""


class DecathlonFormat(DatasetFormat):
    """``imagesTr/case_0001.nii.gz`` with all channels, ``labelsTr/case_0001.nii.gz``, ``imagesTs``.

    The Decathlon has no validation set: it lies in ``imagesVal`` and ``labelsVal`` and is listed under "validation",
    as MONAI reads it. Folds stand with the training cases. Structures that overlap have a label of their own for each
    combination, and ``structures`` in ``dataset.json`` says which labels make up a structure.
    """

    name: ClassVar[str] = "msd"
    title: ClassVar[str] = "Medical Segmentation Decathlon"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    endings: ClassVar[tuple[str, ...]] = (_ENDING,)

    def folder(self, options: ExportOptions) -> str:
        """Return ``Task01_Name``; converters take what is before and behind the only underscore."""
        return f"Task{options.number:02d}_{folder_name(options.name, '-')}"

    def check(self, plan: ExportPlan) -> None:
        """Find out whether the labels can be told apart."""
        super().check(plan)
        if not 1 <= plan.options.number <= 999:
            raise UsageError(f"Tasks are numbered from 1 to 999, not {plan.options.number}. Choose another number.")
        check_names(plan.scheme, self.title)

    def write_case(self, case: PreparedCase, plan: ExportPlan, folder: Path) -> dict[str, Any]:
        """Write one file with all channels, and the label map."""
        check_case(case, self.title)
        part = _PARTS[case.split]
        volumes = list(case.images.values())
        array = volumes[0].array if len(volumes) == 1 else np.concatenate([volume.array for volume in volumes])
        image = f"images{part}/{case.name}{_ENDING}"
        _write(volumes[0].with_array(array), folder / image)
        label = None
        if case.labels is not None:
            label = f"labels{part}/{case.name}{_ENDING}"
            _write(case.labels, folder / label)
        return {_KEY: {"image": image, "label": label, "components": [volume.channels for volume in volumes]}}

    def index(self, plan: ExportPlan, records: Sequence[CaseRecord]) -> Mapping[str, bytes]:
        """Return ``dataset.json`` and what keeps the folder of the test images."""
        assert plan.scheme is not None
        channels = _channels(plan, records)
        learned = [record for record in records if record.case.split == "train"]
        synthetic = [_item(record) for record in learned if _is_apart(record)]
        training = [_item(record) for record in learned if not _is_apart(record)]
        validation = [_item(record) for record in records if record.case.split == "validation"]
        test = [record for record in records if record.case.split == "test"]
        dataset = {
            **about(plan.options),
            "reference": plan.options.contact,
            "release": "",
            "tensorImageSize": "4D" if len(channels) > 1 else "3D",
            "modality": dict(enumerate(channels)),
            "labels": value_names(plan.scheme),
            "structures": {each.name: plan.scheme.values_of(n) for n, each in enumerate(plan.scheme.structures)},
            "numTraining": len(training),
            "numTest": len(test),
            "training": training,
            **({"validation": validation, "numValidation": len(validation)} if validation else {}),
            **({SYNTHETIC: synthetic} if synthetic else {}),
            "test": [f"./{record.facts[_KEY]['image']}" for record in test],
            "testLabels": {record.case.name: f"./{label}" for record in test if (label := record.facts[_KEY]["label"])},
        }
        return {INDEX: json_bytes(dataset), _TEST_FOLDER: b""}

    def problems(self, root: Path, plan: ExportPlan, records: Sequence[CaseRecord]) -> tuple[str, ...]:
        """Read all files and the list."""
        found: list[str] = []
        for record in records:
            told = record.facts[_KEY]
            images = {told["image"]: sum(told["components"])}
            found += case_problems(root, images, told["label"], plan.scheme, multichannel=True)
            if told["components"] != records[0].facts[_KEY]["components"]:
                found.append(f"{record.case.name} has another number of channels than {records[0].case.name}.")
        wanted = json.loads(self.index(plan, records)[INDEX])
        lists = {
            "training": "numTraining",
            "validation": "numValidation",
            "test": "numTest",
            "testLabels": "",
            SYNTHETIC: "",
        }
        return (*found, *index_problems(root, INDEX, wanted, _entries, lists))


def _write(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(volume, path, channels="list")


def _channels(plan: ExportPlan, records: Sequence[CaseRecord]) -> list[str]:
    """Return the names of the values of a voxel; converters to nnU-Net take a CT by its name."""
    counts = records[0].facts[_KEY]["components"] if records else [1] * len(plan.channels)
    names = ["CT" if plan.modality.get(channel) == "CT" else channel for channel in plan.channels]
    several = ([name] if count == 1 else [f"{name} {n + 1}" for n in range(count)]
               for name, count in zip(names, counts, strict=True))  # fmt: skip
    return [name for each in several for name in each]


def _item(record: CaseRecord) -> dict[str, Any]:
    told = record.facts[_KEY]
    fold = {} if record.case.fold is None else {"fold": record.case.fold}
    made = {"synthetic_of": record.case.source} if record.case.source else {}
    return {"image": f"./{told['image']}", "label": f"./{told['label']}", **fold, **made}


def _is_apart(record: CaseRecord) -> bool:
    """Say whether a case was made from another, and might be validated with by who takes a fold out."""
    return bool(record.case.source) and record.case.fold is not None


def _entries(index: Mapping[str, Any]) -> list[tuple[str, Any]]:
    items = [(part, item) for part in ("training", "validation", SYNTHETIC) for item in index.get(part, ())]
    trained = [(_case(item["image"]), (part, item)) for part, item in items]
    tested = [(_case(image), ("test", image, index["testLabels"].get(_case(image)))) for image in index["test"]]
    return trained + tested


def _case(image: str) -> str:
    return image.rpartition("/")[2].removesuffix(_ENDING)
