"""Simulations between looking at a case and writing it, so that none is made twice."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from meddl.computer import free_disk
from meddl.simulation.simulated import Simulated
from meddl.volume import Volume

_SHARE = 4
"""A quarter of the disk's free space is used at most; what finds no room is made once more."""


class KeptSimulations:
    """Simulated images on the disk, each taken once.

    They show real people: their files have no names, and nothing of them is left when the process ends, even if it is
    killed.
    """

    def __init__(self) -> None:
        self._kept: dict[object, Simulated] = {}

    def keep(self, name: object, made: Simulated) -> None:
        """Keep what was made, where there is room; its target, which is the original, is not kept."""
        parts = {"image": made.image, "labels": made.labels, "paths": made.paths}
        volumes = {part: volume for part, volume in parts.items() if volume is not None}
        if sum(volume.array.nbytes for volume in volumes.values()) > free_disk(Path(tempfile.gettempdir())) // _SHARE:
            return
        try:
            mapped = {part: replace(volume, array=_on_disk(volume.array)) for part, volume in volumes.items()}
        except OSError:  # full after all
            return
        self._kept[name] = replace(
            made, target=None, image=mapped["image"], labels=mapped.get("labels"), paths=mapped.get("paths")
        )

    def take(self, name: object) -> Simulated | None:
        """Return what was kept, which is then no longer there; None where nothing was."""
        made = self._kept.pop(name, None)
        if made is None:
            return None
        labels, paths = (each and _read(each) for each in (made.labels, made.paths))
        return replace(made, image=_read(made.image), labels=labels, paths=paths)


def _on_disk(array: np.ndarray) -> np.ndarray:
    """Return an array mapped from a file without a name, which goes away with it."""
    with tempfile.TemporaryFile(prefix="meddl-") as file:
        file.write(np.ascontiguousarray(array).data)
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


def _read(volume: Volume) -> Volume:
    return replace(volume, array=np.array(volume.array))
