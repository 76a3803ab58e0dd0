"""The contract of a job, the same whoever runs it: states, order, callbacks, errors, waiting."""

from __future__ import annotations

import time

import numpy as np
import pytest
from core.job_testing import TASKS, TESTING, eventually
from meddl.errors import (
    JobCancelled,
    JobError,
    OutOfMemory,
    UntrustedModelError,
    UsageError,
    VolumeError,
)
from meddl.jobs import InlineRunner, JobState, ModelCache, WorkerRunner


@pytest.fixture(params=["inline", "worker"])
def runner(request):
    with InlineRunner() if request.param == "inline" else WorkerRunner(extra_paths=[TESTING]) as runner:
        yield runner


def test_a_job_goes_from_queued_to_done(runner):
    job = runner.submit(TASKS + "echo", {"a": 1})
    assert (job.state, job.done, job.result, job.error) == ("queued", False, None, None)
    assert runner.active
    assert job.wait(120) == {"a": 1}
    assert job.state is JobState.DONE and job.done and job.result == {"a": 1} and job.error is None
    eventually(lambda: not runner.active, runner)


def test_callbacks_tell_progress_log_and_end_in_order(runner):
    events = []
    job = runner.submit(
        TASKS + "report",
        {"steps": 5, "pause": 0.02},
        on_progress=lambda fraction, text: events.append(("progress", fraction, text)),
        on_log=lambda line: events.append(("log", line)),
        on_done=lambda done: events.append(("done", done)),
    )
    assert not events
    job.wait(120)
    assert events[-1] == ("done", job) and [e[0] for e in events].count("done") == 1
    assert [e[1] for e in events if e[0] == "log"] == [f"line {i}" for i in range(5)] == job.log
    fractions = [e[1] for e in events if e[0] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert job.progress == (1.0, "all done")


def test_callbacks_come_only_from_pump(tmp_path):
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        events = []
        running = runner.submit(TASKS + "sleep_stubbornly", {"started": tmp_path / "started"}, on_done=events.append)
        queued = runner.submit(TASKS + "echo", {}, on_done=events.append)
        queued.cancel()
        running.cancel()
        assert queued.done and events == []
        runner.pump()
        assert queued in events


def test_jobs_run_in_the_order_they_came(runner):
    order = []
    jobs = [runner.submit(TASKS + "echo", {"i": i}, on_done=lambda j: order.append(j.result["i"])) for i in range(20)]
    jobs[-1].wait(120)
    assert order == list(range(20)) and all(job.state == "done" for job in jobs)


def test_waiting_for_an_early_job_leaves_later_ones_alone(runner):
    jobs = [runner.submit(TASKS + "echo", {"i": i}) for i in range(3)]
    assert jobs[0].wait(120) == {"i": 0}
    assert jobs[2].wait(120) == {"i": 2}
    assert jobs[1].wait(120) == jobs[1].wait() == {"i": 1}


@pytest.mark.parametrize(
    ("task", "error_type", "text"),
    [
        ("raise_value_error", JobError, "ValueError: the number is odd: ünïcode"),
        ("raise_volume_error", VolumeError, "No place in space."),
        ("raise_untrusted", UntrustedModelError, "Not trusted."),
        ("raise_memory_error", OutOfMemory, "MemoryError"),
        ("raise_with_an_odd_message", JobError, "lone surrogate"),
        ("exit_softly", JobError, "tried to end the process"),
        ("returns_none", JobError, "returned a NoneType where a dict is due"),
        ("no_such_function", JobError, "could not be loaded"),
    ],
)
def test_an_error_of_a_task_arrives_with_its_type(runner, task, error_type, text):
    done = []
    job = runner.submit(TASKS + task, {}, on_done=done.append)
    with pytest.raises(error_type) as caught:
        job.wait(120)
    assert type(caught.value) is error_type and text in caught.value.message
    assert job.state == "failed" and job.result is None and job.error is caught.value and done == [job]
    assert runner.submit(TASKS + "echo", {"a": 1}).wait(120) == {"a": 1}


def test_an_error_brings_its_details_along(runner):
    job = runner.submit(TASKS + "raise_value_error", {})
    with pytest.raises(JobError) as caught:
        job.wait(120)
    assert "Traceback" in caught.value.details and "job_tasks.py" in caught.value.details
    job = runner.submit(TASKS + "raise_untrusted", {})
    with pytest.raises(UntrustedModelError) as untrusted:
        job.wait(120)
    assert untrusted.value.reasons == ("configs/inference.json: os.system",) and untrusted.value.details == "d"


def test_an_interrupt_inside_a_worker_task_is_an_error_like_others():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        with pytest.raises(JobError, match="KeyboardInterrupt"):
            runner.submit(TASKS + "raise_interrupt", {}).wait(120)
        assert runner.submit(TASKS + "echo", {}).wait(120) == {}


def test_a_missing_module_fails_the_job_not_the_runner(runner):
    with pytest.raises(JobError, match="could not be loaded"):
        runner.submit("no_such_package.module:function", {}).wait(120)
    assert runner.submit(TASKS + "echo", {}).wait(120) == {}


@pytest.mark.parametrize(
    "name", ["", "module", "module:", ":function", "a.b:c.d", "a b:c", "os:system; x", "../x:y", 3]
)
def test_what_is_no_task_name_is_refused_at_once(runner, name):
    with pytest.raises(UsageError, match=r"package\.module:function"):
        runner.submit(name, {})


def test_a_queued_job_is_cancelled_at_once(runner):
    first, second, third = (runner.submit(TASKS + "echo", {"i": i}) for i in range(3))
    second.cancel()
    assert second.state == "cancelled" and isinstance(second.error, JobCancelled)
    assert third.wait(120) == {"i": 2} and first.state == "done"
    with pytest.raises(JobCancelled):
        second.wait(120)


def test_cancel_is_harmless_twice_and_afterwards(runner):
    job = runner.submit(TASKS + "echo", {"a": 1})
    job.wait(120)
    job.cancel()
    job.cancel()
    assert job.state == "done" and job.wait() == {"a": 1}
    queued = runner.submit(TASKS + "echo", {})
    queued.cancel()
    queued.cancel()
    assert queued.state == "cancelled"
    assert runner.submit(TASKS + "echo", {}).wait(120) == {}


def test_a_callback_may_cancel_submit_and_wait(runner):
    results = []

    def again(job):
        results.append(job.state)
        results.append(runner.submit(TASKS + "echo", {"nested": 1}).wait(120))

    job = runner.submit(
        TASKS + "report",
        {"steps": 10000, "pause": 0.01},
        on_progress=lambda fraction, text: job.cancel(),
        on_done=again,
    )
    with pytest.raises(JobCancelled):
        job.wait(120)
    eventually(lambda: results == ["cancelled", {"nested": 1}], runner)


def test_a_callback_that_fails_stops_nothing(runner, caplog):
    done = []

    def broken(*args):
        raise RuntimeError("broken callback")

    job = runner.submit(TASKS + "report", {"steps": 2}, on_progress=broken, on_log=broken, on_done=broken)
    job.wait(120)
    assert "broken callback" in caplog.text
    runner.submit(TASKS + "echo", {}, on_done=done.append).wait(120)
    assert len(done) == 1


def test_a_closed_runner_has_cancelled_all_and_takes_no_more(runner):
    told = []
    jobs = [runner.submit(TASKS + "echo", {}, on_done=told.append) for _ in range(3)]
    runner.close()
    runner.close()
    assert [job.state for job in jobs] == ["cancelled"] * 3
    runner.pump()
    assert told == [] and not runner.active
    with pytest.raises(UsageError, match="closed"):
        runner.submit(TASKS + "echo", {})
    with pytest.raises(JobCancelled):
        jobs[0].wait()


def test_a_runner_that_never_ran_closes():
    runner = WorkerRunner()
    runner.pump()
    runner.close()


def test_waiting_may_time_out_and_go_on(tmp_path):
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        job = runner.submit(TASKS + "wait_for_file", {"file": tmp_path / "go"})
        with pytest.raises(TimeoutError):
            job.wait(0.2)
        assert not job.done
        (tmp_path / "go").touch()
        assert job.wait(120) == {}


def test_models_stay_in_the_cache_from_job_to_job(runner):
    counts = [runner.submit(TASKS + "count_with_cache", {}).wait(120) for _ in range(3)]
    assert [c["count"] for c in counts] == [1, 2, 3]
    assert len({c["pid"] for c in counts}) == 1


def test_the_cache_forgets_what_was_used_longest_ago():
    made = []

    def make(key):
        made.append(key)
        return key.upper()

    cache = ModelCache(max_items=2)
    for key in ["a", "b", "a", "c", "a", "b"]:
        assert cache.get_or_create(key, lambda key=key: make(key)) == key.upper()
    assert made == ["a", "b", "c", "b"] and len(cache) == 2 and "a" in cache and "c" not in cache
    with pytest.raises(ZeroDivisionError):
        cache.get_or_create("broken", lambda: 1 / 0)
    assert "broken" not in cache
    cache.discard("b")
    cache.discard("b")
    cache.clear()
    assert len(cache) == 0


def test_there_is_room_before_a_model_is_made():
    cache = ModelCache(max_items=1)
    cache.get_or_create("a", object)
    assert cache.get_or_create("b", lambda: len(cache)) == 0


def test_an_interrupt_cancels_an_inline_job():
    with InlineRunner() as runner:
        job = runner.submit(TASKS + "raise_interrupt", {})
        with pytest.raises(KeyboardInterrupt):
            job.wait()
        assert job.state == "cancelled"


def test_progress_is_clipped_and_one_line(runner):
    job = runner.submit(TASKS + "odd_progress", {})
    job.wait(120)
    assert job.progress == (1.0, "two lines")


def test_two_hundred_quick_jobs():
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        done = []
        jobs = [
            runner.submit(TASKS + "echo", {"i": i, "a": np.full(i % 50, i)}, on_done=done.append) for i in range(200)
        ]
        assert jobs[-1].wait(120)["i"] == 199
        assert done == jobs and all(np.array_equal(j.result["a"], np.full(i % 50, i)) for i, j in enumerate(jobs))


def test_heartbeats_repeat_the_progress_of_a_silent_task(tmp_path):
    told = []
    with WorkerRunner(extra_paths=[TESTING]) as runner:
        params = {"started": tmp_path / "started", "go_on": tmp_path / "go_on"}
        job = runner.submit(
            TASKS + "progress_once_then_be_silent", params, on_progress=lambda *args: told.append((*args, time.time()))
        )
        eventually(lambda: len([t for t in told if t[:2] == (0.25, "thinking")]) >= 4, runner)
        (tmp_path / "go_on").touch()
        job.wait(120)
