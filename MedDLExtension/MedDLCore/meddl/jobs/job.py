"""The job a caller holds, and the contract of those who run it."""

from __future__ import annotations

import enum
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from meddl.errors import JobCancelled, MedDLError

logger = logging.getLogger(__name__)

OnProgress = Callable[[float, str], None]
OnLog = Callable[[str], None]
OnDone = Callable[["Job"], None]

LOG_LINES = 5000
"""How many lines of log a job keeps: the last ones."""

_INTERRUPT_PATIENCE = 10.0  # seconds: longer than it takes to kill a worker
_NESTING = 4


class JobState(enum.StrEnum):
    """Where a job is. Compares equal to its text, for instance ``job.state == "done"``."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Progress(NamedTuple):
    """Fraction of the work that is done (0..1) and one line on what is going on."""

    fraction: float = 0.0
    text: str = ""


class JobRunner(Protocol):
    """Runs one job at a time, the others wait in order. To be used from one thread."""

    def submit(
        self,
        task: str,
        params: Mapping[str, Any],
        *,
        on_progress: OnProgress | None = None,
        on_log: OnLog | None = None,
        on_done: OnDone | None = None,
    ) -> Job:
        """Queue ``task`` and return at once.

        Arrays in ``params`` are read when the job's turn comes: don't change them before it is running.

        Args:
            task: ``"package.module:function"``.
            params: JSON types, tuples, paths, arrays, volumes.
            on_progress: called with (fraction, text), at least once a second while the job runs.
            on_log: called with each line of the log.
            on_done: called once with the job, whatever became of it.

        Raises:
            UsageError: ``task`` is no task's name, or ``params`` holds something that can't be handed over.
        """
        ...

    def pump(self) -> None:
        """Move things on and deliver what has happened since, by callbacks on the calling thread."""
        ...

    @property
    def active(self) -> bool:
        """Whether there is something to pump for: unfinished jobs, untold events, or a process that is being ended."""
        ...

    def close(self) -> None:
        """Cancel all jobs and give everything back. No callback is called any more. May be called twice."""
        ...


class JobOwner(Protocol):
    """What a job asks of the runner it belongs to."""

    mailbox: Mailbox

    def cancel(self, job: Job) -> None: ...

    def turn(self, seconds: float) -> None:
        """Pump once, and if there was nothing to do wait up to ``seconds`` for something."""
        ...

    def pump(self) -> None: ...


class Job:
    """A piece of work that was submitted to a runner.

    Attributes:
        task: its name, ``"package.module:function"``.
        state, progress, log, result, error: as of the last pump.
    """

    def __init__(
        self,
        task: str,
        owner: JobOwner,
        on_progress: OnProgress | None = None,
        on_log: OnLog | None = None,
        on_done: OnDone | None = None,
    ) -> None:
        self.task = task
        self._owner = owner
        self._on_progress, self._on_log, self._on_done = on_progress, on_log, on_done
        self._state = JobState.QUEUED
        self._progress = Progress()
        self._progress_posted = False
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._result: dict[str, Any] | None = None
        self._error: MedDLError | None = None
        self._dropped = False

    @property
    def state(self) -> JobState:
        """Where the job is."""
        return self._state

    @property
    def progress(self) -> Progress:
        """How far it is, as a pair (fraction, text)."""
        return self._progress

    @property
    def log(self) -> list[str]:
        """The last lines of its log: what the task logged and what libraries printed."""
        return list(self._log)

    @property
    def result(self) -> dict[str, Any] | None:
        """What the task returned, once the job is done. Its arrays belong to the caller."""
        return self._result

    @property
    def error(self) -> MedDLError | None:
        """Why there is no result, once the job failed or was cancelled."""
        return self._error

    @property
    def done(self) -> bool:
        """Whether it is over, with or without a result."""
        return self._state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)

    def cancel(self) -> None:
        """Stop the job, now or within a second. A result that arrives after this call is thrown away. Never fails."""
        if not self.done:
            self._owner.cancel(self)

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Pump until the job is over and return its result. An interrupt (Ctrl-C) cancels the job.

        Raises:
            MedDLError: the job's error, if it has no result.
            TimeoutError: it is not over after ``timeout`` seconds; it goes on.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            self._wait_until(end)
        except KeyboardInterrupt:
            self.cancel()
            self._wait_until(time.monotonic() + _INTERRUPT_PATIENCE)
            raise
        if not self.done:
            raise TimeoutError(f"The job {self.task} is not over after {timeout} seconds.")
        self._owner.pump()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def _wait_until(self, end: float | None) -> None:
        while not self.done:
            left = 0.25 if end is None else end - time.monotonic()
            if left <= 0:
                break
            self._owner.turn(min(left, 0.25))

    # What follows is for the runners.

    def begin(self) -> None:
        self._state = JobState.RUNNING

    def report(self, fraction: float, text: str) -> None:
        self._progress = Progress(fraction, text)
        if self._on_progress is not None and not self._progress_posted:
            self._progress_posted = True
            self._owner.mailbox.post(self._tell_progress)

    def add_log(self, line: str) -> None:
        self._log.append(line)
        if self._on_log is not None:
            self._owner.mailbox.post(self._on_log, line)

    def drop_result(self) -> None:
        """The user has cancelled: however the task ends now, the job ends as cancelled."""
        self._dropped = True

    def finish(self, result: dict[str, Any]) -> None:
        self._end(JobState.DONE, result, None)

    def fail(self, error: MedDLError) -> None:
        self._end(JobState.CANCELLED if isinstance(error, JobCancelled) else JobState.FAILED, None, error)

    def finish_cancelled(self) -> None:
        self.fail(JobCancelled("The job was cancelled."))

    def _end(self, state: JobState, result: dict[str, Any] | None, error: MedDLError | None) -> None:
        if self.done:
            return
        if self._dropped and state is not JobState.CANCELLED:
            state, result, error = JobState.CANCELLED, None, JobCancelled("The job was cancelled.")
        self._state, self._result, self._error = state, result, error
        if self._on_done is not None:
            self._owner.mailbox.post(self._on_done, self)

    def _tell_progress(self) -> None:
        # Many reports between two pumps make one call, with the latest.
        self._progress_posted = False
        if self._on_progress is not None:
            self._on_progress(*self._progress)


class Mailbox:
    """Callbacks that wait for the next pump, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._depth = 0

    def post(self, callback: Callable[..., None], *args: Any) -> None:
        self._waiting.append((callback, args))

    def deliver(self, until: float) -> None:
        """Call what waits, until ``time.monotonic()`` is past ``until``; at least one. Their errors go to the log.

        A callback may open a dialog or process Qt's events, and so arrive here again: that goes on with the next
        callback, down to a few levels.
        """
        if self._depth >= _NESTING:
            return
        self._depth += 1
        try:
            while self._waiting:
                callback, args = self._waiting.popleft()
                try:
                    callback(*args)
                except Exception:
                    logger.exception("A callback of a job failed")
                if time.monotonic() > until:
                    break
        finally:
            self._depth -= 1

    def clear(self) -> None:
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)
