"""The panel's part for the report: one page about the maps that are shown."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _


class ReportSection:
    """Asks for a file, and has the report written in the worker.

    Args:
        ui: the panel's widgets.
        jobPanel: follows the job.
        getView: returns what is known of the map that is chosen.
        getSegmentation: returns the segmentation whose structures are outlined, or None.
        onChanged: called when something has begun or ended.
        showError: called with an error for the user.
    """

    def __init__(self, ui, jobPanel, getView, getSegmentation, onChanged, showError):
        self.ui = ui
        self._jobPanel = jobPanel
        self._getView, self._getSegmentation = getView, getSegmentation
        self._onChanged, self._showError = onChanged, showError
        self._answers = {}
        ui.reportButton.connect("clicked(bool)", self._onReport)

    def remember(self, maps, prediction):
        """Keep the answer that maps explain: it is told in their report."""
        self._answers = {node.GetID(): prediction for node in maps}

    def forget(self):
        """Keep no answer any more."""
        self._answers = {}

    def update(self, running):
        """Bring the button in line with what is there."""
        self.ui.reportButton.enabled = not running and self._getView() is not None

    def write(self, path):
        """Write the report to a file, ``.html`` or ``.pdf``."""
        from meddl.errors import MedDLError
        from meddl_slicer import explanation_report

        view = self._getView()
        try:
            params = explanation_report.report_params(
                explanation_report.same_question(view),
                [Path(path)],
                self._getSegmentation(),
                self._answers.get(view.node.GetID()),
            )
        except MedDLError as error:
            self._showError(error)
            return
        self._jobPanel.run(explanation_report.WRITE_REPORT, params, onFinished=self._onWritten)
        self._onChanged()

    def askForFile(self):
        """Ask where the report goes; "" for nowhere. Tests answer for the user."""
        title, kinds = _("Report"), _("Web page (*.html);;PDF (*.pdf)")
        return qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "explanation.html", kinds)

    def open(self, path):
        """Show a report in the web browser or PDF viewer. Tests leave it closed."""
        if not slicer.app.testingEnabled():
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _onReport(self, checked=False):
        path = self.askForFile()
        if path:
            self.write(path)

    def _onWritten(self, job):
        if job.error is not None:
            self._showError(job.error)
        else:
            self._jobPanel.showIdle(_("The report was written."), 1.0)
            for path in job.result["files"]:
                self.open(path)
        self._onChanged()
