"""A limit of time for work that keeps what it has come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from meddl.errors import JobCancelled, UsageError

_Made = TypeVar("_Made")


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


def in_time(
    minutes: float, make: Callable[[Callable[[], bool]], _Made], cancelled: Callable[[], bool] = lambda: False
) -> _Made:
    """Return what is made, if it is made in time: an image that is not whole is none.

    Args:
        minutes: 0 for no limit.
        make: gets what says whether to stop, and raises JobCancelled then.
        cancelled: whether it is wanted to stop.

    Raises:
        UsageError: the time was too short.
        JobCancelled: on request.
    """
    limit = TimeLimit(minutes, cancelled)
    try:
        return make(limit.is_over)
    except JobCancelled:
        if cancelled() or not limit.passed:
            raise
        raise UsageError(f"In {minutes:g} minutes it did not come to an end. Give it more time, ask for fewer steps, "
                         "or use a GPU.") from None  # fmt: skip
