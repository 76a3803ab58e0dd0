"""The dataset that generators learn from and synthetic cases go into: its folder, and what is in it."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

_LOOK_MS = 300
_MOST_NAMES = 8


class DatasetSection:
    """Asks the worker what is in the folder, whenever it changes.

    Attributes:
        about: what :func:`meddl.synthesis.task.describe_dataset` tells, or None.

    Args:
        ui: the tab's widgets.
        getRunner: returns who runs the job.
        onChanged: called when something is known.
    """

    def __init__(self, ui, getRunner, onChanged):
        self.ui = ui
        self._getRunner, self._onChanged = getRunner, onChanged
        self.about = None
        self._job = None
        self._pump = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_LOOK_MS)
        self._timer.connect("timeout()", self._ask)
        line = ui.datasetPathLineEdit
        line.retrieveHistory()
        line.connect("currentPathChanged(QString)", lambda path: self.look())
        # That it was emptied is told by this signal only.
        line.connect("validInputChanged(bool)", lambda valid: self.look())
        self.look()

    @property
    def folder(self):
        """The folder, or None."""
        text = self.ui.datasetPathLineEdit.currentPath.strip()
        return Path(text) if text else None

    @property
    def isAsking(self):
        """Whether an answer is awaited."""
        return self._job is not None or self._timer.isActive()

    def cleanup(self):
        """Await nothing any more."""
        self._timer.stop()
        self._forget()

    def remember(self):
        """Offer the folder the next time, too."""
        self.ui.datasetPathLineEdit.addCurrentPathToHistory()

    def missing(self):
        """Return what keeps the dataset from being used, each as a few words."""
        if self.about is None:
            return [_("the folder of a dataset that MedDL has exported")]
        found = []
        if not self.about["cases"]["train"]:
            found.append(_("a dataset with a training part"))
        if not self.about["complete"]:
            found.append(_("a dataset that is complete (finish its export)"))
        return found

    def look(self):
        """Find out what is in the folder, in a moment."""
        self._timer.start()

    def _ask(self):
        from meddl.synthesis.task import DESCRIBE_DATASET
        from meddl_slicer import packages
        from meddl_slicer.pump import JobPump

        self._forget()
        if self.folder is None or packages.missing():
            self._show(None, "")
            return
        runner = self._getRunner()
        self._job = runner.submit(DESCRIBE_DATASET, {"root": self.folder}, on_done=self._onDone)
        if self._pump is None or self._pump.runner is not runner:
            self._pump = JobPump(runner)
        self._pump.start()

    def _onDone(self, job):
        if job is not self._job:
            return
        self._job = None
        if job.error is not None:
            self._show(None, job.error.message)
        else:
            self._show(job.result, _sentence(job.result))

    def _show(self, about, text):
        self.about = about
        self.ui.datasetLabel.text = text
        self.ui.datasetLabel.visible = bool(text)
        self._onChanged()

    def _forget(self):
        job, self._job = self._job, None
        if job is not None and job.state == "queued":
            job.cancel()


def _sentence(about):
    cases, patients = about["cases"], about["patients"]
    said = [
        _("{name}: {train} training cases of {patients} patients, {held} held out.").format(
            name=about["name"],
            train=cases["train"],
            patients=patients["train"],
            held=cases["validation"] + cases["test"],
        )
    ]
    if about["synthetic"]:
        said.append(_("Synthetic cases: {count}; nothing is learned from them.").format(count=about["synthetic"]))
    names = about["structures"]
    if names:
        listed = ", ".join(names[:_MOST_NAMES])
        more = len(names) - _MOST_NAMES
        said.append(
            _("Structures: {names}").format(names=listed)
            + (_(" and {more} more.").format(more=more) if more > 0 else ".")
        )
    if not about["complete"]:
        said.append(_("It is not complete: finish its export first."))
    return " ".join(said)
