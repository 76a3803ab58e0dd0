"""Is this an image of the kind that the model was made for? Asked before the run, answered in sentences.

A model answers any image, also one it knows nothing about, and looks as sure as ever. What can be known without running
it is compared here: modality, voxel size, field of view, values. Needs numpy only and takes milliseconds, so that
panels ask while the user chooses. What the network itself finds strange is :mod:`meddl.inference.features`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from meddl.inference.expectations import Expectations, Range, expectations_of, modalities_in

if TYPE_CHECKING:
    from meddl.models import ModelBundle
    from meddl.volume import Volume

logger = logging.getLogger(__name__)

THICK_MM = 6.0
"""Slices farther apart than this are thick for any three-dimensional model that does not say otherwise."""
FEW_SLICES = 4
FEW_VALUES = 8
"""An image with no more different values than these is rather a label map."""
_FLAT = frozenset({"MG", "XR"})
"""Modalities whose images are no volumes."""
_AXES = ("from left to right", "from back to front", "from foot to head")
_LETTERS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
_SAMPLES = 200_000
_FIRST = 20_000
_SLACK = 0.01
"""Relative tolerance of lengths: headers are rounded."""


def check_domain(bundle: ModelBundle, volumes: Sequence[Volume]) -> tuple[str, ...]:
    """Return what speaks against running a model on these images, one sentence each; nothing if nothing does.

    The sentences are warnings: the run is the user's decision. An image without a known modality (from a file that is
    not DICOM) is judged by its values alone.

    Args:
        bundle: the model.
        volumes: its input images in order, as they came: nothing resampled or normalized.

    Never raises: what goes wrong is a sentence, too.
    """
    try:
        expected = expectations_of(bundle)
        return tuple(dict.fromkeys(_sentences(expected, volumes)))
    except Exception as error:  # a warning that fails must not take the run along
        logger.warning("domain check failed: %s", error, exc_info=logger.isEnabledFor(logging.DEBUG))
        return ("Whether the image is of the kind the model was made for could not be checked.",)


def _sentences(expected: Expectations, volumes: Sequence[Volume]) -> Iterator[str]:
    if not expected.tells_anything:
        yield (
            "The model does not tell for which images it was made: whether this one fits could not be checked."
        )
    for number, volume in enumerate(volumes):
        what = "The image" if len(volumes) == 1 else f"Image {number + 1}"
        modalities = expected.modalities[number] if number < len(expected.modalities) else frozenset()
        wrong_kind = _modality(volume, modalities, what) or _stack(volume, modalities, what)
        if wrong_kind:
            yield wrong_kind
        elif modalities or expected.hounsfield or expected.value_window or expected.percentiles:
            yield from _values(volume, expected, modalities, what)
        yield from _empty(volume, expected, what)
    if volumes:
        yield from _lengths(volumes[0], expected)


def _modality(volume: Volume, wanted: frozenset[str], what: str) -> str:
    told = str(volume.meta.get("modality", ""))
    actual = modalities_in(told)
    if not wanted or not actual or actual & wanted:
        return ""
    return f"{what} is {told.strip()[:16]}; the model was made for {_listed(wanted)}."


def _stack(volume: Volume, wanted: frozenset[str], what: str) -> str:
    if not wanted or not wanted <= _FLAT or min(volume.shape) == 1:
        return ""
    return f"{what} is a volume; the model was made for single images ({_listed(wanted)})."


def _listed(modalities: frozenset[str]) -> str:
    return " or ".join("radiographs" if each == "XR" else each for each in sorted(modalities))


def _values(volume: Volume, expected: Expectations, modalities: frozenset[str], what: str) -> Iterator[str]:
    values = _sample(volume)
    if values.size == 0:
        return
    if len(np.unique(values[:_FIRST])) <= FEW_VALUES:  # the rest is only looked at if it may matter
        different = len(np.unique(values))
        if different <= FEW_VALUES:
            yield f"{what} has only {_count(different, 'different value')}: is it a label map?"
            return
    low, high = float(values.min()), float(values.max())
    told = str(volume.meta.get("modality", ""))
    units_wrong = ""
    if expected.hounsfield or modalities == {"CT"}:
        units_wrong = _not_hounsfield(values, low, high, what)
    elif modalities == {"MR"} and not modalities_in(told) and float(np.mean(values < -500)) > 0.05:
        units_wrong = f"{what} has many values far below zero, as CT has; the model was made for MR."
    if not units_wrong and expected.value_window:
        units_wrong = _outside_window(values, expected.value_window, what)
    if units_wrong:
        yield units_wrong
        return
    for percent, (least, greatest) in (expected.percentiles or {}).items():
        value = float(np.percentile(values, percent))
        if not least <= value <= greatest:
            yield (
                f"{what} has other values than those the model was made with: {percent:g} % of its voxels are up to "
                f"{value:.4g}, where {least:.4g} to {greatest:.4g} is expected."
            )
            return


def _not_hounsfield(values: np.ndarray, low: float, high: float, what: str) -> str:
    """CT has air and fat, which are negative in Hounsfield units: without negative values these are other units."""
    if low < -20:
        masked = float(np.mean(values == 0))
        if masked > 0.5:
            return f"{masked:.0%} of the voxels are exactly 0: {what.lower()} seems to be masked, not a whole CT."
        return ""
    if high <= 1.5:
        return f"{what} seems to be scaled to 0..1 already; the model was made for CT in Hounsfield units."
    if high <= 255:
        return f"{what} has gray levels ({low:.0f} to {high:.0f}); the model was made for CT in Hounsfield units."
    return (
        f"{what} has no negative values (they are {low:.0f} to {high:.0f}), as CT in Hounsfield units has: "
        "its values may be raw ones, or it is not a CT."
    )


def _outside_window(values: np.ndarray, window: Range, what: str) -> str:
    low, high = np.percentile(values, [0.5, 99.5])
    inside = float(np.mean((values > window[0]) & (values < window[1])))
    if inside < 0.01:
        return (
            f"{what} has values from {low:.4g} to {high:.4g}; the model only looks at those from {window[0]:g} to "
            f"{window[1]:g}."
        )
    if inside > 0.99 and high - low < 0.02 * (window[1] - window[0]):
        return (
            f"{what} has values from {low:.4g} to {high:.4g} only, which the model, made for {window[0]:g} to "
            f"{window[1]:g}, can hardly tell apart: it may have been scaled already."
        )
    return ""


def _empty(volume: Volume, expected: Expectations, what: str) -> Iterator[str]:
    if expected.empty_fraction is None:
        return
    values = _sample(volume)
    empty = float(np.mean(values == values.min())) if values.size else 1.0
    if empty > expected.empty_fraction[1]:
        yield (
            f"{empty:.0%} of {what.lower()} is empty, more than in those the model was made for: "
            "is something cut away, the skull for instance?"
        )
    elif empty < expected.empty_fraction[0]:
        yield f"Only {empty:.0%} of {what.lower()} is empty, less than in those the model was made for."


def _lengths(volume: Volume, expected: Expectations) -> Iterator[str]:
    letters = volume.orientation
    if "?" in letters:
        return
    place = {_LETTERS[letter]: axis for axis, letter in enumerate(letters)}
    order = [place[world] for world in range(3)]
    spacing = [float(volume.spacing[axis]) for axis in order]
    shape = [volume.shape[axis] for axis in order]
    size = [count * edge for count, edge in zip(shape, spacing, strict=True)]
    if expected.spatial_dims == 3 and min(shape) < FEW_SLICES:
        yield f"The image has only {_count(min(shape), 'slice')}; the model was made for whole volumes."
        return
    if expected.spacing:
        yield from _out_of_range(spacing, expected.spacing, "The image's voxels measure")
    elif expected.spatial_dims == 3 and max(spacing) > THICK_MM:
        yield (
            f"The image's slices are {max(spacing):.3g} mm apart: what is thinner can be missed between them."
        )
    if expected.field_of_view:
        yield from _out_of_range(size, expected.field_of_view, "The image shows")
    elif expected.window_mm:
        small = [axis for axis in range(3) if size[axis] < 0.5 * expected.window_mm[axis]]
        if small:
            axis = min(small, key=lambda axis: size[axis] / expected.window_mm[axis])
            yield (
                f"The image shows only {size[axis]:.0f} mm {_AXES[axis]}; the model looks at "
                f"{expected.window_mm[axis]:.0f} mm at a time."
            )


def _out_of_range(values: Sequence[float], ranges: Sequence[Range], start: str) -> Iterator[str]:
    wrong = [
        f"{value:.3g} mm {_AXES[axis]} ({_span(low, high)} expected)"
        for axis, (value, (low, high)) in enumerate(zip(values, ranges, strict=True))
        if not low * (1 - _SLACK) <= value <= high * (1 + _SLACK)
    ]
    if wrong:
        yield f"{start} {', '.join(wrong)}."


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _sample(volume: Volume) -> np.ndarray:
    """Return about 200 000 of the voxels that hold a number, evenly spread."""
    step = max(1, round((volume.array.size / _SAMPLES) ** (1 / 3)))
    values = volume.array[:, ::step, ::step, ::step].ravel()
    return values[np.isfinite(values)].astype(np.float64)
