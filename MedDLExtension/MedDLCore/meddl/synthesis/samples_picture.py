"""Real and synthetic examples side by side, for the eye."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

_GAP, _HEIGHT = 4, 96


def samples_picture(
    labels: np.ndarray | None, real: np.ndarray, synthetic: np.ndarray, dimensions: int, count: int = 6
) -> bytes:
    """Return a PNG of rows: the label maps in color (where there are any), the real and the synthetic images.

    Args:
        labels: ``(N, *size)`` whole numbers, or None.
        real, synthetic: ``(N, *size)`` in -1..1; of patches the middle slice is shown.
        dimensions: 2 or 3.
        count: at most so many columns.
    """
    from PIL import Image

    rows = [] if labels is None else [_row([_colored(_flat(each, dimensions)) for each in labels[:count]])]
    for images in (real, synthetic):
        gray = [_flat(each, dimensions) for each in images[:count]]
        rows.append(_row([np.repeat(_bytes(each)[..., None], 3, axis=-1) for each in gray]))
    width = max(row.shape[1] for row in rows)
    gap = np.full((_GAP, width, 3), 255, np.uint8)
    parts = []
    for row in rows:
        padding = ((0, 0), (0, width - row.shape[1]), (0, 0))
        parts += [gap, np.pad(row, padding, constant_values=255)]
    sink = io.BytesIO()
    Image.fromarray(np.concatenate([*parts, gap])).save(sink, "PNG")
    return sink.getvalue()


def _flat(example: np.ndarray, dimensions: int) -> np.ndarray:
    """Return a slice as radiologists look at it: R (or A) on the left, the second axis upwards."""
    flat = example[..., example.shape[-1] // 2] if dimensions == 3 else example
    return flat.T[::-1, ::-1]


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.clip((image + 1.0) * 127.5, 0, 255).astype(np.uint8)


def _colored(labels: np.ndarray) -> np.ndarray:
    values = labels.astype(np.int64)
    hue = (values * 0.61803398875) % 1.0 * 6.0
    # A wheel of colors: neighbors in number are far apart in color.
    wheel = np.clip(np.abs((hue[..., None] + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    bright = 0.35 + 0.65 * wheel
    return (np.where(values[..., None] > 0, bright, 0.0) * 255).astype(np.uint8)


def _row(pictures: Sequence[np.ndarray]) -> np.ndarray:
    factor = max(1, round(_HEIGHT / pictures[0].shape[0]))
    gap = np.full((pictures[0].shape[0] * factor, _GAP, 3), 255, np.uint8)
    parts = [gap]
    for picture in pictures:
        parts += [picture.repeat(factor, axis=0).repeat(factor, axis=1), gap]
    return np.concatenate(parts, axis=1)
