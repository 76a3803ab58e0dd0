"""Contours (DICOM RTSTRUCT) as labels on the slices that they were drawn on.

A voxel is inside where its center is, by the even-odd rule over all closed contours that a structure has in a slice: a
contour within a contour is a hole, an island in it is not, and the two sides of a keyhole's bridge cancel out. A center
right on a contour belongs to the side of the higher index, so that two structures that share an edge share no voxel.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meddl.errors import VolumeError
from meddl.volume import Grid, Segment, Volume
from meddl.volume.dicom_frames import quiet_pydicom
from meddl.volume.geometry import flip_lps_ras
from meddl.volume.terminology import Code, Terminology, serialize_terminology

logger = logging.getLogger(__name__)

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FLAT = 0.25
"""How many voxels a contour may leave its plane, or the plane the middle of a slice."""
_MAX_LAYERS = 256
_MAX_VOXELS = 1 << 31
_MAX_STRUCTURES = 4096
_CROSSINGS_AT_ONCE = 1 << 21
_DIGITS = 6
_GRAY = (0.5, 0.5, 0.5)
_ANATOMY = Code("SCT", "123037004", "Anatomical Structure")


@dataclass(frozen=True, eq=False)
class ContourLabels:
    """Structures drawn as contours: labels ``(L, I, J, K)``, what they mean, and what is to be said about them."""

    labels: Volume
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Structure:
    name: str
    color: tuple[float, float, float]
    terminology: str
    contours: list[np.ndarray]
    """Each ``(N, 3)`` RAS mm."""


def read_contours(path: Path, grid: Grid) -> ContourLabels:
    """Return the structures of an RTSTRUCT file as labels on ``grid``, which has the slices that they were drawn on.

    Structures that overlap lie in layers of their own. Points and open lines enclose nothing and are left out.

    Raises:
        VolumeError: the file is damaged or no RTSTRUCT, its contours are not drawn on slices of the grid, or none of
            them is closed.
    """
    structures, notes = _structures(path)
    inverse = np.linalg.inv(grid.affine)
    turned = [
        [np.round(points @ inverse[:3, :3].T + inverse[:3, 3], _DIGITS) for points in each.contours]
        for each in structures
    ]
    axis = _slice_axis([points for contours in turned for points in contours], path.name)
    label_type = np.uint8 if len(structures) < 256 else np.uint16
    layers: list[np.ndarray] = []
    segments = []
    outside = 0
    for number, (structure, contours) in enumerate(zip(structures, turned, strict=True), start=1):
        masks, beyond = _masks(contours, axis, grid.shape, path.name)
        outside += beyond
        layer = next((n for n, array in enumerate(layers) if _is_free(array, axis, masks)), len(layers))
        if layer == len(layers):
            _check_room(layer, grid, path.name)
            layers.append(np.zeros(grid.shape, label_type))
        for level, (box, mask) in masks.items():
            np.moveaxis(layers[layer], axis, 0)[level][box][mask] = number
        segments.append(Segment(number, structure.name, structure.color, structure.terminology, layer))
        notes += _about_gaps(structure.name, masks)
    if outside:
        notes.append(f"{outside} contours lie outside of the image and are left out.")
    labels = Volume(np.stack(layers), grid.affine, meta={"format": "dicom", "modality": "RTSTRUCT"})
    return ContourLabels(labels, tuple(segments), tuple(notes))


def is_contours(path: Path) -> bool:
    """Say whether a file is a DICOM RTSTRUCT."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
        # Planning systems of old leave out the mark, as pydicom's own example does.
        if start[128:] != b"DICM" and not path.name.lower().endswith((".dcm", ".ima", ".dicom")):
            return False
        import pydicom

        with quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"])
            return str(dataset.get("SOPClassUID")) == RTSTRUCT
    except Exception as error:  # of a parser, on bytes that are anything
        logger.debug("%s: %r", path, error)
        return False


def fill_polygons(contours: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return where the centers of an image's pixels lie inside polygons, by the even-odd rule over all of them.

    Args:
        contours: corners ``(N, 2)`` of each polygon in pixel indices; it closes by itself.
        shape: of the image.

    Example:
        >>> square = np.array([(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)])
        >>> int(fill_polygons([square], (4, 4)).sum())
        4
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), np.int64)
    for corners in contours:
        starts, ends = corners, np.roll(corners, -1, axis=0)
        # An edge crosses the rows from its lower end (included) to its upper one (not included).
        low = np.clip(np.ceil(np.minimum(starts[:, 0], ends[:, 0])), 0, rows).astype(np.int64)
        high = np.clip(np.ceil(np.maximum(starts[:, 0], ends[:, 0])), 0, rows).astype(np.int64)
        counts = np.cumsum(high - low)
        first = 0
        while first < len(corners):
            done = counts[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(counts, done + _CROSSINGS_AT_ONCE, side="right")))
            _toggle(toggles, starts[first:last], ends[first:last], low[first:last], high[first:last])
            first = last
    return (np.cumsum(toggles, axis=1)[:, :columns] & 1).astype(bool)


def _toggle(toggles: np.ndarray, starts: np.ndarray, ends: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Count, for each row, the crossings of edges with it at the first pixel that lies beyond them."""
    edge = np.repeat(np.arange(len(starts)), high - low)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + low[edge]
    a, b = starts[edge], ends[edge]
    with np.errstate(divide="ignore", invalid="ignore"):
        where = a[:, 1] + (row - a[:, 0]) * (b[:, 1] - a[:, 1]) / (b[:, 0] - a[:, 0])
    # Rounded again: of two structures that share an edge, both must see the crossing at the same place.
    column = np.clip(np.ceil(np.round(where, _DIGITS)), 0, toggles.shape[1] - 1).astype(np.int64)
    np.add.at(toggles, (row, column), 1)


_Masks = dict[int, tuple[tuple[slice, slice], np.ndarray]]


def _masks(contours: list[np.ndarray], axis: int, shape: tuple[int, int, int], name: str) -> tuple[_Masks, int]:
    """Return by slice the box that a structure fills there and its mask, and how many contours lie on no slice."""
    plane = [n for n in range(3) if n != axis]
    by_level: dict[int, list[np.ndarray]] = {}
    beyond = 0
    for points in contours:
        height = float(points[:, axis].mean())
        level = round(height)
        if abs(height - level) > _FLAT:
            raise VolumeError(f"The contours of {name} lie between the slices of the image, not on them. Give the "
                              "series that they were drawn on.")  # fmt: skip
        if 0 <= level < shape[axis]:
            by_level.setdefault(level, []).append(points[:, plane])
        else:
            beyond += 1
    masks: _Masks = {}
    for level, polygons in by_level.items():
        corners = np.concatenate(polygons)
        low = np.clip(np.floor(corners.min(axis=0)), 0, None).astype(int)
        size = [shape[n] for n in plane]
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, size).astype(int)
        if (high <= low).any():
            continue
        box = (slice(low[0], high[0]), slice(low[1], high[1]))
        masks[level] = (box, fill_polygons([each - low for each in polygons], (high[0] - low[0], high[1] - low[1])))
    return masks, beyond


def _is_free(layer: np.ndarray, axis: int, masks: _Masks) -> bool:
    slices = np.moveaxis(layer, axis, 0)
    return not any(slices[level][box][mask].any() for level, (box, mask) in masks.items())


def _check_room(layers: int, grid: Grid, name: str) -> None:
    if layers >= _MAX_LAYERS or (layers + 1) * math.prod(grid.shape) > _MAX_VOXELS:
        raise VolumeError(f"The structures of {name} overlap in more than {layers} layers. Export fewer of them.")


def _slice_axis(contours: list[np.ndarray], name: str) -> int:
    """Return the axis of the grid that contours are flat along: slices first, then the others."""
    leave = np.max([np.ptp(points, axis=0) for points in contours], axis=0)
    for axis in (2, 1, 0):
        if leave[axis] <= _FLAT:
            return axis
    raise VolumeError(f"The contours of {name} were not drawn on the slices of this image, which are turned against "
                      "them. Give the series that they were drawn on.")  # fmt: skip


def _about_gaps(name: str, masks: _Masks) -> list[str]:
    levels = sorted(masks)
    empty = levels[-1] - levels[0] + 1 - len(levels) if levels else 0
    if not empty:
        return []
    return [f"The structure {name!r} has no contour on {empty} of the slices between its first and its last: those "
            "are empty."]  # fmt: skip


def _structures(path: Path) -> tuple[list[_Structure], list[str]]:
    """Return the structures that have closed contours, and what is left out."""
    import pydicom

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            if str(dataset.get("SOPClassUID")) != RTSTRUCT:
                raise VolumeError(f"{path.name} holds no contours. Choose a DICOM RTSTRUCT file.")
            structures, notes = _understood(dataset, path.name)
    except VolumeError:
        raise
    except OSError as error:
        raise VolumeError(f"{path.name} could not be read: {error.strerror or 'the system refused it'}.") from error
    except Exception as error:
        logger.debug("%s: %r", path, error)
        raise VolumeError(
            f"{path.name} is damaged or no DICOM RTSTRUCT: it cannot be decoded. Export or copy it again.",
            details=type(error).__name__,
        ) from error
    if not structures:
        raise VolumeError(f"{path.name} holds no closed contours, so no structures. Export it again.")
    return structures, notes


def _understood(dataset: Any, name: str) -> tuple[list[_Structure], list[str]]:
    described = {int(item.ROINumber): item for item in dataset.get("StructureSetROISequence") or ()}
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or ()}
    observed = {
        int(item.ReferencedROINumber): item
        for item in dataset.get("RTROIObservationsSequence") or ()
        if item.get("ReferencedROINumber") is not None
    }
    if len(described) > _MAX_STRUCTURES:
        raise VolumeError(f"{name} describes {len(described)} structures, more than can be meant. Export it again.")
    structures, empty = [], []
    for number, item in described.items():
        title = _line(item.get("ROIName")) or f"Structure {number}"
        contours = [
            points
            for contour in (drawn[number].get("ContourSequence") or () if number in drawn else ())
            if str(contour.get("ContourGeometricType")) in _CLOSED
            and len(points := _points(contour.get("ContourData"), name)) > 2
        ]
        if not contours:
            empty.append(title)
            continue
        color = _color(drawn[number].get("ROIDisplayColor"))
        structures.append(_Structure(title, color, _terminology(observed.get(number, {})), contours))
    notes = [f"Without closed contours, so left out: {', '.join(map(repr, empty))}."] if empty else []
    return structures, notes


def _points(data: Any, name: str) -> np.ndarray:
    """Return the corners ``(N, 3)`` of a contour in RAS mm."""
    numbers = np.asarray(data if data is not None else (), dtype=np.float64).reshape(-1, 3)
    if not (np.abs(numbers) < 1e6).all():
        raise VolumeError(f"{name} has a contour that is nowhere near a patient. Export it again.")
    return flip_lps_ras(numbers.T).T


def _color(value: Any) -> tuple[float, float, float]:
    if value is None or len(value) != 3:
        return _GRAY
    red, green, blue = (min(255, max(0, int(part))) / 255 for part in value)
    return red, green, blue


def _terminology(observation: Mapping[str, Any]) -> str:
    """Return Slicer's entry for an organ that carries a code, else ""."""
    codes = observation.get("RTROIIdentificationCodeSequence")
    if not codes or str(observation.get("RTROIInterpretedType") or "ORGAN") != "ORGAN":
        return ""
    parts = tuple(str(codes[0].get(key) or "") for key in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning"))
    return serialize_terminology(Terminology(_ANATOMY, Code(*parts))) if all(parts) else ""


def _line(text: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())
