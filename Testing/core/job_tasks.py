"""Tasks for the tests of meddl.jobs: well-behaved ones, and all kinds that are not. Workers import this module."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from meddl.errors import UntrustedModelError, VolumeError

_kept = []


def echo(params, context):
    return params


def describe_arrays(params, context):
    array = params["array"]
    return {"writeable": array.flags.writeable, "owns": array.flags.owndata, "sum": float(array.sum())}


def process_id(params, context):
    return {"pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0)}


def count_with_cache(params, context):
    counter = context.cache.get_or_create(params.get("key", "counter"), lambda: [0])
    counter[0] += 1
    return {"count": counter[0], "pid": os.getpid(), "cached": len(context.cache)}


def keep_a_view(params, context):
    _kept.append(params["array"][::2])
    return {"kept": len(_kept), "first": [float(view.flat[0]) for view in _kept]}


def report(params, context):
    for i in range(params["steps"]):
        context.progress(i / params["steps"], f"step {i}")
        context.log(f"line {i}")
        context.raise_if_cancelled()
        time.sleep(params.get("pause", 0.0))
    context.progress(1.0, "all done")
    return {}


def progress_once_then_be_silent(params, context):
    context.progress(0.25, "thinking")
    announce(params)
    wait_for(params["go_on"])
    return {}


def wait_politely(params, context):
    announce(params)
    while not context.cancelled():
        time.sleep(0.01)
    Path(params["cleaned"]).touch()
    context.raise_if_cancelled()


def answer_despite_cancel(params, context):
    announce(params)
    while not context.cancelled():
        time.sleep(0.01)
    return {"array": np.ones(1000)}


def wait_for_file(params, context):
    wait_for(params["file"], context)
    return {}


def sleep_stubbornly(params, context):
    announce(params)
    while True:
        time.sleep(0.05)


def compute_stubbornly(params, context):
    announce(params)
    a = np.random.default_rng(0).random((200, 200))
    while True:
        a = a @ a
        a /= a.max()


def hold_the_interpreter(params, context):
    """Stay in C code that lets no other Python thread run."""
    announce(params)
    re.match(r"(a+)+$", "a" * 60 + "b")


def start_family(params, context):
    """Start children: an ordinary one, one in a session of its own, and an orphan in a session of its own."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    pids = [subprocess.Popen(sleeper).pid, subprocess.Popen(sleeper, start_new_session=True).pid]
    daemon = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
        "start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid)"
    )
    pids.append(int(subprocess.run([sys.executable, "-c", daemon], capture_output=True, check=True).stdout))
    announce(params, *pids)
    while True:
        time.sleep(0.05)


def fork_and_wait(params, context):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    announce(params, pid)
    while True:
        time.sleep(0.05)


def kill_yourself(params, context):
    os.kill(os.getpid(), params.get("signal", signal.SIGKILL))
    time.sleep(60)


def crash(params, context):
    ctypes.string_at(0)


def exit_hard(params, context):
    sys.stderr.write("the last words\n")
    sys.stderr.flush()
    os._exit(params["code"])


def exit_softly(params, context):
    sys.exit(3)


def print_everywhere(params, context):
    print("from python, ünïcode ✓")  # noqa: T201
    print("to stderr", file=sys.stderr)  # noqa: T201
    os.write(1, b"raw to descriptor 1\n")
    if os.name == "posix":
        ctypes.CDLL(None).puts(b"from C")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    warnings.warn("a warning", stacklevel=1)
    sys.stdout.write("bar 10%\rbar 100%")
    context.log("from the context\nin two lines")
    return {"input": sys.stdin.read()}


def close_the_standard_streams(params, context):
    os.close(1)
    os.close(0)
    return {"fine": True}


def flood(params, context):
    chunk = b"".join(b"line %d of a very talkative library\n" % i for i in range(10000))
    for _ in range(params["chunks"]):
        os.write(2, chunk)
    os.write(2, b"x" * 1_000_000)
    return {"array": np.arange(10)}


def grow(params, context):
    return {"text": "x" * params["size"]}


def returns_none(params, context):
    return None


def returns_an_object(params, context):
    return {"deep": [{"thing": object()}]}


def raise_value_error(params, context):
    raise ValueError("the number is odd: ünïcode")


def raise_volume_error(params, context):
    raise VolumeError("No place in space.", "the details")


def raise_untrusted(params, context):
    raise UntrustedModelError("Not trusted.", "d", ("configs/inference.json: os.system",))


def raise_memory_error(params, context):
    raise MemoryError


def raise_interrupt(params, context):
    raise KeyboardInterrupt


def raise_with_an_odd_message(params, context):
    raise RuntimeError("\udcff lone surrogate")


def lots_of_arrays(params, context):
    return {"arrays": [np.full(i, i) for i in range(params["count"])]}


def make_array(params, context):
    return {"array": np.ones(params["size"], np.uint8)}


def resource_tracker_runs(params, context):
    from multiprocessing import resource_tracker

    return {"runs": resource_tracker._resource_tracker._fd is not None}


def loaded_modules(params, context):
    return {"modules": sorted(sys.modules), "argv": sys.argv, "path": sys.path, "threads": threading.active_count()}


def environment(params, context):
    return dict(os.environ)


def announce(params, *more):
    """Tell that the task has started, and the ids of its processes."""
    part = Path(f"{params['started']}.part")
    part.write_text(" ".join(map(str, [os.getpid(), *more])))
    part.rename(params["started"])


def wait_for(path, context=None):
    end = time.monotonic() + 300
    while not Path(path).exists() and time.monotonic() < end:
        if context is not None:
            context.raise_if_cancelled()
        time.sleep(0.01)


def odd_progress(params, context):
    context.progress(float("nan"), "")
    context.progress(-3, "x")
    context.progress(np.float32(7), " two\nlines ")
    return {}


def make_huge_array(params, context):
    return {"array": np.broadcast_to(np.uint8(1), (params["size"],))}


def count_and_die(params, context):
    with Path(params["file"]).open("a") as file:
        file.write("ran\n")
    os._exit(1)
