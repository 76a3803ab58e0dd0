"""The panel's part for what came of it: the dry run's lines, the dataset's folder, verifying it."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

_MOST_TOLD = 50


class ResultSection:
    """Shows texts, and starts the check of a dataset.

    Args:
        ui: the panel's widgets.
        session: knows where the dataset is.
        jobPanel: follows the check.
        showError: called with an error for the user.
    """

    def __init__(self, ui, session, jobPanel, showError):
        self.ui = ui
        self._session = session
        self._jobPanel = jobPanel
        self._showError = showError
        ui.openFolderButton.connect("clicked(bool)", self._onOpen)
        ui.verifyButton.connect("clicked(bool)", self.verify)
        self.clear()

    def clear(self):
        """Show nothing."""
        self.show("", [])

    def show(self, sentence, lines):
        """Show a sentence and lines below it."""
        self.ui.resultLabel.text = sentence
        self.ui.resultLabel.visible = bool(sentence)
        self.ui.resultTextEdit.setPlainText("\n".join(lines))
        self.ui.resultTextEdit.visible = bool(lines)

    def update(self, running):
        """Bring the buttons in line with the folder."""
        folder = self._folder()
        there = folder is not None and _isFolder(folder)
        self.ui.resultCollapsibleButton.visible = bool(self.ui.resultLabel.text) or there
        self.ui.openFolderButton.enabled = there
        self.ui.openFolderButton.toolTip = (
            _("Show the dataset in the file manager.") if there else _("There is no dataset yet.")
        )
        self.ui.verifyButton.enabled = there and not running
        self.ui.verifyButton.toolTip = (
            _("Look through all files of the dataset, and read it as those will for whom it was made.")
            if there
            else _("There is no dataset yet.")
        )

    def tell(self, work):
        """Show what an export has done."""
        verification = work.verification
        said = [
            _("Cases written: {done}, there already: {skipped}.").format(
                done=len(work.done), skipped=len(work.skipped)
            )
        ]
        if work.failed:
            said.append(_("Left out: {count}, see the notes in the table of cases.").format(count=len(work.failed)))
        if verification:
            said.append(self._verdict(verification))
        notes = [*work.planning.notes, *verification.get("problems", ()), *verification.get("notes", ())]
        self.show(" ".join(said), notes[:_MOST_TOLD])

    def verify(self, *_args):
        """Look the dataset through."""
        from meddl.datasets.task import VERIFY

        self._jobPanel.run(VERIFY, {"root": self._folder()}, onFinished=self._onVerified)
        self._session.changed()

    def _onVerified(self, job):
        if job.error is not None:
            self._showError(job.error)
        else:
            found = job.result["verification"]
            self._jobPanel.showIdle(_("The dataset was verified."), 1.0)
            self.show(self._verdict(found), [*found["problems"], *found["notes"]][:_MOST_TOLD])
        self._session.changed()

    def _verdict(self, found):
        about = _("The dataset holds {cases} cases of {patients} patients.").format(
            cases=found["cases"], patients=found["patients"]
        )
        if found["problems"]:
            return about + " " + _("This is wrong with it:")
        if not found["complete"]:
            return about + " " + _("It is not complete: export again to complete it.")
        return about + " " + _("It is complete, and can be read by those it was made for.")

    def _folder(self):
        parameters = self._session.parameters
        if parameters is None or not parameters.folder.strip():
            return None
        return self._session.datasetFolder()

    def _onOpen(self):
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(Path(self._folder()))))


def _isFolder(path):
    try:
        return path.is_dir()
    except OSError:  # its name is too long, or nobody may look there
        return False
