"""The worker's process as its parent sees it: started, spoken with without ever waiting, ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import meddl
from meddl.errors import JobError

from . import frames, segments
from .process_tree import TOKEN_VARIABLE, kill_tree

PROTOCOL = 1
"""Changes whenever the messages do."""

_START = """
import os, sys
sys.path[:0] = sys.argv.pop(1).split(os.pathsep)
from meddl.jobs.worker_main import main
main()
"""
_READ = 2**16
_TAIL_LINES = 100
_LINE_LENGTH = 4096


class WorkerProcess:
    """A child Python that runs :mod:`meddl.jobs.worker_main`.

    Nothing here blocks: its pipes are read and written only as far as they are ready. ``os.set_blocking`` does that for
    pipes on POSIX, and on Windows from Python 3.12 on, which is what Slicer has.

    Args:
        python: the interpreter, which may be a launcher (PythonSlicer is one) with the real one below it.
        env: added to this process's environment.
        paths: put in front of the child's ``sys.path``, after the folder of this ``meddl``.
        idle_timeout: the child ends itself after that many seconds without a job.
        cache_size: number of models it keeps.

    Attributes:
        prefix: what the names of its shared memory begin with; also marks its descendants.
        ready: whether it has said hello.
        leaving: whether it has said goodbye: it was idle too long.
        mute_since: when it closed its side of the connection, None while it is open.
        last_lines: the last lines it or a library wrote, for error reports.

    Raises:
        JobError: it can't be started.
    """

    def __init__(
        self, python: Path, env: Mapping[str, str], paths: Iterable[Path], idle_timeout: float, cache_size: int
    ) -> None:
        self.prefix = f"mdl{secrets.token_hex(6)}"
        self.started = time.monotonic()
        self.ready = False
        self.leaving = False
        self.mute_since: float | None = None
        self.last_lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._outgoing = bytearray()
        self._reader = frames.FrameReader()
        self._lines: deque[bytes] = deque()  # whole lines that have arrived
        self._rest_of_line = b""
        self._life_fd = -1  # write end of a pipe nobody writes to: it closes when this process ends
        self._popen = self._spawn(python, env, paths, idle_timeout, cache_size)
        assert self._popen.stdin and self._popen.stdout and self._popen.stderr
        self._stdin, self._stdout, self._stderr = self._popen.stdin, self._popen.stdout, self._popen.stderr
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)

    def _spawn(
        self, python: Path, env: Mapping[str, str], paths: Iterable[Path], idle_timeout: float, cache_size: int
    ) -> subprocess.Popen[bytes]:
        if sys.platform == "win32" and sys.version_info < (3, 12):
            raise JobError("The worker process needs Python 3.12 or later on Windows. Use Slicer 5.12 or later.")
        _ignore_broken_pipes()
        # The module search path goes by the command line, for a launcher such as PythonSlicer may set PYTHONPATH anew.
        # -P: without it a numpy.py in the current folder would be imported instead of numpy.
        folders = [str(Path(meddl.__file__).resolve().parent.parent), *map(str, paths)]
        command = [str(python), "-P", "-c", _START, os.pathsep.join(folders), "--prefix", self.prefix]
        command += ["--idle", str(idle_timeout), "--cache", str(cache_size)]
        options: dict[str, Any] = {}
        life_read = -1
        if sys.platform == "win32":
            options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        else:
            life_read, self._life_fd = os.pipe()
            command += ["--life", str(life_read)]
            options.update(start_new_session=True, pass_fds=(life_read,))
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=_environment(env, self.prefix),
                **options,
            )
        except OSError as error:
            self._close_life()
            raise JobError(
                f"The worker process could not be started with {python}: {error.strerror or error}. "
                "Check that this is a Python interpreter.",
                repr(error),
            ) from error
        finally:
            if life_read >= 0:
                os.close(life_read)

    @property
    def pid(self) -> int:
        """Process id of what was started: the interpreter, or the launcher above it."""
        return self._popen.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while it lives. Leaves no zombie."""
        return self._popen.poll()

    def send(self, message: frames.Message) -> None:
        """Queue a message and write what the pipe takes now; :meth:`flush` writes the rest."""
        self._outgoing += frames.pack(message)
        self.flush()

    def flush(self) -> bool:
        """Write what the pipe takes of the queued messages; return whether that was anything."""
        written = 0
        try:
            while self._outgoing:
                count = os.write(self._stdin.fileno(), memoryview(self._outgoing)[:_READ])
                del self._outgoing[:count]
                written += count
        except BlockingIOError:
            pass
        except OSError:
            self._outgoing.clear()  # the child is gone, which poll() tells
        return written > 0

    def messages(self) -> Iterator[frames.Message]:
        """Yield the messages that have arrived. Raises :class:`meddl.jobs.frames.FrameError` on garbage."""
        while True:
            while (message := self._reader.next()) is not None:
                yield message
            data, ended = _read(self._stdout.fileno())
            if ended and self.mute_since is None:
                self.mute_since = time.monotonic()
            if not data:
                return
            self._reader.feed(data)

    def log_lines(self, to_the_end: bool = False) -> Iterator[str]:
        """Yield the lines that have arrived on the child's standard output and error, cut where they are too long.

        Args:
            to_the_end: also yield a last line that was not ended.
        """
        while True:
            while self._lines:
                for text in _pieces(self._lines.popleft()):
                    self.last_lines.append(text)
                    yield text
            data, _ = _read(self._stderr.fileno())
            if not data and not (to_the_end and self._rest_of_line):
                return
            # Progress bars end their lines with a carriage return.
            self._lines.extend((self._rest_of_line + data).replace(b"\r", b"\n").split(b"\n"))
            keep = bool(data) and len(self._lines[-1]) <= _LINE_LENGTH
            self._rest_of_line = self._lines.pop() if keep else b""

    def wait_readable(self, seconds: float) -> None:
        """Wait until there is something to read (or to write, if that is due), but not longer than ``seconds``."""
        if sys.platform == "win32":
            time.sleep(min(seconds, 0.002))  # select() knows only sockets there
            return
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            if self._outgoing:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.select(seconds)

    def kill(self) -> None:
        """Kill it and all it has started, and remove the names of its shared memory. Doesn't wait for its end."""
        kill_tree(self._popen.pid, self.prefix)
        segments.unlink_all(self.prefix)

    def dispose(self) -> None:
        """Close the pipes of a process that has ended."""
        for pipe in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        self._close_life()
        segments.unlink_all(self.prefix)  # it may have made one between the kill and its end

    def _close_life(self) -> None:
        if self._life_fd >= 0:
            os.close(self._life_fd)
            self._life_fd = -1


def describe_end(code: int) -> str:
    """Return how a process ended, from its exit code, as the middle of a sentence."""
    if code in (-9, 137):
        return "was killed (signal 9), most likely because the machine ran out of memory"
    if code < 0 and sys.platform != "win32":
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended unexpectedly (exit code {code})"


def _environment(env: Mapping[str, str], prefix: str) -> dict[str, str]:
    merged = {**os.environ, **env, TOKEN_VARIABLE: prefix}
    merged.pop("PYTHONINSPECT", None)  # it would keep the child from ending
    return merged


def _read(fd: int) -> tuple[bytes, bool]:
    """Return what is there to read, up to 64 KB, and whether nothing will ever come."""
    try:
        data = os.read(fd, _READ)
    except BlockingIOError:
        return b"", False
    except OSError:
        return b"", True
    return data, not data


def _pieces(line: bytes) -> list[str]:
    texts = [line[i : i + _LINE_LENGTH].decode("utf-8", "replace").rstrip() for i in range(0, len(line), _LINE_LENGTH)]
    return [text for text in texts if text]


def _ignore_broken_pipes() -> None:
    # Python does so when it starts, but an application that embeds it may not have let it; then writing to a worker
    # that has just died would end the application.
    if (
        sys.platform != "win32"
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
