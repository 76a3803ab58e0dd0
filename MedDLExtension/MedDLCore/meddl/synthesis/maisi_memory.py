"""How much memory an image of MAISI's takes, reckoned before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from meddl.errors import OutOfMemory
from meddl.synthesis.maisi_grid import told
from meddl.synthesis.maisi_networks import SHRINK, Windows, windows_for

WINDOW_SIZES = (96, 80, 64, 48, 32)
"""Multiples of 16, as MAISI takes them."""

_LOOKING = 5.5
"""Of the label map's planes: with what is made of them first."""
_STEPPING = 32.0
"""Of the features at the first level of the network: what is kept for the way back up, of both networks."""
_DECODING = 8.5
"""Of the image at the last level of the decoder."""
_GIB = 1 << 30
_SEAMS = "It was decoded in windows of {} voxels, less than the model tells, since memory is short: seams may show."


def memory_needed(
    shape: Sequence[int], windows: Windows, *, bits: int, first: int, decoder: int, weights: int, item: int
) -> tuple[int, int]:
    """Return the bytes that taking the noise away and decoding take, by what was measured on a processor.

    Args:
        shape: of the image.
        windows: how it is decoded.
        bits: planes that the label map is shown in.
        first: channels of the network's first level.
        decoder: channels of the decoder's last level.
        weights: bytes of all weights.
        item: bytes of a number, 2 or 4.
    """
    voxels = math.prod(shape)
    features = voxels // SHRINK**3
    part = math.prod(windows.roi) * SHRINK**3 if windows.roi else voxels
    looking = int(_LOOKING * bits * voxels * item)
    stepping = int(_STEPPING * first * features * item)
    # The sums of all windows and their weights are there beside the window itself.
    decoding = int(_DECODING * decoder * part * item) + 4 * voxels * (3 if windows.roi else 1)
    return weights + max(looking, stepping), weights + decoding


def affordable_windows(
    shape: Sequence[int], most: Sequence[int], overlap: float, free: int, name: str, better: str, **sizes: int
) -> tuple[Windows, str]:
    """Return how an image is decoded in the memory that is free, and a note where it is not as the model tells.

    Args:
        shape: of the image.
        most, overlap: as the model tells.
        free: bytes; 0 where nobody knows.
        name: of the model.
        better: what to do instead, for the message.
        sizes: as of :func:`memory_needed`.

    Raises:
        OutOfMemory: it does not fit, however it is decoded.
    """
    features = [n // SHRINK for n in shape]
    wanted = windows_for(features, most, overlap)
    least = 0
    smaller = [size for size in WINDOW_SIZES if size < max(most)]
    for size in (0, *smaller):
        windows = wanted if not size else windows_for(features, [min(size, each) for each in most], overlap)
        needed = max(memory_needed(shape, windows, **sizes))
        least = needed if not least else min(least, needed)
        if not free or needed <= free:
            return windows, "" if windows == wanted else _SEAMS.format(told(tuple(n * SHRINK for n in windows.roi)))
    raise OutOfMemory(
        f"An image of {told(tuple(shape))} voxels with '{name}' takes some {least / _GIB:.1f} GB of memory, and "
        f"{free / _GIB:.1f} GB are free. {better}"
    )


def free_memory(device: Any) -> int:
    """Return the free bytes of a device, 0 where it does not tell."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    from meddl.computer import memory

    return memory()[1]
