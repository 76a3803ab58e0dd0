"""What the scripts for the pictures in Docs have in common."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from meddl.plotting import new_figure, png_of


def rows_of_slices(rows: Sequence[tuple[str, Sequence[np.ndarray]]], inches: float) -> bytes:
    """Return a PNG of rows of slices, each with its name at the left.

    Args:
        rows: names, and as many slices in each row: ``(I, J)`` in -1 to 1, or ``(I, J, 3)`` colors.
        inches: edge of a slice.
    """
    count = len(rows[0][1])
    figure = new_figure(inches * count, 1.02 * inches * len(rows), dpi=100)
    axes = figure.subplots(len(rows), count)
    figure.subplots_adjust(left=0.035, right=0.997, bottom=0.005, top=0.995, wspace=0.03, hspace=0.03)
    for row, (name, images) in zip(axes, rows, strict=True):
        for place, image in zip(row, images, strict=True):
            show(place, np.swapaxes(image, 0, 1)[::-1, ::-1], vmin=-1, vmax=1)
        row[0].set_ylabel(name, fontsize=8)
    return png_of(figure)


def show(place: Any, image: np.ndarray, **limits: float | None) -> None:
    """Draw a slice as it is, without axes."""
    place.imshow(image, cmap="gray", interpolation="nearest", **limits)
    place.set_xticks([])
    place.set_yticks([])


def run(main: Callable[[Path], None]) -> None:
    """Run a script in the folder that the command line names, where trainings are gone on with, or in one for now."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
