"""A case's images and label on one grid.

Where voxels lie on voxels (other axis orders, mirrored, cropped, shifted by whole voxels) they are only reordered, and
nothing changes. Else images are interpolated linearly, with a mean over the voxel where it becomes larger, and labels
by what most of each voxel belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from meddl.datasets.geometry.foreground import foreground_box
from meddl.datasets.geometry.image_sampling import resampled_image
from meddl.datasets.geometry.label_counts import Shares, count_shares, shrunk_notes
from meddl.datasets.geometry.label_sampling import resampled_labels
from meddl.datasets.geometry.target_grid import (
    Box,
    box_of_points,
    check_grid_options,
    cropped,
    edges_of,
    oriented,
    spaced,
    straightened,
    union,
    with_margin,
)
from meddl.datasets.geometry.voxel_map import reordered, voxel_map
from meddl.datasets.label_scheme import LabelScheme
from meddl.datasets.options import GridOptions
from meddl.errors import UsageError, VolumeError
from meddl.volume import Grid, Volume

__all__ = ["OneGrid", "check_grid_options", "to_one_grid"]


@dataclass(frozen=True, eq=False)
class OneGrid:
    """A case on one grid.

    Attributes:
        images: by channel, in their order, each with its own data type.
        labels: ``(L, I, J, K)`` with their own data type, or None.
        target: the image of a reconstruction, or None.
        facts: what was done, JSON-able.
        notes: what the user should know, in sentences.
    """

    images: Mapping[str, Volume]
    labels: Volume | None
    target: Volume | None
    facts: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def to_one_grid(
    images: Mapping[str, Volume],
    labels: Volume | None,
    target: Volume | None,
    options: GridOptions,
    *,
    scheme: LabelScheme | None = None,
) -> OneGrid:
    """Return images, label and target image of a case on the grid of one of the images, changed as the user wishes.

    That grid is turned and mirrored first, made straight if its axes are not at right angles, then cropped, then gets
    its spacing. Beyond an image's own field of view is its least value, beyond the label's is background.

    Args:
        images: ``(C, I, J, K)`` by channel.
        labels: ``(L, I, J, K)`` label maps on any grid, of the dataset's labels if ``scheme`` is given.
        target: the image that a reconstruction should make.
        options: the user's choices.
        scheme: names the labels in the notes, and tells which of them are combinations of overlapping structures.

    Raises:
        UsageError: a choice that makes no sense, see :func:`check_grid_options`, or a reference that is not there.
        VolumeError: an image or the label lies nowhere on the reference, or the region to crop to does not.

    Example:
        >>> image = Volume(np.zeros((1, 4, 4, 4), np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
        >>> placed = to_one_grid({"CT": image}, None, None, GridOptions(orientation="RAS", spacing_mm=(1, 1, 1)))
        >>> placed.images["CT"].shape, placed.images["CT"].orientation
        ((4, 4, 8), 'RAS')
    """
    check_grid_options(options)
    name = options.reference or next(iter(images))
    if name not in images:
        raise UsageError(f"There is no image '{name}' whose grid could be taken. Choose one of: {', '.join(images)}.")
    notes: list[str] = []
    grid, facts = _target_grid(images[name], labels, options, scheme, notes)
    facts = {"reference": name, **facts}
    placed, done = {}, {}
    for channel, image in images.items():
        placed[channel], done[channel] = _image(image, grid, f"The image '{channel}'", images[name].grid, notes)
    facts["images"] = done
    if target is not None:
        if (target.spacing.min() < 0.9 * grid.spacing.min()) and voxel_map(target.grid, grid) is None:
            notes.append("The target image has finer voxels than the images; it was brought to their grid.")
        target, facts["target"] = _image(target, grid, "The target image", images[name].grid, notes)
    if labels is not None:
        labels, facts["labels"] = _labels(labels, grid, images[name].grid, scheme, notes)
    return OneGrid(placed, labels, target, facts, tuple(notes))


def _target_grid(
    reference: Volume, labels: Volume | None, options: GridOptions, scheme: LabelScheme | None, notes: list[str]
) -> tuple[Grid, dict[str, Any]]:
    turned = oriented(reference.grid, options.orientation)
    grid = straightened(turned)
    facts: dict[str, Any] = {}
    if grid is not turned:
        moved = voxel_map(turned, grid)
        facts["straightened"] = "voxels kept" if moved else "resampled"
        if moved is None:
            notes.append(
                "The image's axes are not at right angles (a tilted gantry, or a sheared transform), which most "
                "programs cannot read: image and label were resampled to a straight grid that covers it."
            )
    if options.crop != "none":
        box = _crop(grid, reference, labels, options, scheme, notes)
        facts["crop"] = {"to": options.crop, "margin_mm": options.margin_mm,
                         "of": list(grid.shape), "voxels": [list(side) for side in box]}  # fmt: skip
        grid = cropped(grid, box)
    grid = spaced(grid, options.spacing_mm)
    facts["shape"] = list(grid.shape)
    facts["spacing_mm"] = [float(f"{each:.6g}") for each in grid.spacing]
    facts["orientation"] = grid.orientation
    return grid, facts


def _crop(
    grid: Grid,
    reference: Volume,
    labels: Volume | None,
    options: GridOptions,
    scheme: LabelScheme | None,
    notes: list[str],
) -> Box:
    everything: Box = tuple((0, count) for count in grid.shape)
    if options.crop == "roi":
        low, high = options.roi[:3], options.roi[3:]
        corners = np.array(list(product(*zip(low, high, strict=True)))).T
        box = box_of_points(grid, corners, centers=True)
        if box is None:
            raise VolumeError("The region to crop to holds no voxel of this image. Check its R, A and S in mm.")
        return with_margin(grid, box, options.margin_mm)
    found = []
    labeled = _labeled_box(labels, None if scheme is None else scheme.ignore_value)
    if labels is not None and labeled is not None:
        found.append(box_of_points(grid, edges_of(labels.grid, labeled), centers=False))
    if options.crop == "foreground" and (box := foreground_box(reference)) is not None:
        # With what is labeled: a crop to the patient never cuts off a label.
        found.append(box_of_points(grid, edges_of(reference.grid, box), centers=False))
    boxes = [box for box in found if box is not None]
    if not boxes:
        what = "nothing is labeled" if options.crop == "label" else "it has no foreground"
        notes.append(f"The image was not cropped: {what}.")
        return everything
    return with_margin(grid, union(boxes), options.margin_mm)


def _labeled_box(labels: Volume | None, ignore: int | None) -> Box | None:
    """Return the box round all labels; where there are others, the ignore label has no say."""
    from scipy.ndimage import find_objects

    if labels is None:
        return None
    boxes: list[Box] = []
    ignored: list[Box] = []
    for layer in labels.array:
        for value, box in enumerate(find_objects(layer), start=1):
            if box is not None:
                (ignored if value == ignore else boxes).append(tuple((side.start, side.stop) for side in box))
    return union(boxes or ignored) if boxes or ignored else None


def _image(image: Volume, grid: Grid, what: str, reference: Grid, notes: list[str]) -> tuple[Volume, str]:
    _check_overlap(image.grid, reference, what)
    fill = background_of(image)
    found = voxel_map(image.grid, grid)
    if found is not None:
        placed = reordered(image, grid, found, fill)
        return placed, "kept" if placed is image else "reordered"
    if image.array.dtype.kind == "f" and not np.isfinite(image.array).all():
        notes.append(f"{what} has voxels that are no numbers; they became its least value where it was resampled.")
    return resampled_image(image, grid, fill), "resampled"


def _labels(
    labels: Volume, grid: Grid, reference: Grid, scheme: LabelScheme | None, notes: list[str]
) -> tuple[Volume, str]:
    regions = _regions(scheme)
    names = _names(labels, scheme)
    if not labels.array.any():
        shares: Shares | None = None
    else:
        _check_overlap(labels.grid, reference, "The label")
        shares = count_shares(labels, grid, names)
    found = voxel_map(labels.grid, grid)
    if found is not None:
        placed = reordered(labels, grid, found)
        done = "kept" if placed is labels else "reordered"
    else:
        placed, done = resampled_labels(labels, grid, regions), "resampled"
    if shares is not None:
        notes += shrunk_notes(shares, placed, names, is_resampled=done == "resampled")
    return placed, done


def _regions(scheme: LabelScheme | None) -> Sequence[Sequence[int]]:
    if scheme is None or not scheme.combinations:
        return ()
    return [scheme.values_of(index) for index in range(len(scheme.structures))]


def _names(labels: Volume, scheme: LabelScheme | None) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return (layer, value) pairs that make up each structure, by its name in the dataset."""
    layers = range(labels.channels)
    if scheme is None:
        values = sorted({int(value) for layer in labels.array for value in np.unique(layer)} - {0})
        return {f"label {value}": tuple((layer, value) for layer in layers) for value in values}
    return {
        each.name: tuple((layer, value) for layer in layers for value in scheme.values_of(index))
        for index, each in enumerate(scheme.structures)
    }


def background_of(image: Volume) -> float:
    """Return the value that stands for nothing: the least one that is a number."""
    array = image.array
    if array.dtype.kind != "f":
        return float(array.min())
    least = np.nanmin(array, initial=np.inf, where=np.isfinite(array))
    return float(least) if np.isfinite(least) else 0.0


def _check_overlap(grid: Grid, reference: Grid, what: str) -> None:
    """Raise VolumeError where no voxel of a grid can lie on the reference."""
    for one, other in ((grid, reference), (reference, grid)):
        index = np.linalg.inv(one.affine)[:3] @ np.vstack([_edges(other), np.ones(8)])
        if (index.max(axis=1) <= -0.5).any() or (index.min(axis=1) >= np.array(one.shape) - 0.5).any():
            raise VolumeError(
                f"{what} lies beside the image whose grid the case gets: they share no place in the patient. "
                "Check that they belong together, and that a transform between them was applied."
            )


def _edges(grid: Grid) -> np.ndarray:
    return edges_of(grid, tuple((0, count) for count in grid.shape))
