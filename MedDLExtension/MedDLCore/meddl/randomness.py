"""Numbers by chance that are the same on every computer: from SHA-256, and fields of them from Philox's raw bits.

Nothing here knows or changes the global state of numpy, torch or MONAI, and no library's idea of how bits become
numbers is relied on: what was drawn once is drawn again after any update.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")


class Stream:
    """A sequence of numbers that depends on the names it is given, and on nothing else.

    Example:
        >>> Stream(7, "case_0001", 0).uniform(1, 2) == Stream(7, "case_0001", 0).uniform(1, 2)
        True
    """

    def __init__(self, *names: object) -> None:
        self._key = hashlib.sha256("\0".join(map(str, names)).encode("utf-8", "surrogatepass")).digest()
        self._count = 0

    def child(self, *names: object) -> Stream:
        """Return a stream of its own: what it gives does not depend on how much was drawn from this one."""
        return Stream(self._key.hex(), *names)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number from ``low`` to ``high``."""
        return low + (high - low) * ((int.from_bytes(self._next()[:8], "big") >> 11) * 2.0**-53)

    def between(self, limits: Sequence[float]) -> float:
        """Return a number of a range ``(low, high)``."""
        return self.uniform(limits[0], limits[1])

    def whole(self, limits: Sequence[float]) -> int:
        """Return a whole number of a range, both ends included."""
        low, high = round(limits[0]), round(limits[1])
        return min(high, low + int(self.uniform() * (high - low + 1)))

    def choice(self, among: Sequence[Choice]) -> Choice:
        """Return one of several."""
        return among[min(len(among) - 1, int(self.uniform() * len(among)))]

    def token(self) -> str:
        """Return 32 hexadecimal digits that name a field of numbers, see :func:`normal_field`."""
        return self._next()[:16].hex()

    def _next(self) -> bytes:
        self._count += 1
        return hashlib.sha256(self._key + self._count.to_bytes(8, "big")).digest()


def uniform_field(token: str, shape: Sequence[int]) -> np.ndarray:
    """Return float64 numbers from -1 to 1."""
    raw = np.random.Philox(key=int(token, 16)).random_raw(math.prod(shape))
    numbers: np.ndarray = (np.asarray(raw) >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    return numbers.reshape(tuple(shape))


def normal_field(token: str, shape: Sequence[int]) -> np.ndarray:
    """Return float32 numbers of mean 0 and standard deviation 1 (Box and Muller 1958)."""
    count = math.prod(shape)
    raw = np.asarray(np.random.Philox(key=int(token, 16)).random_raw((count + 1) // 2))
    scale = np.float32(2.0**-32)
    radius = ((raw >> np.uint64(32)).astype(np.float32) + np.float32(0.5)) * scale
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(np.maximum(radius, 0, out=radius), out=radius)
    angle = (raw & np.uint64(0xFFFFFFFF)).astype(np.float32) * np.float32(2.0 * math.pi * 2.0**-32)
    numbers = np.empty(2 * len(raw), np.float32)
    numbers[0::2] = radius * np.cos(angle)
    numbers[1::2] = radius * np.sin(angle)
    return numbers[:count].reshape(tuple(shape))
