"""Progress of a part of some work as progress of the whole."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]


def part_of(progress: Progress, start: float, stop: float) -> Progress:
    """Return what a part of the work calls with 0 to 1, which the whole then tells as ``start`` to ``stop``.

    Example:
        >>> part_of(lambda fraction, text: print(fraction, text), 0.5, 1.0)(0.5, "Half of the second half")
        0.75 Half of the second half
    """
    return lambda fraction, text: progress(start + (stop - start) * fraction, text)
