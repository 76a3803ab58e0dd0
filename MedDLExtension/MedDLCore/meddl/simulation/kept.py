"""Simulations between looking at a case and writing it, so that none is made twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meddl.computer import free_disk
from meddl.simulation.simulated import Simulated
from meddl.volume import Volume

_SHARE = 4
"""A quarter of the disk's free space is used at most; what finds no room is made once more."""


class KeptSimulations:
    """A folder of simulated images that are each taken once.

    Args:
        folder: that nobody else uses and that goes away.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[object, tuple[Simulated, list[Path]]] = {}
        self._count = 0

    def keep(self, name: object, made: Simulated) -> None:
        """Keep what was made, where there is room; its target, which is the original, is not kept."""
        parts = {"image": made.image, "labels": made.labels, "paths": made.paths}
        volumes = {part: volume for part, volume in parts.items() if volume is not None}
        if sum(volume.array.nbytes for volume in volumes.values()) > free_disk(self._folder) // _SHARE:
            return
        self._count += 1
        files = {part: self._folder / f"{self._count}_{part}.npy" for part in volumes}
        try:
            for part, volume in volumes.items():
                np.save(files[part], volume.array)
        except OSError:  # full after all
            _remove(list(files.values()))
            return
        # Mapped, not read: the arrays are on the disk only.
        mapped = {part: replace(volume, array=np.load(files[part], mmap_mode="r")) for part, volume in volumes.items()}
        on_disk = replace(
            made, target=None, image=mapped["image"], labels=mapped.get("labels"), paths=mapped.get("paths")
        )
        self._kept[name] = on_disk, list(files.values())

    def take(self, name: object) -> Simulated | None:
        """Return what was kept, which is then no longer there; None where nothing was."""
        made, files = self._kept.pop(name, (None, []))
        if made is None:
            return None
        labels, paths = (each and _read(each) for each in (made.labels, made.paths))
        found = replace(made, image=_read(made.image), labels=labels, paths=paths)
        del made
        _remove(files)
        return found


def _read(volume: Volume) -> Volume:
    return replace(volume, array=np.array(volume.array))


def _remove(files: list[Path]) -> None:
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError:  # mapped still (Windows): it goes away with the folder
            continue
