"""A job on its way through a worker, and the voxels it takes along."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import codec, copying
from .frames import Message
from .job import Job
from .process import WorkerProcess
from .segments import Segment, segment_name, unlink


@dataclass(eq=False)
class Order:
    """A job that waits for its turn or has it.

    Attributes:
        job: what the caller holds.
        params: None once the worker has them.
        serial: its number, from 1 on; 0 while it waits.
        phase: what happens to it: it waits, its arrays are copied to shared memory, it is with the worker, or its
            result is copied out of shared memory.
        steps: the copying, one block per step.
        segment: the params' shared memory until the worker has it.
        kill_at: ``time.monotonic()`` at which patience with a cancelled job ends.
        resent: whether this is its second way to a worker.
    """

    job: Job
    params: codec.Encoded | None
    serial: int = 0
    phase: Literal["waiting", "sending", "working", "receiving"] = "waiting"
    steps: Generator[None, None, Any] | None = None
    segment: Segment | None = None
    kill_at: float | None = None
    resent: bool = False

    def prepare(self, worker: WorkerProcess, serial: int) -> None:
        """Get ready to copy the params and give the job to ``worker`` by way of :attr:`steps`."""
        self.serial = serial
        self.phase, self.steps = "sending", self._send(worker)

    def begin(self) -> None:
        """The worker has been told."""
        self.phase, self.steps = "working", None
        self.job.begin()

    def take_result(self, message: Message) -> None:
        """Get ready to copy the result out by way of :attr:`steps`. Raises OSError if it is not there."""
        segment = Segment.attach(*message["segment"]) if message["segment"] else None
        self.phase, self.steps = "receiving", self._receive(message, segment)

    def release(self) -> None:
        """Let go of the params and what was made for them."""
        self.steps = self.params = None
        if self.segment is not None:
            unlink(self.segment.name)
            self.segment = None

    def _send(self, worker: WorkerProcess) -> Generator[None, None, None]:
        params = self.params
        assert params is not None
        specs, size = copying.lay_out(params.arrays)
        message = {"type": "run", "serial": self.serial, "task": self.job.task, "params": params.tree, "segment": None}
        if size:
            self.segment = Segment.create(segment_name(worker.prefix, "p", self.serial), size)
            yield from copying.fill(self.segment, params.arrays, specs)
            message["segment"] = [self.segment.name, size]
        worker.send({**message, "arrays": [spec.to_json() for spec in specs]})

    def _receive(self, message: Message, segment: Segment | None) -> Generator[None, None, dict[str, Any]]:
        specs = [copying.ArraySpec.from_json(spec) for spec in message["arrays"]]
        arrays: list[np.ndarray] = []
        yield from copying.copy_out(segment, specs, arrays)
        return codec.decode(message["result"], arrays)
