"""Cancel at any moment; a worker that dies; a parent that dies. Nothing is left: no process, no shared memory."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

import numpy as np
import psutil
import pytest
from core.job_testing import (
    TASKS,
    TESTING,
    alive,
    eventually,
    our_zombies,
    python_script,
    shared_memory_names,
    start_parent,
)
from meddl.errors import JobCancelled, OutOfMemory, WorkerDied
from meddl.jobs import InlineRunner, WorkerRunner
from meddl.jobs.process import WorkerProcess
from meddl.jobs.segments import Segment

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs signals")

IMAGE = np.random.default_rng(1).random((1, 64, 64, 64))


@pytest.fixture
def runner():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        yield runner


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch):
    """Each test ends with the shared memory as it was, and without a zombie."""
    prefixes = []
    make = WorkerProcess.__init__

    def noting(self, *args):
        make(self, *args)
        prefixes.append(self.prefix)

    monkeypatch.setattr(WorkerProcess, "__init__", noting)
    yield
    left = [name for name in shared_memory_names() if name.startswith(tuple(prefixes) or "-")]
    assert left == []
    assert our_zombies() == []


def read_when_there(path, runner=None):
    return eventually(lambda: path.exists() and path.read_text(), runner)


def works_again(runner):
    assert np.array_equal(runner.submit(TASKS + "echo", {"a": IMAGE}).wait(120)["a"], IMAGE)
    eventually(lambda: not runner.active, runner)


# ---------------------------------------------------------------- cancel


def test_a_polite_task_cleans_up_and_its_worker_stays(runner, tmp_path):
    params = {"started": tmp_path / "started", "cleaned": tmp_path / "cleaned", "image": IMAGE}
    job = runner.submit(TASKS + "wait_politely", params)
    pid = int(read_when_there(tmp_path / "started", runner))
    runner._cancel_grace = 60.0  # this is not about patience
    job.cancel()
    job.cancel()
    assert job.state == "running"
    with pytest.raises(JobCancelled):
        job.wait(120)
    assert job.state == "cancelled" and (tmp_path / "cleaned").exists()
    works_again(runner)
    assert runner.worker_pid == pid and alive(pid)


@pytest.mark.parametrize("task", ["sleep_stubbornly", "compute_stubbornly", "hold_the_interpreter"])
def test_a_stubborn_task_is_killed_and_a_fresh_worker_is_there(runner, tmp_path, task):
    job = runner.submit(TASKS + task, {"started": tmp_path / "started", "image": IMAGE})
    pid = int(read_when_there(tmp_path / "started", runner))
    job.cancel()
    job.cancel()
    eventually(lambda: job.done, runner)
    assert job.state == "cancelled" and isinstance(job.error, JobCancelled)
    fresh = runner.worker_pid
    assert fresh is not None and fresh != pid
    eventually(lambda: not alive(pid))
    works_again(runner)
    assert runner.worker_pid == fresh


def test_a_cancelled_job_gets_its_second_to_stop(tmp_path):
    with WorkerRunner(extra_paths=[TESTING], cancel_grace=3.0) as runner:
        job = runner.submit(TASKS + "sleep_stubbornly", {"started": tmp_path / "started"})
        pid = int(read_when_there(tmp_path / "started", runner))
        start = time.monotonic()
        job.cancel()
        eventually(lambda: job.done, runner)
        assert time.monotonic() - start >= 3.0
        eventually(lambda: not alive(pid), runner)


def test_cancel_right_after_submit_whatever_phase_that_hits(runner):
    for pumps in [0, 1, 2, 3, 5, 8, 20, 60, 200]:
        job = runner.submit(TASKS + "echo", {"a": IMAGE})
        runner._budget = 0.0
        for _ in range(pumps):
            runner.pump()
            time.sleep(0.001)
        job.cancel()
        eventually(lambda job=job: job.done, runner)
        assert job.state in ("cancelled", "done")
        assert job.result is None or np.array_equal(job.result["a"], IMAGE)
    works_again(runner)


def test_a_result_after_cancel_is_thrown_away(runner, tmp_path):
    runner._cancel_grace = 60.0
    job = runner.submit(TASKS + "answer_despite_cancel", {"started": tmp_path / "started"})
    eventually((tmp_path / "started").exists, runner)
    pid = runner.worker_pid
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait(120)
    assert job.state == "cancelled" and job.result is None
    works_again(runner)
    assert runner.worker_pid == pid


def test_a_result_that_came_before_cancel_but_was_not_seen_is_thrown_away(runner):
    job = runner.submit(TASKS + "echo", {"a": IMAGE})
    eventually(lambda: job.state == "running", runner)
    time.sleep(0.5)  # the answer is probably in the pipe
    if not job.done:
        job.cancel()
        eventually(lambda: job.done, runner)
        assert job.state == "cancelled"
    works_again(runner)


def test_cancel_while_the_worker_starts_or_warms_up(runner):
    runner.prestart(warm=["this", "antigravity_not_there", "xml.etree.ElementTree"])
    job = runner.submit(TASKS + "echo", {"a": IMAGE})
    runner.pump()
    job.cancel()
    assert job.state == "cancelled"
    works_again(runner)


def test_the_next_job_in_the_queue_runs_after_a_kill(runner, tmp_path):
    stubborn = runner.submit(TASKS + "sleep_stubbornly", {"started": tmp_path / "started"})
    after = runner.submit(TASKS + "echo", {"a": 1})
    eventually((tmp_path / "started").exists, runner)
    stubborn.cancel()
    assert after.wait(120) == {"a": 1} and stubborn.state == "cancelled"


@posix_only
def test_the_whole_family_of_a_cancelled_task_is_ended(runner, tmp_path):
    job = runner.submit(TASKS + "start_family", {"started": tmp_path / "started"})
    pids = [int(pid) for pid in read_when_there(tmp_path / "started", runner).split()]
    assert len(pids) == 4 and all(map(alive, pids))
    if sys.platform != "linux":
        pids.pop()  # an orphan in a session of its own can't be found elsewhere
    job.cancel()
    eventually(lambda: job.done, runner)
    eventually(lambda: not any(map(alive, pids)), runner)


@posix_only
def test_forked_children_are_ended_when_the_worker_dies(runner, tmp_path):
    job = runner.submit(TASKS + "fork_and_wait", {"started": tmp_path / "started"})
    pids = [int(pid) for pid in read_when_there(tmp_path / "started", runner).split()]
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        job.wait(120)
    eventually(lambda: not any(map(alive, pids)), runner)


def test_closing_ends_a_stubborn_job(tmp_path):
    runner = WorkerRunner(extra_paths=[TESTING])
    job = runner.submit(TASKS + "sleep_stubbornly", {"started": tmp_path / "started", "image": IMAGE})
    pid = int(read_when_there(tmp_path / "started", runner))
    runner.close()
    assert job.state == "cancelled" and not alive(pid)


# ---------------------------------------------------------------- a worker that dies


@posix_only
def test_a_worker_killed_in_the_middle_leaves_a_typed_error_and_a_usable_runner(runner, tmp_path):
    before = shared_memory_names()
    done = []
    params = {"started": tmp_path / "started", "image": IMAGE}
    job = runner.submit(TASKS + "sleep_stubbornly", params, on_done=done.append)
    queued = runner.submit(TASKS + "echo", {"a": IMAGE})
    pid = int(read_when_there(tmp_path / "started", runner))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"signal 9.*ran out of memory"):
        job.wait(120)
    assert job.state == "failed" and done == [job]
    assert np.array_equal(queued.wait(120)["a"], IMAGE)
    works_again(runner)
    assert psutil.pid_exists(pid) is False  # reaped
    assert shared_memory_names() - before == set()


@posix_only
@pytest.mark.parametrize(
    ("task", "params", "says"),
    [
        ("kill_yourself", {}, "signal 9"),
        ("kill_yourself", {"signal": int(signal.SIGTERM)}, "SIGTERM"),
        ("crash", {}, "SIGSEGV"),
        ("exit_hard", {"code": 3}, "exit code 3"),
        ("exit_hard", {"code": 0}, "exit code 0"),
    ],
)
def test_a_worker_that_ends_in_a_task_says_how(runner, task, params, says):
    with pytest.raises(WorkerDied, match=says):
        runner.submit(TASKS + task, {**params, "image": IMAGE}).wait(120)
    works_again(runner)


@posix_only
def test_the_last_words_of_a_worker_are_kept(runner):
    job = runner.submit(TASKS + "exit_hard", {"code": 1})
    with pytest.raises(WorkerDied) as caught:
        job.wait(120)
    assert "the last words" in caught.value.details and "the last words" in job.log
    with pytest.raises(WorkerDied) as crashed:
        runner.submit(TASKS + "crash", {}).wait(120)
    assert "job_tasks.py" in crashed.value.details  # where in Python it crashed


def test_a_task_that_has_begun_is_never_run_twice(runner, tmp_path):
    for i in range(8):
        with pytest.raises(WorkerDied):
            runner.submit(TASKS + "count_and_die", {"file": tmp_path / f"{i}"}).wait(120)
        assert (tmp_path / f"{i}").read_text() == "ran\n"
    works_again(runner)


@posix_only
def test_a_worker_may_be_killed_at_any_moment(runner):
    """Killed while it starts, gets its arrays, computes, or hands its result over."""
    for delay in [0.0, 0.05, 0.2, 0.3, 0.4, 0.5]:
        if runner.worker_pid is None:
            runner.prestart()
        job = runner.submit(TASKS + "echo", {"a": IMAGE})
        end = time.monotonic() + delay
        while time.monotonic() < end:
            runner.pump()
            time.sleep(0.001)
        pid = runner.worker_pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda job=job: job.done, runner)
        assert job.state in ("done", "failed")
        assert job.result is None or np.array_equal(job.result["a"], IMAGE)
    works_again(runner)


@posix_only
def test_a_result_that_has_arrived_survives_its_worker(runner):
    job = runner.submit(TASKS + "echo", {"a": IMAGE})
    runner._budget = 0.0
    eventually(lambda: runner._order is not None and runner._order.phase == "receiving", runner)
    os.kill(runner.worker_pid, signal.SIGKILL)
    assert np.array_equal(job.wait(120)["a"], IMAGE)
    works_again(runner)


@linux_only
def test_too_little_shared_memory_for_the_params_is_an_error_not_a_crash(runner, monkeypatch):
    def full(self, start, stop):
        if start > 2**20:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Segment, "reserve", full)
    job = runner.submit(TASKS + "echo", {"a": np.zeros(10**7, np.uint8)})
    with pytest.raises(OutOfMemory, match="not enough memory"):
        job.wait(120)
    monkeypatch.undo()
    job = runner.submit(TASKS + "echo", {"a": np.broadcast_to(np.uint8(0), (2**50,))})
    with pytest.raises(OutOfMemory, match="not enough memory"):
        job.wait(120)
    works_again(runner)


@linux_only
def test_too_little_shared_memory_for_the_result_is_an_error_not_a_crash(runner):
    job = runner.submit(TASKS + "make_huge_array", {"size": 2**50})  # more than any machine has, so nothing is filled
    with pytest.raises(OutOfMemory, match="not enough shared memory"):
        job.wait(120)
    works_again(runner)


# ---------------------------------------------------------------- a parent that dies


def kill_and_look(parent, pids, prefix):
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not any(map(alive, pids)))
    eventually(lambda: not [name for name in shared_memory_names() if name.startswith(prefix)])
    parent.stdout.close()
    parent.stderr.close()


@posix_only
@pytest.mark.parametrize("task", ["sleep_stubbornly", "hold_the_interpreter", "start_family"])
def test_a_killed_parent_takes_the_worker_and_its_family_along(tmp_path, task):
    started = tmp_path / "started"
    command = python_script(
        tmp_path / "parent.py",
        "r = runner()\n"
        f"job = r.submit('core.job_tasks:{task}', {{'started': {str(started)!r}, 'image': np.ones(10**6)}})\n"
        "while not job.log and r._order is None or r._worker is None: r.pump()\n"
        "print(r._worker.prefix, flush=True)\n"
        "job.wait()\n",
    )
    parent = start_parent(command)
    prefix = parent.stdout.readline().strip()
    pids = [int(pid) for pid in read_when_there(started).split()]
    kill_and_look(parent, pids, prefix)


@posix_only
def test_a_parent_killed_while_it_hands_arrays_over_leaves_no_shared_memory(tmp_path):
    command = python_script(
        tmp_path / "parent.py",
        "r = runner(pump_budget=0.0)\n"
        "r.submit('core.job_tasks:echo', {}).wait(120)\n"
        "job = r.submit('core.job_tasks:echo', {'image': np.ones(10**7)})\n"
        "while r._order is None or r._order.segment is None: r.pump()\n"
        "print(r._worker.prefix, r.worker_pid, flush=True)\n"
        "time.sleep(600)\n",
    )
    parent = start_parent(command)
    prefix, pid = parent.stdout.readline().split()
    if sys.platform == "linux":
        assert f"{prefix}p" in shared_memory_names()
    kill_and_look(parent, [int(pid)], prefix)


@posix_only
def test_a_parent_killed_while_a_result_waits_for_it_leaves_no_shared_memory(tmp_path):
    command = python_script(
        tmp_path / "parent.py",
        "r = runner()\n"
        "job = r.submit('core.job_tasks:echo', {'image': np.ones(10**6)})\n"
        "while job.state != 'running': r.pump()\n"
        "print(r._worker.prefix, r.worker_pid, flush=True)\n"
        "time.sleep(600)\n",
    )
    parent = start_parent(command)
    prefix, pid = parent.stdout.readline().split()
    if sys.platform == "linux":
        eventually(lambda: f"{prefix}r" in shared_memory_names())
    kill_and_look(parent, [int(pid)], prefix)


@posix_only
def test_an_interrupt_of_the_program_cancels_its_job(tmp_path):
    started = tmp_path / "started"
    command = python_script(
        tmp_path / "parent.py",
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which tests in the background inherit ignored\n"
        "r = runner()\n"
        f"job = r.submit('core.job_tasks:sleep_stubbornly', {{'started': {str(started)!r}}})\n"
        "try:\n"
        "    job.wait()\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', job.state)\n",
    )
    parent = start_parent(command)
    pid = int(read_when_there(started))
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=300)
    assert (out.split(), err) == (["interrupted", "cancelled"], "")
    eventually(lambda: not alive(pid))


def test_an_inline_job_is_cancelled_from_its_own_callback():
    with InlineRunner() as runner:
        job = runner.submit(TASKS + "report", {"steps": 3}, on_log=lambda line: job.cancel())
        with pytest.raises(JobCancelled):
            job.wait()
        assert job.log == ["line 0"]
