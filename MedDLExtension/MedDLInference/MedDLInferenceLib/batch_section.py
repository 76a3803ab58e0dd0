"""The panel's part for many images at once: a list or folder, models, an output folder, and a summary as a table."""

from pathlib import Path

import qt
from slicer.i18n import tr as _


class BatchSection:
    """Starts a batch and shows how it goes; the panel's progress bar, Cancel button and log are used for it.

    Args:
        ui: the panel's widgets.
        models: the ModelSelector.
        jobPanel: follows the job.
        options: returns the options of a run as plain data.
        showError: called with an error that ended the batch.
    """

    def __init__(self, ui, models, jobPanel, options, showError):
        self.ui = ui
        self._models = models
        self._jobPanel = jobPanel
        self._options = options
        self._showError = showError
        self._choices = {}
        self._showsMisfit = False
        for line in (ui.batchCasesPathLineEdit, ui.batchOutputPathLineEdit):
            line.retrieveHistory()
            line.connect("currentPathChanged(QString)", lambda path: self.update())
            line.connect("validInputChanged(bool)", lambda valid: self.update())  # that it was emptied
        ui.batchModelsListWidget.connect("itemChanged(QListWidgetItem*)", lambda item: self.update())
        ui.batchEnsembleCheckBox.connect("toggled(bool)", lambda checked: self.update())
        ui.batchStartButton.connect("clicked(bool)", self.start)
        ui.batchSummaryLabel.visible = False
        models.onRefresh(self._offerModels)
        self._offerModels()

    def models(self):
        """Return the ids of the models that are checked."""
        rows = [self.ui.batchModelsListWidget.item(row) for row in range(self.ui.batchModelsListWidget.count)]
        return [item.data(qt.Qt.UserRole) for item in rows if item.checkState() == qt.Qt.Checked]

    @property
    def isEnsemble(self):
        """Whether the models' answers are averaged."""
        return self.ui.batchEnsembleCheckBox.checked and len(self.models()) > 1

    def misfit(self):
        """Return why the models' answers cannot be averaged, or ""."""
        from meddl.errors import MedDLError
        from meddl.inference.joining import check_joined

        if not self.isEnsemble:
            return ""
        try:
            check_joined([self._choices[model].bundle for model in self.models()])
        except MedDLError as error:
            return error.message
        return ""

    def missing(self):
        """Return what keeps the batch from starting, each as a few words."""
        found = []
        if not self._path(self.ui.batchCasesPathLineEdit):
            found.append(_("a list or a folder of images"))
        if not self.models():
            found.append(_("a model that is on this computer"))
        if not self._path(self.ui.batchOutputPathLineEdit):
            found.append(_("an output folder"))
        return found

    def update(self):
        """Bring the button in line with what is chosen."""
        missing, misfit = self.missing(), self.misfit()
        running = self._jobPanel.isRunning
        self.ui.batchEnsembleCheckBox.enabled = len(self.models()) > 1 and not running
        self.ui.batchStartButton.enabled = not missing and not misfit and not running
        if running:
            tip = _("A run is under way.")
        elif missing:
            tip = _("Still needed: {missing}.").format(missing=", ".join(missing))
        elif misfit:
            tip = misfit
        else:
            tip = _("Run the models on all images. Images that are done already, with the same model, are skipped.")
        self.ui.batchStartButton.toolTip = tip
        if misfit and not running:
            self.ui.batchSummaryLabel.text, self._showsMisfit = misfit, True
            self.ui.batchSummaryLabel.visible = True
        elif self._showsMisfit:
            self.ui.batchSummaryLabel.visible = self._showsMisfit = False

    def start(self):
        """Start the batch."""
        from meddl_slicer import batch_run

        for line in (self.ui.batchCasesPathLineEdit, self.ui.batchOutputPathLineEdit):
            line.addCurrentPathToHistory()
        cases, output = self._path(self.ui.batchCasesPathLineEdit), self._path(self.ui.batchOutputPathLineEdit)
        options = self._options()
        options["mirror"] = options["mirror"] and any(self._choices[model].canMirror for model in self.models())
        if self.isEnsemble:
            options["uncertainty"] = "none"  # they tell it by how far they differ
        task, params = batch_run.job(cases, self.models(), output, options, self.isEnsemble)
        self.ui.batchSummaryLabel.visible = False
        self._jobPanel.addLog(_("Batch started."))
        self._jobPanel.run(task, params, onFinished=self._onFinished)
        self.update()

    def _offerModels(self):
        """Offer the models that are here; those that are checked stay so."""
        checked = self.models()
        self._choices = {choice.id: choice for choice in self._models.choices()}
        self.ui.batchModelsListWidget.clear()
        for choice in self._choices.values():
            if choice.problem or not choice.installed:
                continue
            item = qt.QListWidgetItem(choice.name)
            item.setFlags(item.flags() | qt.Qt.ItemIsUserCheckable)
            item.setData(qt.Qt.UserRole, choice.id)
            item.setCheckState(qt.Qt.Checked if choice.id in checked else qt.Qt.Unchecked)
            self.ui.batchModelsListWidget.addItem(item)
        self.update()

    def _onFinished(self, job):
        from meddl_slicer import batch_run

        if job.error is not None:
            self._showError(job.error)
            self.update()
            return
        summary = batch_run.apply(job.result)
        self._jobPanel.showIdle(summary.sentence, 1.0)
        self._jobPanel.addLog(summary.sentence)
        for line in summary.errors:
            self._jobPanel.addLog(line)
        self.ui.batchSummaryLabel.text = "\n".join([summary.sentence, *summary.errors[:10]])
        self.ui.batchSummaryLabel.visible = True
        self.update()

    def _path(self, line):
        return Path(line.currentPath) if line.currentPath.strip() else None
