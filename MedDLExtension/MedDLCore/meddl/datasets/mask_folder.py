"""A segmentation kept as a folder of masks: one file for each structure, named after it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from meddl.errors import VolumeError
from meddl.volume import Segment, Volume, read_segmentation

_MAX_FILES = 1000
_MAX_LAYERS = 64
_MAX_VOXELS = 1 << 31


def mask_files(folder: Path) -> list[Path]:
    """Return the masks in a folder, by name; none if it holds something that is no image."""
    from meddl.datasets.collect.image_names import DICOM_SUFFIXES, SCENE_SUFFIXES, suffix_of

    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    kinds = {suffix_of(file.name) for file in files}
    return files if files and not kinds & {"", ".seg.nrrd", *SCENE_SUFFIXES, *DICOM_SUFFIXES} else []


def read_masks(folder: Path) -> tuple[Volume, tuple[Segment, ...]]:
    """Return the labels ``(L, I, J, K)`` of a folder of masks and what they mean: the files' names, in their order.

    Whatever is above 0 belongs to the structure. Structures that overlap lie in layers of their own; a mask without
    voxels is a structure that is empty.

    Raises:
        VolumeError: there are no masks, one cannot be read, or their grids differ.
    """
    from meddl.datasets.collect.image_names import stem_of

    files = mask_files(folder)
    if not files or len(files) > _MAX_FILES:
        raise VolumeError(f"The folder {folder.name!r} is no segmentation: it needs to hold nothing but masks, one for "
                          "each structure.")  # fmt: skip
    dtype = np.uint8 if len(files) < 256 else np.uint16
    layers: list[np.ndarray] = []
    segments = []
    first: Volume | None = None
    for number, file in enumerate(files, start=1):
        mask, _ = read_segmentation(file)
        first = first or mask
        if not mask.grid.same_as(first.grid, tol=1e-3):
            raise VolumeError(f"The masks in {folder.name!r} have different grids ({file.name} has another one than "
                              f"{files[0].name}). Export them again, all on the image's grid.")  # fmt: skip
        inside = mask.array.any(axis=0)
        layer = next((n for n, array in enumerate(layers) if not array[inside].any()), len(layers))
        if layer == len(layers):
            if layer >= _MAX_LAYERS or (layer + 1) * math.prod(first.shape) > _MAX_VOXELS:
                raise VolumeError(f"The masks in {folder.name!r} overlap in more than {layer} layers. Leave some out.")
            layers.append(np.zeros(first.shape, dtype))
        layers[layer][inside] = number
        segments.append(Segment(number, stem_of(file), _color(number), "", layer))
    assert first is not None
    return Volume(np.stack(layers), first.affine, meta=first.meta), tuple(segments)


def _color(number: int) -> tuple[float, float, float]:
    import colorsys

    return colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.55, 0.9)
