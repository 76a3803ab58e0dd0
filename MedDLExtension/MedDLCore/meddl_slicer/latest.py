"""Jobs of which only the newest counts: for previews that follow a slider."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qt
from meddl.errors import JobCancelled, MedDLError

from meddl_slicer.pump import JobPump

if TYPE_CHECKING:
    from meddl.jobs import Job, JobRunner

_LOOK_MS = 10


@dataclass(frozen=True)
class Wanted:
    """A job, and what its asker has to know when it is done.

    Attributes:
        task, params: as of :meth:`meddl.jobs.JobRunner.submit`.
        about: given back with the outcome.
    """

    task: str
    params: dict[str, Any]
    about: Any = None


@dataclass(frozen=True)
class _Wish:
    make: Callable[[], Wanted]
    mayStop: bool


class LatestJob:
    """Runs one job at a time; of those asked for meanwhile, only the newest follows.

    Args:
        getRunner: returns who runs the next job.
        onDone: called from the event loop with what the job was about, and its result and None, or None and the error.
    """

    def __init__(
        self,
        getRunner: Callable[[], JobRunner],
        onDone: Callable[[Any, dict[str, Any] | None, MedDLError | None], None],
    ) -> None:
        self._getRunner, self._onDone = getRunner, onDone
        self._pump: JobPump | None = None
        self._job: Job | None = None
        self._about: Any = None
        self._now: _Wish | None = None
        self._next: _Wish | None = None

    @property
    def isRunning(self) -> bool:
        """Whether something was asked for that has not been told yet."""
        return self._job is not None or self._next is not None

    def ask(self, make: Callable[[], Wanted], mayStop: bool = False) -> None:
        """Run a job as soon as the one under way has ended; what was asked for before and has not begun is dropped.

        Args:
            make: called when its turn comes, so that nothing is read in vain.
            mayStop: the next one need not wait for it: its task looks often whether it shall stop.
        """
        self._next = _Wish(make, mayStop)
        if self._job is None or self._job.done:  # done: its runner was closed, and nobody will tell
            self._submit()
        elif self._now is not None and self._now.mayStop:
            self._now = None
            self._job.cancel()
            self._pump.start()  # type: ignore[union-attr]

    def drop(self) -> None:
        """Forget what was asked for; the outcome of what is under way is told to nobody."""
        self._job = self._now = self._next = None

    def _submit(self) -> None:
        wish, self._next = self._next, None
        assert wish is not None
        self._job, self._now = None, wish
        try:
            wanted = wish.make()
            runner = self._getRunner()
            self._job = runner.submit(wanted.task, wanted.params, on_done=self._told)
            self._about = wanted.about
        except MedDLError as error:
            self._onDone(None, None, error)
            return
        if self._pump is None or self._pump.runner is not runner:
            self._pump = JobPump(runner, _LOOK_MS)
        self._pump.start()

    def _told(self, job: Job) -> None:
        # Outside of the pump: what follows submits the next job.
        qt.QTimer.singleShot(0, lambda: self._finish(job))

    def _finish(self, job: Job) -> None:
        if job is not self._job:
            return
        self._job, about = None, self._about
        if self._next is not None:
            self._submit()  # before the outcome is shown: the worker works meanwhile
        if not isinstance(job.error, JobCancelled):
            self._onDone(about, job.result if job.error is None else None, job.error)
