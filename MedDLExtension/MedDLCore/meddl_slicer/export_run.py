"""Jobs on many cases one after the other, each made when its turn comes, so that memory holds one case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meddl.errors import JobCancelled, MedDLError

if TYPE_CHECKING:
    from meddl.jobs import Job, JobRunner

    from meddl_slicer.job_panel import JobPanel


@dataclass(frozen=True, eq=False)
class Step:
    """One job of a chain.

    Attributes:
        make: returns task and params; called when the step's turn comes, so that nothing is held in memory before.
        what: what the status line says of it, for instance "Case 3 of 7".
        done: called with the job's result.
        failed: called with the error when the job, or ``make``, fails; returns whether the chain goes on. None: it
            ends there.
        weight: how long it takes, compared with the other steps.
    """

    make: Callable[[], tuple[str, dict[str, Any]]]
    what: str
    done: Callable[[dict[str, Any]], None]
    failed: Callable[[MedDLError], bool] | None = None
    weight: float = 1.0


class JobChain:
    """Runs steps through a panel's job panel, whose bar and Cancel button are for all of them together.

    Args:
        jobPanel: follows the jobs.
    """

    def __init__(self, jobPanel: JobPanel) -> None:
        self._jobPanel = jobPanel
        self._steps: list[Step] = []
        self._index = 0
        self._begin, self._scale = 0.0, 1.0
        self._onFinished: Callable[[MedDLError | None], None] | None = None

    @property
    def isRunning(self) -> bool:
        """Whether steps are under way."""
        return self._onFinished is not None

    def run(
        self,
        steps: Sequence[Step],
        onFinished: Callable[[MedDLError | None], None],
        part: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        """Run all steps; ``onFinished`` is called once with the error that ended the chain, or None.

        Args:
            part: where the bar is when the first step begins and when the last one ends, 0 to 1.

        Raises:
            RuntimeError: the job panel is at work already.
        """
        if self.isRunning or self._jobPanel.isRunning:
            raise RuntimeError("One thing at a time: this panel is at work already.")
        self._steps, self._index, self._onFinished = list(steps), 0, onFinished
        total = sum(step.weight for step in self._steps) or 1.0
        self._scale = (part[1] - part[0]) / total
        self._begin = part[0]
        self._next()

    def abandon(self) -> None:
        """Stop and tell nobody."""
        self._steps, self._onFinished = [], None
        self._jobPanel.abandon()

    def _next(self) -> None:
        # A loop, not a call per step: a hundred cases that fail at once must not pile up on the stack.
        while self._index < len(self._steps):
            step = self._steps[self._index]
            before = sum(one.weight for one in self._steps[: self._index])
            part = (self._begin + before * self._scale, self._begin + (before + step.weight) * self._scale)
            try:
                task, params = step.make()
            except MedDLError as error:
                if not self._onFailed(step, error):
                    return
                continue
            self._jobPanel.run(task, params, self._onJob, part, step.what)
            return
        self._finish(None)

    def _onJob(self, job: Job) -> None:
        if not self.isRunning:
            return
        step = self._steps[self._index]
        if job.error is not None:
            if self._onFailed(step, job.error):
                self._next()
            return
        self._index += 1
        step.done(job.result)
        if self.isRunning:  # what was done may have ended it
            self._next()

    def _onFailed(self, step: Step, error: MedDLError) -> bool:
        """Return whether the chain goes on."""
        if step.failed is None or isinstance(error, JobCancelled):
            self._finish(error)
            return False
        self._index += 1
        if not step.failed(error):
            self._finish(error)
        return self.isRunning

    def _finish(self, error: MedDLError | None) -> None:
        onFinished, self._steps, self._onFinished = self._onFinished, [], None
        if onFinished is not None:
            onFinished(error)


def run_all(runner: JobRunner, steps: Sequence[Step], onProgress: Callable[[float, str], None] | None = None) -> None:
    """Run all steps and wait for each: for scripts, where nobody has to be kept up to date.

    Raises:
        MedDLError: a step failed without which the others make no sense.
    """
    total = sum(step.weight for step in steps) or 1.0
    before = 0.0
    for step in steps:
        if onProgress is not None:
            onProgress(before / total, step.what)
        try:
            task, params = step.make()
            result = runner.submit(task, params).wait()
        except JobCancelled:
            raise
        except MedDLError as error:
            if step.failed is None or not step.failed(error):
                raise
        else:
            step.done(result)
        before += step.weight
