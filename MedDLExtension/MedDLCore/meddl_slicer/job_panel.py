"""The part of a panel that follows a job: progress bar, status line, Cancel button and log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import qt

from meddl_slicer.i18n import tr as _
from meddl_slicer.pump import JobPump
from meddl_slicer.stepwise import Stepwise

if TYPE_CHECKING:
    from meddl.jobs import Job, JobRunner

_STEPS = 1000


class JobPanel:
    """Submits one job at a time and shows how it goes, in widgets of the panel's ``.ui`` file.

    The outcome is told through ``onFinished(job)`` from the event loop, outside of any pump, so that it may open
    dialogs and submit the next job.

    Example::

        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.jobPanel.run("package.module:task", params, onFinished=self.onJobFinished)

    Args:
        getRunner: returns who runs the next job; asked each time, since the shared runner may have been renewed.
        ui: holds ``progressBar``, ``statusLabel``, ``cancelButton`` and ``logTextEdit``.
    """

    def __init__(self, getRunner: Callable[[], JobRunner], ui: Any) -> None:
        self.ui = ui
        self._getRunner = getRunner
        self._pump: JobPump | None = None
        self.job: Job | None = None
        self._onFinished: Callable[[Job], None] | None = None
        self._started = 0.0
        self._applying: Stepwise | None = None
        self._onApplied: Callable[[Exception | None], None] | None = None
        self._stopping = False
        self._part = (0.0, 1.0)
        self._what = ""
        ui.progressBar.setRange(0, _STEPS)
        ui.cancelButton.connect("clicked()", self.cancel)
        self.showIdle("")

    @property
    def isRunning(self) -> bool:
        """Whether a job is under way, its outcome has not been told yet, or is being brought into the scene."""
        return self.job is not None or self._applying is not None

    @property
    def elapsed(self) -> float:
        """Seconds since the current or last job was submitted."""
        return time.monotonic() - self._started

    def run(
        self,
        task: str,
        params: dict[str, Any],
        onFinished: Callable[[Job], None],
        part: tuple[float, float] = (0.0, 1.0),
        what: str = "",
    ) -> Job:
        """Submit a job and follow it; ``onFinished`` is called once, unless the job is abandoned.

        Args:
            part: of a job that is one of several: where the bar is when it begins and when it ends, 0 to 1.
            what: written before each line on how it goes, for instance "Case 3 of 7".

        Raises:
            RuntimeError: another job is under way.
        """
        if self.isRunning:
            raise RuntimeError("One job at a time: this panel is following another one.")
        self._started = time.monotonic()
        self._onFinished = onFinished
        self._part, self._what = part, what
        runner = self._getRunner()
        job = runner.submit(task, params, on_progress=self._showProgress, on_log=self._showLog, on_done=self._onDone)
        self.job = job
        self._stopping = False
        self._show(what or _("Starting…"), part[0], running=True)
        if self._pump is None or self._pump.runner is not runner:
            self._pump = JobPump(runner)
        self._pump.start()
        return job

    def cancel(self) -> None:
        """Stop the job; its outcome is told as usual."""
        if self._applying is not None:
            from meddl.errors import JobCancelled

            self._applying.stop()
            self._applied(JobCancelled(_("Cancelled.")))
        elif self.job is not None:
            self._stopping = True
            self.ui.statusLabel.text = _("Stopping…")
            self.ui.cancelButton.enabled = False
            self.job.cancel()
            self._pump.start()

    def abandon(self) -> None:
        """Stop the job and tell nobody, since nobody waits for the outcome any more. To be called on cleanup, too."""
        job, self.job, self._onFinished = self.job, None, None
        applying, self._applying, self._onApplied = self._applying, None, None
        if applying is not None:
            applying.stop()
        if job is not None:
            job.cancel()
            self._pump.start()
        self.showIdle("")

    def applyInSteps(self, steps: Iterator[None], onApplied: Callable[[Exception | None], None]) -> None:
        """Bring a result into the scene step by step; to be called by ``onFinished``.

        Args:
            steps: changes the scene between its ``yield`` statements.
            onApplied: called with None at the end, or with the error that ended it, unless it is abandoned.
        """
        self._onApplied = onApplied
        self._show(_("Showing the result…"), 1.0, running=True)
        self._applying = Stepwise(steps, self._applied)

    def showIdle(self, text: str, fraction: float = 0.0) -> None:
        """Show that nothing runs, with ``text`` on what came of it."""
        self._show(text, fraction, running=False)

    def addLog(self, text: str) -> None:
        """Append lines to the log, with the time of day."""
        stamp = time.strftime("%H:%M:%S")
        for line in text.splitlines():
            self.ui.logTextEdit.appendPlainText(f"{stamp}  {line}")

    def _show(self, text: str, fraction: float, running: bool) -> None:
        self.ui.progressBar.setValue(round(fraction * _STEPS))
        self.ui.progressBar.visible = running or fraction > 0
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)
        self.ui.cancelButton.enabled = running

    def _showProgress(self, fraction: float, text: str) -> None:
        if self.job is None or self._stopping:
            return
        start, end = self._part
        self.ui.progressBar.setValue(round((start + (end - start) * fraction) * _STEPS))
        if text:  # a sign of life tells nothing new
            self.ui.statusLabel.text = f"{self._what}: {text}" if self._what else text

    def _showLog(self, line: str) -> None:
        if self.job is not None:
            self.addLog(line)

    def _onDone(self, job: Job) -> None:
        if job is self.job:
            # Outside of the pump: what follows may open a dialog, whose event loop would pump again.
            qt.QTimer.singleShot(0, lambda: self._tell(job))

    def _applied(self, error: Exception | None) -> None:
        onApplied, self._applying, self._onApplied = self._onApplied, None, None
        self.showIdle("", 1.0 if error is None else 0.0)
        if onApplied is not None:
            onApplied(error)

    def _tell(self, job: Job) -> None:
        if job is not self.job:  # abandoned in between
            return
        onFinished, self.job, self._onFinished = self._onFinished, None, None
        self.showIdle("", self._part[1] if job.error is None else 0.0)
        if onFinished is not None:
            onFinished(job)
