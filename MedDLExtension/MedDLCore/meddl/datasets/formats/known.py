"""The formats there are, by name."""

from __future__ import annotations

from importlib import import_module

from meddl.datasets.formats.dataset_format import DatasetFormat
from meddl.errors import UsageError

FORMATS: dict[str, tuple[str, str]] = {
    "nnunet": ("nnunet", "NnUNetFormat"),
    "msd": ("decathlon", "DecathlonFormat"),
    "monai": ("monai_datalist", "MonaiDatalistFormat"),
    "classification": ("classification", "ClassificationFormat"),
    "coco": ("coco", "CocoFormat"),
    "bids": ("bids", "BidsFormat"),
    "dicom": ("dicom", "DicomFormat"),
}
"""Module and class by the format's name."""


def make_format(name: str) -> DatasetFormat:
    """Return the format called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in FORMATS:
        raise UsageError(f"There is no dataset format {name!r}. Choose one of: {', '.join(FORMATS)}.")
    module, kind = FORMATS[name]
    made: DatasetFormat = getattr(import_module(f"meddl.datasets.formats.{module}"), kind)()
    return made
