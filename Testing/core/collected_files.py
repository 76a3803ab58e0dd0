"""Small images and masks under any name, and what was made of them, for tests of collecting cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from meddl.datasets.case import (
    Case,
    ImageFile,
    SegmentationLabel,
    TargetLabel,
)
from meddl.volume import Segment, Volume, write_segmentation, write_volume

SMALL = Volume(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
MASK = Volume((SMALL.array > 12).astype(np.uint8), SMALL.affine)


def put(root: Path, *names: str) -> Path:
    """Write a small image or, where the name says so, a small mask at each name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = name.lower().replace("/", "_").replace("-", "_").replace(".", "_").split("_")
        is_mask = any(word in ("seg", "mask", "label", "labelstr", "labels", "masks", "dseg", "gt") for word in words)
        if name.endswith(".seg.nrrd"):
            write_segmentation(MASK, [Segment(1, "Tumor", (1, 0, 0))], path)
        elif name.endswith(".png"):
            write_png(path)
        elif name.endswith((".nii.gz", ".nrrd", ".mha")):
            write_volume(MASK if is_mask or "label" in name or "segmentation" in name else SMALL, path)
        else:
            path.write_bytes(b"")
    return root


def write_png(path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)


def told(case: Case) -> tuple[str, dict[str, str], str]:
    """The case's name, the file of each channel, and the file of its label."""
    label = case.label
    name = ""
    if isinstance(label, SegmentationLabel | TargetLabel) and isinstance(label.source, ImageFile):
        name = label.source.path.name
    return case.id, {channel: Path(source.path).name for channel, source in case.images.items()}, name
