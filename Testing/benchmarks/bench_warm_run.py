"""A warm run of the brain model, inline and in the worker, against the two bare forward passes of its networks."""

from __future__ import annotations

from typing import Any

import harness
import torch
from meddl.inference import Predictor
from meddl.inference.cascade import Box
from meddl.inference.task import RUN_INFERENCE
from meddl.jobs import WorkerRunner
from meddl.volume import Volume, read_volume

BARE = "two bare forward passes"


def measure(repeats: int) -> list[harness.Table]:
    bundle, volume = harness.brain_model(), read_volume(harness.head())
    predictor = Predictor(bundle, "cpu")
    first = predictor.predict(volume)
    bare = bare_passes(predictor, volume, first.provenance["parameters"])
    job = {"model": str(bundle.path), "volume": volume, "device": "cpu"}
    steps: list[dict[str, float]] = []
    with WorkerRunner() as runner:
        answer = runner.submit(RUN_INFERENCE, job).wait()
        same = bool((answer["labels"].array == first.labels.array).all())
        samples = harness.interleaved(
            {
                BARE: lambda: harness.timed(bare),
                "Predictor, in this process": lambda: harness.timed(
                    lambda: steps.append(predictor.predict(volume).provenance["times_s"])
                ),
                "WorkerRunner, submit to result": lambda: harness.timed(
                    lambda: runner.submit(RUN_INFERENCE, job).wait(), runner.worker_pid
                ),
            },
            repeats,
        )
    notes = [f"the worker's answer is {'' if same else 'NOT '}that of this process, voxel for voxel"]
    stages = [(name, harness.median(taken[name] for taken in steps)) for name in steps[0] if name != "total"]
    total = sum(seconds for _, seconds in stages)
    rows = [(name, seconds, f"{seconds / total:.0%}") for name, seconds in stages]
    return [
        harness.Table("Warm run of the brain model", harness.COMPARED, harness.compared(samples, BARE), notes),
        harness.Table("Where Predictor spends its time", ("", "wall s", "share"), rows),
    ]


def bare_passes(predictor: Predictor, volume: Volume, parameters: dict[str, Any]) -> Any:
    """Return a function that runs both networks on inputs that are ready, and does nothing else."""
    box = Box(tuple(parameters["roi_start"]), tuple(parameters["roi_end"]))
    stages = predictor.stages
    inputs = (stages[0].prepare(volume), stages[1].prepare(volume, lambda affine, shape: box))
    pairs = [(stage.network, each.image[None]) for stage, each in zip(stages, inputs, strict=True)]

    def passes() -> None:
        with torch.inference_mode():
            for network, image in pairs:
                network(image)

    passes()
    return passes


if __name__ == "__main__":
    harness.main(measure, repeats=3)
