"""The worker's life: it stays warm, talks without blocking anybody, ends when idle, and says why it can't start."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import meddl
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
    shell_script,
    start_parent,
)
from meddl.errors import JobError
from meddl.jobs import WorkerRunner

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


@pytest.fixture
def runner():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        yield runner


def run(runner, task, **params):
    return runner.submit(TASKS + task, params).wait(120)


# ---------------------------------------------------------------- warm


def test_the_second_run_is_in_the_same_warm_process(runner):
    first, second = run(runner, "count_with_cache"), run(runner, "count_with_cache")
    assert first["pid"] == second["pid"] == runner.worker_pid != os.getpid()
    assert (first["count"], second["count"]) == (1, 2)


def test_the_number_of_models_kept_is_limited():
    with WorkerRunner(extra_paths=[TESTING], cache_size=2) as runner:
        for key in ["a", "b", "c"]:
            result = run(runner, "count_with_cache", key=key)
        assert result["cached"] == 2
        assert run(runner, "count_with_cache", key="a")["count"] == 1


def test_prestart_starts_the_worker_and_imports_what_shall_be_warm(runner):
    runner.prestart(warm=["wave"])
    pid = runner.worker_pid
    assert pid is not None and not runner.active
    result = run(runner, "loaded_modules")
    assert "wave" in result["modules"] and runner.worker_pid == pid
    runner.prestart(warm=["colorsys", "no_such_module_at_all"])
    result = run(runner, "loaded_modules")
    assert "colorsys" in result["modules"] and runner.worker_pid == pid


def test_a_fresh_worker_imports_no_heavy_library_and_runs_nobody_elses_script(runner):
    result = run(runner, "loaded_modules")
    assert not {"torch", "monai", "SimpleITK", "scipy", "slicer", "vtk"} & set(result["modules"])
    assert "" not in result["path"]
    assert result["argv"][0] == "-c"


def test_a_module_in_the_current_folder_is_not_taken_for_a_library(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('wrong numpy')")
    monkeypatch.chdir(tmp_path)
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        assert run(runner, "echo", a=1) == {"a": 1}


def test_the_environment_is_inherited_and_added_to(monkeypatch):
    monkeypatch.setenv("MEDDL_TEST_INHERITED", "ü")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    with WorkerRunner(env={"MEDDL_TEST_ADDED": "a b"}, extra_paths=[TESTING]) as runner:
        result = run(runner, "environment")
    assert (result["MEDDL_TEST_INHERITED"], result["MEDDL_TEST_ADDED"]) == ("ü", "a b")
    assert "PYTHONINSPECT" not in result


def test_no_resource_tracker_is_started(runner):
    array = np.ones(1000)
    run(runner, "echo", a=array)
    assert run(runner, "resource_tracker_runs", a=array) == {"runs": False}


# ---------------------------------------------------------------- talking


def test_whatever_is_printed_arrives_as_log_and_harms_nothing(runner):
    job = runner.submit(TASKS + "print_everywhere", {})
    assert job.wait(120) == {"input": ""}
    expected = ["from python, ünïcode ✓", "to stderr", "raw to descriptor 1", "from a child", "bar 10%", "bar 100%"]
    expected += ["from the context", "in two lines"] + (["from C"] if os.name == "posix" else [])
    for line in expected:
        assert line in job.log, job.log
    assert any("a warning" in line for line in job.log)
    assert run(runner, "echo", a=1) == {"a": 1}


def test_a_log_belongs_to_its_job(runner):
    first, second = (runner.submit(TASKS + "report", {"steps": n}) for n in (1, 2))
    second.wait(120)
    assert (first.log, second.log) == (["line 0"], ["line 0", "line 1"])


def test_a_task_may_close_the_standard_streams(runner):
    assert run(runner, "close_the_standard_streams") == {"fine": True}
    assert run(runner, "echo", a=1) == {"a": 1}


def test_a_very_talkative_job_ends_and_its_log_is_bounded(runner):
    lines = []
    job = runner.submit(TASKS + "flood", {"chunks": 20}, on_log=lines.append)
    assert job.wait(120)["array"].tolist() == list(range(10))
    eventually(lambda: not runner.active, runner)
    assert 0 < len(job.log) <= 5000
    assert max(map(len, lines)) <= 4096


def test_a_worker_nobody_listens_to_waits_and_goes_on(runner):
    job = runner.submit(TASKS + "flood", {"chunks": 3})
    eventually(lambda: job.state == "running", runner)
    time.sleep(0.5)  # nobody pumps: pipes are full by now
    job.wait(120)


def test_pump_is_cheap_when_idle_and_never_starts_a_worker():
    with WorkerRunner() as runner:
        for _ in range(100):
            runner.pump()
        assert runner.worker_pid is None and not runner.active


def test_submit_copies_nothing_and_pump_only_a_little_at_a_time(runner):
    array = np.ones((1, 128, 256, 256), np.float32)
    run(runner, "echo")
    job = runner.submit(TASKS + "echo", {"array": array})
    pumps = 0
    runner._budget = 0.0  # one block per pump
    while not job.done:
        runner.pump()
        pumps += 1
        assert pumps < 10_000_000
    assert pumps >= 2 * array.nbytes / 2**21  # in and out, two megabytes each
    assert np.array_equal(job.result["array"], array)


# ---------------------------------------------------------------- idle


def test_an_idle_worker_ends_and_the_next_job_starts_another():
    with WorkerRunner(extra_paths=[TESTING], idle_timeout=0.1) as runner:
        first = run(runner, "process_id")["pid"]
        eventually(lambda: not alive(first))
        second = run(runner, "process_id")["pid"]
        assert first != second
        eventually(lambda: runner.worker_pid is None, runner)
        eventually(lambda: not runner.active, runner)
        assert our_zombies() == []


def test_jobs_that_meet_a_leaving_worker_are_not_lost():
    with WorkerRunner(extra_paths=[TESTING], idle_timeout=0.05) as runner:
        pids = set()
        for i in range(12):
            array = np.full(1000 + i, i)
            result = run(runner, "echo", a=array)
            assert np.array_equal(result["a"], array)
            pids.add(runner.worker_pid)
            time.sleep(0.03 + 0.004 * i)  # shorter and longer than the worker waits
    assert len(pids) > 1


def test_a_worker_killed_while_idle_is_replaced_unnoticed(runner):
    first = run(runner, "process_id")["pid"]
    psutil.Process(first).kill()
    assert run(runner, "process_id")["pid"] != first
    psutil.Process(runner.worker_pid).kill()
    eventually(lambda: runner.worker_pid is None, runner)
    assert run(runner, "echo", a=1) == {"a": 1}


# ---------------------------------------------------------------- not starting


def fails_to_start(runner):
    job = runner.submit(TASKS + "echo", {})
    with pytest.raises(JobError, match="could not be started") as caught:
        job.wait(120)
    assert type(caught.value) is JobError and job.state == "failed"
    eventually(lambda: not runner.active, runner)
    return caught.value


def test_a_missing_interpreter_is_an_error_of_the_job(tmp_path):
    with WorkerRunner(tmp_path / "no_python_here") as runner:
        error = fails_to_start(runner)
        assert "no_python_here" in error.message and "No such file" in error.message
        assert fails_to_start(runner) is not error
        with pytest.raises(JobError, match="no_python_here"):
            runner.prestart()


@posix_only
def test_something_that_is_no_interpreter_is_an_error_of_the_job(tmp_path):
    with WorkerRunner(shell_script(tmp_path / "python", "echo 'I am no Python' >&2; exit 7\n")) as runner:
        error = fails_to_start(runner)
        assert "exit code 7" in error.message and "I am no Python" in error.details


@posix_only
def test_an_interpreter_that_cannot_import_is_an_error_with_its_last_words(tmp_path):
    script = shell_script(tmp_path / "python", f"exec '{sys.executable}' -c 'import no_such_module'\n")
    with WorkerRunner(script) as runner:
        assert "No module named 'no_such_module'" in fails_to_start(runner).details


@posix_only
def test_an_interpreter_that_prints_garbage_is_an_error(tmp_path):
    with WorkerRunner(shell_script(tmp_path / "python", "yes garbage\n")) as runner:
        assert "does not understand" in fails_to_start(runner).message


@posix_only
def test_an_interpreter_that_takes_too_long_is_ended(tmp_path):
    with WorkerRunner(shell_script(tmp_path / "python", "sleep 600\n"), start_timeout=0.3) as runner:
        runner.prestart()
        pid = runner.worker_pid
        assert "not ready after 0.3 seconds" in fails_to_start(runner).message
        assert not alive(pid)


def test_another_version_of_meddl_is_refused(monkeypatch):
    monkeypatch.setattr(meddl, "__version__", "99.0")
    with WorkerRunner() as runner:
        message = fails_to_start(runner).message
        assert "99.0" in message and "restart" in message
        monkeypatch.undo()
        assert runner.submit(TASKS + "echo", {}) and runner.submit("meddl.jobs.tasks:about", {}).wait(120)


def test_a_failed_prestart_is_told_in_the_log_and_tried_again(caplog):
    with WorkerRunner(extra_paths=[TESTING], start_timeout=0.0) as runner:
        runner.prestart()
        eventually(lambda: "not ready" in caplog.text, runner)
        runner._start_timeout = 60.0
        assert run(runner, "echo", a=1) == {"a": 1}


# ---------------------------------------------------------------- launchers, ends


@posix_only
def test_a_launcher_in_between_changes_nothing(tmp_path):
    """PythonSlicer is one: it starts the real interpreter and waits for it."""
    launcher = shell_script(tmp_path / "python", f"'{sys.executable}' \"$@\"\nexit $?\n")
    with WorkerRunner(launcher, extra_paths=[TESTING]) as runner:
        ids = run(runner, "process_id")
        assert ids["pid"] != runner.worker_pid == ids["parent"] == ids["session"]
        job = runner.submit(TASKS + "sleep_stubbornly", {"started": tmp_path / "started"})
        eventually((tmp_path / "started").exists, runner)
        job.cancel()
        eventually(lambda: job.done, runner)
        assert job.state == "cancelled"
        eventually(lambda: not alive(ids["pid"]))
        with pytest.raises(JobError, match="memory"):
            run(runner, "kill_yourself")
        assert run(runner, "echo", a=1) == {"a": 1}


def test_close_ends_the_worker(runner):
    pid = run(runner, "process_id")["pid"]
    runner.close()
    assert not alive(pid) and our_zombies() == []


def test_a_forgotten_runner_takes_its_worker_along():
    runner = WorkerRunner(extra_paths=[TESTING])
    job = runner.submit(TASKS + "process_id", {})
    pid = job.wait(120)["pid"]
    del runner, job
    eventually(lambda: not alive(pid))


def test_a_program_that_ends_without_closing_leaves_nothing_and_says_nothing(tmp_path):
    command = python_script(
        tmp_path / "parent.py",
        "r = runner()\n"
        "for i in range(3):\n"
        "    result = r.submit('core.job_tasks:echo', {'a': np.ones(100000)}).wait(120)\n"
        "pid = r.submit('core.job_tasks:process_id', {}).wait(120)['pid']\n"
        "r.submit('core.job_tasks:echo', {'a': np.ones(100000)})\n"
        "print(pid, r._worker.prefix)\n",
    )
    command.insert(1, "-Xdev")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    pid, prefix = done.stdout.split()
    eventually(lambda: not alive(int(pid)))
    assert not [name for name in shared_memory_names() if name.startswith(prefix)]


@posix_only
def test_a_forked_copy_of_the_program_does_not_end_the_worker(tmp_path):
    command = python_script(
        tmp_path / "parent.py",
        "import os\n"
        "r = runner()\n"
        "r.submit('core.job_tasks:echo', {}).wait(120)\n"
        "if os.fork() == 0:\n"
        "    sys.exit()  # runs the exit handlers\n"
        "os.wait()\n"
        "print(r.submit('core.job_tasks:count_with_cache', {}).wait(120)['pid'] == r.worker_pid)\n",
    )
    parent = start_parent(command)
    out, err = parent.communicate(timeout=300)
    assert out.split() == ["True"], err
