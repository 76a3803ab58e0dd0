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
        self._next: Callable[[], Wanted] | None = None

    @property
    def isRunning(self) -> bool:
        """Whether something was asked for that has not been told yet."""
        return self._job is not None or self._next is not None

    def ask(self, make: Callable[[], Wanted]) -> None:
        """Run a job as soon as the one under way has ended; what was asked for before and has not begun is dropped.

        Nothing is cancelled: that may end the worker, and what it keeps. Ask for short jobs.

        Args:
            make: called when its turn comes, so that nothing is read in vain.
        """
        self._next = make
        if self._job is None or self._job.state == "cancelled":  # its runner was closed, and nobody will tell
            self._submit()

    def drop(self) -> None:
        """Forget what was asked for; the outcome of what is under way is told to nobody."""
        self._job = self._next = None

    def _submit(self) -> None:
        make, self._next = self._next, None
        assert make is not None
        self._job = None
        try:
            wanted = make()
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
