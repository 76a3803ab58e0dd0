"""Jobs in this very process: for scripts, tests and debugging."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from meddl.errors import JobError, UsageError

from . import codec
from .context import JobContext, ModelCache
from .job import Job, Mailbox, OnDone, OnLog, OnProgress
from .tasks import as_meddl_error, check_task_name, run_task


class InlineRunner:
    """Runs a job inside :meth:`pump`, which therefore takes as long as the job does.

    Params and results pass the same checks as on the way to a worker and arrays arrive read-only as there, so what runs
    here runs there; nothing is copied. Progress and log are told while the job runs, and a callback may cancel it.

    Args:
        cache_size: how many models the tasks may keep.
    """

    def __init__(self, *, cache_size: int = 2) -> None:
        self.mailbox = Mailbox()
        self._cache = ModelCache(cache_size)
        self._queue: deque[tuple[Job, codec.Encoded]] = deque()
        self._running: Job | None = None
        self._cancelled = False
        self._closed = False

    def submit(
        self,
        task: str,
        params: Mapping[str, Any],
        *,
        on_progress: OnProgress | None = None,
        on_log: OnLog | None = None,
        on_done: OnDone | None = None,
    ) -> Job:
        """See :meth:`meddl.jobs.JobRunner.submit`."""
        if self._closed:
            raise UsageError("This runner is closed: it takes no more jobs.")
        check_task_name(task)
        job = Job(task, self, on_progress, on_log, on_done)
        self._queue.append((job, codec.encode(params, "params")))
        return job

    def pump(self) -> None:
        """Run the next job to its end, then deliver what is left to tell."""
        if self._running is None and self._queue:
            self._run(*self._queue.popleft())
        self.mailbox.deliver(until=math.inf)

    def turn(self, seconds: float) -> None:
        """See :class:`meddl.jobs.job.JobOwner`."""
        if self._running is None and not self._queue:
            time.sleep(seconds)
        self.pump()

    @property
    def active(self) -> bool:
        """See :class:`meddl.jobs.JobRunner`."""
        return bool(self._running or self._queue or self.mailbox)

    def cancel(self, job: Job) -> None:
        """Remove ``job`` from the queue, or ask it to stop if it runs."""
        if job is self._running:
            self._cancelled = True
            job.drop_result()
        else:
            self._queue = deque(entry for entry in self._queue if entry[0] is not job)
            job.finish_cancelled()

    def close(self) -> None:
        """See :meth:`meddl.jobs.JobRunner.close`."""
        self._closed = True
        for job in [entry[0] for entry in self._queue] + ([self._running] if self._running else []):
            self.cancel(job)
        self.mailbox.clear()
        self._cache.clear()

    def __enter__(self) -> InlineRunner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, job: Job, request: codec.Encoded) -> None:
        self._running, self._cancelled = job, False
        context = JobContext(
            on_progress=lambda fraction, text: self._told(job.report, fraction, text),
            on_log=lambda line: self._told(job.add_log, line),
            is_cancelled=lambda: self._cancelled,
            cache=self._cache,
        )
        job.begin()
        try:
            result = run_task(job.task, codec.decode(request.tree, [_read_only(a) for a in request.arrays]), context)
            answer = codec.encode(result, "result")
            value = codec.decode(answer.tree, answer.arrays)
        except Exception as error:
            job.fail(as_meddl_error(error))
        except SystemExit:
            job.fail(JobError("The task tried to end the process."))
        except BaseException:  # an interrupt
            job.finish_cancelled()
            raise
        else:
            job.finish(value)
        finally:
            self._running = None

    def _told(self, tell: Any, *args: Any) -> None:
        tell(*args)
        self.mailbox.deliver(until=math.inf)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
