"""The self-test of the panel, the same in the host and in a real Slicer."""

import os
from pathlib import Path

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MedDLCoreLib.logic import MedDLCoreLogic


class MedDLCoreTest(ScriptedLoadableModuleTest):
    """Looks, downloads, removes and forgets in folders of its own; installs nothing and needs no network."""

    def runTest(self):
        from meddl_slicer.self_testing import run_tests

        run_tests(self, (MedDLCoreTest,))

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
        # Slicer imports this file while it loads that one.
        from MedDLCore import MedDLCoreWidget

        self.widget = MedDLCoreWidget()
        self.widget.logic = MedDLCoreLogic(InlineRunner())
        self.widget.refresh()

    def tearDown(self):
        from meddl_slicer.self_testing import close

        close(self.widget)
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
        self.widget.health.askForInstallation = lambda plan: bool(asked.append(plan))
        self.widget.health.install()
        self.assertEqual((asked, installed), ([plan], []))
        self.widget.health.askForInstallation = lambda plan: True
        self.widget.health.install()
        self.assertEqual(installed, [plan])
        # Without Slicer's PyTorch extension there is nothing to agree to: the user is told how to get it.
        plan = InstallPlan("torch>=2.8", (), False)
        told = []
        self.widget.showError = told.append
        self.widget.health.install()
        self.assertEqual(len(installed), 1)
        self.assertIn("Extensions Manager", told[0])

    def test_modelIsAddedAndRemoved(self):
        ui = self.widget.ui
        self.assertEqual(ui.modelsTable.rowCount, 1)
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "no")
        self.assertFalse(ui.removeModelButton.enabled)
        ui.addModelButton.click()
        self.waitForEnd()
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "yes", ui.statusLabel.text)
        self.assertFalse(ui.addModelButton.enabled)
        self.widget.confirm = lambda question: True
        ui.removeModelButton.click()
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "no")

    def test_modelsAreSearched(self):
        ui = self.widget.ui
        self.assertEqual(ui.modelsTable.item(0, 4).text(), "MedDL")
        ui.searchLineEdit.text = "threshold mri"
        self.assertEqual(ui.modelsTable.rowCount, 1)
        ui.searchLineEdit.text = "liver"
        self.assertEqual(ui.modelsTable.rowCount, 0)
        self.assertEqual(ui.modelDescription.text, "")
        self.assertFalse(ui.addModelButton.enabled or ui.removeModelButton.enabled or ui.packButton.enabled)
        ui.searchLineEdit.text = ""
        self.assertEqual(ui.modelsTable.rowCount, 1)
        self.assertTrue(ui.addModelButton.enabled)

    def test_modelIsAddedFromFolder(self):
        ui = self.widget.ui
        self.widget.models.askForFolder = lambda: ""
        ui.addFromButton.click()
        self.assertFalse(self.widget.jobPanel.isRunning)
        told = []
        self.widget.showError = told.append
        self.widget.models.askForFolder = lambda: str(self.folder)
        ui.addFromButton.click()
        self.waitForEnd()
        self.assertEqual(len(told), 1)
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "no")
        self.widget.models.askForFolder = lambda: str(self.folder / "catalog")
        ui.addFromButton.click()
        self.waitForEnd()
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "yes", ui.statusLabel.text)

    def test_modelIsPackedAndUnpacked(self):
        ui = self.widget.ui
        self.assertFalse(ui.packButton.enabled)
        ui.addModelButton.click()
        self.waitForEnd()
        pack = self.folder / "one.meddlpack"
        self.widget.models.askForNewPack = lambda: str(pack)
        ui.packButton.click()
        self.waitForEnd()
        self.assertTrue(pack.is_file(), ui.statusLabel.text)
        self.assertIn("SHA-256", ui.statusLabel.text)
        self.widget.confirm = lambda question: True
        ui.removeModelButton.click()
        self.widget.models.askForPack = lambda: str(pack)
        ui.unpackButton.click()
        self.waitForEnd()
        self.assertEqual(ui.modelsTable.item(0, 1).text(), "yes", ui.statusLabel.text)
        ui.unpackButton.click()
        self.waitForEnd()
        self.assertIn("already", ui.statusLabel.text)
        pack.write_bytes(pack.read_bytes()[:-100])
        told = []
        self.widget.showError = told.append
        ui.unpackButton.click()
        self.waitForEnd()
        self.assertEqual(len(told), 1)

    def test_networkSettingsAreKept(self):
        ui = self.widget.ui
        ui.proxyLineEdit.text = "http://me:secret@proxy:3128"
        ui.mirrorsTextEdit.plainText = "https://example.org=/mnt/mirror\n\n"
        ui.catalogsTextEdit.plainText = str(self.folder / "share")
        ui.saveNetworkButton.click()
        self.assertNotIn("secret", ui.proxyLineEdit.text)
        self.assertIn("share", ui.networkLabel.text)
        self.assertEqual(ui.mirrorsTextEdit.plainText, "https://example.org=/mnt/mirror")
        told = []
        self.widget.showError = told.append
        ui.mirrorsTextEdit.plainText = "nonsense"
        ui.saveNetworkButton.click()
        self.assertEqual(len(told), 1)
        ui.mirrorsTextEdit.plainText = ""
        ui.saveNetworkButton.click()
        settings = self.widget.logic.network()
        (self.folder / "cache" / "network.json").write_text("{")
        self.widget.refresh()
        self.assertIn("network.json", ui.networkLabel.text)
        self.assertEqual(ui.modelsTable.rowCount, 1)
        ui.catalogsTextEdit.plainText = ""
        ui.saveNetworkButton.click()
        self.assertEqual(ui.networkLabel.text, "")
        self.assertEqual((settings.proxy, dict(settings.mirrors)), ("http://me:secret@proxy:3128", {}))

    def test_ownModelIsTakenOffTheList(self):
        from meddl_slicer.known_model import write_threshold_bundle
        from meddl_slicer.model_selector import ModelSelector, own_models

        model = ModelSelector(qt.QComboBox(), qt.QLabel()).addOwn(write_threshold_bundle(self.folder / "mine", 1.0))
        try:
            self.widget.refresh()
            self.widget.ui.modelsTable.selectRow(self.widget.ui.modelsTable.rowCount - 1)
            self.assertEqual(self.widget.models.selected().id, model)
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
        self.assertEqual(self.widget.ui.modelsTable.item(0, 1).text(), "yes")
        self.widget.confirm = lambda question: True
        self.widget.ui.deleteCacheButton.click()
        self.assertEqual(self.widget.ui.modelsTable.item(0, 1).text(), "no")
        self.assertTrue(others.is_dir())
        self.assertEqual(len(self.widget.logic.consents()), 1)

    def waitForEnd(self):
        from meddl_slicer.self_testing import wait_for

        wait_for(lambda: not self.widget.jobPanel.isRunning, 60.0)
