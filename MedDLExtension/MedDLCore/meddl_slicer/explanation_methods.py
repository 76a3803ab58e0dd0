"""Which methods of attribution can work on a model: asked in the worker, which has to load it to know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meddl_slicer.explanation_run import LIST_METHODS
from meddl_slicer.pump import JobPump

if TYPE_CHECKING:
    from meddl.jobs import Job, JobRunner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MethodChoice:
    """A method one can choose.

    Attributes:
        id: as the core calls it.
        title, source: for people; the paper.
        unfit: why it cannot work on the model, in a sentence; "" if it can, or as long as nobody knows.
    """

    id: str
    title: str
    source: str
    unfit: str = ""


def known_methods() -> tuple[MethodChoice, ...]:
    """Return all methods, whatever the model."""
    from meddl.saliency.methods.known import METHODS

    return tuple(MethodChoice(id, each.title, each.source) for id, each in METHODS.items())


class MethodProbe:
    """Asks which methods fit a model. Only the last question is answered.

    Args:
        getRunner: returns who runs the job.
        onAnswer: called with the model and its methods, or with None in their place when it cannot be told.
    """

    def __init__(
        self,
        getRunner: Callable[[], JobRunner],
        onAnswer: Callable[[str, tuple[MethodChoice, ...] | None], None],
    ) -> None:
        self._getRunner, self._onAnswer = getRunner, onAnswer
        self._job: Job | None = None
        self._pump: JobPump | None = None

    @property
    def isAsking(self) -> bool:
        """Whether an answer is awaited."""
        return self._job is not None

    def ask(self, model: str, device: str) -> None:
        """Ask which methods fit a model (its id, or where it is)."""
        self.forget()
        runner = self._getRunner()
        params = {"model": model, "options": {"device": device}}
        self._job = runner.submit(LIST_METHODS, params, on_done=lambda job: self._tell(job, model))
        if self._pump is None or self._pump.runner is not runner:
            self._pump = JobPump(runner)
        self._pump.start()

    def forget(self) -> None:
        """Await no answer any more."""
        job, self._job = self._job, None
        if job is not None and job.state == "queued":  # one that runs loads the model for the explanation
            job.cancel()

    def _tell(self, job: Job, model: str) -> None:
        if job is not self._job:
            return
        self._job = None
        if job.error is not None:
            logger.debug("the methods could not be listed", exc_info=job.error)
            self._onAnswer(model, None)
            return
        listed = (MethodChoice(one["id"], one["title"], one["source"], one["unfit"]) for one in job.result["methods"])
        self._onAnswer(model, tuple(listed))
