"""Examples as they are gathered: in memory while they are few, else in a file that vanishes with the process."""

from __future__ import annotations

import math
import tempfile
from typing import IO

import numpy as np

from meddl.errors import MedDLError

BUDGET = 512 << 20
"""Bytes of images that are kept in memory."""


class ExampleStore:
    """Takes examples one by one.

    Args:
        size: of an example.
        budget: bytes of images from which on they go to a file.
    """

    def __init__(self, size: tuple[int, ...], budget: int | None = None) -> None:
        self._size = size
        self._budget = BUDGET if budget is None else budget
        self._images: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._written = 0

    def add(self, image: np.ndarray, labels: np.ndarray | None) -> None:
        """Take one example: image ``(*size)`` float32, labels ``(*size)`` uint8 or None."""
        self._images.append(np.ascontiguousarray(image, np.float32))
        if labels is not None:
            self._labels.append(np.ascontiguousarray(labels, np.uint8))
        if len(self._images) * math.prod(self._size) * 4 >= self._budget:
            self._spill()

    def arrays(self, limit: int = 0) -> tuple[np.ndarray, np.ndarray | None, list[int]]:
        """Return images ``(N, 1, *size)``, labels ``(N, *size)`` or None, and which of those that were added they are.

        Args:
            limit: at most so many, spread evenly; 0: all.
        """
        labels = self._labels
        if self._file is not None:
            self._spill()
            images: np.ndarray = np.memmap(self._file, np.float32, "r", shape=(self._written, 1, *self._size))
        else:
            empty = np.empty((0, 1, *self._size), np.float32)
            images = np.stack(self._images)[:, None] if self._images else empty
            self._images = []
        count = len(images)
        kept = list(range(count))
        if 0 < limit < count:
            kept = [int(index) for index in (np.arange(limit) + 0.5) * count / limit]
            images = np.ascontiguousarray(images[kept])
        return images, np.stack([labels[index] for index in kept]) if labels else None, kept

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="meddl-examples-")  # noqa: SIM115 - it lives with the array
            for image in self._images:
                self._file.write(image.tobytes())
            self._file.flush()
        except OSError as error:
            raise MedDLError(
                f"The examples did not fit on the disk of temporary files: {error.strerror}. Choose a larger voxel "
                "size, or free some space."
            ) from error
        self._written += len(self._images)
        self._images = []
