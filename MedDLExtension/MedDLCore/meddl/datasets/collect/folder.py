"""Cases out of a folder of images, segmentations and scenes."""

from __future__ import annotations

from pathlib import Path

from meddl.datasets.case import Case, ImageFile, SegmentationLabel
from meddl.datasets.collect.image_names import stem_of, suffix_of


def folder_cases(folder: Path, pattern: str, exclude: frozenset[Path]) -> list[Case]:
    """Return the cases of a folder (first shape: image + image_seg)."""
    files = {stem_of(p): p for p in sorted(folder.iterdir()) if p.is_file() and suffix_of(p.name)}
    cases = []
    for stem, path in files.items():
        if stem.endswith("_seg"):
            continue
        label = files.get(f"{stem}_seg")
        cases.append(Case(stem, {"image": ImageFile(path)}, SegmentationLabel(ImageFile(label)) if label else None))
    return cases
