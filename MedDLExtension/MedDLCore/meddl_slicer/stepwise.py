"""Long work on the main thread in small steps, so that the application stays usable meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import qt
import slicer

STEPS_MS = 30
"""So long steps are taken one after the other; then the application has its turn."""


class Stepwise:
    """Takes the steps of a generator from the event loop. The views are not drawn until all is there.

    Args:
        steps: does a part of the work between its ``yield`` statements.
        onDone: called with None at the end, or with the error that ended it; not after :meth:`stop`.
    """

    def __init__(self, steps: Iterator[None], onDone: Callable[[Exception | None], None]) -> None:
        self._steps: Iterator[None] | None = steps
        self._onDone = onDone
        slicer.app.pauseRender()
        self._next()

    def stop(self) -> None:
        """Take no further step; the generator's own ``finally`` and ``except`` clean up."""
        steps, self._steps = self._steps, None
        if steps is not None:
            try:
                steps.close()  # type: ignore[attr-defined]
            finally:
                slicer.app.resumeRender()

    def _next(self) -> None:
        qt.QTimer.singleShot(0, self._take)

    def _take(self) -> None:
        if self._steps is None:  # stopped in between
            return
        end = time.monotonic() + STEPS_MS / 1000
        error: Exception | None = None
        try:
            while time.monotonic() < end:
                next(self._steps)
                if self._steps is None:  # a step can have ended it: what it changed is observed
                    return
            self._next()
            return
        except StopIteration:
            pass
        except Exception as failure:
            error = failure
        if self._steps is not None:
            self._steps = None
            slicer.app.resumeRender()
            self._onDone(error)
