"""Self-tests of the tab "Scanner"."""

import slicer

from MedDLAugmentationLib.variants_self_test import VariantsTestParts


class ScannerTests(VariantsTestParts):
    """Scans are simulated, and lie where they belong."""

    def makeScannerTab(self, kind):
        self.volume, self.labels = self.makeKidneys()
        panel = self.makePanel()
        panel.ui.tabWidget.currentIndex = 2
        panel.scanner.parameters.scannerKind = kind
        panel.scanner.parameters.scannerSegmentation = self.labels
        return panel.scanner

    def apply(self, tab):
        self.assertTrue(tab.ui.scannerApplyButton.enabled, tab.ui.scannerApplyButton.toolTip)
        tab.ui.scannerApplyButton.click()
        return self.waitForThat(lambda: not tab.jobPanel.isRunning)

    def test_xRaysHaveTheLabelsProjected(self):
        tab = self.makeScannerTab("projection")
        boxes, others = tab.page("projection").widgets["views"]
        boxes["LL"].checked = True
        tab.page("projection").widgets["size"].value = 32
        self.apply(tab)
        names = {node.GetName() for node in self.syntheticNodes("vtkMRMLScalarVolumeNode")}
        self.assertEqual(names, {"Abdomen X-ray AP", "Abdomen X-ray LL"})
        segmentations = self.syntheticNodes("vtkMRMLSegmentationNode")
        self.assertEqual([node.GetSegmentation().GetNumberOfSegments() for node in segmentations], [2, 2])
        for node in segmentations:
            self.assertEqual(node.GetTransformNodeID(), self.volume.GetTransformNodeID())
        # What cannot be is said at once.
        others.text = "sideways"
        others.editingFinished()
        self.assertIn("sideways", tab.ui.kindNoteLabel.text)
        self.assertFalse(tab.ui.scannerApplyButton.enabled)

    def test_whatTheImageIsNotMadeForIsRefused(self):
        tab = self.makeScannerTab("rician")
        self.apply(tab)
        self.assertIn("magnitude images", tab.ui.scannerStatusLabel.text)
        self.assertFalse(self.syntheticNodes("vtkMRMLScalarVolumeNode"))

    def test_settingsAreKeptByMethod(self):
        tab = self.makeScannerTab("rician")
        slicer.util.arrayFromVolume(self.volume)[:] += 1100
        slicer.util.arrayFromVolumeModified(self.volume)
        tab.page("rician").widgets["snr"].value = 20
        tab.parameters.scannerKind = "low_dose"
        tab.page("low_dose").widgets["dose"].value = 10
        text = tab.parameters.scannerOptions
        tab.parameters.scannerOptions = ""
        self.assertEqual(tab.page("low_dose").widgets["dose"].value, 25)
        tab.parameters.scannerOptions = text
        tab.parameters.scannerKind = "rician"
        self.assertEqual(tab.options().method.snr, (20.0,))
        self.apply(tab)
        (node,) = self.syntheticNodes("vtkMRMLScalarVolumeNode")
        self.assertEqual(node.GetName(), "Abdomen noisy")
        tab.parameters.scannerKind = "undersampling"
        tab.page("undersampling").widgets["center_fraction"].value = 40
        self.assertIn("center_fraction", tab.ui.kindNoteLabel.text)
