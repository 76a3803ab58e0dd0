"""What files are called: images, segmentations of them, and the case and channel that a name tells."""

from __future__ import annotations

from pathlib import Path

from meddl.volume.reading import READABLE

DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
SCENE_SUFFIXES = (".mrb", ".mrml")
_SUFFIXES = (".seg.nrrd", ".nii.gz", *READABLE, *DICOM_SUFFIXES, *SCENE_SUFFIXES)


def suffix_of(name: str) -> str:
    """Return the suffix that says what kind of image ``name`` is, in lower case; "" for no image.

    Example:
        >>> suffix_of("liver.v2.NII.GZ"), suffix_of("notes.txt")
        ('.nii.gz', '')
    """
    lower = name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix) and len(lower) > len(suffix)), "")


def stem_of(path: Path) -> str:
    """Return a file's name without the suffix that says what kind of image it is."""
    suffix = suffix_of(path.name)
    return path.name[: -len(suffix)] if suffix else path.name


def looks_like_image(text: str) -> bool:
    """Say whether ``text`` ends as the name of an image, segmentation or scene does."""
    return bool(suffix_of(text.replace("\\", "/").rsplit("/", 1)[-1]))
