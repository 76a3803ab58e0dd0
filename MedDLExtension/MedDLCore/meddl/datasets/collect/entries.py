"""Files of a folder as candidates: what each may be, by its name and the folders it lies in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meddl.datasets.case import ImageFile, Split
from meddl.datasets.collect.image_names import stem_of, suffix_of

EntryKind = Literal["image", "label", "finding"]

FINDINGS = (".mrk.json", ".fcsv")
LABEL_WORDS = frozenset(
    (
        "seg",
        "segm",
        "segmentation",
        "segmentations",
        "label",
        "labels",
        "labelmap",
        "mask",
        "masks",
        "msk",
        "dseg",
        "gt",
    )
)
_IMAGE_WORDS = frozenset(("image", "img", "im", "volume", "vol", "scan"))
IMAGE_FOLDERS = frozenset(("image", "images", "img", "imgs", "volumes", "scans", "imagestr", "imagesval", "imagests"))
LABEL_FOLDERS = frozenset(
    ("label", "labels", "mask", "masks", "segmentation", "segmentations", "seg", "segs", "annotations", "gt",
     "labelstr", "labelsval", "labelsts")
)  # fmt: skip
SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "tr": "train", "validation": "validation", "valid": "validation",
    "val": "validation", "test": "test", "testing": "test", "ts": "test",
}  # fmt: skip


_NUMBERED = re.compile(rf"^({'|'.join(sorted(LABEL_WORDS | _IMAGE_WORDS))})(\d+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One candidate.

    Attributes:
        source: the file, or the folder of a DICOM series or of masks.
        kind: what it seems to be.
        folders: names of the folders from the collected one to it.
        stem: its name without the suffix.
    """

    source: ImageFile
    kind: EntryKind
    folders: tuple[str, ...]
    stem: str

    @property
    def place(self) -> tuple[str, ...]:
        """The folders without those that only say "images" or "labels"."""
        return tuple(each for each in self.folders if each.lower() not in IMAGE_FOLDERS | LABEL_FOLDERS)

    @property
    def key(self) -> tuple[str, ...]:
        """The words of its name without those that only say "image" or, of a label, "segmentation"."""
        # "scan_01_seg" belongs to "scan_01", whose first word says nothing.
        dropped = _IMAGE_WORDS if self.kind == "image" else LABEL_WORDS | _IMAGE_WORDS
        words = words_of(self.stem)
        return tuple(word for word in words if word.lower() not in dropped)

    @property
    def split(self) -> Split | Literal[""]:
        """What part of a dataset its folders say that it belongs to, or ""."""
        found = [SPLIT_WORDS[each.lower()] for each in self.folders if each.lower() in SPLIT_WORDS]
        return found[0] if found else ""


def words_of(stem: str) -> tuple[str, ...]:
    """Return the words of a file's name.

    Example:
        >>> words_of("patient 7_t1-ce.v2")
        ('patient', '7', 't1', 'ce', 'v2')
        >>> words_of("label0007")
        ('label', '0007')
    """
    words = [word for word in re.split(r"[ _.\-]+", stem) if word]
    return tuple(part for word in words for part in _NUMBERED.sub(r"\1 \2", word).split())


def entry_of(path: Path, root: Path) -> Entry | None:
    """Return what a file may be, or None if it is neither an image nor a label."""
    folders = path.relative_to(root).parent.parts
    lower = path.name.lower()
    finding = next((suffix for suffix in FINDINGS if lower.endswith(suffix)), "")
    if finding:
        return Entry(ImageFile(path.absolute()), "finding", folders, path.name[: -len(finding)])
    suffix = suffix_of(path.name)
    if not suffix:
        return None
    stem = stem_of(path)
    in_labels = any(folder.lower() in LABEL_FOLDERS for folder in folders)
    # Only the first and the last words tell: "no_mask_study_12_t1" is an image, "t1_brain_mask" is a mask.
    words = words_of(stem)
    said = any(word.lower() in LABEL_WORDS for word in (*words[:1], *words[-2:]))
    kind: EntryKind = "label" if suffix == ".seg.nrrd" or in_labels or said else "image"
    return Entry(ImageFile(path.absolute()), kind, folders, stem)
