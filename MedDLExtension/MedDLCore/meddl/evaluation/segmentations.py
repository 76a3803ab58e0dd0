"""A segmentation against a reference, structure by structure."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import UsageError, VolumeError
from meddl.evaluation.surfaces import compare_surfaces
from meddl.spreadsheet import safe_cell
from meddl.volume import Grid, Segment, Volume, resample_to, whole_file

_SAMPLES_PER_AXIS = 32
_MAX_LISTED = 8
_NAN = math.nan


@dataclass(frozen=True)
class StructureAgreement:
    """How well one structure agrees; what is not defined is NaN, and the note says why.

    Attributes:
        name: of the structure, as the prediction calls it.
        dice: twice the shared voxels over the sum of both, 0 to 1.
        hd95_mm, mean_distance_mm, nsd: see :class:`meddl.evaluation.surfaces.SurfaceAgreement`.
        prediction_ml, reference_ml: the volumes, each on its own grid.
        difference_ml: prediction minus reference.
        difference_percent: of the reference's volume.
        note: what to know about this row, or "".
    """

    name: str
    dice: float = _NAN
    hd95_mm: float = _NAN
    mean_distance_mm: float = _NAN
    nsd: float = _NAN
    prediction_ml: float = _NAN
    reference_ml: float = _NAN
    difference_ml: float = _NAN
    difference_percent: float = _NAN
    note: str = ""


@dataclass(frozen=True)
class SegmentationAgreement:
    """The rows by structure, in the prediction's order, and what to know about all of them."""

    rows: tuple[StructureAgreement, ...]
    tolerance_mm: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold: NaN becomes None."""
        rows = [{key: _or_none(value) for key, value in asdict(row).items()} for row in self.rows]
        return {"tolerance_mm": self.tolerance_mm, "structures": rows, "notes": list(self.notes)}

    def to_csv(self) -> str:
        """Return the rows as a table: one line per structure, undefined figures empty, a column for the tolerance."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [field.name for field in fields(StructureAgreement)]
        writer.writerow([*names[:-1], "tolerance_mm", names[-1]])
        for row in self.rows:
            values = [_cell(getattr(row, name)) for name in names]
            writer.writerow([*values[:-1], f"{self.tolerance_mm:g}", values[-1]])
        return out.getvalue()

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_csv` to a file, which appears whole or not at all.

        Raises:
            VolumeError: it cannot be written.
        """
        with whole_file(Path(path)) as file:
            file.write(self.to_csv().encode("utf-8"))


def compare_segmentations(
    prediction: Volume,
    reference: Volume,
    segments: Sequence[Segment],
    reference_segments: Sequence[Segment] | None = None,
    *,
    tolerance_mm: float = 1.0,
) -> SegmentationAgreement:
    """Compare each structure of a segmentation with the same structure of a reference.

    Structures are the same if they have the same name (upper and lower case, spaces and underscores count alike). Where
    no name fits, or the reference has none, label values decide, and a note says so. A single structure on each side is
    compared whatever they are called.

    A reference on another grid is brought to the prediction's, each voxel taking the label of the reference's nearest
    one.

    Args:
        prediction: labels ``(L, I, J, K)``, 0 is background.
        reference: labels on any grid.
        segments: what the prediction's labels are, with the layer each is in.
        reference_segments: what the reference's labels are; the same as ``segments`` by default.
        tolerance_mm: for the normalized surface distance: how far apart two observers would draw the surface.

    Raises:
        VolumeError: prediction and reference do not overlap in the patient.
        UsageError: a negative tolerance, no structures on either side, or one in a layer that is not there.

    Example:
        >>> labels = np.zeros((1, 10, 10, 10), np.uint8)
        >>> labels[0, 2:8, 2:8, 2:8] = 1
        >>> moved = np.roll(labels, 1, axis=1)
        >>> liver = Segment(1, "Liver", (0.8, 0.4, 0.3))
        >>> row = compare_segmentations(Volume(moved, np.eye(4)), Volume(labels, np.eye(4)), [liver]).rows[0]
        >>> round(row.dice, 3), row.hd95_mm, row.nsd
        (0.833, 1.0, 1.0)
    """
    if not tolerance_mm >= 0 or math.isinf(tolerance_mm):
        raise UsageError(f"The tolerance must be a length in mm from 0 on, not {tolerance_mm}.")
    known = tuple(segments if reference_segments is None else reference_segments)
    if not segments and not known:
        raise UsageError("There is nothing to compare: neither prediction nor reference has structures.")
    # A label map without any voxel names none of what it lacks: the other side does.
    segments = segments or [replace(each, layer=0) for each in known]
    known = known or tuple(replace(each, layer=0) for each in segments)
    _check_layers(prediction, segments)
    _check_layers(reference, known)
    notes: list[str] = []
    aligned = _on_grid(reference, prediction.grid, notes)
    partners = _partners(segments, known, notes)
    boxes = _boxes(prediction), _boxes(aligned)
    rows = []
    for segment, partner in zip(segments, partners, strict=True):
        if partner is None:
            voxels = np.count_nonzero(prediction.array[segment.layer] == segment.label)
            note = "The reference has no structure of this name."
            rows.append(StructureAgreement(segment.name, prediction_ml=voxels * prediction.voxel_volume_ml, note=note))
        else:
            rows.append(_row(segment, partner, prediction, aligned, reference, boxes, tolerance_mm))
    return SegmentationAgreement(tuple(rows), tolerance_mm, tuple(notes))


_Box = tuple[slice, ...]
_Boxes = list[list[_Box | None]]


def _row(
    segment: Segment,
    partner: Segment,
    prediction: Volume,
    aligned: Volume,
    reference: Volume,
    boxes: tuple[_Boxes, _Boxes],
    tolerance_mm: float,
) -> StructureAgreement:
    found = [_box_of(boxes[0], segment), _box_of(boxes[1], partner)]
    box = _union([each for each in found if each is not None])
    mask = prediction.array[segment.layer][box] == segment.label
    truth = aligned.array[partner.layer][box] == partner.label
    counts = int(np.count_nonzero(mask)), int(np.count_nonzero(truth))
    if aligned is reference:
        own, outside = counts[1], 0.0
    else:
        own, outside = _own_voxels(reference, partner, prediction.grid)
    volumes = counts[0] * prediction.voxel_volume_ml, own * reference.voxel_volume_ml
    difference = volumes[0] - volumes[1]
    notes = []
    if outside:
        notes.append(
            f"{100 * outside:.2g} % of the reference lie outside the segmented image; "
            "overlap and distances leave them out."
        )
    dice = hd95 = mean = within = _NAN
    if all(counts):
        dice = 2 * int(np.count_nonzero(mask & truth)) / sum(counts)
        surfaces = compare_surfaces(mask, truth, prediction.affine, tolerance_mm)
        hd95, mean, within = surfaces.hd95_mm, surfaces.mean_distance_mm, surfaces.within_tolerance
    elif any(counts):
        dice = within = 0.0
        side = "prediction" if counts[0] else "reference"
        notes.insert(0, f"Only the {side} has it: there is no distance.")
    else:
        notes.insert(0, "Neither has it: nothing to measure.")
    return StructureAgreement(
        segment.name, dice, hd95, mean, within, *volumes, difference,
        100 * difference / volumes[1] if volumes[1] else _NAN, " ".join(notes),
    )  # fmt: skip


def _partners(segments: Sequence[Segment], known: Sequence[Segment], notes: list[str]) -> list[Segment | None]:
    """Return the reference's structure for each of the prediction's, or None."""
    by_name = {_plain(each.name): each for each in reversed(known)}
    partners = [by_name.get(_plain(segment.name)) for segment in segments]
    if any(partners):
        used = {id(each) for each in partners}
        rest = [each.name for each in known if id(each) not in used]
        if rest:
            listed = ", ".join(rest[:_MAX_LISTED]) + (", ..." if len(rest) > _MAX_LISTED else "")
            notes.append(f"Only the reference has: {listed}.")
        return partners
    if len(segments) == 1 and len(known) == 1:
        if segments[0].name != known[0].name:
            only = f"'{known[0].name}', the only structure of the reference"
            notes.append(f"'{segments[0].name}' is compared with {only}.")
        return [known[0]]
    notes.append("No name is the same in both: structures were compared by their label's number.")
    by_label = {each.label: each for each in reversed(known)}
    return [by_label.get(segment.label) for segment in segments]


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _check_layers(labels: Volume, segments: Sequence[Segment]) -> None:
    for segment in segments:
        if segment.layer >= labels.channels:
            raise UsageError(
                f"'{segment.name}' should be in layer {segment.layer} of labels with {labels.channels} layers."
            )


def _on_grid(reference: Volume, grid: Grid, notes: list[str]) -> Volume:
    if reference.grid.same_as(grid, tol=1e-3):
        return reference
    if not _overlap(grid, reference.grid) and not _overlap(reference.grid, grid):
        raise VolumeError(
            "Prediction and reference do not overlap in the patient. Choose the reference that was drawn on this image."
        )
    # Where voxel lies on voxel (a cropped or turned reference), no label moves, and nothing needs to be said.
    index_map = np.linalg.inv(reference.affine) @ grid.affine
    if np.abs(index_map - np.rint(index_map)).max() > 1e-3 or abs(abs(np.linalg.det(index_map[:3, :3])) - 1) > 1e-3:
        notes.append(
            "The reference lies on another grid: each voxel of the prediction was compared with the nearest voxel of "
            "the reference, which adds an error of up to half a voxel."
        )
    return resample_to(reference, grid, interpolation="nearest")


def _overlap(grid: Grid, other: Grid) -> bool:
    """Whether any of many points spread over ``grid`` lies within ``other``."""
    axes = [np.linspace(-0.5, size - 0.5, min(_SAMPLES_PER_AXIS, 2 * size + 1)) for size in grid.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return bool(_inside(points, grid, other).any())


def _inside(points: np.ndarray, grid: Grid, other: Grid) -> np.ndarray:
    """Say of each voxel index (N, 3) of ``grid`` whether it lies strictly within the voxels of ``other``."""
    to_other = np.linalg.inv(other.affine) @ grid.affine
    index = points @ to_other[:3, :3].T + to_other[:3, 3]
    return ((index > -0.5 + 1e-6) & (index < np.array(other.shape) - 0.5 - 1e-6)).all(axis=1)


def _own_voxels(reference: Volume, partner: Segment, grid: Grid) -> tuple[int, float]:
    """Return the structure's voxels on the reference's own grid, and which part of them lies outside ``grid``."""
    points = np.argwhere(reference.array[partner.layer] == partner.label)
    if not len(points):
        return 0, 0.0
    corners = np.array(np.meshgrid(*zip(points.min(0), points.max(0), strict=True), indexing="ij")).reshape(3, -1).T
    if _inside(corners, reference.grid, grid).all():  # then everything between them is inside as well
        return len(points), 0.0
    return len(points), 1.0 - float(_inside(points, reference.grid, grid).mean())


def _boxes(labels: Volume) -> _Boxes:
    """Return, by layer and label minus one, the box round each label."""
    from scipy.ndimage import find_objects

    return [find_objects(layer) for layer in labels.array]


def _box_of(boxes: _Boxes, segment: Segment) -> _Box | None:
    layer = boxes[segment.layer]
    return layer[segment.label - 1] if segment.label <= len(layer) else None


def _union(boxes: Sequence[_Box]) -> _Box:
    """Return the box round all, or an empty one."""
    if not boxes:
        return (slice(0, 0),) * 3
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )


def _or_none(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return str(safe_cell(value))
    return "" if math.isnan(value) else f"{value:.6g}"
