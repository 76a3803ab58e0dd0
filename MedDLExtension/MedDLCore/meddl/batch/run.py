"""Running a batch, whatever becomes of a case."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from pathlib import Path

from meddl.batch.plan import SPARE_BYTES, BatchPlan, make_folder
from meddl.batch.records import forget_attempt, sweep
from meddl.batch.seats import InProcess, Seats, Work
from meddl.batch.summary import BatchSummary, CaseResult
from meddl.errors import JobCancelled, MedDLError, OutOfMemory, UsageError, WorkerDied
from meddl.inference.run import Cancelled, Log, Progress, never, silent, unlogged

logger = logging.getLogger(__name__)

_LOCK = ".batch.lock"


def run_batch(
    plan: BatchPlan,
    *,
    seats: Seats | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
    log: Log | None = None,
) -> BatchSummary:
    """Work on all cases; what goes wrong with one is written down and never stops the others.

    Args:
        seats: where the work is done; by default in this process, one case after the other. They are closed at the end.
        progress: fraction of all cases, and one line of text, which names no case.
        cancelled: asked all the time. What is finished stays, and the same batch goes on from there later.
        log: one line for each case.

    Returns:
        The summary, which is written to the folder too, after each case anew.

    Raises:
        UsageError: another batch is writing to the folder.
    """
    from meddl.jobs import JobContext
    from meddl.models.file_lock import locked

    def busy() -> None:
        raise UsageError("Another batch is writing to this folder now. Choose another one, or wait until it is done.")

    seats = seats or InProcess(JobContext(is_cancelled=cancelled or never))
    try:
        with locked(plan.folder / _LOCK, waiting=busy):
            for folder in {str(unit.params["folder"]) for unit in plan.units}:
                make_folder(Path(folder))
                sweep(Path(folder))
            return _Run(plan, seats, progress or silent, cancelled or never, log or unlogged).work()
    finally:
        seats.close()


class _Run:
    """The state of a batch while it runs."""

    def __init__(
        self,
        plan: BatchPlan,
        seats: Seats,
        progress: Progress,
        cancelled: Cancelled,
        log: Log,
    ) -> None:
        self._plan, self._seats = plan, seats
        self._progress, self._cancelled, self._log = progress, cancelled, log
        self._results: list[CaseResult | None] = [None] * len(plan.units)
        self._shares: dict[int, float] = {}

    def work(self) -> BatchSummary:
        pending, running = deque(range(len(self._plan.units))), dict[int, Work]()
        stopped = ""
        try:
            while pending or running:
                if self._cancelled():
                    raise JobCancelled("The batch was cancelled.")
                while pending and self._seats.free and not self._cancelled():
                    if shutil.disk_usage(self._plan.folder).free < SPARE_BYTES:
                        stopped = "The disk of the results is full. Make room and start the batch again: it goes on."
                        pending.clear()
                        break
                    index = pending.popleft()
                    running[index] = self._seats.submit(dict(self._plan.units[index].params), self._teller(index))
                    self._collect(running)
                self._seats.turn()
                self._collect(running)
        except (JobCancelled, KeyboardInterrupt) as error:
            summary = self._summary("The batch was cancelled. Start it again, and it goes on.", "cancelled")
            summary.write()
            self._seats.close()
            for index in running:
                params = self._plan.units[index].params
                forget_attempt(Path(params["folder"]), str(params["name"]))
            if isinstance(error, KeyboardInterrupt):
                raise
            return summary
        summary = self._summary(stopped)
        summary.write()
        self._progress(1.0, "Done")
        return summary

    def _collect(self, running: dict[int, Work]) -> None:
        for index in [index for index, work in running.items() if work.done]:
            self._finish(index, running.pop(index))

    def _finish(self, index: int, work: Work) -> None:
        unit = self._plan.units[index]
        try:
            record = work.result()
            result = CaseResult(unit.case.id, unit.title, str(record["status"]), record)
        except JobCancelled:
            raise
        except MedDLError as error:
            result = CaseResult(unit.case.id, unit.title, "failed", error=_sentence(error))
            logger.debug("case %d: %s", index + 1, error.details)
        self._results[index] = result
        self._shares.pop(index, None)
        self._log(f"Case {index + 1} of {len(self._plan.units)}: {result.status}. {result.error}".rstrip())
        self._summary().write()
        self._tell("")

    def _teller(self, index: int) -> Progress:
        def tell(fraction: float, text: str) -> None:
            self._shares[index] = max(fraction, self._shares.get(index, 0.0))
            self._tell(f"Case {index + 1} of {len(self._plan.units)}: {text}")

        return tell

    def _tell(self, text: str) -> None:
        total = max(1, len(self._plan.units))
        done = sum(result is not None for result in self._results)
        self._progress((done + sum(self._shares.values())) / total, text or f"{done} of {total} cases are done")

    def _summary(self, stopped: str = "", missing: str = "not run") -> BatchSummary:
        results = (
            result or CaseResult(unit.case.id, unit.title, missing)
            for result, unit in zip(self._results, self._plan.units, strict=True)
        )
        return BatchSummary(tuple(results), self._plan.folder, stopped)


def _sentence(error: MedDLError) -> str:
    if isinstance(error, OutOfMemory | WorkerDied):
        return f"{error.message} The other cases went on."
    return error.message
