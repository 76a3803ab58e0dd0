"""Pictures of one slice and its variants: gray values, outlines of what is labeled, differences. Needs numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_WARM, _COLD = np.array([255.0, 150.0, 60.0]), np.array([70.0, 160.0, 255.0])


def gray_picture(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return ``(height, width, 3)`` uint8 of an image ``(C, height, width)``: of three channels and more, as colors.

    Args:
        window: the values that are black and white.
    """
    low, high = window
    colors = image[:3] if image.shape[0] >= 3 else image[:1]
    scaled = (np.nan_to_num(colors.astype(np.float32)) - low) * np.float32(255 / max(high - low, 1e-6))
    clipped = np.clip(scaled, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(clipped, (3, *clipped.shape[1:])).transpose(1, 2, 0))


def difference_picture(image: np.ndarray, source: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return a picture of what is brighter (warm) and darker (cold) than in the source; black is no difference.

    Full color is half of the window's width.
    """
    change = image.astype(np.float32).mean(axis=0) - source.astype(np.float32).mean(axis=0)
    share = np.clip(2 * np.nan_to_num(change) / max(window[1] - window[0], 1e-6), -1, 1)[..., np.newaxis]
    return (np.where(share > 0, share * _WARM, -share * _COLD)).astype(np.uint8)


def draw_outlines(
    picture: np.ndarray, labels: np.ndarray, segments: Sequence[tuple[int, int, tuple[float, float, float]]]
) -> None:
    """Draw the borders of what is labeled into a picture.

    Args:
        labels: ``(L, height, width)``.
        segments: layer, value and color (0 to 1) of each; the first lies on top.
    """
    segments = [each for each in segments if each[0] < len(labels)]
    if not segments:
        return
    # By tables, not segment by segment: there may be a hundred, and sliders wait for it.
    top = np.full(picture.shape[:2], len(segments))
    for number, layer in enumerate(labels):
        place = np.full(max([int(layer.max()), *(value for _layer, value, _color in segments)]) + 1, len(segments))
        for rank, (home, value, _color) in reversed(list(enumerate(segments))):
            if home == number:
                place[value] = rank
        edges = np.nonzero(_edges(layer))
        top[edges] = np.minimum(top[edges], place[layer[edges]])
    drawn = top < len(segments)
    colors = np.round(255 * np.array([color for _layer, _value, color in segments])).astype(np.uint8)
    picture[drawn] = colors[top[drawn]]


def usual_window(image: np.ndarray) -> tuple[float, float]:
    """Return what most values of an image lie between."""
    values = image[np.isfinite(image)]
    if image.dtype == np.uint8 and image.shape[0] >= 3:
        return 0.0, 255.0
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def times(picture: np.ndarray, size: int) -> int:
    """Return how often each pixel is repeated for a picture to be about ``size`` large, for outlines to be thin."""
    return max(1, round(size / max(picture.shape[:2])))


def repeated(array: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Return a picture, or from axis ``first`` = 1 on label maps, with each pixel repeated ``count`` times."""
    return np.repeat(np.repeat(array, count, axis=first), count, axis=first + 1) if count > 1 else array


def ppm(picture: np.ndarray) -> bytes:
    """Return a picture as a file that Qt reads at once: nothing is compressed."""
    height, width = picture.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(picture).tobytes()


def _edges(layer: np.ndarray) -> np.ndarray:
    """Return where a neighbor, above, below or beside, has another value."""
    edges = np.zeros(layer.shape, bool)
    down, right = layer[1:] != layer[:-1], layer[:, 1:] != layer[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    return edges
