"""Reading a DICOM dataset back, as its users will: series as volumes, segmentations on them, made-up identities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.errors import MedDLError
from meddl.volume import Volume, read_segmentation, read_volume
from meddl.volume.dicom_frames import quiet_pydicom

from .dicom_seg_labels import differing, voxels_of

if TYPE_CHECKING:
    import pydicom

_TOLERANCE_MM = 0.02
_IDENTITY = ["PatientID", "SOPInstanceUID", "SeriesInstanceUID"]


def case_problems(
    root: Path, series: Mapping[str, Mapping[str, Any]], segmentation: Mapping[str, Any] | None, patient: str | None
) -> Iterator[str]:
    """Yield what is wrong with the files of a case.

    Args:
        series: what was written for each channel.
        segmentation: what was written of its labels, or None.
        patient: whose name all files must carry; None where that is anybody's.
    """
    images = []
    for told in series.values():
        image = _read_series(root, told)
        if isinstance(image, str):
            yield image
        else:
            images.append(image)
        yield from _identity_problems(root, told, patient)
    if segmentation is None:
        return
    path = segmentation["path"]
    try:
        labels, segments = read_segmentation(root / path)
        referred = _referred(root / path)
    except MedDLError as error:
        yield f"{path} cannot be read: {error}"
        return
    wrong = differing(segmentation["voxels"], voxels_of(labels, segments))
    if wrong:
        yield f"{path} has not the voxels that were written of {', '.join(repr(name) for name in wrong[:5])}."
    first = next(iter(series.values()))
    unknown = referred - {str(header.get("SOPInstanceUID")) for header in _headers(root, first["folder"])}
    if unknown:
        yield f"{path} refers to {len(unknown)} images that are not in {first['folder']}."
    if images and not _lies_on(labels, images[0]):
        yield f"{path} does not lie on the voxels of {first['folder']}."


def duplicate_instances(root: Path, folders: Sequence[str]) -> list[str]:
    """Name folders with images that have the UID of another image in the dataset."""
    owner: dict[str, str] = {}
    found = []
    for folder in folders:
        uids = [str(header.get("SOPInstanceUID")) for header in _headers(root, folder)]
        others = {owner[uid] for uid in uids if uid in owner} | ({folder} if len(set(uids)) < len(uids) else set())
        found += [f"Images of {folder} have the UIDs of images of {other}." for other in sorted(others)]
        owner.update(dict.fromkeys(uids, folder))
    return found


def _read_series(root: Path, told: Mapping[str, Any]) -> Volume | str:
    folder = told["folder"]
    try:
        image = read_volume(root / folder)
    except MedDLError as error:
        return f"{folder} cannot be read: {error}"
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror or 'the system refused it'}."
    shape = tuple(told["shape"])
    if image.shape != shape:
        return f"{folder} has {' x '.join(map(str, image.shape))} voxels, not {' x '.join(map(str, shape))}."
    known = image.meta.get("place") != "unknown"
    if known and not _lies_on(image, Volume(np.zeros((1, *shape), np.uint8), np.array(told["affine"]))):
        return f"{folder} does not lie where it was written to."
    return image


def _identity_problems(root: Path, told: Mapping[str, Any], patient: str | None) -> Iterator[str]:
    headers = _headers(root, told["folder"])
    if len({str(header.get("SeriesInstanceUID")) for header in headers}) > 1:
        yield f"{told['folder']} mixes images of several series."
    if patient is not None and any(str(header.get("PatientID")) != patient[:64] for header in headers):
        yield f"{told['folder']} has images of somebody else than {patient}."


def _headers(root: Path, folder: str) -> list[pydicom.Dataset]:
    import pydicom

    headers: list[pydicom.Dataset] = []
    with quiet_pydicom():
        for path in sorted((root / folder).glob("*.dcm")):
            try:
                headers.append(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_IDENTITY)))
            except Exception:  # reading the series has told it already
                continue
    return headers


def _referred(path: Path) -> set[str]:
    import pydicom

    with quiet_pydicom():
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        series = dataset.get("ReferencedSeriesSequence") or ()
        items = (item for each in series for item in each.get("ReferencedInstanceSequence") or ())
        return {str(item.get("ReferencedSOPInstanceUID")) for item in items}


def _lies_on(volume: Volume, image: Volume) -> bool:
    """Say whether all voxels of ``volume`` are voxels of ``image``, in whatever axis order."""
    size = np.array(volume.shape)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size], indexing="ij")).reshape(3, -1)
    world = volume.affine @ np.vstack([corners, np.ones(corners.shape[1])])
    index = (np.linalg.inv(image.affine) @ world)[:3].T
    nearest = np.clip(np.rint(index), 0, np.array(image.shape) - 1)
    back = image.affine[:3, :3] @ nearest.T + image.affine[:3, 3:]
    return bool(np.linalg.norm(back - world[:3], axis=0).max() <= _TOLERANCE_MM)
