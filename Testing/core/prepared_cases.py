"""Cases of several sites as they go into a dataset, out of real images, and datasets made of them by hand."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import realdata
from core.phantoms import place
from meddl.datasets.case import PreparedCase
from meddl.datasets.formats.dataset_format import DatasetFormat
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.options import ExportOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase
from meddl.volume import Volume, read_volume

SCHEME = LabelScheme(
    (
        Structure("liver", (0.8, 0.4, 0.2)),
        Structure("vertebra", (0.9, 0.9, 0.6)),
        Structure("lesion", (0.2, 0.8, 0.2)),
    )
)


@functools.cache
def real_cases() -> tuple[PreparedCase, ...]:
    """Seven small cases of six patients and three sites: straight, flipped, PIR, anisotropic and oblique grids.

    The labels are 1 liver, 2 vertebra, 3 lesion. The last two are a test case with and one without a label.
    """
    total, spine, lesions = realdata.totalsegmentator(), realdata.tptbox(), realdata.pyradiomics()
    ct, ct_labels = read_volume(total / "example_ct_sm.nii.gz"), read_volume(total / "example_seg.nii.gz")
    mr, mr_labels = read_volume(total / "example_mr_sm.nii.gz"), read_volume(total / "example_seg_mr.nii.gz")
    organs = {1: range(5, 6), 2: range(26, 51)}
    vertebra = read_volume(spine["sub-ct_label-22_ct"])
    vertebra_labels = read_volume(spine["sub-ct_seg-vert_label-22_msk"])
    neck, neck_labels = read_volume(spine["sub-mri_label-6_T2w"]), read_volume(spine["sub-mri_seg-vert_label-6_msk"])
    bone = {2: range(1, 100)}
    turn = place((1, 1, 1), (12.5, -7, 3), 0.3, -0.2, 0.5)
    return (
        _case(1, "site_0001", ct, ct_labels, organs, fold=0),
        _case(2, "site_0001", mr, mr_labels, {1: range(5, 6), 2: range(18, 21)}, fold=1),
        _case(3, "site_0002", vertebra, vertebra_labels, bone, fold=0),
        _case(4, "site_0002", _moved(neck, turn), _moved(neck_labels, turn), bone, fold=1),
        _case(5, "site_0003", *_lesion(lesions, "brain1"), {3: range(1, 2)}, split="validation"),
        _case(6, "site_0003", *_lesion(lesions, "lung1"), {3: range(1, 2)}, split="test"),
        replace(_case(7, "site_0003", *_lesion(lesions, "breast1"), {3: range(1, 2)}, split="test"), labels=None),
    )


def plan_of(
    cases: Sequence[PreparedCase],
    options: ExportOptions | None = None,
    *,
    task: str = "segmentation",
    scheme: LabelScheme | None = SCHEME,
    modality: Mapping[str, str] | None = None,
    classes: tuple[str, ...] = (),
) -> ExportPlan:
    """Return the plan that such cases would come from."""
    planned = tuple(PlannedCase("", c.name, c.patient, c.site, c.split, c.fold, c.name) for c in cases)
    channels = tuple(cases[0].images)
    scheme = scheme if task == "segmentation" else None
    return ExportPlan(options or ExportOptions(), task, channels, dict(modality or {}), scheme, classes, planned)


def build(
    form: DatasetFormat, plan: ExportPlan, cases: Sequence[PreparedCase], output: Path
) -> tuple[Path, tuple[CaseRecord, ...]]:
    """Write a dataset below ``output`` and return its folder and what is in it."""
    form.check(plan)
    root = output / form.folder(plan.options)
    root.mkdir(parents=True, exist_ok=True)
    planned = {each.name: each for each in plan.cases}
    records = []
    for case in cases:
        staging = output / ".staging" / case.name
        staging.mkdir(parents=True)
        facts = form.write_case(case, plan, staging)
        paths = sorted(path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file())
        files = {path: hashlib.sha256((staging / path).read_bytes()).hexdigest() for path in paths}
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(root / path)
        records.append(CaseRecord(planned[case.name], "", files, facts))
    shutil.rmtree(output / ".staging", ignore_errors=True)
    write_index(form, plan, records, root)
    return root, tuple(records)


def write_index(form: DatasetFormat, plan: ExportPlan, records: Sequence[CaseRecord], root: Path) -> None:
    """Write the files that list what is in a dataset."""
    for path, content in form.index(plan, records).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def two_channels(case: PreparedCase) -> PreparedCase:
    """Return the case with a second image, made of the first by smoothing, of another data type."""
    from scipy.ndimage import gaussian_filter

    (image,) = case.images.values()
    smooth = image.with_array(gaussian_filter(image.array.astype(np.float32), (0, 1, 1, 1)))
    return replace(case, images={"T1": image, "smooth T1": smooth})


def small(case: PreparedCase, size: int = 24) -> PreparedCase:
    """Return the case cut to its middle."""

    def cut(volume: Volume) -> Volume:
        starts = [max(0, (n - size) // 2) for n in volume.shape]
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ starts
        a, b, c = (slice(start, start + size) for start in starts)
        return Volume(volume.array[:, a, b, c], affine)

    images = {name: cut(volume) for name, volume in case.images.items()}
    return replace(case, images=images, labels=cut(case.labels) if case.labels is not None else None)


def _case(
    number: int, site: str, image: Volume, labels: Volume, meaning: Mapping[int, range], **changes: Any
) -> PreparedCase:
    values = np.zeros(labels.array.shape, dtype=np.uint8)
    for value, sources in meaning.items():
        values[np.isin(labels.array, list(sources))] = value
    # One grid to the last digit: headers round.
    volumes = {"image": Volume(image.array, image.affine)}
    return PreparedCase(
        f"case_{number:04d}", f"patient_{number:04d}", volumes, site, labels=Volume(values, image.affine), **changes
    )


def _moved(volume: Volume, transform: np.ndarray) -> Volume:
    return Volume(volume.array, transform @ volume.affine)


def _lesion(paths: Mapping[str, Path], name: str) -> tuple[Volume, Volume]:
    """Return image and mask of a patient, cut to what is round the lesion."""
    image, mask = read_volume(paths[f"{name}_image"]), read_volume(paths[f"{name}_label"])
    found = np.argwhere(mask.array[0])
    margin = np.array([30, 30, 4])
    low = np.maximum(found.min(axis=0) - margin, 0)
    high = np.minimum(found.max(axis=0) + margin + 1, image.shape)
    a, b, c = (slice(start, stop) for start, stop in zip(low, high, strict=True))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Volume(image.array[:, a, b, c], affine), Volume(mask.array[:, a, b, c].astype(np.uint8), affine)
