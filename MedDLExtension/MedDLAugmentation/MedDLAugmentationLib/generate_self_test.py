"""Self-tests of the tab "Generate": tiny generators, trained in a real worker process on tiny datasets made here."""

import logging

import slicer


class GenerateTests:
    """The test methods; see self_test.py for what they are made of."""

    def test_generateTellsWhatIsMissing(self):
        tab = self.makeGenerateTab()
        self.assertFalse(tab.ui.trainButton.enabled)
        self.assertIn("the folder of a dataset", tab.ui.trainButton.toolTip)
        self.assertFalse(tab.ui.makeButton.enabled)
        self.chooseDataset(tab, self.folder)
        self.assertIn("no dataset that MedDL has exported", tab.ui.datasetLabel.text)
        self.assertFalse(tab.ui.trainButton.enabled)
        self.chooseDataset(tab, self.makeDataset())
        self.assertIn("Heads: 3 training cases of 3 patients, 1 held out.", tab.ui.datasetLabel.text)
        self.assertIn("Ball", tab.ui.datasetLabel.text)
        self.assertIn("a name", tab.ui.trainButton.toolTip)
        tab.ui.nameLineEdit.text = "Tiny"
        tab.ui.outputPathLineEdit.currentPath = str(self.folder)
        self.assertTrue(tab.ui.trainButton.enabled, tab.ui.trainButton.toolTip)
