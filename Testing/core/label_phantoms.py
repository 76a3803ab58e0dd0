"""Label maps to bring to one grid."""

from __future__ import annotations

import numpy as np
from core.phantoms import PLACES, SHEARED, world_of
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.one_grid import OneGrid, to_one_grid
from meddl.datasets.options import GridOptions
from meddl.volume import Volume

ALL_PLACES = {**PLACES, "sheared": SHEARED}
SHAPE = (7, 9, 6)


def blobs(affine: np.ndarray, shape: tuple[int, int, int] = SHAPE, count: int = 5, seed: int = 0) -> Volume:
    """Blobs of several labels, the background among them."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, 1, (count + 2, 3)) * shape
    index = np.indices(shape).reshape(3, -1).T
    nearest = ((index[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    return Volume(np.where(nearest > count, 0, nearest).reshape(1, *shape).astype(np.uint8), affine)


def scheme_of(count: int, **more: object) -> LabelScheme:
    return LabelScheme(
        tuple(Structure(f"Structure {n}", (1, 0, 0), "", (f"s{n}",)) for n in range(1, count + 1)), **more
    )


def sphere(affine: np.ndarray, shape: tuple[int, int, int], center: np.ndarray, radius: float) -> Volume:
    away = np.linalg.norm(world_of(affine, shape) - center.reshape(3, 1, 1, 1), axis=0)
    return Volume((away <= radius)[np.newaxis].astype(np.uint8), affine)


def on_one_grid(image: Volume, options: GridOptions, labels: Volume | None = None, **more: object) -> OneGrid:
    return to_one_grid({"CT": image}, labels, None, options, **more)
