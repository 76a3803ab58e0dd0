"""Cases in memory, of arrays and of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from meddl.datasets.case import (
    Case,
    ImageFile,
    LoadedCase,
    SegmentationLabel,
)
from meddl.volume import Segment, Volume, read_segmentation, read_volume

RED = (1.0, 0.0, 0.0)


def loaded(image: Volume, labels: np.ndarray | None = None, segments: tuple[Segment, ...] = (), name: str = "a") -> (
    LoadedCase
):  # fmt: skip
    if labels is None:
        return LoadedCase(Case(name, {"image": image}), {"image": image})
    volume = Volume(labels if labels.ndim == 4 else labels[np.newaxis], image.affine)
    segments = segments or tuple(Segment(int(n), f"Label {n}", RED) for n in np.unique(labels) if n)
    case = Case(name, {"image": image}, SegmentationLabel(volume, segments))
    return LoadedCase(case, {"image": image}, volume, segments)


def from_files(image: Path, labels: Path, name: str) -> LoadedCase:
    volume, segments = read_segmentation(labels)
    case = Case(name, {"image": ImageFile(image)}, SegmentationLabel(ImageFile(labels)))
    return LoadedCase(case, {"image": read_volume(image)}, volume, segments)
