"""A case into memory: its images and its label, each at its place in the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from meddl.datasets.case import Case, ImageFile, ImageSource, LoadedCase, SegmentationLabel, TargetLabel
from meddl.datasets.scene_archive import member_file
from meddl.errors import UsageError, VolumeError
from meddl.volume import Segment, Volume, read_segmentation, read_volume

if TYPE_CHECKING:
    from meddl.volume.dicom_frames import Header

_PICTURES = ("png", "jpeg", "tiff")
_Labels: TypeAlias = tuple[Volume, tuple[Segment, ...], tuple[str, ...]]
"""Labels, what they mean, and what is to be said about them."""


def load_case(case: Case) -> LoadedCase:
    """Return the images and the label of a case, as they are in the world: parent transforms of scenes are applied.

    The loaded case's ``case`` has a note more where reading told something that the user should know.

    Raises:
        VolumeError, UsageError: one of its files cannot be read, or is not what it was taken for.
    """
    if case.maker is not None:
        return case.maker(case)
    images = {name: load_image(source) for name, source in case.images.items()}
    if isinstance(case.label, SegmentationLabel):
        labels, segments, notes = _load_labels(case.label, tuple(images.values()))
        told = replace(case, notes=(*case.notes, *notes)) if notes else case
        return LoadedCase(told, images, labels, segments)
    if isinstance(case.label, TargetLabel):
        return LoadedCase(case, images, target=load_image(case.label.source))
    return LoadedCase(case, images)


def load_image(source: ImageSource) -> Volume:
    """Return an image ``(1, I, J, K)`` (a picture: one channel per color) in the world.

    Raises:
        VolumeError, UsageError: it cannot be read, or holds several values per voxel that are no colors.
    """
    if isinstance(source, Volume):
        volume, name = source, "An image"
    elif source.nested:
        from meddl.volume.dicom_series import volume_of

        volume, name = volume_of(_nested_headers(source)), source.path.name
    else:
        with _file(source) as path:
            several = source.frame is not None
            volume = read_volume(path, series_uid=source.series_uid, multichannel=several)
            name = source.path.name
        volume = _frame(volume, source)
    colors = volume.meta.get("color") == "RGB" or volume.meta.get("format") in _PICTURES
    if volume.channels > 1 and not (colors and volume.channels == 3):
        raise VolumeError(f"{name} has {volume.channels} values per voxel, where an image of a case has one. "
                          "Save the one that is meant, or each as a channel of its own.")  # fmt: skip
    return volume if isinstance(source, Volume) else moved(volume, source.transform)


def load_labels(label: SegmentationLabel, *images: Volume) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the labels ``(L, I, J, K)`` of a segmentation, one channel per layer, and what they mean.

    Args:
        images: of the case, on the slices of one of which contours (RTSTRUCT) were drawn.

    Raises:
        VolumeError: it cannot be read, or is no segmentation.
    """
    labels, segments, _ = _load_labels(label, images)
    return labels, segments


def dicom_files(source: ImageSource) -> tuple[Path, ...]:
    """Return the DICOM files that an image is read from, in the order of their paths; () if it is not DICOM.

    Raises:
        VolumeError, UsageError: they cannot be read.
    """
    if not isinstance(source, ImageFile) or source.member:
        return ()
    if source.nested:
        return tuple(sorted(header.path for header in _nested_headers(source)))
    from meddl.volume.dicom_frames import is_dicom
    from meddl.volume.dicom_series import dicom_headers

    if source.path.is_file() and not is_dicom(source.path):
        return ()
    return tuple(sorted(header.path for header in dicom_headers(source.path, series_uid=source.series_uid)))


def moved(volume: Volume, transform: tuple[float, ...]) -> Volume:
    """Return ``volume`` carried by a transform of the world (16 numbers in row order, RAS mm); () leaves it.

    Raises:
        VolumeError: the transform flattens space, or is no matrix of 4x4.
    """
    if not transform:
        return volume
    if len(transform) != 16:
        raise VolumeError("An image cannot be placed in space: the transform over it is no matrix of 4x4.")
    return replace(volume, affine=np.asarray(transform, dtype=np.float64).reshape(4, 4) @ volume.affine)


@contextmanager
def _file(source: ImageFile) -> Iterator[Path]:
    """Give the file that an image is in; one in a scene is unpacked for as long as the block lasts."""
    if not source.member:
        yield source.path
        return
    with member_file(source.path, source.member) as path:
        yield path


def _frame(volume: Volume, source: ImageFile) -> Volume:
    if source.frame is None:
        return volume
    if not 0 <= source.frame < volume.channels:
        raise UsageError(f"{source.path.name} holds {volume.channels} images, and the one numbered {source.frame} "
                         "(from 0) was asked for.")  # fmt: skip
    return replace(volume, array=volume.array[source.frame : source.frame + 1])


def _nested_headers(source: ImageFile) -> list[Header]:
    """Return the headers of a series whose files lie in several folders; of copies, the first."""
    from meddl.datasets.collect.dicom_folder import series_in
    from meddl.volume.dicom_frames import read_header

    series = [each for each in series_in(source.path) if each.uid == source.series_uid and each.kind == "image"]
    if len(series) != 1:
        raise VolumeError("The DICOM series is not in its folders as it was. Collect the cases again.")
    return [header for path in series[0].files if (header := read_header(path)) is not None]


def _load_labels(label: SegmentationLabel, images: Sequence[Volume]) -> _Labels:
    source = label.source
    if isinstance(source, Volume):
        return source, label.segments, ()
    labels, segments, notes = _read_labels(source, images)
    return moved(labels, source.transform), _renamed(segments, label.segments), notes


def _read_labels(source: ImageFile, images: Sequence[Volume]) -> _Labels:
    from meddl.datasets.dicom_contours import is_contours
    from meddl.datasets.mask_folder import mask_files, read_masks

    if source.member:
        with _file(source) as path:
            return *read_segmentation(path), ()
    path = source.path
    if path.is_dir():
        if mask_files(path):
            return *read_masks(path), ()
        path = _only_label(path)
    if not path.is_file():
        raise VolumeError(f"There is no segmentation {path.name!r}. Check its path.")
    return _drawn(path, images) if is_contours(path) else (*read_segmentation(path), ())


def _only_label(folder: Path) -> Path:
    """Return the DICOM SEG or RTSTRUCT in a folder that holds one."""
    from meddl.datasets.collect.dicom_folder import series_in

    found = [path for each in series_in(folder) if each.kind in ("segmentation", "contours") for path in each.files]
    if len(found) != 1:
        raise VolumeError(f"The folder {folder.name!r} is no segmentation: it needs to hold nothing but masks, one for "
                          "each structure, or one DICOM SEG or RTSTRUCT.")  # fmt: skip
    return found[0]


def _drawn(path: Path, images: Sequence[Volume]) -> _Labels:
    """Return contours as labels on the first image whose slices they were drawn on."""
    from meddl.datasets.dicom_contours import read_contours

    refused: VolumeError | None = None
    for image in images:
        try:
            drawn = read_contours(path, image.grid)
            return drawn.labels, drawn.segments, drawn.notes
        except VolumeError as error:
            refused = refused or error
    raise refused or VolumeError(f"{path.name} holds contours, which need the image that they were drawn on.")


def _renamed(found: tuple[Segment, ...], given: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return the segments of a file, those that somebody named anew under their new names."""
    names = {(each.layer, each.label): each for each in given}
    return tuple(names.get((each.layer, each.label), each) for each in found)
