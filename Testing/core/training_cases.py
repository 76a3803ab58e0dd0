"""Real cases of several hospitals as a researcher has them: files of many kinds, and a list that names people."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import realdata
from meddl.volume import Segment, Volume, read_volume, write_segmentation, write_volume

_ORGANS = ("Spleen", "Right kidney", "Left kidney", "Gallbladder", "Liver", "Stomach", "Pancreas")
_COLUMNS = ("case", "patient", "study", "site", "image", "segmentation", "series")
MR = ("Meier brain", "Novak brain", "Abdomen MR", "Spine MR")
"""Cases whose images are MR."""


def write_list(folder: Path) -> Path:
    """Write cases of ten images below ``folder`` and return the list of them.

    Two images are of one patient, and one patient's image is there twice, in another file format, axis order and data
    type, under another name.
    """
    rows = [*_organs(folder), *_lesions(folder), *_vertebrae(folder)]
    path = folder / "cases of Dr Who.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, restval="")
        table.writeheader()
        table.writerows(rows)
    return path


def _organs(folder: Path) -> list[dict[str, str]]:
    source = realdata.totalsegmentator()
    names = dict(enumerate(_ORGANS, 1))
    rows = []
    for case, patient, image, label in (
        ("Abdomen CT", "Huber^Eva", "example_ct_sm.nii.gz", "example_seg.nii.gz"),
        ("Abdomen CT whole", "Huber^Eva", "example_ct.nii.gz", "example_seg_fast_force_split.nii.gz"),
        ("Abdomen MR", "Gruber^Jan", "example_mr_sm.nii.gz", "example_seg_mr.nii.gz"),
        ("Upper abdomen", "Wolf^Ida", "example_ct_dicom", "example_seg_dicom.nii.gz"),
    ):
        file = _segmentation(read_volume(source / label), names, folder / f"{case}.seg.nrrd")
        rows.append(
            {"case": case, "patient": patient, "site": "Basel", "image": str(source / image), "segmentation": file}
        )
    return rows


def _lesions(folder: Path) -> list[dict[str, str]]:
    files = realdata.pyradiomics()
    rows = []
    for case, patient, name in (
        ("Meier brain", "Meier^Max", "brain1"),
        ("Novak brain", "Novak^Eva", "brain2"),
        ("Breast", "Maier^Ann", "breast1"),
        ("Lung", "Fox^Tom", "lung1"),
        ("Lung 2", "Lee^Amy", "lung2"),
    ):
        image, mask = read_volume(files[f"{name}_image"]), read_volume(files[f"{name}_label"])
        image, mask = _around(image, mask)
        write_volume(image, folder / f"{case}.nrrd")
        file = _segmentation(mask, {1: "Lesion"}, folder / f"{case}.seg.nrrd")
        rows.append(
            {"case": case, "patient": patient, "site": "Maastricht", "image": f"{case}.nrrd", "segmentation": file}
        )
        if name == "lung2":
            turned = Volume(image.array[:, ::-1, ::-1].astype(np.float32), image.affine @ _turned(image.shape))
            write_volume(turned, folder / "Amy again.nii.gz")
            rows.append({**rows[-1], "case": "Amy again", "patient": "unknown", "image": "Amy again.nii.gz"})
    return rows


def _vertebrae(folder: Path) -> list[dict[str, str]]:
    files = realdata.tptbox()
    rows = []
    for case, patient, image, mask in (
        ("Spine CT", "Roth^Leo", "sub-ct_label-22_ct", "sub-ct_seg-vert_label-22_msk"),
        ("Spine MR", "Blau^Mia", "sub-mri_label-6_T2w", "sub-mri_seg-vert_label-6_msk"),
    ):
        labels = read_volume(files[mask])
        one = labels.with_array((labels.array > 0).astype(np.uint8))
        file = _segmentation(one, {1: "Vertebra"}, folder / f"{case}.seg.nrrd")
        rows.append(
            {"case": case, "patient": patient, "site": "Munich", "image": str(files[image]), "segmentation": file}
        )
    return rows


def _segmentation(labels: Volume, names: Mapping[int, str], path: Path) -> str:
    kept = np.where(np.isin(labels.array, list(names)), labels.array, 0).astype(np.uint8)
    segments = [Segment(value, name, (value / 8, 0.5, 0.5)) for value, name in names.items() if (kept == value).any()]
    write_segmentation(labels.with_array(kept), segments, path)
    return path.name


def _around(image: Volume, mask: Volume) -> tuple[Volume, Volume]:
    """Crop to what is round the lesion, so that tests are fast."""
    where = np.argwhere(mask.array[0] > 0)
    low = np.maximum(where.min(axis=0) - (40, 40, 5), 0)
    high = np.minimum(where.max(axis=0) + np.array((41, 41, 6)), image.shape)
    box = (slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))
    affine = image.affine.copy()
    affine[:3, 3] = (affine @ [*low, 1])[:3]
    return Volume(image.array[box], affine, meta=image.meta), Volume(mask.array[box], affine)


def _turned(shape: tuple[int, int, int]) -> np.ndarray:
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = shape[0] - 1, shape[1] - 1
    return turn
