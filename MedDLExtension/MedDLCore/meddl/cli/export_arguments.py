"""The arguments that say how a dataset is written: the same for every command that makes one."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meddl.errors import UsageError

if TYPE_CHECKING:
    from meddl.datasets import ExportOptions, LabelScheme

FORMATS = ("nnunet", "msd", "monai", "classification", "coco", "bids", "dicom")
_EXTRAS = {
    "shift-dates": "shift_dates",
    "clean-descriptors": "clean_descriptors",
    "clean-pixels": "clean_pixels",
    "safe-private": "keep_safe_private",
}


def add_dataset_arguments(parser: argparse.ArgumentParser, *, split_seed: str = "--split-seed") -> None:
    """Add what :func:`dataset_options` reads, and ``--key`` and ``--review``; not the format and the folder.

    Args:
        split_seed: what the seed of the parts is called, where ``--seed`` is that of something else.
    """
    parser.add_argument("--name", default="Dataset", help="of the dataset")
    parser.add_argument("--number", type=int, default=1, help="of the dataset, where the format counts (1 to 999)")

    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--labels", type=Path, metavar="FILE", help="JSON table that names, merges and drops structures"
    )
    labels.add_argument("--overlaps", choices=("order", "regions"), default="order", help="what becomes of overlaps")

    grid = parser.add_argument_group("geometry")
    grid.add_argument("--reference", default="", metavar="CHANNEL", help="whose grid all is brought to (the first)")
    grid.add_argument("--orientation", default="", metavar="RAS", help="turn the axes towards these directions")
    grid.add_argument("--spacing", default="", metavar="X,Y,Z", help="resample to these mm")
    grid.add_argument("--crop", choices=("none", "foreground", "label", "roi"), default="none")
    grid.add_argument("--margin", type=float, default=0.0, metavar="MM", help="kept round what is cropped to")
    grid.add_argument("--roi", default="", metavar="R0,A0,S0,R1,A1,S1", help="lowest and highest corner in mm")
    grid.add_argument("--file-ending", default="", metavar="ENDING", help=".nii.gz or .nrrd")

    parts = parser.add_argument_group("parts of the dataset, by patient")
    parts.add_argument("--split", default="", metavar="PARTS", help="e.g. validation=0.1,test=0.2")
    parts.add_argument("--folds", type=int, default=5, help="of the training cases; 0 for none")
    parts.add_argument(split_seed, dest="split_seed", type=int, default=0, help="by which patients are divided (0)")

    privacy = parser.add_argument_group("de-identification")
    privacy.add_argument(
        "--deidentify",
        default="basic",
        metavar="PROFILE",
        help=f"basic, or basic with any of {','.join(_EXTRAS)} (comma-separated); none keeps the names of cases",
    )
    privacy.add_argument("--deface", choices=("none", "template", "brain"), default="none", help="of head images")
    privacy.add_argument(
        "--key", type=Path, metavar="FILE", help="keep who is who in this file, outside of the dataset"
    )
    privacy.add_argument("--review", type=Path, metavar="DIR", help="pictures of what defacing did; faces are on them")

    words = parser.add_argument_group("for the datasheet")
    for name in ("description", "license", "consent", "contact"):
        words.add_argument(f"--{name}", default="")


def dataset_options(options: argparse.Namespace, format: str) -> ExportOptions:
    """Return what the arguments say.

    Raises:
        UsageError: an argument cannot be what it is.
    """
    from meddl.datasets import DeidentifyOptions, ExportOptions, GridOptions, SplitOptions

    profile, *extras = [each.strip() for each in options.deidentify.split(",")]
    if profile not in ("basic", "none") or any(each not in _EXTRAS for each in extras):
        raise UsageError(f"There is no profile {options.deidentify!r}. Give basic or none; with basic, any of: "
                         f"{', '.join(_EXTRAS)}.")  # fmt: skip
    chosen: dict[str, Any] = {_EXTRAS[each]: True for each in extras}
    return ExportOptions(
        format,
        options.name,
        options.number,
        options.file_ending,
        GridOptions(
            options.reference,
            options.orientation.upper(),
            numbers(options.spacing, "--spacing", 3),
            options.crop,
            options.margin,
            numbers(options.roi, "--roi", 6),
        ),
        replace(SplitOptions(folds=options.folds, seed=options.split_seed), **_parts(options.split)),
        DeidentifyOptions(profile=profile, deface=options.deface, **chosen),
        options.description,
        options.license,
        options.consent,
        options.contact,
    )


def numbers(text: str, name: str, count: int = 0) -> tuple[float, ...]:
    """Return the numbers that an argument gives with commas between them; none where it is empty.

    Raises:
        UsageError: they are not ``count`` numbers, or with 0 no numbers at all.
    """
    if not text:
        return ()
    try:
        found = tuple(float(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or (count and len(found) != count):
        raise UsageError(f"{name} takes {f'{count} ' if count else ''}numbers with commas between them, not {text!r}.")
    return found


def _parts(text: str) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for entry in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = entry.partition("=")
        try:
            if name not in ("validation", "test"):
                raise ValueError
            parts[name] = float(value)
        except ValueError:
            raise UsageError(f"--split takes parts like validation=0.1,test=0.2, not {entry!r}.") from None
    return parts


def label_scheme(path: Path | None) -> LabelScheme | None:
    """Return the labels that ``--labels`` names, merges and drops; None where it was not given."""
    if path is None:
        return None
    from meddl.datasets.scheme_editing import read_scheme

    return read_scheme(path)
