"""A worker of its own for work that takes minutes to hours: models can be run in the shared one meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import slicer
from meddl import computer

from meddl_slicer.pump import worker_python

if TYPE_CHECKING:
    from meddl.jobs import WorkerRunner

_IDLE_S = 15.0
"""After so long without work, the worker ends: its memory is wanted elsewhere."""

_runner: WorkerRunner | None = None
_closes_at_exit = False


def long_runner() -> WorkerRunner:
    """Return who trains and judges; closed when the application quits."""
    global _runner, _closes_at_exit
    if _runner is None:
        from meddl.jobs import WorkerRunner

        _runner = WorkerRunner(python=worker_python(), env=dict(computer.GPU_ORDER), idle_timeout=_IDLE_S)
        if not _closes_at_exit and getattr(slicer, "app", None) is not None:
            _closes_at_exit = True
            slicer.app.connect("aboutToQuit()", close_long_runner)
    return _runner


def close_long_runner() -> None:
    """End the worker: its memory is free again, and a job in it is stopped."""
    global _runner
    if _runner is not None:
        _runner.close()
        _runner = None
