"""The synthetic images that a judgement is about: as the generator makes them for people who use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meddl.errors import UsageError
from meddl.jobs.progress import part_of
from meddl.randomness import Stream
from meddl.synthesis.cutting import SLICE_AXIS
from meddl.synthesis.examples import Examples
from meddl.synthesis.moved_labels import moved_labels
from meddl.volume import Segment, Volume

if TYPE_CHECKING:
    from meddl.synthesis.synthesizer import Synthesizer

Progress = Callable[[float, str], None]

_AT_ONCE = 32
_APART = 100.0
"""Voxels between slices of one label map, so that each begins with noise of its own."""


@dataclass(frozen=True, eq=False)
class JudgedImages:
    """What a generator made.

    Attributes:
        images: ``(N, 1, *size)`` float32 in -1..1, in the order of axes and range of values of the examples.
        labels: ``(N, *size)`` uint8 with the examples' values, or None for a generator that takes none.
        notes: what the reader should know.
    """

    images: np.ndarray
    labels: np.ndarray | None
    notes: tuple[str, ...] = ()


def judged_images(
    synthesizer: Synthesizer,
    examples: Examples,
    count: int,
    seed: int,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> JudgedImages:
    """Return images that a generator makes: for moved label maps of training examples, or of chance alone.

    Args:
        examples: of the training part, of the generator's size and spacing.
        count: of images.
        seed: of what is left to chance.

    Raises:
        UsageError: the generator's labels do not fit to the examples'.
        ModelError, JobCancelled: as of the generator.
    """
    if not synthesizer.facts.conditioned:
        made = synthesizer.sample(count, seed=seed, progress=progress, cancelled=cancelled)
        images = np.stack([_upright(each.image, examples.images.shape[2:]) for each in made])[:, None]
        return JudgedImages(_scaled(images, examples), None)
    if examples.labels is None:
        raise UsageError("The generator makes images that fit label maps, and the dataset has none.")
    stream = Stream("meddl judgement", seed)
    wanted = _chosen(examples.labels, count, stream)
    return fitting_images(synthesizer, wanted, examples, seed, progress=progress, cancelled=cancelled)


def fitting_images(
    synthesizer: Synthesizer,
    labels: np.ndarray,
    examples: Examples,
    seed: int,
    *,
    progress: Progress = lambda fraction, text: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> JudgedImages:
    """Return an image for each of some label maps ``(N, *size)`` with the values of ``examples``.

    Raises:
        UsageError: the generator knows none of the labels.
        ModelError, JobCancelled: as of the generator.
    """
    segments = [Segment(value, name, (0.5, 0.5, 0.5)) for value, name in sorted(examples.names.items()) if value]
    used, plane, count = set(np.unique(labels).tolist()), synthesizer.facts.plane, len(labels)
    segments = [each for each in segments if each.label in used]
    step = _AT_ONCE if labels.ndim == 3 else 1
    parts: list[np.ndarray] = []
    found: list[np.ndarray] = []
    notes: list[str] = []
    for start in range(0, count, step):
        part = labels[start : start + step]
        told = part_of(progress, start / count, min(start + step, count) / count)
        volume = _stacked(part, plane, examples.spacing_mm)
        (one,) = synthesizer.sample(
            1, seed=seed + start, labels=volume, segments=segments, progress=told, cancelled=cancelled
        )
        parts.append(_slices(one.image, part.shape, plane))
        assert one.labels is not None
        found.append(_named(_slices(one.labels, part.shape, plane), one.segments, examples.names))
        notes += [note for note in one.facts.get("notes", ()) if "slices" not in note and note not in notes]
    return JudgedImages(_scaled(np.concatenate(parts)[:, None], examples), np.concatenate(found), tuple(notes))


def _chosen(labels: np.ndarray, count: int, stream: Stream) -> np.ndarray:
    """Return moved label maps of examples that hold labels, all as often; none of them is empty."""
    full = [number for number in range(len(labels)) if labels[number].any()]
    if not full:
        raise UsageError("No example of the dataset holds a label.")
    order = sorted(full, key=lambda number: stream.child("order", number).uniform())
    source = np.stack([labels[order[number % len(order)]] for number in range(count)])
    moved = moved_labels(source, stream.child("moves"))
    empty = ~moved.reshape(count, -1).any(axis=1)
    moved[empty] = source[empty]
    return moved.astype(np.uint8)


def _stacked(labels: np.ndarray, plane: str, spacing: float) -> Volume:
    """Return slices ``(N, I, J)`` as one label map, far apart; or the one patch ``(1, I, J, K)`` of several."""
    spacings = [spacing] * 3
    if labels.ndim == 3:
        across = SLICE_AXIS[plane]
        spacings[across] = min(spacing * _APART, 900.0)
        labels = np.moveaxis(labels, 0, across)[None]
    return Volume(np.ascontiguousarray(labels), np.diag([*spacings, 1.0]))


def _slices(volume: Volume, shape: tuple[int, ...], plane: str) -> np.ndarray:
    array = volume.array
    return np.moveaxis(array[0], SLICE_AXIS[plane], 0) if len(shape) == 3 else array


def _named(labels: np.ndarray, segments: tuple[Segment, ...], names: dict[int, str]) -> np.ndarray:
    """Return labels with the values that the examples have for the same names."""
    values = {name.casefold(): value for value, name in names.items()}
    made = np.zeros(labels.shape, np.uint8)
    for each in segments:
        made[labels == each.label] = values.get(each.name.casefold(), 0)
    return made


def _upright(volume: Volume, size: tuple[int, ...]) -> np.ndarray:
    """Return an image of chance as an example ``(*size)``, axes towards R, A and S."""
    array = volume.array[0]
    for axis in range(3):
        if volume.affine[axis, axis] < 0:
            array = np.flip(array, axis)
    array = array.reshape(size) if array.size == np.prod(size) else array
    if array.shape != tuple(size):
        raise UsageError("The generator makes images of another size than it tells. Train it anew.")
    return array


def _scaled(images: np.ndarray, examples: Examples) -> np.ndarray:
    scaled = (images.astype(np.float32) - examples.low) * (2.0 / (examples.high - examples.low)) - 1.0
    return np.clip(scaled, -1.0, 1.0, dtype=np.float32)
