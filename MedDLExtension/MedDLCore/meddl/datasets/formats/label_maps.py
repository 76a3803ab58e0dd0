"""Images with a label map: what the formats for segmentation have in common."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from meddl.datasets.case import PreparedCase
from meddl.datasets.label_scheme import LabelScheme
from meddl.errors import UsageError, VolumeError
from meddl.volume import Volume

from .image_files import check_numbers, read_back

BACKGROUND = "background"
IGNORE = "ignore"
JOINT = " + "
"""Between the names of structures that overlap."""


def folder_name(name: str, joint: str = "_") -> str:
    """Return the name of a dataset as part of a folder's name that every system and script takes.

    Example:
        >>> folder_name("Liver & tumor (CT)")
        'Liver_tumor_CT'
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFC", name).replace("_", " "))
    return joint.join(words)[:80] or "Dataset"


def value_names(scheme: LabelScheme) -> dict[int, str]:
    """Return what each value of the label maps means, combinations of structures as "first + second"."""
    names = [each.name for each in scheme.structures]
    joined = [JOINT.join(names[index] for index in members) for members in scheme.combinations]
    all_names = [BACKGROUND, *names, *joined, *([IGNORE] if scheme.ignore else [])]
    return dict(enumerate(all_names))


def check_names(scheme: LabelScheme | None, title: str) -> LabelScheme:
    """Find out whether the labels can be told apart by their names, and return them.

    Raises:
        UsageError: there are none, or two names are the same, or one has a meaning of its own in the format.
    """
    if scheme is None or not scheme.structures:
        raise UsageError(f"{title} needs at least one structure. Keep one in the table of labels.")
    for each in scheme.structures:
        if not each.name.strip():
            raise UsageError("A structure has no name. Give it one in the table of labels.")
        if each.name.casefold() in (BACKGROUND, IGNORE):
            raise UsageError(
                f"A structure is called {each.name!r}, which means something of its own in {title}. Rename it, or use "
                "it as what it says in the table of labels."
            )
    names = Counter(value_names(scheme).values())
    for name, count in names.items():
        if count > 1:
            raise UsageError(f"Two labels are called {name!r}. Rename one in the table of labels, or merge them.")
    return scheme


def check_case(case: PreparedCase, title: str) -> None:
    """Find out whether a model can learn from a case, and be asked about it.

    Raises:
        VolumeError: it lacks its label, has values that are no numbers, or lies on several grids.
    """
    if case.labels is None and case.split != "test":
        raise VolumeError(
            f"{case.name} has no label, so that nothing can be learned from it. Put it into the test set of "
            f"{title}, or leave it out."
        )
    grid = next(iter(case.images.values())).grid
    others = [*case.images.values(), *([case.labels] if case.labels is not None else [])]
    if not all(grid.same_as(other.grid) for other in others):
        raise VolumeError(f"The images and the label of {case.name} are not on one grid.")
    check_numbers(case.name, case.images.values())


def components(volume: Volume) -> list[Volume]:
    """Return one volume per value of a voxel."""
    return [volume.with_array(volume.array[n : n + 1]) for n in range(volume.channels)]


def case_problems(
    root: Path, images: Mapping[str, int], label: str | None, scheme: LabelScheme | None, multichannel: bool = False
) -> list[str]:
    """Read the files of a case, and return what is wrong with them: grids that differ, values that mean nothing.

    Args:
        images: how many values per voxel each file has, by path.
        label: the path of the label map.
        multichannel: the images of a 4-D file are values of one voxel.
    """
    found: list[str] = []
    first: tuple[str, Volume] | None = None
    for path, channels in images.items():
        image = read_back(root, path, multichannel=multichannel)
        if isinstance(image, str):
            found.append(image)
            continue
        if image.channels != channels:
            found.append(f"{path} has {image.channels} values per voxel, not {channels} as when it was written.")
        if first is None:
            first = path, image
        else:
            found += _grid_problems(path, image, *first)
    if label is None:
        return found
    labels = read_back(root, label)
    if isinstance(labels, str):
        return [*found, labels]
    if first is not None:
        found += _grid_problems(label, labels, *first)
    return found + (_value_problems(label, labels, scheme) if scheme is not None else [])


def _grid_problems(path: str, volume: Volume, first_path: str, first: Volume) -> list[str]:
    if volume.shape != first.shape:
        sizes = [" x ".join(map(str, each.shape)) for each in (volume, first)]
        return [f"{path} has {sizes[0]} voxels, {first_path} has {sizes[1]}."]
    if not volume.grid.same_as(first.grid, tol=1e-3):
        return [f"{path} lies at another place than {first_path}."]
    return []


def _value_problems(path: str, labels: Volume, scheme: LabelScheme) -> list[str]:
    if labels.channels != 1:
        return [f"{path} is no label map: it has {labels.channels} values per voxel."]
    values = np.unique(labels.array)
    strange = [value for value in values.tolist() if value not in value_names(scheme)]
    if strange:
        told = ", ".join(f"{value:g}" for value in strange[:5])
        return [f"{path} has values that no label of the dataset has: {told}."]
    return []
