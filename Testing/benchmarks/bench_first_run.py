"""The first run of a fresh worker against its second, with and without the panel's warm-up; the worker's memory."""

from __future__ import annotations

import time
from typing import Any

import harness
import psutil
from meddl.inference.task import RUN_INFERENCE
from meddl.jobs import WorkerRunner
from meddl.volume import read_volume

WARM = ["torch", "monai.transforms"]
"""What the panel has its worker import when it is opened (`MedDLInferenceLogic.warmUp`)."""
FIRST, WARMED, SECOND = "first run, worker not started", "first run, panel was open", "second run"


def measure(repeats: int) -> list[harness.Table]:
    volume = read_volume(harness.head())
    job = {"model": str(harness.brain_model().path), "volume": volume, "device": "cpu"}
    samples: dict[str, list[harness.Sample]] = {FIRST: [], WARMED: [], SECOND: []}
    memory: list[tuple[str, int]] = []
    for _ in range(repeats):
        with WorkerRunner() as runner:
            samples[FIRST].append(run(runner, job))
            samples[SECOND].append(run(runner, job))
        with WorkerRunner() as runner:
            runner.prestart()
            memory = [("worker is ready", resident(wait_until_idle(runner)))]
            runner.prestart(WARM)
            memory.append(("has imported torch and monai", resident(wait_until_idle(runner))))
            samples[WARMED].append(run(runner, job))
        with WorkerRunner(extra_paths=[harness.BENCHMARKS]) as runner:
            for name in ("first", "second"):
                runner.submit(RUN_INFERENCE, job).wait()
                peak = runner.submit("worker_tasks:peak_memory", {}).wait()["bytes"]
                memory += [(f"most during the {name} run", peak), (f"after the {name} run", resident(runner))]
    rows = [(name, round(size / 2**20), f"{size / volume.array.nbytes:.0f}") for name, size in memory]
    notes = [f"the image has {volume.array.nbytes / 2**20:.0f} MB; the last of {repeats} repetitions"]
    return [
        harness.Table("First run against second", harness.COMPARED, harness.compared(samples, SECOND)),
        harness.Table("Memory of the worker (resident)", ("", "MB", "times the image"), rows, notes),
    ]


def run(runner: WorkerRunner, job: dict[str, Any]) -> harness.Sample:
    """Time one run; processor time counts the worker's since it was started, if this starts it."""
    pid = runner.worker_pid
    if pid is not None:
        return harness.timed(lambda: runner.submit(RUN_INFERENCE, job).wait(), pid)
    here = harness.timed(lambda: runner.submit(RUN_INFERENCE, job).wait())
    times = psutil.Process(runner.worker_pid).cpu_times()
    return harness.Sample(here.wall, here.cpu + times.user + times.system)


def wait_until_idle(runner: WorkerRunner) -> WorkerRunner:
    """A job is done after what the worker was told to import before it."""
    runner.submit("meddl.jobs.tasks:about", {}).wait()
    time.sleep(0.1)
    return runner


def resident(runner: WorkerRunner) -> int:
    return int(psutil.Process(runner.worker_pid).memory_info().rss)


if __name__ == "__main__":
    harness.main(measure, repeats=2)
