"""A case into memory: its images and its label, each at its place in the world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meddl.datasets.case import (
    Case,
    ImageFile,
    ImageSource,
    LoadedCase,
    SegmentationLabel,
    TargetLabel,
)
from meddl.datasets.scene_archive import member_file
from meddl.errors import VolumeError
from meddl.volume import Segment, Volume, read_segmentation, read_volume


def load_case(case: Case) -> LoadedCase:
    """Return the images and the label of a case, as they are in the world: parent transforms of scenes are applied.

    Raises:
        VolumeError, UsageError: one of its files cannot be read, or is not what it was taken for.
    """
    images = {name: load_image(source) for name, source in case.images.items()}
    if isinstance(case.label, SegmentationLabel):
        labels, segments = load_labels(case.label, next(iter(images.values())))
        return LoadedCase(case, images, labels, segments)
    if isinstance(case.label, TargetLabel):
        return LoadedCase(case, images, target=load_image(case.label.source))
    return LoadedCase(case, images)


def load_image(source: ImageSource) -> Volume:
    """Return an image ``(1, I, J, K)`` (a picture: one channel per color) in the world.

    Raises:
        VolumeError, UsageError: it cannot be read, or holds several values per voxel that are no colors.
    """
    if isinstance(source, Volume):
        return source
    if source.member:
        with member_file(source.path, source.member) as path:
            volume = read_volume(path)
    else:
        volume = read_volume(source.path, series_uid=source.series_uid)
    return moved(volume, source.transform)


def load_labels(label: SegmentationLabel, image: Volume) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the labels ``(L, I, J, K)`` of a segmentation, one channel per layer, and what they mean.

    Args:
        image: whose slices contours (RTSTRUCT) were drawn on.

    Raises:
        VolumeError: it cannot be read, or is no segmentation.
    """
    source = label.source
    if isinstance(source, Volume):
        return source, label.segments
    labels, segments = _read_labels(source, image)
    return moved(labels, source.transform), _renamed(segments, label.segments)


def _read_labels(source: ImageFile, image: Volume) -> tuple[Volume, tuple[Segment, ...]]:
    if source.member:
        with member_file(source.path, source.member) as path:
            return read_segmentation(path)
    return read_segmentation(source.path)


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


def _renamed(found: tuple[Segment, ...], given: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Return the segments of a file, those that somebody named anew under their new names."""
    names = {(each.layer, each.label): each for each in given}
    return tuple(names.get((each.layer, each.label), each) for each in found)


def source_path(source: ImageSource) -> Path | None:
    """Return the file or folder that an image is from, or None for one in memory."""
    return source.path if isinstance(source, ImageFile) else None
