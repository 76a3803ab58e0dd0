"""Voxels to the worker and back (256^3 float32, a task that returns them) against a plain copy in memory."""

from __future__ import annotations

import harness
import numpy as np
from meddl.jobs import WorkerRunner

PLAIN = "plain copy (numpy)"


def measure(repeats: int) -> list[harness.Table]:
    array = np.random.default_rng(1).random((256, 256, 256), dtype=np.float32)
    as_slicer_has_it = np.ascontiguousarray(array.T).T
    with WorkerRunner(extra_paths=[harness.BENCHMARKS]) as runner:
        runner.submit("worker_tasks:echo", {"array": array[:1]}).wait()
        pid = runner.worker_pid

        def trip(values: np.ndarray | None) -> harness.Sample:
            job = {} if values is None else {"array": values}
            return harness.timed(lambda: runner.submit("worker_tasks:echo", job).wait(), pid)

        samples = harness.interleaved(
            {
                PLAIN: lambda: harness.timed(array.copy),
                "worker and back": lambda: trip(array),
                "worker and back, Slicer's axis order": lambda: trip(as_slicer_has_it),
                "worker and back, no voxels": lambda: trip(None),
            },
            repeats,
        )
    notes = ["the round trip copies the 64 MB three times: to shared memory, to a second piece of it, out of that"]
    return [harness.Table("Job round trip of a 256^3 float32 volume", harness.COMPARED,
                          harness.compared(samples, PLAIN), notes)]  # fmt: skip


if __name__ == "__main__":
    harness.main(measure, repeats=9)
