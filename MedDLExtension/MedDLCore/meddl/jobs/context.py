"""What a task is given beside its params: progress, log, cancel, and a cache that outlives the job."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from meddl.errors import JobCancelled

T = TypeVar("T")


class ModelCache:
    """The most recently used objects, at most ``max_items`` of them; lives as long as the process.

    Example:
        >>> cache = ModelCache(max_items=1)
        >>> cache.get_or_create("brain", lambda: "loaded")
        'loaded'
        >>> cache.get_or_create("brain", lambda: "loaded again")
        'loaded'
    """

    def __init__(self, max_items: int = 2) -> None:
        self._max_items = max(1, int(max_items))
        self._items: OrderedDict[Hashable, Any] = OrderedDict()

    def get_or_create(self, key: Hashable, factory: Callable[[], T]) -> T:
        """Return the object kept under ``key``, made by ``factory`` if there is none."""
        if key in self._items:
            self._items.move_to_end(key)
            return self._items[key]
        # Room is made first: two models side by side might not fit into the memory that one of them fits into.
        while len(self._items) >= self._max_items:
            self._items.popitem(last=False)
        value = self._items[key] = factory()
        return value

    def discard(self, key: Hashable) -> None:
        """Forget ``key`` if it is there."""
        self._items.pop(key, None)

    def clear(self) -> None:
        """Forget everything, for instance to give memory back."""
        self._items.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __len__(self) -> int:
        return len(self._items)


class JobContext:
    """A running task's line to whoever waits for it. With no arguments: silent, never cancelled.

    Args:
        on_progress: receives a fraction in 0..1 and one line of text.
        on_log: receives one line.
        is_cancelled: tells whether the user wants the job to stop.
        cache: where the task keeps loaded models for the next job.
    """

    def __init__(
        self,
        on_progress: Callable[[float, str], None] = lambda fraction, text: None,
        on_log: Callable[[str], None] = lambda line: None,
        is_cancelled: Callable[[], bool] = lambda: False,
        cache: ModelCache | None = None,
    ) -> None:
        self._on_progress = on_progress
        self._on_log = on_log
        self._is_cancelled = is_cancelled
        self.cache = ModelCache() if cache is None else cache

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell how much of the work is done (0..1, clipped) and what is going on, in one line. Cheap."""
        number = float(fraction)
        number = 0.0 if math.isnan(number) else min(1.0, max(0.0, number))
        self._on_progress(number, " ".join(str(text).split()))

    def log(self, line: str) -> None:
        """Add a line, or several, to the job's log."""
        for part in str(line).splitlines() or [""]:
            self._on_log(part)

    def cancelled(self) -> bool:
        """Return whether the job shall stop. A task that looks often enough may clean up before it does."""
        return self._is_cancelled()

    def raise_if_cancelled(self) -> None:
        """Raise :class:`meddl.errors.JobCancelled` if the job shall stop."""
        if self._is_cancelled():
            raise JobCancelled("The job was cancelled.")
