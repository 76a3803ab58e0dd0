"""A limit of time for work that keeps what it has come to."""

from __future__ import annotations

import time
from collections.abc import Callable


class TimeLimit:
    """Says that a job is over, either on request or when its time has passed.

    Args:
        minutes: 0 for no limit.
        cancelled: whether it is wanted to stop.
    """

    def __init__(self, minutes: float, cancelled: Callable[[], bool]) -> None:
        self._started = time.monotonic()
        self._seconds = 60.0 * minutes
        self._cancelled = cancelled

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    @property
    def passed(self) -> bool:
        """Whether the time is up."""
        return 0 < self._seconds <= self.elapsed

    def is_over(self) -> bool:
        """Whether the job shall stop, for whatever reason."""
        return self.passed or self._cancelled()
