"""Ending a process and everything it has started, also what moved to a session of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

TOKEN_VARIABLE = "MEDDL_WORKER"
"""Environment variable that marks a worker and, by inheritance, all that it starts."""


def kill_tree(leader: int, token: str) -> None:
    """Kill the process ``leader``, which heads its own session, and all its descendants. Doesn't wait for their end.

    Args:
        leader: process id; it may have ended already, its group may not.
        token: value of :data:`TOKEN_VARIABLE` in the environment of all of them.
    """
    if sys.platform == "win32":
        # Not waited for: it takes longer than a user interface may stand still.
        try:
            subprocess.Popen(
                ["taskkill", "/T", "/F", "/PID", str(leader)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        except OSError:  # no such tool: at least the worker itself
            with contextlib.suppress(OSError):
                os.kill(leader, signal.SIGTERM)  # which on Windows ends it at once
        return
    _kill(_family(leader, token))  # before their parents are gone and with them the links
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    if sys.platform == "linux":
        _kill(_marked(token))  # what was started while the list above was made


def end_own_tree(token: str) -> None:
    """End this process and all it has started, now. Does not return."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(os.getpid())],
                capture_output=True,
                timeout=10,
                creationflags=subprocess.CREATE_NO_WINDOW,
                check=False,
            )
    else:
        with contextlib.suppress(Exception):  # whatever happens here, the group has to go
            _kill(_family(os.getpid(), token) - {os.getpid()})
        if os.getpgrp() == os.getsid(0):  # started by a runner: the group is ours alone
            os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def _family(leader: int, token: str) -> set[int]:
    """Descendants of ``leader``; on Linux also those that lost the link to it."""
    parents = _parents()
    family: set[int] = set()
    new = {leader}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - family
        family |= new
    return family | _marked(token) if sys.platform == "linux" else family


def _parents() -> dict[int, int]:
    """Parent of each process."""
    parents = {}
    if sys.platform == "linux":
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                # "pid (any name) state parent ..."
                parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
        return parents
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listing = subprocess.run(
            ["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, timeout=2, check=False
        ).stdout
        for line in listing.splitlines():
            with contextlib.suppress(ValueError):
                pid, parent = line.split()
                parents[int(pid)] = int(parent)
    return parents


def _marked(token: str) -> set[int]:
    """Processes of this user on Linux that carry the token in their environment."""
    mark = f"{TOKEN_VARIABLE}={token}".encode()
    found = set()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in environ.read_bytes().split(b"\0"):
                found.add(int(environ.parent.name))
    return found


def _kill(pids: set[int]) -> None:
    if sys.platform != "win32":
        for pid in pids - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
