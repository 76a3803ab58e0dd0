"""Jobs on the Qt event loop, and the one runner that all panels of a Slicer session share."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from meddl import computer

if TYPE_CHECKING:
    from meddl.jobs import JobRunner, WorkerRunner

logger = logging.getLogger(__name__)

_shared: WorkerRunner | None = None
_closed_at_exit = False


class JobPump:
    """Pumps a runner from a timer while there is something to pump for, so that callbacks arrive on the main thread.

    A pump never blocks: the runner reads what the worker has written and returns.

    Example::

        pump = JobPump(runner)
        job = runner.submit(task, params, on_done=show)
        pump.start()

    Args:
        runner: its jobs get delivered.
        intervalMs: time between two looks while a job is under way, in milliseconds.
    """

    _IDLE_MS = 1000  # while a warm worker waits for work, to notice when it ends

    def __init__(self, runner: JobRunner, intervalMs: int = 25) -> None:
        import qt

        self.runner = runner
        self._intervalMs = intervalMs
        self._timer = qt.QTimer()
        self._timer.connect("timeout()", self._onTimeout)

    def start(self) -> None:
        """Begin to pump; to be called after each submit. It stops by itself when nothing is left to do."""
        self._timer.start(self._intervalMs)

    def stop(self) -> None:
        """Deliver nothing any more."""
        self._timer.stop()

    @property
    def isActive(self) -> bool:
        """Whether the timer is running."""
        return self._timer.isActive()

    def _onTimeout(self) -> None:
        try:
            self.runner.pump()
            if not self.runner.active:
                if getattr(self.runner, "worker_pid", None) is None:
                    self._timer.stop()
                else:
                    self._timer.setInterval(self._IDLE_MS)
        except Exception:
            # A timer's slot has no caller that could handle this, and the next look may well succeed.
            logger.exception("Pumping the jobs failed")


def runner_for_slicer() -> WorkerRunner:
    """Return the runner that all panels share: its worker keeps models loaded from one run to the next.

    It is made on first use and closed when the application quits.
    """
    global _shared
    if _shared is None:
        from meddl.jobs import WorkerRunner

        _shared = WorkerRunner(python=worker_python(), env=dict(computer.GPU_ORDER))
        _close_when_quitting()
    return _shared


def warm_up(runner: JobRunner, modules: Sequence[str]) -> None:
    """Start the worker process and load modules there, so that the first job does not wait for it."""
    prestart = getattr(runner, "prestart", None)  # a runner in this process has nothing to start
    if prestart is not None:
        prestart(list(modules))


def close_shared_runner() -> None:
    """End the shared worker and the jobs in it; the next use starts a fresh one, for instance with new packages."""
    global _shared
    if _shared is not None:
        _shared.close()
        _shared = None


def worker_python() -> Path:
    """Return the Python to run workers with: PythonSlicer inside Slicer, this very Python elsewhere."""
    found = shutil.which("PythonSlicer")
    return Path(found or sys.executable)


def _close_when_quitting() -> None:
    global _closed_at_exit
    if _closed_at_exit:
        return
    _closed_at_exit = True
    import slicer

    if hasattr(slicer, "app"):
        slicer.app.connect("aboutToQuit()", close_shared_runner)
    else:  # a scene without application
        import atexit

        atexit.register(close_shared_runner)
