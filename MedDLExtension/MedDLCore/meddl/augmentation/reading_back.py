"""Cases of a dataset as they went into it: read back from its files, or made once more from where they came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from meddl.datasets.case import (
    BoxesLabel,
    Case,
    ClassLabel,
    ImageFile,
    LandmarksLabel,
    PreparedCase,
    SegmentationLabel,
)
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.manifest import Manifest
from meddl.datasets.plan import CaseRecord, ExportPlan
from meddl.errors import UsageError, VolumeError
from meddl.volume import Segment, Volume


class Sources(ABC):
    """The cases of a dataset by their names; the last one stays in memory."""

    def __init__(self) -> None:
        self._last: dict[str, PreparedCase] = {}

    def prepared(self, name: str) -> PreparedCase:
        """Return a case as it went into the dataset.

        Raises:
            VolumeError, UsageError: it cannot be read.
        """
        if name not in self._last:
            self._last = {}  # one at a time in memory
            self._last = {name: self._made(name)}
        return self._last[name]

    @abstractmethod
    def _made(self, name: str) -> PreparedCase: ...


class CollectedSources(Sources):
    """Cases as they were collected, prepared as for the export."""

    def __init__(self, plan: ExportPlan, cases: Sequence[Case]) -> None:
        super().__init__()
        by_id = {case.id: case for case in cases}
        self._plan = plan
        self._cases = {planned.name: (planned, by_id[planned.id]) for planned in plan.cases if planned.id in by_id}

    def _made(self, name: str) -> PreparedCase:
        from meddl.datasets.loading import load_case
        from meddl.datasets.prepare import prepare_case

        if name not in self._cases:
            raise UsageError(f"{name} is in the dataset and not among these cases. Make variants of the dataset's own "
                             "files: give its folder for the cases.")  # fmt: skip
        planned, case = self._cases[name]
        return prepare_case(load_case(case), planned, self._plan, b"")


class WrittenSources(Sources):
    """Cases read back from the files of a dataset."""

    def __init__(self, manifest: Manifest, cases: Mapping[str, Case]) -> None:
        super().__init__()
        self._manifest = manifest
        self._cases = cases

    def _made(self, name: str) -> PreparedCase:
        return _prepared(self._cases[name], self._manifest, self._manifest.records[name])


def sources_in(root: Path, manifest: Manifest, names: Collection[str]) -> WrittenSources:
    """Return the cases ``names`` of a dataset, ready to be read.

    Raises:
        UsageError: not all of them can be found in its files.
    """
    from meddl.datasets.collect import collect_cases

    if manifest.plan.options.format == "dicom" and manifest.plan.task == "segmentation":
        return WrittenSources(manifest, {name: _of_dicom(root, manifest.records[name]) for name in names})
    owners: dict[Path, str] = {}
    for record in manifest.done():
        files = {(root / path).absolute() for path in record.files}
        owners.update(dict.fromkeys(files | {each.parent for each in files if each.suffix == ".dcm"}, record.case.name))
    found: dict[str, Case] = {}
    for case in collect_cases(root, synthetic=True):
        first = next(iter(case.images.values()))
        name = owners.get(first.path.absolute()) if isinstance(first, ImageFile) else None
        if name in names and name is not None:
            found.setdefault(name, case)
    if missing := sorted(set(names) - set(found)):
        raise UsageError(
            f"{len(missing)} cases of the dataset cannot be read back from its files, the first of them {missing[0]}. "
            "Verify the dataset, or export it in another format."
        )
    return WrittenSources(manifest, found)


def _of_dicom(root: Path, record: CaseRecord) -> Case:
    """Return a case of several series, which a folder of DICOM files does not tell."""
    told = record.facts["dicom"]
    images = {name: ImageFile(root / series["folder"]) for name, series in told["series"].items() if name != "target"}
    label = SegmentationLabel(ImageFile(root / told["segmentation"]["path"])) if told.get("segmentation") else None
    return Case(record.case.name, images, label)


def _prepared(case: Case, manifest: Manifest, record: CaseRecord) -> PreparedCase:
    from meddl.datasets.loading import load_case

    plan, planned = manifest.plan, record.case
    loaded = load_case(case)
    images = dict(loaded.images)
    if set(images) != set(plan.channels):
        if len(images) != len(plan.channels):
            raise VolumeError(f"{planned.name} has {len(images)} images, and the dataset has {len(plan.channels)}.")
        images = dict(zip(plan.channels, images.values(), strict=True))
    images = {name: _bare(images[name]) for name in plan.channels}
    label = loaded.case.label
    if plan.task == "segmentation" and loaded.labels is None:
        raise VolumeError(f"{planned.name} has no label that can be read back.")
    labels = None
    if loaded.labels is not None and isinstance(label, SegmentationLabel) and plan.scheme is not None:
        labels = _bare(_values(loaded.labels, loaded.segments, plan.scheme))
        if not labels.grid.same_as(images[plan.channels[0]].grid):  # a DICOM SEG holds what is labeled only
            from meddl.datasets.one_grid import to_one_grid
            from meddl.datasets.options import GridOptions

            placed = to_one_grid(images, labels, None, GridOptions(), scheme=plan.scheme)
            images, labels = dict(placed.images), placed.labels
    facts = record.facts.get("quality", {}).get("channels", {})
    return PreparedCase(
        name=planned.name,
        patient=planned.patient,
        images=images,
        site=planned.site,
        split=planned.split,
        fold=planned.fold,
        labels=labels,
        classes=label.names if isinstance(label, ClassLabel) else (),
        boxes=label.boxes if isinstance(label, BoxesLabel) else None,
        points=label.points if isinstance(label, LandmarksLabel) else None,
        target=_bare(loaded.target) if loaded.target is not None else None,
        modality={name: str(facts.get(name, {}).get("modality", "")) for name in plan.channels},
    )


def _values(labels: Volume, segments: tuple[Segment, ...], scheme: LabelScheme) -> Volume:
    """Return labels with the values of the dataset: a label map has them, a DICOM SEG has names for them."""
    from meddl.datasets.formats.label_maps import value_names
    from meddl.datasets.label_map import apply_scheme
    from meddl.datasets.structure_keys import keys_within

    names = value_names(scheme)
    if labels.channels == 1 and all(names.get(each.label) == each.name for each in segments):
        return labels
    key = keys_within(segments)
    keys = {each.name: key(each) for each in segments}
    structures = tuple(
        replace(each, sources=(keys[each.name],) if each.name in keys else ()) for each in scheme.structures
    )
    unknown = set(keys) - {each.name for each in structures} - {names.get(scheme.ignore_value or 0, "")}
    if unknown:
        raise VolumeError(f"The label has structures that the dataset has not: {', '.join(sorted(unknown))}.")
    ignored = names.get(scheme.ignore_value or 0, "")
    ignore = (keys[ignored],) if scheme.ignore and ignored in keys else scheme.ignore
    return apply_scheme(labels, segments, replace(scheme, structures=structures, ignore=ignore))


def _bare(volume: Volume) -> Volume:
    return Volume(np.asarray(volume.array), volume.affine)
