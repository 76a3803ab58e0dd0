"""The self-test of the panel, the same in the host and in a real Slicer."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MedDLExportLib.self_test_export import ExportTests
from MedDLExportLib.self_test_panel import PanelTests


class MedDLExportTest(PanelTests, ExportTests, ScriptedLoadableModuleTest):
    """Writes real datasets in a real worker process, of small volumes and segmentations made here."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from meddl_slicer.self_testing import run_tests

        run_tests(self, (PanelTests, ExportTests), "Cases cannot be written")

    def tearDown(self):
        from meddl_slicer.self_testing import close

        widget, self.widget = getattr(self, "widget", None), None
        if widget is not None:
            close(widget)
        slicer.mrmlScene.Clear()

    # What the tests are made of

    def makeVolume(self, name="CT", seed=0, shape=(14, 16, 18)):
        """Return an oblique volume node of noise with a bright block, and the (K, J, I) mask of the block."""
        import numpy as np
        from meddl_slicer.self_testing import add_oblique_volume

        array = np.random.default_rng(seed).normal(0, 20, shape).astype(np.int16)
        mask = np.zeros(shape, bool)
        mask[3:9, 4:11, 5 : 11 + seed % 4] = True
        array[mask] += 200
        return add_oblique_volume(array, name, shift_mm=seed), mask

    def makeSegmentation(self, volume, masks, name="Segmentation"):
        """Return a segmentation node of (K, J, I) masks by name, on the grid of a volume."""
        from meddl_slicer.self_testing import add_segmentation

        return add_segmentation(volume, masks, name, shown=False)  # drawing fifty takes a minute

    def makeCases(self, count=3):
        """Load as many patients: a volume each, with two structures that overlap."""
        import numpy as np

        volumes = []
        for index in range(count):
            volume, mask = self.makeVolume(f"CT {index + 1}", index)
            core = np.zeros_like(mask)
            core[4:7, 5:8, 6:9] = True
            segmentation = self.makeSegmentation(volume, {"Organ": mask, "Core": core}, f"Labels {index + 1}")
            self.fileUnder(volume, f"Patient^{index + 1}", f"{index + 1}")
            self.fileUnder(segmentation, f"Patient^{index + 1}", f"{index + 1}")
            volumes.append(volume)
        return volumes

    def fileUnder(self, node, patient, uid):
        """Put a node under a patient and a study, as loading DICOM does."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        study = hierarchy.GetItemByUID("DICOM", f"study {uid}")
        if not study:
            folder = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
            hierarchy.SetItemUID(folder, "DICOM", f"patient {uid}")
            study = hierarchy.CreateStudyItem(folder, "Study")
            hierarchy.SetItemUID(study, "DICOM", f"study {uid}")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)

    def makeWidget(self):
        # Not the one in the module panel, which may be at work for the user.
        from MedDLExport import MedDLExportWidget

        self.widget = MedDLExportWidget()
        return self.widget

    def makeReadyWidget(self, count=3, form="nnunet"):
        """Return a panel with cases of the scene, ready to export them."""
        self.makeCases(count)
        widget = self.makeWidget()
        widget.cases.addFromScene()
        self.chooseFormat(widget, form)
        widget.ui.folderPathLineEdit.currentPath = str(self.folder / "dataset")
        return widget

    def chooseFormat(self, widget, form):
        index = widget.ui.formatComboBox.findData(form)
        widget.ui.formatComboBox.setCurrentIndex(index)
        widget.dataset._onFormat(index)  # what choosing by hand does

    def press(self, widget, button):
        """Press a button and wait for the end of what it starts."""
        self.assertTrue(button.enabled, button.toolTip)
        button.click()
        return self.waitForEnd(widget)

    def waitFor(self, condition, seconds=120.0):
        """Process events until ``condition()``; returns the longest time between two turns of the event loop."""
        from meddl_slicer.self_testing import wait_for

        return wait_for(condition, seconds)

    def waitForEnd(self, widget, seconds=180.0):
        return self.waitFor(lambda: not self.isRunning(widget), seconds)

    def isRunning(self, widget):
        return widget.jobPanel.isRunning or widget.session.isRunning

    def waitForStatus(self, widget, text):
        """Wait until the status line says so, but no longer than something is under way."""
        self.waitFor(lambda: text in widget.ui.statusLabel.text or not self.isRunning(widget))
        self.assertIn(text, widget.ui.statusLabel.text)

    def cells(self, table):
        return [
            [table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)
        ]

    def headings(self, table):
        return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
