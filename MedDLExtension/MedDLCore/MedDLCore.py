"""Panel MedDL Setup: what MedDL needs, which models are there, which are trusted, and where they are kept."""

import logging
import os
import tempfile
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *

logger = logging.getLogger(__name__)

#: What of the cache folder is downloaded and may go.
_DOWNLOADED = ("models", "bundles", "packages", "samples")

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
        self._models = []
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
        for table, stretched in ((self.ui.healthTable, 1), (self.ui.modelsTable, 0), (self.ui.trustTable, 0)):
            header = table.horizontalHeader()
            header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)

        self.ui.checkButton.connect("clicked(bool)", self.onCheck)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.copyReportButton.connect("clicked(bool)", self.onCopyReport)
        self.ui.healthTable.connect("itemSelectionChanged()", self._showAdvice)
        self.ui.modelsTable.connect("itemSelectionChanged()", self._showModel)
        self.ui.addModelButton.connect("clicked(bool)", self.onAddModel)
        self.ui.removeModelButton.connect("clicked(bool)", self.onRemoveModel)
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
        self._showModels()
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

    def onAddModel(self):
        model = self._selectedModel()
        with slicer.util.tryWithErrorDisplay(_("The model could not be downloaded.")):
            self.jobPanel.addLog(_("Downloading {model}").format(model=model.name))
            self.jobPanel.run(*self.logic.download(model.id), onFinished=self._onDownloaded)
        self._showModel()

    def _onDownloaded(self, job):
        from meddl.errors import JobCancelled

        self.refresh()
        if job.error is None:
            self.jobPanel.showIdle(_("The model is ready."), 1.0)
        elif isinstance(job.error, JobCancelled):
            self.jobPanel.showIdle(_("Cancelled."))
        else:
            self.jobPanel.showIdle(job.error.message)
            self.jobPanel.addLog(f"{job.error.message}\n{job.error.details}")
            self._showError(job.error.message)

    def onRemoveModel(self):
        model = self._selectedModel()
        question = _('Remove "{model}" from this computer?').format(model=model.name)
        if not self.logic.isOwn(model.id) and not self.confirm(question):
            return
        with slicer.util.tryWithErrorDisplay(_("The model could not be removed.")):
            self.logic.remove(model.id)
        self.refresh()

    def _showModels(self):
        selected = self._selectedModel()
        self._models = self.logic.models()
        rows = []
        for model in self._models:
            if model.problem:
                state, size = _("cannot be used"), ""
            elif self.logic.isOwn(model.id):
                state, size = _("yours"), ""
            elif model.installed:
                state, size = _("yes"), self.logic.sizeOnDisk(model.id)
            else:
                state, size = _("no"), model.sizeText
            rows.append((model.name, model.facts.get("license", ""), size, state))
        _fill(self.ui.modelsTable, rows)
        ids = [model.id for model in self._models]
        self.ui.modelsTable.selectRow(ids.index(selected.id) if selected and selected.id in ids else 0)
        self._showModel()

    def _selectedModel(self):
        row = self.ui.modelsTable.currentRow()
        return self._models[row] if 0 <= row < len(self._models) else None

    def _showModel(self):
        from meddl_slicer.model_selector import description_html

        model = self._selectedModel()
        running = self.jobPanel.isRunning
        own = model is not None and self.logic.isOwn(model.id)
        self.ui.modelDescription.text = description_html(model) if model is not None else ""
        self.ui.addModelButton.enabled = model is not None and not model.installed and not running
        self.ui.removeModelButton.enabled = model is not None and (model.installed or own) and not running

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


class MedDLCoreLogic(ScriptedLoadableModuleLogic):
    """What MedDL Setup shows and does; needs no panel.

    Example::

        for finding in MedDLCoreLogic().healthCheck():
            print(finding.what, finding.found, finding.state)

    Args:
        runner: who downloads models; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    @property
    def runner(self):
        """Who runs the jobs."""
        if self._runner is None:
            from meddl_slicer.pump import runner_for_slicer

            return runner_for_slicer()
        return self._runner

    def healthCheck(self):
        """Return a list of :class:`meddl_slicer.health.Finding`."""
        from meddl_slicer import health

        return health.check(self.cacheFolder(), slicer.app.applicationVersion)

    def installationPlan(self):
        """Return what is missing, as a :class:`meddl_slicer.packages.InstallPlan`."""
        from meddl_slicer import packages

        return packages.plan_installation()

    def install(self, plan):
        """Install what the user has agreed to, and renew the worker so that it finds the new packages.

        Raises:
            meddl.errors.MedDLError: a job is under way, or the installation failed.
        """
        from meddl.errors import MedDLError
        from meddl_slicer import packages, pump

        if self.runner.active:
            raise MedDLError(_("A model is running. Wait until it is done, or cancel it, then install."))
        # A worker that has loaded a package keeps its files open, and would go on with the old ones.
        pump.close_shared_runner()
        packages.install(plan)

    def models(self):
        """Return all models as :class:`meddl_slicer.model_selector.ModelChoice`."""
        from meddl_slicer.model_selector import available_models

        return available_models("segmentation")

    def isOwn(self, model):
        """Whether the user has added this model, which is then a folder and not in the catalog."""
        from meddl_slicer.model_selector import own_models

        return model in own_models()

    def download(self, model):
        """Return task and params of the job that fetches a catalog model."""
        from meddl_slicer.download_task import ADD_MODEL

        return ADD_MODEL, {"model": model}

    def remove(self, model):
        """Delete a catalog model from the cache; one of the user's own is only taken off the list."""
        from meddl.models import Catalog
        from meddl_slicer.model_selector import forget_own_model

        if self.isOwn(model):
            forget_own_model(model)
        else:
            Catalog.default().remove(model)

    def sizeOnDisk(self, model):
        """Return the size of an installed catalog model, for people."""
        from meddl.models import Catalog

        return _size_of(Catalog.default().installed_path(model))

    def consents(self):
        """Return the models that were agreed to, newest first, as :class:`meddl.models.TrustEntry`."""
        from meddl.models import TrustStore

        return list(reversed(TrustStore().entries()))

    def revoke(self, digest):
        """Take the consent to a model back."""
        from meddl.models import TrustStore

        TrustStore().revoke(digest)

    def cacheFolder(self):
        """Return where downloaded files are kept."""
        from meddl.models import cache_dir

        return cache_dir()

    def cacheSize(self):
        """Return the size of all downloaded files, for people."""
        return _size_of(*(self.cacheFolder() / name for name in _DOWNLOADED))

    def deleteCache(self):
        """Delete what was downloaded. Consents are kept: they are no download."""
        import shutil

        # By name: the folder may be one the user has chosen, with other things in it.
        for name in _DOWNLOADED:
            folder = self.cacheFolder() / name
            if folder.is_dir():
                shutil.rmtree(folder)


def _size_of(*folders):
    from meddl_slicer.health import size_text

    return size_text(sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()))


class MedDLCoreTest(ScriptedLoadableModuleTest):
    """Looks, downloads, removes and forgets in folders of its own; installs nothing and needs no network."""

    def runTest(self):
        for test in (
            self.test_healthCheckDescribesThisComputer,
            self.test_reportIsCopied,
            self.test_installationIsAskedForFirst,
            self.test_modelIsAddedAndRemoved,
            self.test_ownModelIsTakenOffTheList,
            self.test_consentIsRevoked,
            self.test_cacheIsDeletedButNotConsents,
        ):
            with tempfile.TemporaryDirectory(prefix="MedDL-test-") as folder:
                self.folder = Path(folder)
                self.setUp()
                logging.info(f"{type(self).__name__}.{test.__name__}")
                try:
                    test()
                finally:
                    self.tearDown()
        self.delayDisplay("All tests passed")

    def setUp(self):
        from unittest import mock

        from meddl.jobs import InlineRunner
        from meddl_slicer.known_model import write_catalog

        catalog = self.folder / "catalog"
        catalog.mkdir()
        write_catalog(catalog, 100.0)
        places = {"MEDDL_MODELS_DIR": str(catalog), "MEDDL_CACHE": str(self.folder / "cache")}
        self.places = mock.patch.dict(os.environ, places)
        self.places.start()
        self.widget = MedDLCoreWidget()
        self.widget.logic = MedDLCoreLogic(InlineRunner())
        self.widget.refresh()

    def tearDown(self):
        # It would be cleaned up again when Slicer exits, after it is gone.
        slicer.app.moduleManager().disconnect(
            "moduleAboutToBeUnloaded(QString)", self.widget._onModuleAboutToBeUnloaded
        )
        self.widget.cleanup()
        self.widget.parent.setMRMLScene(None)
        self.widget.parent.deleteLater()
        self.places.stop()

    def test_healthCheckDescribesThisComputer(self):
        ui = self.widget.ui
        shown = [ui.healthTable.item(row, 0).text() for row in range(ui.healthTable.rowCount)]
        for what in ("Python", "3D Slicer", "PyTorch", "monai"):
            self.assertIn(what, shown)
        self.assertNotEqual(ui.healthLabel.text, "")

    def test_reportIsCopied(self):
        self.widget.ui.copyReportButton.click()
        text = slicer.app.clipboard().text()
        self.assertIn("PyTorch", text)
        self.assertNotIn(str(self.folder), text)

    def test_installationIsAskedForFirst(self):
        from meddl_slicer.packages import InstallPlan

        plan = InstallPlan("torch>=2.8", ("monai>=1.6.1",), True)
        asked, installed = [], []
        self.widget.logic.installationPlan = lambda: plan
        self.widget.logic.install = installed.append
        self.widget.askForInstallation = lambda plan: bool(asked.append(plan))
        self.widget.onInstall()
        self.assertEqual((asked, installed), ([plan], []))
        self.widget.askForInstallation = lambda plan: True
        self.widget.onInstall()
        self.assertEqual(installed, [plan])
        # Without Slicer's PyTorch extension there is nothing to agree to: the user is told how to get it.
        plan = InstallPlan("torch>=2.8", (), False)
        told = []
        self.widget._showError = told.append
        self.widget.onInstall()
        self.assertEqual(len(installed), 1)
        self.assertIn("Extensions Manager", told[0])

    def test_modelIsAddedAndRemoved(self):
        ui = self.widget.ui
        self.assertEqual(ui.modelsTable.rowCount, 1)
        self.assertEqual(ui.modelsTable.item(0, 3).text(), "no")
        self.assertFalse(ui.removeModelButton.enabled)
        ui.addModelButton.click()
        self.waitForEnd()
        self.assertEqual(ui.modelsTable.item(0, 3).text(), "yes", ui.statusLabel.text)
        self.assertFalse(ui.addModelButton.enabled)
        self.widget.confirm = lambda question: True
        ui.removeModelButton.click()
        self.assertEqual(ui.modelsTable.item(0, 3).text(), "no")

    def test_ownModelIsTakenOffTheList(self):
        from meddl_slicer.known_model import write_threshold_bundle
        from meddl_slicer.model_selector import ModelSelector, own_models

        model = ModelSelector(qt.QComboBox(), qt.QLabel()).addOwn(write_threshold_bundle(self.folder / "mine", 1.0))
        try:
            self.widget.refresh()
            self.widget.ui.modelsTable.selectRow(self.widget.ui.modelsTable.rowCount - 1)
            self.assertEqual(self.widget._selectedModel().id, model)
        finally:
            self.widget.ui.removeModelButton.click()
        self.assertNotIn(model, own_models())
        self.assertTrue(Path(model).is_dir())

    def test_consentIsRevoked(self):
        from meddl.models import ModelBundle, TrustStore

        bundle = ModelBundle.open(self.folder / "catalog" / "threshold")
        TrustStore().record(bundle, origin="self-test")
        self.widget.refresh()
        ui = self.widget.ui
        self.assertEqual(ui.trustTable.item(0, 3).toolTip(), bundle.digest)
        self.assertFalse(ui.revokeButton.enabled)
        ui.trustTable.selectRow(0)
        ui.revokeButton.click()
        self.assertEqual(ui.trustTable.rowCount, 0)
        self.assertFalse(TrustStore().is_trusted(bundle))

    def test_cacheIsDeletedButNotConsents(self):
        self.widget.ui.addModelButton.click()
        self.waitForEnd()
        others = self.folder / "cache" / "not ours"
        others.mkdir()
        self.widget.confirm = lambda question: False
        self.widget.ui.deleteCacheButton.click()
        self.assertEqual(self.widget.ui.modelsTable.item(0, 3).text(), "yes")
        self.widget.confirm = lambda question: True
        self.widget.ui.deleteCacheButton.click()
        self.assertEqual(self.widget.ui.modelsTable.item(0, 3).text(), "no")
        self.assertTrue(others.is_dir())
        self.assertEqual(len(self.widget.logic.consents()), 1)

    def waitForEnd(self, seconds=60.0):
        import time

        end = time.monotonic() + seconds
        while self.widget.jobPanel.isRunning:
            slicer.app.processEvents()
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)
