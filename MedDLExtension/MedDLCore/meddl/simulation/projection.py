"""X-ray pictures of a CT, with what is labeled in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from meddl.errors import JobCancelled, VolumeError
from meddl.inference.prediction import Box, Landmark
from meddl.jobs.progress import part_of
from meddl.randomness import Stream
from meddl.simulation.attenuation import attenuation
from meddl.simulation.beam import Beam, beam_through
from meddl.simulation.checks import check_ct
from meddl.simulation.options import Projection, angles
from meddl.simulation.rays import along_rays
from meddl.simulation.simulated import Simulated
from meddl.volume import Segment, Volume

_FILM_WHITE = 4095.0
_BODY = 0.5
"""Rays whose line integral exceeds this went through the patient, whom the film is exposed for."""
_AIR_HU = -500.0
_RAYS = 1 << 16
_PATHS = 1 << 24
Progress = Callable[[float, str], None]


def projected(
    volume: Volume,
    options: Projection,
    view: str,
    stream: Stream,
    labels: Volume | None = None,
    segments: Sequence[Segment] = (),
    points: Sequence[Landmark] = (),
    boxes: Sequence[Box] = (),
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Simulated:
    """Return the X-ray picture of a CT.

    Line integrals p of the attenuation (see :func:`meddl.simulation.attenuation.attenuation`) by Joseph's method, of
    one energy, with no scatter. Siddon and Joseph type projections of CT: Sherouse et al. 1990, Computation of
    digitally reconstructed radiographs for use in radiotherapy treatment design, International Journal of Radiation
    Oncology Biology Physics 18:651. As a film it is 4095 / (1 + exp(-contrast (p - p0) / s)): the curve of a film
    (Hurter and Driffield 1890) of the exposure exp(-p), exposed for p0, the median of all rays through the patient, and
    as steep as fits s, half the range in which the middle 68 % of them are; bright is what weakens the rays.

    Args:
        view: see :class:`Projection`.
        labels: on any grid; walked through as they are.

    Raises:
        VolumeError: it is no CT in HU, or the source would lie in it.
        JobCancelled: on request.
    """
    check_ct(volume, options.title)
    if min(volume.shape) < 2:
        raise VolumeError("An X-ray of a CT needs a volume, and this one is a single slice. Choose the whole series.")
    primary, secondary = (each + stream.uniform(-1, 1) * options.jitter_degrees for each in angles(view))
    beam = beam_through(volume.grid, options, primary, secondary, _patient(volume))
    share = 1.0 if labels is None else 0.6
    integrals = _integrals(volume, beam, options.energy_kev, part_of(progress, 0.0, share), cancelled)
    shown, exposure = (integrals, None) if options.value == "line_integral" else _film(integrals, options.contrast)
    facts: dict[str, Any] = {
        "view": view,
        "primary_degrees": primary,
        "secondary_degrees": secondary,
        "pixel_mm": beam.pixel_mm,
        "plane": "through the isocenter, across the beam",
        "isocenter_ras_mm": beam.center.tolist(),
        "film": exposure,
    }
    image = Volume(_as_picture(shown, beam), beam.grid.affine, meta={"modality": "DX"})
    made_labels, made_segments, paths = None, tuple[Segment, ...](), None
    if labels is not None:
        wanted = _wanted(labels, segments, options.structures)
        lengths = _path_lengths(labels, wanted, beam, part_of(progress, share, 1.0), cancelled)
        found = (lengths >= max(options.min_path_mm, 1e-3)).astype(np.uint8)
        made_labels = Volume(_as_pictures(found, beam), beam.grid.affine)
        made_segments = tuple(Segment(1, each.name, each.color, each.terminology, layer)
                              for layer, each in enumerate(wanted))  # fmt: skip
        facts["pixels"] = {each.name: int(count) for each, count in zip(wanted, found.sum(axis=1), strict=True)}
        if options.paths:
            paths = Volume(_as_pictures(lengths, beam), beam.grid.affine)
    return Simulated(
        image, None, made_labels, made_segments, beam.of_points(points), beam.of_boxes(boxes), paths, facts
    )


def _patient(volume: Volume) -> np.ndarray | None:
    """Return two opposite corners (N, 3), RAS mm, of voxels that are no air, some of many; None where all is air."""
    step = max(1, min(volume.shape) // 48)
    found = np.argwhere(volume.array[0, ::step, ::step, ::step] > _AIR_HU) * step
    if not len(found):
        return None
    corners = np.concatenate([found - 0.5, np.minimum(found + step, volume.shape) - 0.5])
    outline: np.ndarray = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return outline


def _integrals(volume: Volume, beam: Beam, kev: float, progress: Progress, cancelled: Callable[[], bool]) -> np.ndarray:
    """Return the line integral (N,) float32 of the attenuation along each ray."""
    total = np.zeros(beam.size[0] * beam.size[1], np.float32)
    for first, last, told in _parts(total.size, _RAYS, "X-ray", progress, cancelled):
        part = total[first:last]

        def add(rays: np.ndarray, values: np.ndarray, lengths: np.ndarray, part: np.ndarray = part) -> None:
            part[rays] += values * lengths

        points, directions = beam.rays(first, last)
        along_rays(volume, 0, points, directions, lambda plane: attenuation(plane, kev), add, linear=True,
                   each_slice=told)  # fmt: skip
    return total


def _path_lengths(
    labels: Volume, segments: Sequence[Segment], beam: Beam, progress: Progress, cancelled: Callable[[], bool]
) -> np.ndarray:
    """Return how many mm of each structure each ray runs through (L, N) float32."""
    count = beam.size[0] * beam.size[1]
    total = np.zeros((len(segments), count), np.float32)
    layers = sorted({each.layer for each in segments})
    for number, layer in enumerate(layers):
        own = {each.label: index for index, each in enumerate(segments) if each.layer == layer}
        rows = np.zeros(max(int(labels.array[layer].max()), *own) + 1, np.int32)
        for label, index in own.items():
            rows[label] = index + 1
        told = part_of(progress, number / len(layers), (number + 1) / len(layers))
        at_once = max(1 << 12, min(_RAYS, _PATHS // (len(segments) + 1)))
        for first, last, step in _parts(count, at_once, "Labels", told, cancelled):
            part = total[:, first:last]

            def add(
                rays: np.ndarray,
                values: np.ndarray,
                lengths: np.ndarray,
                part: np.ndarray = part,
                rows: np.ndarray = rows,
            ) -> None:
                found = rows[values]
                hit = np.flatnonzero(found)
                part[found[hit] - 1, rays[hit]] += lengths[hit]

            points, directions = beam.rays(first, last)
            along_rays(labels, layer, points, directions, np.ascontiguousarray, add, linear=False, each_slice=step)
    return total


def _parts(
    count: int, at_once: int, text: str, progress: Progress, cancelled: Callable[[], bool]
) -> list[tuple[int, int, Callable[[float], None]]]:
    """Return ranges of rays, each with what is to be called with the fraction of it that is done."""
    starts = range(0, count, at_once)

    def telling(number: int) -> Callable[[float], None]:
        def told(fraction: float) -> None:
            if cancelled():
                raise JobCancelled("The simulation was cancelled.")
            progress((number + fraction) / len(starts), text)

        return told

    return [(first, min(count, first + at_once), telling(number)) for number, first in enumerate(starts)]


def _film(integrals: np.ndarray, contrast: float) -> tuple[np.ndarray, dict[str, float]]:
    body = integrals[integrals > _BODY]
    low, middle, high = np.percentile(body.astype(np.float64), (16, 50, 84)) if body.size else (0.0, 0.0, 2.0)
    width = max(float(high - low) / 2, 0.1)
    values = _FILM_WHITE / (1 + np.exp(-contrast * (integrals.astype(np.float64) - middle) / width))
    return np.rint(values).astype(np.uint16), {"middle": float(middle), "width": width}


def _wanted(labels: Volume, segments: Sequence[Segment], names: Sequence[str]) -> tuple[Segment, ...]:
    """Return the segments to be projected; of labels that nobody described, one for each value."""
    if labels.array.dtype.kind not in "bui":
        raise VolumeError("Labels are whole numbers, and these are not. Choose a segmentation.")
    if labels.array.size and labels.array.min() < 0:
        raise VolumeError("Labels are whole numbers from 0 on, and some of these are below. Choose a segmentation.")
    if not segments:
        segments = [
            Segment(int(value), f"Label {value}" if labels.channels == 1 else f"Label {layer + 1}.{value}",
                    (0.5, 0.5, 0.5), layer=layer)
            for layer in range(labels.channels) for value in np.unique(labels.array[layer]) if value
        ]  # fmt: skip
    if any(each.layer >= labels.channels for each in segments):
        raise VolumeError("A segment lies in a layer that the label map has not.")
    if names:
        known = {each.casefold() for each in names}
        segments = [each for each in segments if each.name.casefold() in known]
    if not segments:
        raise VolumeError("None of the structures that were asked for is labeled in the image."
                          if names else "There is nothing in the label map to project.")  # fmt: skip
    return tuple(segments)


def _as_picture(values: np.ndarray, beam: Beam) -> np.ndarray:
    return _as_pictures(values[np.newaxis], beam)


def _as_pictures(values: np.ndarray, beam: Beam) -> np.ndarray:
    """Return ``(L, I, J, 1)`` of rays in the order of (J, I)."""
    across, down = beam.size
    return np.ascontiguousarray(values.reshape(-1, down, across).transpose(0, 2, 1))[..., np.newaxis]
