"""The panel's part for models: which there are, adding, packing and removing them."""

import html
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from MedDLCoreLib.tables import fill


class ModelsSection:
    """The table of models, what is said of the selected one, and the buttons below it.

    Args:
        panel: the module's widget.
    """

    def __init__(self, panel):
        self._panel, self.ui = panel, panel.ui
        self._jobPanel = panel.jobPanel
        self._allModels = []
        self._models = []
        self._entries = {}
        self._sizes = {}
        self.problems = ()
        # The name keeps its room in a narrow panel; what is left out is in the tooltip.
        header = self.ui.modelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Interactive)
        header.resizeSection(0, 170)
        self.ui.modelsTable.connect("itemSelectionChanged()", self._showModel)
        self.ui.searchLineEdit.connect("textChanged(QString)", lambda text: self.show())
        for button, action in (
            (self.ui.addModelButton, self._add),
            (self.ui.addFromButton, self._addFrom),
            (self.ui.packButton, self._pack),
            (self.ui.unpackButton, self._unpack),
            (self.ui.removeModelButton, self._remove),
        ):
            button.connect("clicked(bool)", lambda checked, action=action: action())

    def lookAgain(self):
        """Look for models; :meth:`show` shows them."""
        self._entries, self.problems = self._panel.logic.catalog()
        self._allModels = self._panel.logic.models()
        there = [entry for entry in self._entries.values() if entry.installed]
        self._sizes = {entry.id: self._panel.logic.sizeOnDisk(entry) for entry in there}

    def show(self):
        """Show those that the words searched for are said of."""
        selected = self.selected()
        text = self.ui.searchLineEdit.text
        self._models = [model for model in self._allModels if self._fits(model, text)]
        wasBlocked = self.ui.modelsTable.blockSignals(True)
        fill(self.ui.modelsTable, [self._rowOf(model) for model in self._models])
        for row, model in enumerate(self._models):
            entry = self._entries.get(model.id)
            for column in range(self.ui.modelsTable.columnCount):
                told = (
                    (model.name, entry.task, entry.organ, entry.modality, entry.license, entry.origin)
                    if entry
                    else (model.id,)
                )
                tip = html.escape(" \N{MIDDLE DOT} ".join(filter(None, told)))
                self.ui.modelsTable.item(row, column).setToolTip(f"<p>{tip}</p>")
        ids = [model.id for model in self._models]
        self.ui.modelsTable.selectRow(ids.index(selected.id) if selected and selected.id in ids else 0)
        self.ui.modelsTable.blockSignals(wasBlocked)
        self._showModel()

    def selected(self):
        """Return the model if one is selected, and only one."""
        selected = self._selectedModels()
        return selected[0] if len(selected) == 1 else None

    def askForFolder(self):
        """Return the folder a model is to be taken from, or "". Tests answer for the user."""
        return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder that holds the model"))

    def askForNewPack(self):
        """Return the file to write a pack to, or "". Tests answer for the user."""
        filters = _("Pack of models") + " (*.meddlpack)"
        return qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Pack models"), "models.meddlpack", filters)

    def askForPack(self):
        """Return the pack to install, or "". Tests answer for the user."""
        filters = _("Pack of models") + " (*.meddlpack *.zip)"
        return qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), _("Unpack models"), "", filters)

    def _showModel(self):
        from meddl_slicer.model_selector import description_html

        model = self.selected()
        ui = self.ui
        running = self._jobPanel.isRunning
        own = model is not None and self._panel.logic.isOwn(model.id)
        entry = self._entries.get(model.id) if model is not None else None
        description = description_html(model) if model is not None else ""
        if entry is not None and not entry.built_in:
            description += "<p>" + html.escape(_("From: {origin}").format(origin=entry.origin)) + "</p>"
        ui.modelDescription.text = description
        missing = model is not None and not model.installed
        ui.addModelButton.enabled = missing and not running
        ui.addFromButton.enabled = missing and not running
        inPlace = entry is not None and entry.in_place
        ui.removeModelButton.enabled = model is not None and (model.installed or own) and not inPlace and not running
        if inPlace:
            ui.removeModelButton.toolTip = _("This model comes with {origin}.").format(origin=entry.origin)
        else:
            ui.removeModelButton.toolTip = _(
                "Delete the files of the selected model from this computer. It can be downloaded again."
            )
        ui.packButton.enabled = any(self._canPack(one) for one in self._selectedModels()) and not running
        ui.unpackButton.enabled = not running

    def _add(self):
        model = self.selected()
        started = _("Downloading {model}").format(model=model.name)
        self._run(*self._panel.logic.download(model.id), started, self._showAdded)

    def _addFrom(self):
        model = self.selected()
        folder = self.askForFolder()
        if folder:
            started = _("Adding {model} from a folder").format(model=model.name)
            self._run(*self._panel.logic.download(model.id, folder), started, self._showAdded)

    def _pack(self):
        models = [model.id for model in self._selectedModels() if self._canPack(model)]
        file = self.askForNewPack()
        if file:
            file = file if Path(file).suffix else f"{file}.meddlpack"
            self._run(*self._panel.logic.pack(models, file), _("Writing a pack"), self._showPacked)

    def _unpack(self):
        file = self.askForPack()
        if file:
            self._run(*self._panel.logic.unpack(file), _("Unpacking"), self._showUnpacked)

    def _remove(self):
        model = self.selected()
        question = _('Remove "{model}" from this computer?').format(model=model.name)
        if not self._panel.logic.isOwn(model.id) and not self._panel.confirm(question):
            return
        with slicer.util.tryWithErrorDisplay(_("The model could not be removed.")):
            self._panel.logic.remove(model.id)
        self._panel.refresh()

    def _run(self, task, params, started, showDone):
        """Start a job; ``showDone(result)`` returns what to say when it went well."""
        with slicer.util.tryWithErrorDisplay(_("This could not be started.")):
            self._jobPanel.addLog(started)
            self._jobPanel.run(task, params, onFinished=lambda job: self._onFinished(job, showDone))
        self._showModel()

    def _onFinished(self, job, showDone):
        from meddl.errors import JobCancelled

        self._panel.refresh()
        if job.error is None:
            self._jobPanel.showIdle(showDone(job.result), 1.0)
            self._jobPanel.addLog(self.ui.statusLabel.text)
        elif isinstance(job.error, JobCancelled):
            self._jobPanel.showIdle(_("Cancelled."))
        else:
            self._jobPanel.showIdle(job.error.message)
            self._jobPanel.addLog(f"{job.error.message}\n{job.error.details}")
            self._panel.showError(job.error.message)

    def _showAdded(self, result):
        return _("The model is ready.")

    def _showPacked(self, result):
        return _("The pack is written and verified. Its SHA-256 is {sha256}.").format(sha256=result["sha256"])

    def _showUnpacked(self, result):
        names = ", ".join(result["models"])
        if result["new"]:
            return _("Ready: {names}.").format(names=names)
        return _("All of the pack was there already: {names}.").format(names=names)

    def _rowOf(self, model):
        entry = self._entries.get(model.id)
        size = self._sizes.get(model.id, "")
        if model.problem:
            state = _("cannot be used")
        elif entry is None:
            state = _("yours")
        elif model.installed:
            state = _("yes")
        else:
            state, size = _("no"), model.sizeText
        origin = entry.origin if entry is not None else _("folder")
        if len(origin) > 18:  # all of it is in the tooltip
            origin = f"{origin[:17]}\N{HORIZONTAL ELLIPSIS}"
        return model.name, state, size, model.facts.get("license", ""), origin

    def _fits(self, model, text):
        entry = self._entries.get(model.id)
        return entry.matches(text) if entry is not None else model.matches(text)

    def _selectedModels(self):
        rows = sorted({index.row() for index in self.ui.modelsTable.selectionModel().selectedRows()})
        return [self._models[row] for row in rows if row < len(self._models)]

    def _canPack(self, model):
        entry = self._entries.get(model.id)
        return entry is not None and entry.installed and not (entry.in_place and entry.built_in)
