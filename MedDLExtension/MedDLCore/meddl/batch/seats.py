"""Where cases are worked on: in this process, or in worker processes of this computer, one per device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from meddl.batch.task import RUN_CASE, run_case
from meddl.errors import JobCancelled, MedDLError
from meddl.jobs.tasks import as_meddl_error

if TYPE_CHECKING:
    from meddl.jobs import Job, JobContext, WorkerRunner

OnProgress = Callable[[float, str], None]


class Work(Protocol):
    """A case in progress."""

    @property
    def done(self) -> bool:
        """Whether there is a result or an error."""
        ...

    def result(self) -> dict[str, Any]:
        """Return the record, or raise what went wrong (a :class:`MedDLError`)."""
        ...


class Seats(Protocol):
    """Takes cases as long as one is free, and gives each back as :class:`Work`."""

    @property
    def free(self) -> bool:
        """Whether another case can be taken."""
        ...

    def submit(self, params: dict[str, Any], on_progress: OnProgress) -> Work:
        """Begin a case; ``params`` as for :func:`meddl.batch.task.run_case`."""
        ...

    def turn(self) -> None:
        """Move things on, and wait a moment if there is nothing to do."""
        ...

    def close(self) -> None:
        """Stop everything."""
        ...


class Finished:
    """A case that has come to its end."""

    done = True

    def __init__(self, record: dict[str, Any] | None, error: MedDLError | None = None) -> None:
        self._record, self._error = record, error

    def result(self) -> dict[str, Any]:
        if self._error is not None:
            raise self._error
        assert self._record is not None
        return self._record


class InProcess:
    """Works on one case after the other right here, inside a job: a crash ends the batch, which can be resumed."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    free = True

    def submit(self, params: dict[str, Any], on_progress: OnProgress) -> Work:
        from meddl.jobs import JobContext

        context = JobContext(
            on_progress=on_progress,
            on_log=self._context.log,
            is_cancelled=self._context.cancelled,
            cache=self._context.cache,
        )
        try:
            return Finished(run_case(params, context))
        except JobCancelled:
            raise
        except Exception as error:
            return Finished(None, as_meddl_error(error))

    def turn(self) -> None:
        """Nothing goes on behind the scenes."""

    def close(self) -> None:
        """There is nothing to stop."""


class Workers:
    """A warm worker process for each device; one that dies costs its case only.

    Args:
        devices: one worker each; of each case's options, the device is replaced by the worker's.
        runners: for tests; made here by default.
    """

    def __init__(self, devices: Sequence[str], runners: Sequence[WorkerRunner] | None = None) -> None:
        if runners is None:
            from meddl.jobs import WorkerRunner

            runners = [WorkerRunner() for _ in devices]
        self._seats: list[tuple[str, WorkerRunner]] = list(zip(devices, runners, strict=True))
        self._jobs: list[Job | None] = [None] * len(self._seats)

    @property
    def free(self) -> bool:
        return any(job is None or job.done for job in self._jobs)

    def submit(self, params: dict[str, Any], on_progress: OnProgress) -> Work:
        index = next(index for index, job in enumerate(self._jobs) if job is None or job.done)
        device, runner = self._seats[index]
        job = runner.submit(RUN_CASE, {**params, "device": device}, on_progress=on_progress)
        self._jobs[index] = job
        return _Submitted(job)

    def turn(self) -> None:
        for (_, runner), job in zip(self._seats, self._jobs, strict=True):
            if job is not None and not job.done:
                runner.pump()
        time.sleep(0.02)

    def close(self) -> None:
        for _, runner in self._seats:
            runner.close()


class _Submitted:
    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def done(self) -> bool:
        return self._job.done

    def result(self) -> dict[str, Any]:
        return self._job.wait()
