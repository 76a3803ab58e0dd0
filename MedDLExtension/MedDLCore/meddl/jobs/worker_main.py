"""The worker: a child process that does its parent's jobs, one after the other.

Three threads: the main one runs the tasks; one reads the parent's messages, notes cancels, and ends everything when the
parent is gone; one writes, so that a task never waits for a parent that is busy, and tells at least once a second how
far the task is. Messages travel on the original standard input and output; what tasks and libraries print, in Python or
in C, goes to standard error, which the parent reads as the log.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from io import TextIOWrapper
from typing import Any

import meddl
from meddl.errors import JobCancelled, JobError, OutOfMemory, to_dict

from . import codec, copying, frames
from .context import JobContext, ModelCache
from .process import PROTOCOL
from .process_tree import end_own_tree
from .segments import Segment, segment_name, unlink_all
from .tasks import run_task

_HEARTBEAT = 0.5  # seconds between reports of a task that says nothing itself
_PROGRESS_INTERVAL = 0.04  # seconds between reports of a task that says too much


@dataclass
class _Request:
    """A job as it came in, and how it stands."""

    message: frames.Message
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: tuple[float, str] = (0.0, "")

    @property
    def serial(self) -> int:
        return int(self.message["serial"])


class _Worker:
    def __init__(self, options: argparse.Namespace, source: int, sink: int) -> None:
        self._prefix, self._idle_timeout = options.prefix, options.idle
        self._source, self._sink = source, sink
        self._cache = ModelCache(options.cache)
        self._lock = threading.Condition()  # guards all that follows
        self._requests: deque[_Request] = deque()
        self._current: _Request | None = None
        self._warm: deque[str] = deque()
        self._outbox: deque[bytes] = deque()  # frames
        self._writing = False
        self._progress_due = False
        self._results: dict[int, Segment | None] = {}  # what the parent has not released yet
        self._leaving = False

    def run(self) -> None:
        """Serve until idle for too long."""
        threading.Thread(target=self._guarded, args=(self._read,), name="meddl-reader", daemon=True).start()
        writer = threading.Thread(target=self._guarded, args=(self._write,), name="meddl-writer", daemon=True)
        writer.start()
        self._post({"type": "ready", "protocol": PROTOCOL, "meddl": meddl.__version__, "pid": os.getpid()})
        while (request := self._next()) is not None:
            self._serve(request)
        writer.join(timeout=2.0)

    def _next(self) -> _Request | None:
        """Return the next job; None when there was none for too long. Meanwhile import what shall be warm."""
        end = time.monotonic() + self._idle_timeout
        while True:
            with self._lock:
                while not self._warm:
                    if self._requests:
                        self._current = self._requests.popleft()
                        return self._current
                    left = end - time.monotonic()
                    if left <= 0 and not self._results:
                        self._leaving = True
                        self._post({"type": "bye"})
                        return None
                    self._lock.wait(left if left > 0 else 0.1)  # in the second case the parent is still copying
                name = self._warm.popleft()
            try:
                importlib.import_module(name)
            except Exception as error:
                logging.getLogger(__name__).warning("%s could not be imported in advance: %s", name, error)

    # ------------------------------------------------------------------ one job

    def _serve(self, request: _Request) -> None:
        answer = self._answer(request)
        _flush_output()
        with self._lock:
            if self._progress_due:
                self._progress_due = False
                self._post(_report(request))
            self._current = None
            self._outbox.append(answer)
            self._lock.notify_all()

    def _answer(self, request: _Request) -> bytes:
        """Run the job and return the frame that tells how it went."""
        serial = request.serial
        try:
            result = codec.encode(self._result_of(request), "result")
            segment = self._share(serial, result)
            specs, _ = copying.lay_out(result.arrays)
            return frames.pack(
                {
                    "type": "done",
                    "serial": serial,
                    "result": result.tree,
                    "segment": [segment.name, segment.size] if segment else None,
                    "arrays": [spec.to_json() for spec in specs],
                }
            )
        except SystemExit:
            error: BaseException = JobError("The task tried to end the process.")
        except BaseException as e:
            error = e
        answer = frames.pack({"type": "failed", "serial": serial, "error": to_dict(error)})
        error.__traceback__ = None  # it holds the task's arrays
        gc.collect()  # and so may cycles of what it left behind
        return answer

    def _result_of(self, request: _Request) -> dict[str, Any]:
        message = request.message
        shared = Segment.attach(*message["segment"]) if message.get("segment") else None
        arrays = copying.views(shared, [copying.ArraySpec.from_json(spec) for spec in message["arrays"]])
        del shared  # the arrays keep it
        self._post({"type": "started", "serial": request.serial})
        self._wait_until_written()  # if this process dies before, the parent knows that the task has not begun
        context = JobContext(
            on_progress=lambda fraction, text: self._note_progress(request, fraction, text),
            on_log=_print_line,
            is_cancelled=request.cancelled.is_set,
            cache=self._cache,
        )
        context.raise_if_cancelled()
        params = codec.decode(message.pop("params"), arrays)
        del arrays
        return run_task(message["task"], params, context)

    def _share(self, serial: int, result: codec.Encoded) -> Segment | None:
        """Put the arrays of a result into shared memory, which stays open until the parent has them."""
        specs, size = copying.lay_out(result.arrays)
        segment = None
        if size:
            try:
                segment = Segment.create(segment_name(self._prefix, "r", serial), size)
                for _ in copying.fill(segment, result.arrays, specs):
                    pass
            except OSError as error:
                if segment is not None:
                    unlink_all(self._prefix)
                raise OutOfMemory(
                    f"There is not enough shared memory to hand over the result ({size / 2**20:.0f} MB). "
                    "Close other programs, or give the system more shared memory.",
                    repr(error),
                ) from error
        with self._lock:
            self._results[serial] = segment
        return segment

    def _note_progress(self, request: _Request, fraction: float, text: str) -> None:
        with self._lock:
            request.progress = (fraction, text)
            self._progress_due = True
            self._lock.notify_all()

    # ------------------------------------------------------------------ the other two threads

    def _read(self) -> None:
        reader = frames.FrameReader()
        while data := os.read(self._source, 2**16):
            reader.feed(data)
            while (message := reader.next()) is not None:
                self._take(message)

    def _take(self, message: frames.Message) -> None:
        kind, serial = message.get("type"), message.get("serial")
        with self._lock:
            if self._leaving:  # the parent will see our goodbye and turn to the next worker
                return
            if kind == "run":
                self._requests.append(_Request(message))
            elif kind == "warm":
                self._warm.extend(message["modules"])
            elif kind == "release":
                self._results.pop(serial, None)  # type: ignore[arg-type]
            elif kind == "cancel":
                for request in [*self._requests, *([self._current] if self._current else [])]:
                    if request.serial == serial:
                        request.cancelled.set()
                for request in [r for r in self._requests if r.cancelled.is_set()]:
                    # Answered at once, even if the main thread is busy with an import.
                    self._requests.remove(request)
                    error = to_dict(JobCancelled("The job was cancelled."))
                    self._post({"type": "failed", "serial": request.serial, "error": error})
            self._lock.notify_all()

    def _write(self) -> None:
        parent, told = os.getppid(), 0.0
        while True:
            with self._lock:
                now = time.monotonic()
                wait = told + (_PROGRESS_INTERVAL if self._progress_due else _HEARTBEAT) - now
                if not self._outbox and wait > 0:
                    self._lock.wait(wait)
                due = list(self._outbox)
                self._outbox.clear()
                self._writing = bool(due)
                request = self._current or (self._requests[0] if self._requests else None)
                leaving = self._leaving
                if time.monotonic() >= told + (_PROGRESS_INTERVAL if self._progress_due else _HEARTBEAT):
                    told = time.monotonic()
                    self._progress_due = False
                    if request is not None:
                        due.append(frames.pack(_report(request)))
            _write_all(self._sink, b"".join(due))
            with self._lock:
                self._writing = False
                self._lock.notify_all()
            if leaving:
                return
            # Beside the end of its pipe, for a parent that left a copy of the pipe to somebody who lives on.
            if sys.platform != "win32" and os.getppid() != parent:
                raise BrokenPipeError

    def _guarded(self, body: Any) -> None:
        """Run a thread's body; without these threads there is no parent to work for, so end with them."""
        try:
            body()
            if self._leaving:
                return
        except OSError:
            pass
        except BaseException:
            logging.getLogger(__name__).exception("The worker's connection failed")
            _flush_output()
        unlink_all(self._prefix)
        end_own_tree(self._prefix)

    def _wait_until_written(self) -> None:
        with self._lock:
            while self._outbox or self._writing:
                self._lock.wait()

    def _post(self, message: frames.Message) -> None:
        with self._lock:  # re-entrant
            self._outbox.append(frames.pack(message))
            self._lock.notify_all()


def _report(request: _Request) -> frames.Message:
    fraction, text = request.progress
    return {"type": "progress", "serial": request.serial, "fraction": fraction, "text": text}


def main() -> None:
    """Take over the standard streams and serve."""
    parser = argparse.ArgumentParser(description="MedDL's worker; started by meddl.jobs.WorkerRunner.")
    parser.add_argument("--prefix", required=True, help="what names of shared memory begin with")
    parser.add_argument("--idle", type=float, default=600.0, help="seconds without a job until it ends")
    parser.add_argument("--cache", type=int, default=2, help="number of models to keep")
    parser.add_argument("--life", type=int, help="file descriptor that closes when the parent is gone")
    options = parser.parse_args()
    source, sink = _take_over_streams()
    guard = _start_guard(options.prefix, options.life)
    _Worker(options, source, sink).run()
    if guard is not None:
        guard.kill()
        guard.wait()
    _flush_output()
    os._exit(0)  # at once: nobody waits for what libraries do at exit


def _take_over_streams() -> tuple[int, int]:
    """Return private copies of standard input and output; leave an empty input and let all output go to the log."""
    source, sink = os.dup(0), os.dup(1)  # not inherited by what tasks start
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "win32":
        import msvcrt

        for fd in (source, sink):
            msvcrt.setmode(fd, os.O_BINARY)
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("meddl").setLevel(logging.INFO)
    return source, sink


def _start_guard(prefix: str, life: int | None) -> subprocess.Popen[bytes] | None:
    """Start a shell that kills this process group a second after the parent is gone.

    For tasks in C code that never let a Python thread run, the one that would notice included.
    """
    if sys.platform == "win32" or life is None or os.getpgrp() != os.getsid(0):
        return None
    script = 'read -r nothing; sleep 1; rm -f "/dev/shm/${0}p" "/dev/shm/${0}r"; kill -9 0'
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", script, prefix], stdin=life, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError:  # a launcher may not have passed the descriptor on
        return None
    finally:
        with contextlib.suppress(OSError):
            os.close(life)


def _print_line(line: str) -> None:
    # Not through sys.stderr: the task may have put something else there. A line break before it, for somebody may have
    # left a progress bar unfinished; the parent drops empty lines.
    data = b"\n" + line.encode("utf-8", "backslashreplace") + b"\n"
    with contextlib.suppress(OSError):
        _write_all(2, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[: 2**16]) :]


def _flush_output() -> None:
    """Send off what was printed, in Python and in C."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(Exception):
        (ctypes.CDLL("ucrtbase") if sys.platform == "win32" else ctypes.CDLL(None)).fflush(None)
