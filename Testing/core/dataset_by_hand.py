"""Small datasets of real images for the tests of formats: cases and plan made by hand, written without the writer."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import realdata
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.dataset_format import DatasetFormat
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.volume import Grid, Volume, read_volume, resample_to

SECRET = b"the secret of the tests"
LESION = LabelScheme(
    (
        Structure(
            "lesion",
            (0.9, 0.2, 0.1),
            "Segmentation category and type - DICOM master list~SCT^49755003^Morphologically Altered Structure"
            "~SCT^108369006^Neoplasm~^^~Anatomic codes - DICOM master list~SCT^12738006^Brain~^^",
        ),
    )
)


@functools.cache
def patient(name: str) -> tuple[Volume, Volume]:
    """(image, lesion as uint8 labels) of a patient of pyradiomics ("brain1", "lung1", ...), small: round the lesion."""
    files = realdata.pyradiomics()
    image, mask = read_volume(files[f"{name}_image"]), read_volume(files[f"{name}_label"])
    if not mask.grid.same_as(image.grid):
        mask = resample_to(mask, image.grid, interpolation="nearest")
    where = np.argwhere(mask.array[0] > 0)
    low = np.maximum(where.min(axis=0) - np.array((12, 9, 3)), 0)
    high = np.minimum(where.max(axis=0) + np.array((11, 14, 4)), image.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    labels = (mask.array[(slice(None), *box)] > 0).astype(np.uint8)
    return Volume(np.ascontiguousarray(image.array[(slice(None), *box)]), affine), Volume(labels, affine)


@functools.cache
def vertebra() -> tuple[Volume, Volume]:
    """(T2 MR of the spine in PIR order, its labels)."""
    files = realdata.tptbox()
    image = next(read_volume(path) for name, path in files.items() if "T2w" in name and "seg" not in name)
    labels = next(read_volume(path) for name, path in files.items() if "mri_seg-subreg" in name)
    return image, Volume(labels.array.astype(np.uint8), labels.affine)


def on(volume: Volume, affine: np.ndarray) -> Volume:
    """Return the same voxels at another place."""
    return Volume(volume.array, affine)


def plan_of(cases: Sequence[PreparedCase], task: str, *, format: str, **choices: Any) -> ExportPlan:
    """Return the plan that ``cases`` would be of; ``choices`` go to the options, or are parts of the plan."""
    own = {name: choices.pop(name) for name in ("scheme", "classes", "modality") if name in choices}
    planned = [
        PlannedCase("an id", case.name, case.patient, case.site, case.split, case.fold, "0" * 64) for case in cases
    ]
    options = ExportOptions(format=format, name="By hand", license="CC-BY-4.0", **choices)
    return ExportPlan(options, task, tuple(cases[0].images), cases=tuple(planned), **own)


def written(kind: DatasetFormat, plan: ExportPlan, cases: Sequence[PreparedCase], root: Path) -> tuple[CaseRecord, ...]:
    """Write a dataset into ``root`` and return its records, as a manifest would give them back."""
    kind.check(plan)
    records = []
    for case, planned in zip(cases, plan.cases, strict=True):
        facts = json.loads(json.dumps({**case.facts, **kind.write_case(case, plan, root)}))
        records.append(CaseRecord(planned, "made from", {}, facts))
    list_again(kind, plan, records, root)
    return tuple(records)


def list_again(kind: DatasetFormat, plan: ExportPlan, records: Sequence[CaseRecord], root: Path) -> None:
    """Write the index."""
    for path, content in kind.index(plan, records).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def digests(root: Path) -> Mapping[str, str]:
    """Return the SHA-256 of all files by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def same_places(first: Grid, second: Grid, mm: float = 1e-3) -> bool:
    """Say whether two grids have their voxels at the same places in the same order."""
    return first.shape == second.shape and bool(np.allclose(first.affine, second.affine, atol=mm))
