"""What the tests of meddl.jobs share: patience, and a look at processes and shared memory from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

TESTING = Path(__file__).resolve().parent.parent
CORE = TESTING.parent / "MedDLExtension" / "MedDLCore"
TASKS = "core.job_tasks:"
PATIENCE = 120.0  # seconds: for a machine with much else to do; nothing that works needs more than a few


def eventually(condition, runner=None, patience=PATIENCE):
    """Wait until ``condition()`` is true, pumping ``runner`` meanwhile; return what it returned."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        if runner is not None:
            runner.pump()
        time.sleep(0.01)
    return value


def alive(pid):
    """Whether the process runs; a zombie doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def our_zombies():
    return [child.pid for child in psutil.Process().children() if not alive(child.pid)]


def shared_memory_names():
    """Names of MedDL's shared memory on this machine; always empty where the system can't list them."""
    folder = Path("/dev/shm")
    return {path.name for path in folder.glob("mdl*")} if folder.is_dir() else set()


def python_script(path, body):
    """Write a program that is a parent of workers; return the command that runs it."""
    path.write_text(
        f"import sys, time\nsys.path[:0] = [{str(CORE)!r}, {str(TESTING)!r}]\n"
        "import numpy as np\nfrom pathlib import Path\nfrom meddl.jobs import WorkerRunner\n"
        f"def runner(**options):\n    return WorkerRunner(extra_paths=[{str(TESTING)!r}], **options)\n{body}"
    )
    return [sys.executable, str(path)]


def start_parent(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})


def shell_script(path, body):
    """Write a shell script that may pose as an interpreter."""
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return path
