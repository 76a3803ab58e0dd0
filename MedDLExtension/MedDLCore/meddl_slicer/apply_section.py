"""The panel's part for the Apply button: the model is fetched if it is not here, it is run, and errors are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import slicer
import slicer.util

from meddl_slicer.i18n import tr as _

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApplyTexts:
    """What the button and the messages say; what stands in braces is filled in.

    Attributes:
        title: of a message box.
        apply, download: on the button, for a model that is here and for one that is not; with ``{size}``.
        tip: of the button when all is there.
        busy: of the button while something is under way.
        started: in the log, with ``{model}``.
        notStarted: of a message box.
        sceneClosed, nodeRemoved: why a run was stopped; the second with ``{name}``.
    """

    title: str
    apply: str
    download: str
    tip: str
    busy: str
    started: str
    notStarted: str
    sceneClosed: str
    nodeRemoved: str


class ApplySection:
    """Follows a run of the chosen model from the Apply button to its result, its error, or the user's consent.

    Attributes:
        run: what is under way, or None; an object of the panel's ``makeRun``.

    Args:
        panel: the module's widget, with ``ui``, ``logic``, ``jobPanel``, ``modelSection``, and these:
            ``makeRun()``, returns a run with ``task``, ``params``, ``steps(result)``, ``uses(node)`` and ``model``;
            ``chosenModels()``, the models it takes; ``whatIsMissing()``, what keeps it from starting, each as a few
            words; ``onApplied(run, result)``, called when the result is in the scene; ``updateGUI()``.
        texts: what is said.
    """

    def __init__(self, panel: Any, texts: ApplyTexts) -> None:
        self.run: Any = None
        self._panel, self._texts = panel, texts
        self._jobPanel, self._models = panel.jobPanel, panel.modelSection.selector
        panel.ui.applyButton.connect("clicked(bool)", self._onButton)

    def update(self) -> None:
        """Bring the button in line with what is chosen."""
        running = self._jobPanel.isRunning
        missing = self._panel.whatIsMissing()
        model = self._models.currentModel()
        if running:
            tip = self._texts.busy
        elif missing:
            tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
        else:
            tip = self._texts.tip
        isThere = model is None or model.installed or model.problem
        button = self._panel.ui.applyButton
        button.text = self._texts.apply if isThere else self._texts.download.format(size=model.sizeText)
        button.toolTip = tip
        button.enabled = not running and not missing

    def onSceneClosing(self) -> None:
        """Stop the run, whose result would come into another scene; to be called by the panel."""
        if self.run is not None:
            self._jobPanel.addLog(self._texts.sceneClosed)
            self.run = None
            self._jobPanel.abandon()
        elif not self._jobPanel.isRunning:  # "Done" was said of a result that leaves
            self._jobPanel.showIdle("")

    def onNodeLeaving(self, node: Any) -> None:
        """Stop the run if it takes this node; to be called by the panel."""
        if self.run is None or not self.run.uses(node):
            return
        self.run = None
        self._jobPanel.abandon()
        text = self._texts.nodeRemoved.format(name=node.GetName())
        self._jobPanel.showIdle(text)
        self._jobPanel.addLog(text)
        self._panel.updateGUI()

    def showError(self, error: Exception, run: Any = None) -> None:
        """Tell the user in one sentence what happened and keep the details in the log."""
        from meddl.errors import JobCancelled, UntrustedModelError

        message = getattr(error, "message", "") or str(error)
        self._jobPanel.showIdle(message)
        self._jobPanel.addLog(message)
        self._jobPanel.addLog(getattr(error, "details", "") or "")
        if isinstance(error, JobCancelled):
            self._jobPanel.showIdle(_("Cancelled."))
        elif isinstance(error, UntrustedModelError) and run is not None:
            self._runIfTrusted(error, run)
        else:
            logger.debug("run failed", exc_info=error)
            slicer.util.errorDisplay(message, windowTitle=self._texts.title)

    def askForTrust(self, error: Any) -> bool:
        """Ask whether a model may run the code it brings. Tests answer for the user."""
        from meddl_slicer import consent

        return consent.ask(error)

    def _runIfTrusted(self, error: Any, run: Any) -> None:
        if not self.askForTrust(error):
            self._jobPanel.showIdle(_("The model was not run, since it needs your consent to run its own code."))
            return
        with slicer.util.tryWithErrorDisplay(_("The consent could not be stored.")):
            self._panel.logic.trust(run.model)
        self._start()
        self._panel.updateGUI()

    def _onButton(self, checked: bool = False) -> None:
        model = self._models.currentModel()
        if model.installed:
            self._start()
        else:
            self._jobPanel.addLog(_("Downloading {model}").format(model=model.name))
            self._jobPanel.run(*self._panel.logic.download(model.id), onFinished=self._onDownloaded)
        self._panel.updateGUI()

    def _onDownloaded(self, job: Any) -> None:
        self._models.refresh()
        if job.error is not None:
            self.showError(job.error)
        elif self._panel.whatIsMissing():  # the input was removed while the model was downloaded
            self._jobPanel.showIdle(_("The model is ready."))
        else:
            self._start()
        self._panel.updateGUI()

    def _start(self) -> None:
        from meddl.errors import MedDLError

        with slicer.util.tryWithErrorDisplay(self._texts.notStarted):
            try:
                self.run = self._panel.makeRun()
                names = ", ".join(model.name for model in self._panel.chosenModels())
                self._jobPanel.addLog(self._texts.started.format(model=names))
                self._jobPanel.run(self.run.task, self.run.params, onFinished=self._onFinished)
            except MedDLError as error:
                self.run = None
                self.showError(error)

    def _onFinished(self, job: Any) -> None:
        if job.error is not None:
            self._failed(job.error)
        else:
            steps = self.run.steps(job.result)
            self._jobPanel.applyInSteps(steps, lambda error: self._onApplied(job, error))

    def _onApplied(self, job: Any, error: Exception | None) -> None:
        if error is not None:
            self._failed(error)
            return
        run, self.run = self.run, None
        self._panel.onApplied(run, job.result)

    def _failed(self, error: Exception) -> None:
        run, self.run = self.run, None
        self._panel.updateGUI()
        self.showError(error, run)
