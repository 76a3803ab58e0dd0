"""What a dataset that MedDL exported knows of its own files: whose they are, their parts, and names of their labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from meddl.datasets.case import Case, ImageFile, SegmentationLabel
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.manifest import Manifest, read_manifest
from meddl.datasets.plan import PlannedCase
from meddl.errors import UsageError
from meddl.volume import Segment

logger = logging.getLogger(__name__)

_LABEL_MAPS = (".nii.gz", ".nrrd", ".png")


def with_exported_facts(cases: Sequence[Case], manifests: Sequence[Path]) -> list[Case]:
    """Return the cases with patients, sites, parts and names of labels, where they are files of exported datasets.

    Only few formats keep all of that in their own files: without it, images of one patient would go to several parts
    when a dataset is exported once more.

    Args:
        manifests: the files ``dataset.meddl.json``. Damaged ones tell nothing.
    """
    owners: dict[Path, tuple[PlannedCase, Manifest, str]] = {}
    for path in manifests:
        try:
            manifest = read_manifest(path.parent)
        except UsageError as error:
            logger.debug("%s: %s", path, error)
            continue
        if manifest is None:
            continue
        root = path.parent.absolute()
        before = f"{root.name} " if len(manifests) > 1 else ""  # every dataset has a first patient
        for record in manifest.records.values():
            files = {root / file for file in record.files}
            series = {file.parent for file in files if file.suffix == ".dcm"}
            owners.update(dict.fromkeys(files | series, (record.case, manifest, before)))
    return [_with_facts(case, owners) for case in cases] if owners else list(cases)


def _with_facts(case: Case, owners: dict[Path, tuple[PlannedCase, Manifest, str]]) -> Case:
    first = next(iter(case.images.values()))
    found = owners.get(first.path) if isinstance(first, ImageFile) else None
    if found is None:
        return case
    planned, manifest, before = found
    several = len({each.split for each in manifest.plan.cases}) > 1
    label = case.label
    if isinstance(label, SegmentationLabel) and isinstance(label.source, ImageFile) and manifest.plan.scheme:
        is_map = label.source.path in owners and label.source.path.name.endswith(_LABEL_MAPS)
        label = SegmentationLabel(label.source, _segments(manifest.plan.scheme)) if is_map else label
    return replace(
        case,
        patient=f"{before}{planned.patient}",
        site=case.site or planned.site,
        split=planned.split if several else case.split,
        label=label,
    )


def _segments(scheme: LabelScheme) -> tuple[Segment, ...]:
    """Return what the values of the dataset's label maps mean; those of overlaps under the names of both."""
    from meddl.datasets.formats.label_maps import value_names

    looks = {n: (each.color, each.terminology) for n, each in enumerate(scheme.structures, start=1)}
    gray = ((0.5, 0.5, 0.5), "")
    return tuple(Segment(value, name, *looks.get(value, gray)) for value, name in value_names(scheme).items() if value)
