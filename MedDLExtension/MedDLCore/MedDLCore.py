"""Panel MedDL Setup: what MedDL needs, which models are there, which are trusted, and where they are kept."""

import html
import logging
from pathlib import Path

import qt
import slicer
from MedDLCoreLib.logic import MedDLCoreLogic
from MedDLCoreLib.self_test import MedDLCoreTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *

logger = logging.getLogger(__name__)

#: Readable on a white and on a dark table.
_STATE_COLORS = {"ok": "#2e7d32", "warning": "#b26a00", "missing": "#c62828"}
_STATE_COLORS_ON_DARK = {"ok": "#81c784", "warning": "#ffb74d", "missing": "#ff8a80"}


class MedDLCore(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Setup")
        self.parent.categories = ["MedDL"]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Shows whether this computer has all that MedDL needs, and installs what is missing after asking. Lists "
            "the models that are on this computer, the models you have agreed to trust, and where downloaded files "
            "are kept."
        )
        self.parent.acknowledgementText = _("PyTorch is installed by the PyTorch extension of Slicer.")


class MedDLCoreWidget(ScriptedLoadableModuleWidget):
    """The panel; what it shows and does comes from the logic."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        self._findings = []
        self._allModels = []
        self._models = []
        self._entries = {}
        self._problems = ()
        self._sizes = {}
        self._consents = []
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLCoreLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.job_panel import JobPanel

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLCore.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        for table, stretched in ((self.ui.healthTable, 1), (self.ui.trustTable, 0)):
            header = table.horizontalHeader()
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)

        # The name keeps its room in a narrow panel; what is left out is in the tooltip.
        header = self.ui.modelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Interactive)
        header.resizeSection(0, 170)

        self.ui.checkButton.connect("clicked(bool)", self.onCheck)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.copyReportButton.connect("clicked(bool)", self.onCopyReport)
        self.ui.healthTable.connect("itemSelectionChanged()", self._showAdvice)
        self.ui.modelsTable.connect("itemSelectionChanged()", self._showModel)
        self.ui.addModelButton.connect("clicked(bool)", self.onAddModel)
        self.ui.removeModelButton.connect("clicked(bool)", self.onRemoveModel)
        self.ui.searchLineEdit.connect("textChanged(QString)", self.onSearch)
        self.ui.addFromButton.connect("clicked(bool)", self.onAddFrom)
        self.ui.packButton.connect("clicked(bool)", self.onPack)
        self.ui.unpackButton.connect("clicked(bool)", self.onUnpack)
        self.ui.saveNetworkButton.connect("clicked(bool)", self.onSaveNetwork)
        self.ui.trustTable.connect("itemSelectionChanged()", self._showConsent)
        self.ui.revokeButton.connect("clicked(bool)", self.onRevoke)
        self.ui.openCacheButton.connect("clicked(bool)", self.onOpenCache)
        self.ui.deleteCacheButton.connect("clicked(bool)", self.onDeleteCache)
        self.refresh()

    def enter(self):
        self.refresh()

    def cleanup(self):
        self.jobPanel.abandon()
        self.uiWidget.setMRMLScene(None)

    def refresh(self):
        """Look at everything again."""
        self._showHealth()
        self._lookForModels()
        self._showModels()
        self._showNetwork()
        self._showTrust()
        self._showCache()

    # Health check

    def onCheck(self):
        from meddl import computer

        computer.gpus.cache_clear()
        with slicer.util.WaitCursor():
            self.refresh()

    def onInstall(self):
        from meddl.errors import MedDLError
        from meddl_slicer import packages

        plan = self.logic.installationPlan()
        if plan.torch and not plan.has_pytorch_extension:
            # Nothing to agree to: the other packages wait for PyTorch, too.
            self._showError(packages.how_to_get_pytorch())
            return
        with slicer.util.tryWithErrorDisplay(_("The installation did not succeed.")):
            try:
                if self.askForInstallation(plan):
                    self.logic.install(plan)
            except MedDLError as error:
                self.jobPanel.addLog(f"{error.message}\n{error.details}")
                self._showError(error.message)
            finally:  # part of it may have been installed
                self.refresh()

    def _showError(self, message):
        slicer.util.errorDisplay(message, windowTitle=_("MedDL Setup"))

    def askForInstallation(self, plan):
        """Show exactly what would be installed and ask. Tests answer for the user."""
        lines = [f"\N{BULLET} {requirement}" for requirement in plan.requirements]
        if plan.torch:
            lines.insert(0, "\N{BULLET} " + _("{torch}, by the PyTorch extension").format(torch=plan.torch))
        text = _(
            "These packages, and those they depend on, will be downloaded from the internet and installed into "
            "Slicer's Python:\n\n{packages}\n\nThis can take several minutes and some gigabytes. Install them now?"
        )
        return slicer.util.confirmOkCancelDisplay(
            text.format(packages="\n".join(lines)), windowTitle=_("Install packages")
        )

    def onCopyReport(self):
        from meddl_slicer import health

        slicer.app.clipboard().setText(health.report(self._findings))
        self.ui.adviceLabel.text = _("The report is in the clipboard.")

    def _showHealth(self):
        self._findings = self.logic.healthCheck()
        words = {"ok": _("ok"), "warning": _("attention"), "missing": _("missing")}
        rows = [(one.what, one.found, one.needed, words[one.state]) for one in self._findings]
        _fill(self.ui.healthTable, rows)
        dark = self.ui.healthTable.palette.color(qt.QPalette.Base).lightness() < 128
        colors = _STATE_COLORS_ON_DARK if dark else _STATE_COLORS
        for row, finding in enumerate(self._findings):
            self.ui.healthTable.item(row, 3).setForeground(qt.QBrush(qt.QColor(colors[finding.state])))
            for column in range(4):
                self.ui.healthTable.item(row, column).setToolTip(finding.advice or finding.found)
        missing = [finding.what for finding in self._findings if finding.state == "missing"]
        if missing:
            text = _("Models cannot run yet. Missing: {names}.").format(names=", ".join(missing))
        else:
            text = _("This computer has all that MedDL needs.")
        self.ui.healthLabel.text = text
        self.ui.installButton.enabled = not self.logic.installationPlan().is_empty
        self._showAdvice()

    def _showAdvice(self):
        row = self.ui.healthTable.currentRow()
        chosen = self._findings[row : row + 1] if row >= 0 else self._findings
        self.ui.adviceLabel.text = next((finding.advice for finding in chosen if finding.advice), "")
        self.ui.adviceLabel.visible = bool(self.ui.adviceLabel.text)

    # Models

    def onSearch(self, text):
        self._showModels()

    def onAddModel(self):
        model = self._selectedModel()
        self._run(*self.logic.download(model.id), _("Downloading {model}").format(model=model.name), self._showAdded)

    def onAddFrom(self):
        model = self._selectedModel()
        folder = self.askForFolder()
        if folder:
            started = _("Adding {model} from a folder").format(model=model.name)
            self._run(*self.logic.download(model.id, folder), started, self._showAdded)

    def onPack(self):
        models = [model.id for model in self._selectedModels() if self._canPack(model)]
        file = self.askForNewPack()
        if file:
            file = file if Path(file).suffix else f"{file}.meddlpack"
            self._run(*self.logic.pack(models, file), _("Writing a pack"), self._showPacked)

    def onUnpack(self):
        file = self.askForPack()
        if file:
            self._run(*self.logic.unpack(file), _("Unpacking"), self._showUnpacked)

    def onRemoveModel(self):
        model = self._selectedModel()
        question = _('Remove "{model}" from this computer?').format(model=model.name)
        if not self.logic.isOwn(model.id) and not self.confirm(question):
            return
        with slicer.util.tryWithErrorDisplay(_("The model could not be removed.")):
            self.logic.remove(model.id)
        self.refresh()

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

    def _run(self, task, params, started, showDone):
        """Start a job; ``showDone(result)`` returns what to say when it went well."""
        with slicer.util.tryWithErrorDisplay(_("This could not be started.")):
            self.jobPanel.addLog(started)
            self.jobPanel.run(task, params, onFinished=lambda job: self._onFinished(job, showDone))
        self._showModel()

    def _onFinished(self, job, showDone):
        from meddl.errors import JobCancelled

        self.refresh()
        if job.error is None:
            self.jobPanel.showIdle(showDone(job.result), 1.0)
            self.jobPanel.addLog(self.ui.statusLabel.text)
        elif isinstance(job.error, JobCancelled):
            self.jobPanel.showIdle(_("Cancelled."))
        else:
            self.jobPanel.showIdle(job.error.message)
            self.jobPanel.addLog(f"{job.error.message}\n{job.error.details}")
            self._showError(job.error.message)

    def _showAdded(self, result):
        return _("The model is ready.")

    def _showPacked(self, result):
        return _("The pack is written and verified. Its SHA-256 is {sha256}.").format(sha256=result["sha256"])

    def _showUnpacked(self, result):
        names = ", ".join(result["models"])
        if result["new"]:
            return _("Ready: {names}.").format(names=names)
        return _("All of the pack was there already: {names}.").format(names=names)

    def _lookForModels(self):
        self._entries, self._problems = self.logic.catalog()
        self._allModels = self.logic.models()
        there = [entry for entry in self._entries.values() if entry.installed]
        self._sizes = {entry.id: self.logic.sizeOnDisk(entry) for entry in there}

    def _showModels(self):
        selected = self._selectedModel()
        text = self.ui.searchLineEdit.text
        self._models = [model for model in self._allModels if self._fits(model, text)]
        wasBlocked = self.ui.modelsTable.blockSignals(True)
        _fill(self.ui.modelsTable, [self._rowOf(model) for model in self._models])
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

    def _selectedModel(self):
        """Return the model if one is selected, and only one."""
        selected = self._selectedModels()
        return selected[0] if len(selected) == 1 else None

    def _canPack(self, model):
        entry = self._entries.get(model.id)
        return entry is not None and entry.installed and not (entry.in_place and entry.built_in)

    def _showModel(self):
        from meddl_slicer.model_selector import description_html

        model = self._selectedModel()
        ui = self.ui
        running = self.jobPanel.isRunning
        own = model is not None and self.logic.isOwn(model.id)
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

    # Network and catalogs

    def onSaveNetwork(self):
        from meddl.errors import MedDLError

        ui = self.ui
        try:
            self.logic.saveNetwork(
                ui.proxyLineEdit.text.strip(),
                _lines(ui.mirrorsTextEdit.plainText),
                _lines(ui.catalogsTextEdit.plainText),
            )
        except MedDLError as error:
            self._showError(error.message)
            return
        self.refresh()

    def _showNetwork(self):
        from meddl.errors import MedDLError

        try:
            settings = self.logic.network()
        except MedDLError:
            settings = None  # why is among the problems
        if settings is not None:
            self.ui.proxyLineEdit.text = settings.shown_proxy
            self.ui.mirrorsTextEdit.plainText = "\n".join(f"{start}={goal}" for start, goal in settings.mirrors.items())
            self.ui.catalogsTextEdit.plainText = "\n".join(settings.catalogs)
        self.ui.networkLabel.text = "\n".join(self._problems)
        self.ui.networkLabel.visible = bool(self.ui.networkLabel.text)

    # Trust

    def onRevoke(self):
        self.logic.revoke(self._consents[self.ui.trustTable.currentRow()].digest)
        self._showTrust()

    def _showTrust(self):
        self._consents = self.logic.consents()
        rows = [(one.name, one.version, one.recorded[:10], f"{one.digest[:10]}…") for one in self._consents]
        _fill(self.ui.trustTable, rows)
        for row, consent in enumerate(self._consents):
            self.ui.trustTable.item(row, 0).setToolTip(_("Agreed through: {origin}").format(origin=consent.origin))
            self.ui.trustTable.item(row, 3).setToolTip(consent.digest)
        self._showConsent()

    def _showConsent(self):
        self.ui.revokeButton.enabled = 0 <= self.ui.trustTable.currentRow() < len(self._consents)

    # Downloaded files

    def onOpenCache(self):
        folder = self.logic.cacheFolder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def onDeleteCache(self):
        if self.confirm(_("Delete all downloaded models and packages? They can be downloaded again.")):
            with slicer.util.tryWithErrorDisplay(_("Not everything could be deleted."), waitCursor=True):
                self.logic.deleteCache()
            self.refresh()

    def _showCache(self):
        text = _("{size} in {folder}").format(size=self.logic.cacheSize(), folder=self.logic.cacheFolder())
        self.ui.cacheLabel.text = text
        self.ui.cacheLabel.toolTip = text  # a long path does not fit a narrow panel

    def confirm(self, question):
        """Ask before something is deleted. Tests answer for the user."""
        return slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedDL Setup"))


def _fill(table, rows):
    """Show ``rows`` of texts in a table, and keep the selected row."""
    row = table.currentRow()
    table.setRowCount(len(rows))
    for index, texts in enumerate(rows):
        for column, text in enumerate(texts):
            table.setItem(index, column, qt.QTableWidgetItem(text))
    if 0 <= row < len(rows):
        table.selectRow(row)


def _lines(text):
    return [line.strip() for line in text.splitlines() if line.strip()]
