"""Jobs in a child Python that stays warm, can be killed, and takes nothing along when it dies."""

from __future__ import annotations

import logging
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import meddl
from meddl.errors import JobError, OutOfMemory, UsageError, WorkerDied, from_dict

from . import codec
from .frames import FrameError, Message
from .job import Job, Mailbox, OnDone, OnLog, OnProgress
from .order import Order
from .process import PROTOCOL, WorkerProcess, describe_end
from .segments import unlink
from .tasks import as_meddl_error, check_task_name

logger = logging.getLogger(__name__)

_BACKLOG = 1000
"""Undelivered callbacks from which on the worker's log is left in the pipe: who prints too much has to wait."""

_END_TIME = 2.0
"""Seconds a process may take to end after it has closed its connection."""


class WorkerRunner:
    """Runs jobs in a child process, one at a time; starts it when needed, keeps it, replaces it when it dies.

    No threads, and no call waits except :meth:`Job.wait` and :meth:`close`: everything moves on in :meth:`pump`, which
    is to be called every few tens of milliseconds while :attr:`active` (and now and then otherwise), and returns within
    about ``pump_budget`` seconds plus what the callbacks take. Used from one thread.

    Args:
        python: the interpreter; in Slicer ``PythonSlicer``. Default: the one that runs this.
        env: added to the environment of the worker.
        extra_paths: folders the worker finds modules in, beside the one of ``meddl``.
        warm: modules a fresh worker imports before it has anything to do, for instance ``["torch"]``.
        idle_timeout: seconds without a job after which the worker ends to give its memory back.
        start_timeout: seconds it may take to start.
        cancel_grace: seconds a cancelled task has to stop by itself before it is killed.
        cache_size: how many models the worker keeps.
        pump_budget: seconds.

    Example:
        >>> with WorkerRunner() as runner:
        ...     runner.submit("meddl.jobs.tasks:about", {}).wait()["cached_models"]
        0
    """

    def __init__(
        self,
        python: Path | str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        extra_paths: Iterable[Path | str] = (),
        warm: Iterable[str] = (),
        idle_timeout: float = 600.0,
        start_timeout: float = 60.0,
        cancel_grace: float = 1.0,
        cache_size: int = 2,
        pump_budget: float = 0.015,
    ) -> None:
        self.mailbox = Mailbox()
        self._python = Path(python or sys.executable)
        self._env = dict(env or {})
        self._paths = [Path(p) for p in extra_paths]
        self._warm = tuple(warm)
        self._idle_timeout, self._start_timeout = idle_timeout, start_timeout
        self._cancel_grace, self._cache_size, self._budget = cancel_grace, cache_size, pump_budget
        self._queue: deque[Order] = deque()
        self._order: Order | None = None
        self._serial = 0
        self._worker: WorkerProcess | None = None
        self._processes: set[WorkerProcess] = set()  # the worker, and those that were killed but have not ended yet
        self._closed = False
        # Runs at exit, or when the runner is forgotten, or from close(): whichever comes first.
        self._end_processes = weakref.finalize(self, _end_all, self._processes, os.getpid())

    # ------------------------------------------------------------------ what callers use

    def submit(
        self,
        task: str,
        params: Mapping[str, Any],
        *,
        on_progress: OnProgress | None = None,
        on_log: OnLog | None = None,
        on_done: OnDone | None = None,
    ) -> Job:
        """See :meth:`meddl.jobs.JobRunner.submit`. Copies no array: pump does, in small steps, at the job's turn."""
        if self._closed:
            raise UsageError("This runner is closed: it takes no more jobs.")
        check_task_name(task)
        job = Job(task, self, on_progress, on_log, on_done)
        self._queue.append(Order(job, codec.encode(params, "params")))
        return job

    def prestart(self, warm: Iterable[str] = ()) -> None:
        """Start the worker now, so that the first job doesn't wait for it.

        Args:
            warm: modules it shall import meanwhile, in addition to those given to the runner; from now on every fresh
                worker does. One that can't be imported is no error.

        Raises:
            JobError: there is no such interpreter. What goes wrong later, the next job tells.
        """
        new = [name for name in warm if name not in self._warm]
        self._warm += tuple(new)
        if self._worker is None and not self._closed:
            self._start()
        elif self._worker is not None and new:
            self._worker.send({"type": "warm", "modules": new})

    @property
    def active(self) -> bool:
        """See :class:`meddl.jobs.JobRunner`."""
        dying = any(process is not self._worker for process in self._processes)
        return bool(self._order or self._queue or self.mailbox or dying)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker (or the launcher above it), None if there is none now."""
        return self._worker.pid if self._worker else None

    def pump(self) -> None:
        """See :meth:`meddl.jobs.JobRunner.pump`. Never waits."""
        self._move_on()
        self.mailbox.deliver(until=time.monotonic() + self._budget)

    def turn(self, seconds: float) -> None:
        """See :class:`meddl.jobs.job.JobOwner`."""
        if not self._move_on():
            if self._worker is not None:
                self._worker.wait_readable(seconds)
            else:
                time.sleep(min(seconds, 0.01))
        self.mailbox.deliver(until=time.monotonic() + self._budget)

    def cancel(self, job: Job) -> None:
        """See :meth:`meddl.jobs.Job.cancel`."""
        order = self._order
        if order is None or order.job is not job:
            self._queue = deque(o for o in self._queue if o.job is not job)
            job.finish_cancelled()
        elif order.phase != "working":
            self._finish_order()
            job.finish_cancelled()
        elif order.kill_at is None:
            job.drop_result()
            order.kill_at = time.monotonic() + self._cancel_grace
            if self._worker is not None:
                self._worker.send({"type": "cancel", "serial": order.serial})

    def close(self) -> None:
        """See :meth:`meddl.jobs.JobRunner.close`. Ends the worker and waits for its end (milliseconds, 3 s at most)."""
        self._closed = True
        orders = list(self._queue) + ([self._order] if self._order else [])
        self._queue.clear()
        self._order = self._worker = None
        for order in orders:
            order.job.finish_cancelled()
        self.mailbox.clear()
        self._end_processes()

    def __enter__(self) -> WorkerRunner:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------------ moving on

    def _move_on(self) -> bool:
        """Do what can be done without waiting, within the budget; return whether there was anything."""
        until = time.monotonic() + self._budget
        self._bury()
        moved = self._listen(self._worker, until) if self._worker is not None else False
        return self._advance(until) or moved

    def _listen(self, worker: WorkerProcess, until: float) -> bool:
        """Take in what the worker has to say."""
        moved = worker.flush()
        ended = worker.poll()  # asked first: what a dead worker has said is all in the pipes by then
        if len(self.mailbox) < _BACKLOG:
            moved |= self._take_log(worker.log_lines(), until)
        try:
            for message in worker.messages():
                moved = True
                self._take(worker, message)
                if worker is not self._worker:
                    return True
                if time.monotonic() > until:
                    return True
        except FrameError as error:
            worker.last_lines.append(str(error))
            self._on_end(worker, "sent something that MedDL does not understand")
            return True
        if ended is not None:
            self._take_rest_of_log(worker)
            self._on_end(worker, describe_end(ended))
            return True
        if worker.mute_since is not None and time.monotonic() - worker.mute_since > _END_TIME:
            self._on_end(worker, "closed its connection without ending")
            return True
        if not worker.ready and time.monotonic() - worker.started > self._start_timeout:
            self._on_failed_start(worker, f"was not ready after {self._start_timeout:g} seconds")
            return True
        return moved

    def _advance(self, until: float) -> bool:
        """Bring the job whose turn it is as far as it goes without waiting; at least one step."""
        moved = False
        while not moved or time.monotonic() <= until:
            if self._order is None:
                if not self._queue:
                    return moved
                self._order = self._queue.popleft()
            order = self._order
            if order.phase == "waiting":
                if not self._worker_at_hand(order):
                    return moved
                assert self._worker is not None
                self._serial += 1
                order.prepare(self._worker, self._serial)
            if order.phase in ("sending", "receiving"):
                self._step(order)
                moved = True
            elif order.kill_at is not None and time.monotonic() >= order.kill_at:
                self._replace()
                self._finish_order()
                order.job.finish_cancelled()
                moved = True
            else:
                return moved
        return moved

    def _worker_at_hand(self, order: Order) -> bool:
        if self._worker is None:
            try:
                self._start()
            except JobError as error:
                self._finish_order()
                order.job.fail(error)
        return self._worker is not None and self._worker.ready

    def _step(self, order: Order) -> None:
        """Copy one block more of the params or the result."""
        assert order.steps is not None
        try:
            next(order.steps)
        except StopIteration as end:
            if order.phase == "sending":
                order.begin()
            else:
                self._finish_order()
                order.job.finish(end.value)
        except (OSError, MemoryError) as error:
            self._finish_order()
            order.job.fail(
                OutOfMemory(
                    "There is not enough memory to hand the images over to the worker or back. "
                    "Close other programs, or give the system more shared memory.",
                    repr(error),
                )
            )
        except Exception as error:
            self._finish_order()
            order.job.fail(as_meddl_error(error))
        except BaseException:  # an interrupt: the steps can't be taken up again
            self._finish_order()
            order.job.finish_cancelled()
            raise

    # ------------------------------------------------------------------ what the worker says

    def _take(self, worker: WorkerProcess, message: Message) -> None:
        kind, order = message.get("type"), self._order
        if kind == "ready":
            self._on_ready(worker, message)
        elif kind == "bye":
            worker.leaving = True
        elif order is None or message.get("serial") != order.serial or order.phase != "working":
            logger.debug("A message of a job that is over: %s", kind)
        elif kind == "started":
            order.release()
        elif kind == "progress":
            order.job.report(message["fraction"], message["text"])
        elif kind == "failed":
            self._take_rest_of_log(worker)
            self._finish_order()
            order.job.fail(from_dict(message["error"]))
        elif kind == "done":
            self._take_rest_of_log(worker)
            self._on_result(order, message)

    def _on_ready(self, worker: WorkerProcess, message: Message) -> None:
        theirs, ours = (message.get("meddl"), message.get("protocol")), (meddl.__version__, PROTOCOL)
        if theirs != ours:
            self._on_failed_start(
                worker,
                f"runs MedDL {theirs[0]} while this is MedDL {ours[0]}; restart the application to use one version",
            )
            return
        worker.ready = True

    def _on_result(self, order: Order, message: Message) -> None:
        if order.kill_at is not None:  # too late: the user has cancelled
            if message.get("segment"):
                unlink(message["segment"][0])
            self._finish_order()
            order.job.finish_cancelled()
            return
        try:
            order.take_result(message)
        except OSError as error:
            self._finish_order()
            order.job.fail(JobError("The result of the job was lost on its way from the worker.", repr(error)))

    def _take_log(self, lines: Iterator[str], until: float) -> bool:
        job = self._order.job if self._order is not None and self._order.phase == "working" else None
        moved = False
        for line in lines:
            moved = True
            if job is not None:
                job.add_log(line)
            else:
                logger.debug("worker: %s", line)
            if time.monotonic() > until:
                break
        return moved

    def _take_rest_of_log(self, worker: WorkerProcess) -> None:
        # All the job has printed is in the pipe (a worker flushes before it answers), and that holds little.
        self._take_log(worker.log_lines(to_the_end=True), time.monotonic() + 2 * self._budget)

    def _finish_order(self) -> None:
        """The job whose turn it was is over, or goes back into the queue: let go of what it holds."""
        order = self._order
        assert order is not None
        self._order = None
        order.release()
        if order.serial and self._worker is not None:
            self._worker.send({"type": "release", "serial": order.serial})

    # ------------------------------------------------------------------ the worker's life

    def _start(self) -> None:
        worker = WorkerProcess(self._python, self._env, self._paths, self._idle_timeout, self._cache_size)
        self._worker = worker
        self._processes.add(worker)
        if self._warm:
            worker.send({"type": "warm", "modules": list(self._warm)})

    def _drop(self) -> None:
        """Kill the worker with all it has started, and have none for now."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _replace(self) -> None:
        """Kill the worker and start a fresh one, so that the next job doesn't wait for it."""
        self._drop()
        try:
            self._start()
        except JobError as error:
            logger.warning("%s %s", error.message, error.details)

    def _bury(self) -> None:
        """Reap processes that were killed and have ended by now."""
        for process in [p for p in self._processes if p is not self._worker]:
            if process.poll() is not None:
                process.dispose()
                self._processes.discard(process)

    def _on_end(self, worker: WorkerProcess, how: str) -> None:
        """The worker has ended, or must."""
        if not worker.ready:
            self._on_failed_start(worker, how)
            return
        order = self._order
        if order is None or order.phase in ("waiting", "receiving"):
            self._drop()  # a result that is being copied does not need it any more
            return
        if order.kill_at is not None:
            self._replace()
            self._finish_order()
            order.job.finish_cancelled()
        elif order.params is not None and (worker.leaving or not order.resent):
            # It ended before the task began (it would have said so), because it was idle too long or somebody killed
            # it: once more then.
            self._drop()
            params = order.params
            self._finish_order()
            self._queue.appendleft(Order(order.job, params, resent=not worker.leaving))
        else:
            self._replace()
            self._finish_order()
            order.job.fail(
                WorkerDied(
                    f"The worker process {how}. Its job is lost; you can start it again. If memory may have been "
                    "short, close other programs first or choose a smaller image or model.",
                    _details(worker),
                )
            )

    def _on_failed_start(self, worker: WorkerProcess, how: str) -> None:
        error = JobError(f"The worker process could not be started: it {how}.", _details(worker))
        self._drop()
        order = self._order
        if order is None:
            logger.warning("%s %s", error.message, error.details)
            return
        self._finish_order()
        order.job.fail(error)


def _details(worker: WorkerProcess) -> str:
    return f"process {worker.pid}, exit code {worker.poll()}. Its last lines:\n" + "\n".join(worker.last_lines)


def _end_all(processes: set[WorkerProcess], owner: int) -> None:
    """Kill the processes of a runner and wait for their end."""
    if os.getpid() != owner:  # a forked copy of the runner: the worker isn't its own
        return
    for process in processes:
        process.kill()
    end = time.monotonic() + 3.0
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        time.sleep(0.002)
    for process in processes:
        process.dispose()
    processes.clear()
